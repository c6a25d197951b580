// Package triage is what an author in Go needs: the contract triage:policy@0.1.0 in Go's own types.
//
// `triage plugin build` puts this package beside the policy, as policy/triage. A policy is a
// `package main` with an empty main, which calls Export from an init function.
package triage

// Priority says how much an event matters, least first.
type Priority uint8

const (
	Ignore Priority = iota
	Low
	Normal
	High
	Critical
)

func (it Priority) String() string {
	return [...]string{"ignore", "low", "normal", "high", "critical"}[it]
}

// Header is a name in lower case and a value.
type Header struct{ Name, Value string }

// Event is one verified, deduplicated delivery from a sender. Times are milliseconds since the Unix epoch.
type Event struct {
	ID, RunID, Tenant, IntegrationID string
	Source, EventType                string
	IdempotencyKey                   string
	OrderingKey                      *string
	ReceivedAt                       uint64
	OccurredAt                       *uint64
	Late                             bool
	Attempt                          uint32
	ContentType                      *string
	Headers                          []Header
	Body                             []byte
}

// Classification says what kind of event this is and how much it matters.
type Classification struct {
	Priority          Priority
	Category          string
	Labels            []string
	ConfidencePercent uint8
	Reason            string
}

// Plan is what should happen.
type Plan struct {
	Summary string
	Actions []Action
}

// Action is one side effect that the host carries out, once. Content is a Ticket, Webhook, Message or Custom.
type Action struct {
	Name, Destination string
	Content           any
}

// Ticket is for a ticket desk.
type Ticket struct {
	Title, Body        string
	Labels             []string
	Assignee, GroupKey *string
}

// Webhook is JSON text for a webhook destination.
type Webhook struct{ Payload string }

// Message is for a chat channel, mail or pager.
type Message struct {
	Title, Text string
	ThreadKey   *string
}

// Custom is for anything else; Content is JSON text.
type Custom struct{ Kind, Content string }

// PluginInfo is what a plugin says about itself.
type PluginInfo struct {
	Name, Version, Description   string
	Triggers, Labels, Categories []string
	SettingsSchema               *string
}

// InvalidPayload as an error: the payload is not what this plugin handles.
type InvalidPayload string

// Permanent as an error: trying again cannot help. Any other error is tried again.
type Permanent string

// Retry as an error: something outside is not ready.
type Retry struct {
	Reason  string
	AfterMs *uint32
}

func (it InvalidPayload) Error() string { return string(it) }
func (it Permanent) Error() string      { return string(it) }
func (it Retry) Error() string          { return it.Reason }

// Policy is what a plugin does.
type Policy interface {
	Describe() PluginInfo
	Classify(event *Event) (Classification, error)
	Triage(event *Event, classification *Classification) (Plan, error)
}

// Level says how much a line of the log matters.
type Level uint8

const (
	Debug Level = iota
	Info
	Warn
	Error
)
