package main

import (
	"fmt"
	"strings"
	"unicode"

	"policy/triage"
)

const (
	titleCharsMax = 160
	factCharsMax  = 300
	textCharsMax  = 2000
)

// urgency is a priority and why it is so, step by step.
type urgency struct {
	priority triage.Priority
	reasons  []string
}

func newUrgency(priority triage.Priority, reason string) *urgency {
	return &urgency{priority, []string{reason}}
}

func (it *urgency) set(priority triage.Priority, reason string) {
	if it.priority != priority {
		it.priority = priority
		it.reasons = append(it.reasons, reason)
	}
}

func (it *urgency) raise(reason string) { it.set(min(it.priority+1, triage.Critical), reason) }

// lower goes one step down, but never to ignore.
func (it *urgency) lower(reason string) {
	if triage.Low < it.priority {
		it.set(it.priority-1, reason)
	}
}

func (it *urgency) atLeast(priority triage.Priority, reason string) {
	it.set(max(it.priority, priority), reason)
}

func (it *urgency) atMost(priority triage.Priority, reason string) {
	it.set(min(it.priority, priority), reason)
}

// byUsers goes as far up as many affected users ask for.
func (it *urgency) byUsers(users uint64, settings *settings) {
	reason := fmt.Sprintf("%d users are affected", users)
	if settings.UsersCritical <= users {
		it.atLeast(triage.Critical, reason)
	} else if settings.UsersHigh <= users {
		it.atLeast(triage.High, reason)
	}
}

// isProduction tells whether an environment counts as production; one that nobody named does.
func (it *settings) isProduction(environment *string) bool {
	return environment == nil || contains(it.Production, *environment)
}

// contains tells whether a list holds a word, in any case of ASCII letters.
func contains(words []string, word string) bool {
	for _, it := range words {
		if lowerASCII(it) == lowerASCII(word) {
			return true
		}
	}
	return false
}

func lowerASCII(text string) string {
	return strings.Map(func(it rune) rune {
		if 'A' <= it && it <= 'Z' {
			return it + 'a' - 'A'
		}
		return it
	}, text)
}

// finding is what a source found in an event. Without an urgency it is noise: nothing to do, for the reason in text.
type finding struct {
	category string
	labels   []string
	urgency  *urgency
	title    string
	// Names and values, for the ticket; a value that is empty is left out.
	facts [][2]string
	// What people wrote, quoted in the ticket.
	text string
	url  *string
	// What further events about the same thing have in common.
	groupKey string
}

func noise(category, reason string) *finding { return &finding{category: category, text: reason} }

func (it *finding) classification() triage.Classification {
	if it.urgency == nil {
		return triage.Classification{Category: it.category, ConfidencePercent: 100, Reason: it.text}
	}
	return triage.Classification{
		Priority:          it.urgency.priority,
		Category:          it.category,
		Labels:            it.labels,
		ConfidencePercent: 100,
		Reason:            strings.Join(it.urgency.reasons, "; "),
	}
}

func (it *finding) plan(classification *triage.Classification, settings *settings) (triage.Plan, error) {
	if it.urgency == nil {
		return triage.Plan{Summary: it.text}, nil
	}
	plan := triage.Plan{Summary: oneLine(it.title, titleCharsMax)}
	url := it.url
	if url != nil && !isWebURL(*url) {
		url = nil
	}
	if triage.Normal <= classification.Priority {
		plan.Actions = append(plan.Actions, triage.Action{Name: "ticket", Destination: settings.Destination, Content: triage.Ticket{
			Title:    plan.Summary,
			Body:     it.body(classification.Reason, url),
			Labels:   classification.Labels,
			GroupKey: &it.groupKey,
		}})
	}
	if settings.WebhookDestination != nil && triage.High <= classification.Priority {
		payload, err := triage.JSONText(struct {
			Title    string  `json:"title"`
			Priority string  `json:"priority"`
			Reason   string  `json:"reason"`
			URL      *string `json:"url"`
			GroupKey string  `json:"group_key"`
		}{plan.Summary, classification.Priority.String(), classification.Reason, url, it.groupKey})
		if err != nil {
			return plan, err
		}
		content := triage.Webhook{Payload: payload}
		plan.Actions = append(plan.Actions, triage.Action{Name: "page", Destination: *settings.WebhookDestination, Content: content})
	}
	return plan, nil
}

// body is the ticket's text, in Markdown.
func (it *finding) body(reason string, url *string) string {
	body := oneLine(reason, factCharsMax) + "\n"
	gap := "\n"
	for _, fact := range it.facts {
		if fact[1] != "" {
			body += fmt.Sprintf("%s- **%s:** %s\n", gap, fact[0], oneLine(fact[1], factCharsMax))
			gap = ""
		}
	}
	if text := clip(strings.TrimSpace(it.text), textCharsMax); text != "" {
		body += "\n"
		for _, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			body += strings.TrimRightFunc("> "+strings.TrimSuffix(line, "\r"), unicode.IsSpace) + "\n"
		}
	}
	if url != nil {
		body += "\n<" + *url + ">\n"
	}
	return body
}

func isGap(it rune) bool { return unicode.IsSpace(it) || unicode.IsControl(it) }

// oneLine is a text of strangers as one line: no control characters, no runs of white space.
func oneLine(text string, charsMax int) string {
	return clip(strings.Join(strings.FieldsFunc(text, isGap), " "), charsMax)
}

func clip(text string, charsMax int) string {
	chars := 0
	for at := range text {
		if chars == charsMax {
			return text[:at] + "…"
		}
		chars++
	}
	return text
}

// isWebURL tells whether a link may stand in a ticket: no other scheme, nothing that ends the brackets around it.
func isWebURL(url string) bool {
	return (strings.HasPrefix(url, "https://") || strings.HasPrefix(url, "http://")) &&
		!strings.ContainsFunc(url, func(it rune) bool { return isGap(it) || it == '<' || it == '>' })
}

// or is the first of these texts that is there.
func or(texts ...*string) string {
	for _, it := range texts {
		if it != nil {
			return *it
		}
	}
	return ""
}
