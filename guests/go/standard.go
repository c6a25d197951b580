package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"policy/triage"
)

// What senders of Standard Webhooks commonly say of an incident, under several names for one thing.
type incidentData struct {
	ID                *string         `json:"id"`
	Title             string          `json:"title"`
	Severity          *string         `json:"severity"`
	Level             *string         `json:"level"`
	Description       *string         `json:"description"`
	Summary           *string         `json:"summary"`
	Service           json.RawMessage `json:"service"`
	Environment       *string         `json:"environment"`
	UsersAffected     *uint64         `json:"users_affected"`
	AffectedCustomers *uint64         `json:"affected_customers"`
	URL               *string         `json:"url"`
}

func findStandard(name string, event *triage.Event, settings *settings) (*finding, error) {
	action, isIncident := strings.CutPrefix(name, "incident.")
	if !isIncident {
		return nil, nil
	}
	if slices.Contains([]string{"resolved", "closed", "cancelled", "acknowledged"}, action) {
		return noise("incident", "the incident is "+action), nil
	}
	var data incidentData
	if err := event.JSONAt("/data", &data, "title"); err != nil {
		return nil, err
	}
	urgency := bySeverityWord(data.Severity, data.Level)
	var users uint64
	told := ""
	if count := cmpOr(data.UsersAffected, data.AffectedCustomers); count != nil {
		users, told = *count, fmt.Sprint(*count)
	}
	urgency.byUsers(users, settings)
	if !settings.isProduction(data.Environment) {
		if urgency.priority < triage.High {
			return noise("incident", "not urgent, and not in production"), nil
		}
		urgency.atMost(triage.Low, "not in production")
	}
	service := serviceName(data.Service)
	title := data.Title
	if service != "" {
		title = service + ": " + title
	}
	labels := []string{"standard"}
	if action == "reopened" {
		labels = append(labels, "regression")
	}
	return &finding{
		category: "incident",
		labels:   labels,
		urgency:  urgency,
		title:    title,
		facts:    [][2]string{{"Service", service}, {"Environment", or(data.Environment)}, {"Users", told}},
		text:     or(data.Description, data.Summary),
		url:      data.URL,
		groupKey: "standard:" + or(data.ID, &event.IdempotencyKey),
	}, nil
}

func cmpOr(one, other *uint64) *uint64 {
	if one != nil {
		return one
	}
	return other
}

// serviceName is the name of something that is called by its name, or described with it.
func serviceName(raw json.RawMessage) string {
	var name string
	var described struct {
		Name string `json:"name"`
	}
	if json.Unmarshal(raw, &name) == nil {
		return name
	}
	_ = json.Unmarshal(raw, &described)
	return described.Name
}

// Senders have many words for the same four steps.
func bySeverityWord(severity, level *string) *urgency {
	if severity == nil && level == nil {
		return newUrgency(triage.Normal, "no severity is given")
	}
	told := or(severity, level)
	priority := triage.Normal
	switch lowerASCII(told) {
	case "critical", "fatal", "emergency", "sev1", "p0", "p1":
		priority = triage.Critical
	case "high", "major", "error", "sev2", "p2":
		priority = triage.High
	case "low", "minor", "info", "sev4", "p4":
		priority = triage.Low
	}
	return newUrgency(priority, fmt.Sprintf("severity `%s`", told))
}
