package main

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"policy/triage"
)

func findSlack(name string, event *triage.Event, settings *settings) (*finding, error) {
	isMention := name == "app_mention"
	if !isMention && name != "message" {
		return nil, nil
	}
	var message struct {
		Subtype  *string `json:"subtype"`
		BotID    *string `json:"bot_id"`
		User     *string `json:"user"`
		Channel  string  `json:"channel"`
		Text     *string `json:"text"`
		TS       string  `json:"ts"`
		ThreadTS *string `json:"thread_ts"`
	}
	if err := event.JSONAt("/event", &message, "channel", "ts"); err != nil {
		return nil, err
	}
	switch thread := message.ThreadTS; {
	case message.Subtype != nil:
		return noise("report", fmt.Sprintf("a `%s`, not somebody's words", *message.Subtype)), nil
	case message.BotID != nil:
		return noise("report", "written by a bot"), nil
	case !isMention && thread != nil && *thread != message.TS:
		return noise("report", "an answer in a thread"), nil
	}
	text := or(message.Text)
	var urgency *urgency
	if word, found := firstWord(text, settings.CriticalWords); found {
		urgency = newUrgency(triage.Critical, fmt.Sprintf("it says `%s`", word))
	} else if word, found := firstWord(text, settings.IncidentWords); found {
		urgency = newUrgency(triage.High, fmt.Sprintf("it says `%s`", word))
	} else if isMention {
		urgency = newUrgency(triage.Normal, "somebody asks for attention")
	} else {
		return noise("report", "nothing in it reads like an incident"), nil
	}
	return &finding{
		category: "report",
		labels:   []string{"slack"},
		urgency:  urgency,
		title:    "Slack: " + strings.TrimSpace(text),
		facts:    [][2]string{{"Channel", message.Channel}, {"From", or(message.User)}},
		text:     text,
		groupKey: fmt.Sprintf("slack:%s:%s", message.Channel, or(message.ThreadTS, &message.TS)),
	}, nil
}

// firstWord is the first of these words that stands in the text, in any case, and not inside a longer word.
func firstWord(text string, words []string) (string, bool) {
	text = strings.ToLower(text)
	for _, word := range words {
		if standsIn(text, strings.ToLower(word)) {
			return word, true
		}
	}
	return "", false
}

func standsIn(text, word string) bool {
	for from := 0; ; {
		found := strings.Index(text[from:], word)
		if found < 0 {
			return false
		}
		start := from + found
		before, _ := utf8.DecodeLastRuneInString(text[:start])
		after, _ := utf8.DecodeRuneInString(text[start+len(word):])
		if !isAlphanumeric(before) && !isAlphanumeric(after) {
			return true
		}
		from = start + len(word)
	}
}

func isAlphanumeric(it rune) bool { return unicode.IsLetter(it) || unicode.IsNumber(it) }
