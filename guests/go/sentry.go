package main

import (
	"fmt"
	"strings"

	"policy/triage"
)

type sentryIssue struct {
	ID            string  `json:"id"`
	ShortID       *string `json:"shortId"`
	Title         string  `json:"title"`
	Culprit       *string `json:"culprit"`
	Level         string  `json:"level"`
	Substatus     *string `json:"substatus"`
	IssueCategory *string `json:"issueCategory"`
	IsUnhandled   *bool   `json:"isUnhandled"`
	UserCount     uint64  `json:"userCount"`
	FirstSeen     *string `json:"firstSeen"`
	Project       struct {
		Slug string `json:"slug"`
	} `json:"project"`
	WebURL *string `json:"web_url"`
}

// One event in Sentry's own sense: a single occurrence of an issue.
type occurrence struct {
	Title       string       `json:"title"`
	Level       *string      `json:"level"`
	Culprit     *string      `json:"culprit"`
	Environment *string      `json:"environment"`
	Release     *string      `json:"release"`
	IssueID     string       `json:"issue_id"`
	WebURL      *string      `json:"web_url"`
	Tags        [][2]*string `json:"tags"`
}

type metricData struct {
	MetricAlert struct {
		ID        string   `json:"id"`
		Title     string   `json:"title"`
		Projects  []string `json:"projects"`
		AlertRule struct {
			Environment *string `json:"environment"`
		} `json:"alert_rule"`
	} `json:"metric_alert"`
	DescriptionText string  `json:"description_text"`
	WebURL          *string `json:"web_url"`
}

func findSentry(name string, event *triage.Event, settings *settings) (*finding, error) {
	switch name {
	case "issue.created", "issue.unresolved":
		var issue sentryIssue
		if err := event.JSONAt("/data/issue", &issue, "id", "title", "level", "project"); err != nil {
			return nil, err
		}
		return sentryIssueFinding(&issue, settings), nil
	case "issue.resolved", "issue.assigned", "issue.archived", "issue.ignored":
		return noise("error", "somebody has dealt with this issue in Sentry"), nil
	case "event_alert.triggered":
		var rule string
		if err := event.JSONAt("/data/triggered_rule", &rule); err != nil {
			return nil, err
		}
		return findOccurrence("alert", "/data/event", &rule, event, settings)
	case "error.created":
		return findOccurrence("error", "/data/error", nil, event, settings)
	case "metric_alert.critical":
		return findMetricAlert(triage.Critical, event, settings)
	case "metric_alert.warning":
		return findMetricAlert(triage.Normal, event, settings)
	case "metric_alert.resolved":
		return noise("alert", "the metric is back to normal"), nil
	}
	return nil, nil
}

func sentryIssueFinding(issue *sentryIssue, settings *settings) *finding {
	labels := []string{"sentry"}
	urgency := byLevel(issue.Level)
	if issue.IsUnhandled != nil && *issue.IsUnhandled {
		urgency.raise("nothing handles it")
	}
	switch or(issue.Substatus) {
	case "regressed":
		labels = append(labels, "regression")
		urgency.raise("it was resolved and came back")
	case "escalating":
		urgency.raise("it happens more and more often")
	}
	if or(issue.IssueCategory) == "outage" {
		urgency.atLeast(triage.High, "a monitor reports an outage")
	}
	urgency.byUsers(issue.UserCount, settings)
	title := issue.Title
	if issue.ShortID != nil {
		title = *issue.ShortID + ": " + title
	}
	return &finding{
		category: "error",
		labels:   labels,
		urgency:  urgency,
		title:    title,
		facts: [][2]string{
			{"Project", issue.Project.Slug},
			{"Where", or(issue.Culprit)},
			{"Users", fmt.Sprint(issue.UserCount)},
			{"First seen", or(issue.FirstSeen)},
		},
		url:      issue.WebURL,
		groupKey: "sentry:issue:" + issue.ID,
	}
}

func findOccurrence(category, pointer string, rule *string, event *triage.Event, settings *settings) (*finding, error) {
	var occurrence occurrence
	if err := event.JSONAt(pointer, &occurrence, "title", "issue_id"); err != nil {
		return nil, err
	}
	environment := occurrence.Environment
	if environment == nil {
		environment = occurrence.tag("environment")
	}
	none := "error"
	level := or(occurrence.Level, occurrence.tag("level"), &none)
	urgency := byLevel(level)
	if rule == nil {
		// Sentry sends every single occurrence; new issues and alert rules tell when people should look.
		urgency.lower("one occurrence of many")
	}
	if !settings.isProduction(environment) {
		if level != "error" && level != "fatal" {
			return noise(category, fmt.Sprintf("level `%s` outside production", level)), nil
		}
		urgency.atMost(triage.Low, "not in production")
	}
	return &finding{
		category: category,
		labels:   []string{"sentry"},
		urgency:  urgency,
		title:    occurrence.Title,
		facts: [][2]string{
			{"Alert rule", or(rule)},
			{"Environment", or(environment)},
			{"Release", or(occurrence.Release)},
			{"Where", or(occurrence.Culprit)},
		},
		url:      occurrence.WebURL,
		groupKey: "sentry:issue:" + occurrence.IssueID,
	}, nil
}

func (it *occurrence) tag(name string) *string {
	for _, tag := range it.Tags {
		if or(tag[0]) == name {
			return tag[1]
		}
	}
	return nil
}

func findMetricAlert(priority triage.Priority, event *triage.Event, settings *settings) (*finding, error) {
	var data metricData
	if err := event.JSONAt("/data", &data, "metric_alert", "description_text"); err != nil {
		return nil, err
	}
	alert := &data.MetricAlert
	environment := alert.AlertRule.Environment
	urgency := newUrgency(priority, "a metric is over its threshold")
	if !settings.isProduction(environment) {
		urgency.atMost(triage.Low, "not in production")
	}
	return &finding{
		category: "alert",
		labels:   []string{"sentry"},
		urgency:  urgency,
		title:    alert.Title,
		facts:    [][2]string{{"Projects", strings.Join(alert.Projects, ", ")}, {"Environment", or(environment)}},
		text:     data.DescriptionText,
		url:      data.WebURL,
		groupKey: "sentry:metric_alert:" + alert.ID,
	}, nil
}

func byLevel(level string) *urgency {
	priority := triage.Normal
	switch level {
	case "fatal":
		priority = triage.High
	case "warning", "info", "debug", "sample":
		priority = triage.Low
	}
	return newUrgency(priority, fmt.Sprintf("level `%s`", level))
}
