// The policy of plugins/incident-desk in Go: one file per source says what an event means, incident.go says
// what follows from it.
package main

import (
	"fmt"
	"strings"

	"policy/triage"
)

type settings struct {
	Destination        string   `json:"destination"`
	WebhookDestination *string  `json:"webhook_destination"`
	Production         []string `json:"production"`
	UrgentLabels       []string `json:"urgent_labels"`
	CriticalLabels     []string `json:"critical_labels"`
	QuietLabels        []string `json:"quiet_labels"`
	IncidentWords      []string `json:"incident_words"`
	CriticalWords      []string `json:"critical_words"`
	UsersHigh          uint64   `json:"users_high"`
	UsersCritical      uint64   `json:"users_critical"`
}

func readSettings() (*settings, error) {
	it := &settings{
		Destination:    "desk",
		Production:     []string{"production", "prod", "live"},
		UrgentLabels:   []string{"urgent", "regression", "security", "p1", "sev2"},
		CriticalLabels: []string{"critical", "incident", "outage", "p0", "sev1"},
		QuietLabels:    []string{"question", "documentation", "duplicate", "invalid", "wontfix"},
		IncidentWords:  []string{"incident", "is down", "are down", "degraded", "sev2", "p1", "500s", "timeouts"},
		CriticalWords:  []string{"outage", "sev1", "sev-1", "p0", "data loss", "breach"},
		UsersHigh:      10,
		UsersCritical:  100,
	}
	return it, triage.Settings(it)
}

// find is one of a source's: what its event of this name means; nil where it is not handled.
type find func(name string, event *triage.Event, settings *settings) (*finding, error)

var sources = map[string]find{
	"github": findGithub, "sentry": findSentry, "slack": findSlack, "standard": findStandard,
}

type desk struct{}

func (desk) find(event *triage.Event) (*finding, *settings, error) {
	settings, err := readSettings()
	if err != nil {
		return nil, nil, err
	}
	source, name, _ := strings.Cut(event.EventType, ".")
	if find, known := sources[source]; known {
		if found, err := find(name, event, settings); found != nil || err != nil {
			return found, settings, err
		}
	}
	return noise("unhandled", fmt.Sprintf("`%s` is not handled here", event.EventType)), settings, nil
}

func (desk) Describe() triage.PluginInfo {
	return triage.PluginInfo{
		Name:        "incident-desk-go",
		Version:     "0.1.0",
		Description: "Opens tickets for errors, issues, security alerts and reported incidents, and pages for urgent ones.",
		Triggers:    []string{"sentry.*", "github.issues.*", "slack.app_mention", "slack.message", "standard.incident.*"},
		Labels:      []string{"github", "regression", "security", "sentry", "slack", "standard"},
		Categories:  []string{"alert", "error", "incident", "issue", "leaked-secret", "report", "unhandled", "vulnerability"},
	}
}

func (it desk) Classify(event *triage.Event) (triage.Classification, error) {
	found, _, err := it.find(event)
	if err != nil {
		return triage.Classification{}, err
	}
	return found.classification(), nil
}

func (it desk) Triage(event *triage.Event, classification *triage.Classification) (triage.Plan, error) {
	found, settings, err := it.find(event)
	if err != nil {
		return triage.Plan{}, err
	}
	return found.plan(classification, settings)
}

func init() { triage.Export(desk{}) }

func main() {}
