package triage

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// Settings reads the policy's settings over the defaults in `into`; a name that it does not have is refused.
func Settings(into any) error {
	decoder := json.NewDecoder(strings.NewReader(SettingsText()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return Permanent(fmt.Sprintf("settings: %v", err))
	}
	return nil
}

// JSONAt reads the part of the body that a JSON pointer names, through objects only, into `into`. The
// fields in `required` must be there.
func (event *Event) JSONAt(pointer string, into any, required ...string) error {
	part := json.RawMessage(event.Body)
	if !json.Valid(part) {
		return InvalidPayload("body: not JSON")
	}
	for _, name := range strings.Split(pointer, "/")[1:] {
		part = member(part, name)
		if part == nil {
			return InvalidPayload(fmt.Sprintf("body: at `%s`: missing", pointer))
		}
	}
	place := ""
	if pointer != "" {
		place = fmt.Sprintf("at `%s`: ", pointer)
	}
	for _, name := range required {
		switch found := member(part, name); {
		case found == nil:
			return InvalidPayload(fmt.Sprintf("body: %smissing field `%s`", place, name))
		case bytes.Equal(found, []byte("null")):
			return InvalidPayload(fmt.Sprintf("body: at `%s/%s`: invalid type: null, expected a string", pointer, name))
		}
	}
	if err := json.Unmarshal(part, into); err != nil {
		return InvalidPayload(fmt.Sprintf("body: %s%v", place, err))
	}
	return nil
}

func member(object json.RawMessage, name string) json.RawMessage {
	var members map[string]json.RawMessage
	if json.Unmarshal(object, &members) != nil {
		return nil
	}
	return members[name]
}

// JSONText is a value as JSON, without the escapes for HTML.
func JSONText(value any) (string, error) {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(text.String(), "\n"), err
}
