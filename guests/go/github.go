package main

import (
	"fmt"
	"slices"
	"strings"

	"policy/triage"
)

type repository struct {
	FullName      string  `json:"full_name"`
	Private       bool    `json:"private"`
	DefaultBranch *string `json:"default_branch"`
}

type label struct {
	Name string `json:"name"`
}

type account struct {
	Login string  `json:"login"`
	Type  *string `json:"type"`
}

type githubIssue struct {
	Number  uint64   `json:"number"`
	Title   string   `json:"title"`
	Body    *string  `json:"body"`
	HTMLURL string   `json:"html_url"`
	Labels  []label  `json:"labels"`
	User    *account `json:"user"`
}

func findGithub(name string, event *triage.Event, settings *settings) (*finding, error) {
	kind, action, isTwo := strings.Cut(name, ".")
	if !isTwo {
		return nil, nil
	}
	switch kind {
	case "issues":
		if !slices.Contains([]string{"opened", "reopened", "labeled"}, action) {
			return noise("issue", "an issue was "+action), nil
		}
		return findIssue(action, event, settings)
	case "dependabot_alert":
		return findDependabot(action, event)
	case "code_scanning_alert":
		return findCodeScanning(action, event)
	case "secret_scanning_alert":
		return findSecret(action, event)
	case "security_advisory":
		return findAdvisory(action, event)
	}
	return nil, nil
}

func findIssue(action string, event *triage.Event, settings *settings) (*finding, error) {
	var body struct {
		Label      *label     `json:"label"`
		Repository repository `json:"repository"`
		Sender     account    `json:"sender"`
	}
	var issue githubIssue
	if err := event.JSONAt("", &body, "issue", "repository", "sender"); err != nil {
		return nil, err
	}
	if err := event.JSONAt("/issue", &issue, "number", "title", "html_url"); err != nil {
		return nil, err
	}
	urgency := newUrgency(triage.Normal, "an issue was "+action)
	var names []string
	for _, it := range issue.Labels {
		names = append(names, it.Name)
		if contains(settings.CriticalLabels, it.Name) {
			urgency.atLeast(triage.Critical, fmt.Sprintf("label `%s`", it.Name))
		} else if contains(settings.UrgentLabels, it.Name) {
			urgency.atLeast(triage.High, fmt.Sprintf("label `%s`", it.Name))
		}
	}
	if it := body.Label; it != nil && !contains(settings.CriticalLabels, it.Name) && !contains(settings.UrgentLabels, it.Name) {
		return noise("issue", fmt.Sprintf("label `%s` says nothing about urgency", it.Name)), nil
	}
	if urgency.priority <= triage.Normal {
		if or(body.Sender.Type) == "Bot" {
			return noise("issue", fmt.Sprintf("%s by the bot %s", action, body.Sender.Login)), nil
		}
		for _, name := range names {
			if contains(settings.QuietLabels, name) {
				urgency.atMost(triage.Low, fmt.Sprintf("label `%s`", name))
			}
		}
	}
	labels, author := []string{"github"}, ""
	if action == "reopened" {
		labels = append(labels, "regression")
	}
	if issue.User != nil {
		author = issue.User.Login
	}
	return &finding{
		category: "issue",
		labels:   labels,
		urgency:  urgency,
		title:    fmt.Sprintf("%s#%d: %s", body.Repository.FullName, issue.Number, issue.Title),
		facts:    [][2]string{{"Author", author}, {"Labels", strings.Join(names, ", ")}},
		text:     or(issue.Body),
		url:      &issue.HTMLURL,
		groupKey: fmt.Sprintf("github:%s#%d", body.Repository.FullName, issue.Number),
	}, nil
}
