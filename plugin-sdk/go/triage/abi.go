package triage

import (
	"errors"
	"unsafe"
)

// How values lie in memory where the host reads and writes them: the canonical ABI of the component
// model (https://github.com/WebAssembly/component-model, CanonicalABI.md). Go lays these structs out
// in the same way; only pointers differ, which are 32 bits there.
type (
	rawList struct{ at, count uint32 }
	rawText = rawList
	optText struct {
		some uint8
		text rawText
	}
	optU64 struct {
		some   uint8
		number uint64
	}
	optU32 struct {
		some   uint8
		number uint32
	}
	rawHeader struct{ name, value rawText }
	rawEvent  struct {
		id, runID, tenant, integrationID, source, eventType, idempotencyKey rawText
		orderingKey                                                         optText
		receivedAt                                                          uint64
		occurredAt                                                          optU64
		late                                                                uint8
		attempt                                                             uint32
		contentType                                                         optText
		headers, body                                                       rawList
	}
	rawClassification struct {
		priority   uint8
		category   rawText
		labels     rawList
		confidence uint8
		reason     rawText
	}
	rawPlan struct {
		summary rawText
		actions rawList
	}
	rawTicket struct {
		title, body        rawText
		labels             rawList
		assignee, groupKey optText
	}
	rawMessage struct {
		title, text rawText
		threadKey   optText
	}
	rawCustom struct{ kind, content rawText }
	rawAction struct {
		name, destination rawText
		kind              uint8
		// The largest of the four kinds of content; the others are written over it.
		content rawTicket
	}
	rawRetry struct {
		reason  rawText
		afterMs optU32
	}
	rawFailure struct {
		kind    uint8
		content rawRetry
	}
	rawInfo struct {
		name, version, description   rawText
		triggers, labels, categories rawList
		settingsSchema               optText
	}
	failed struct {
		isError uint8
		failure rawFailure
	}
	classified struct {
		isError        uint8
		classification rawClassification
	}
	planned struct {
		isError uint8
		plan    rawPlan
	}
)

var policy Policy

// Export makes a policy the exports of the component. To be called from an init function.
func Export(it Policy) { policy = it }

// What the host holds a number of instead of a pointer, so that it is not collected. An instance
// handles one event and is dropped.
var kept []any

func keep[T any](value T) *T {
	it := &value
	kept = append(kept, it)
	return it
}

func address[T any](it *T) uint32 { return uint32(uintptr(unsafe.Pointer(it))) }

//go:wasmexport cabi_realloc
func realloc(old, oldSize, align, size uint32) uint32 {
	if size == 0 {
		return align
	}
	// Of numbers of 64 bits, so that it begins at a multiple of 8.
	block := make([]uint64, (size+7)/8)
	kept = append(kept, block)
	if 0 < oldSize {
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&block[0])), size), at[byte](rawList{old, oldSize}))
	}
	return address(&block[0])
}

// The elements of a list that the host wrote.
func at[T any](list rawList) []T {
	if list.count == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(uintptr(list.at))), list.count)
}

func text(it rawText) string {
	if it.count == 0 {
		return ""
	}
	return unsafe.String((*byte)(unsafe.Pointer(uintptr(it.at))), it.count)
}

func option(it optText) *string {
	if it.some == 0 {
		return nil
	}
	text := text(it.text)
	return &text
}

func texts(list rawList) []string {
	var all []string
	for _, it := range at[rawText](list) {
		all = append(all, text(it))
	}
	return all
}

func rawOf(text string) rawText {
	if text == "" {
		return rawText{at: 1}
	}
	kept = append(kept, text)
	return rawText{address(unsafe.StringData(text)), uint32(len(text))}
}

func rawOption(text *string) optText {
	if text == nil {
		return optText{}
	}
	return optText{1, rawOf(*text)}
}

func rawSlice[T any](all []T) rawList {
	if len(all) == 0 {
		return rawList{at: 8}
	}
	kept = append(kept, all)
	return rawList{address(&all[0]), uint32(len(all))}
}

func rawTexts(all []string) rawList {
	var raw []rawText
	for _, it := range all {
		raw = append(raw, rawOf(it))
	}
	return rawSlice(raw)
}

func event(raw *rawEvent) *Event {
	event := &Event{
		ID: text(raw.id), RunID: text(raw.runID), Tenant: text(raw.tenant),
		IntegrationID: text(raw.integrationID), Source: text(raw.source), EventType: text(raw.eventType),
		IdempotencyKey: text(raw.idempotencyKey), OrderingKey: option(raw.orderingKey),
		ReceivedAt: raw.receivedAt, Late: raw.late != 0, Attempt: raw.attempt,
		ContentType: option(raw.contentType), Body: at[byte](raw.body),
	}
	if raw.occurredAt.some != 0 {
		event.OccurredAt = &raw.occurredAt.number
	}
	for _, it := range at[rawHeader](raw.headers) {
		event.Headers = append(event.Headers, Header{text(it.name), text(it.value)})
	}
	return event
}

func rawFailureOf(err error) rawFailure {
	var invalid InvalidPayload
	var permanent Permanent
	var retry Retry
	failure := rawFailure{kind: 3, content: rawRetry{reason: rawOf(err.Error())}}
	switch {
	case errors.As(err, &invalid):
		failure.kind = 0
	case errors.As(err, &retry):
		failure.kind = 1
		if retry.AfterMs != nil {
			failure.content.afterMs = optU32{1, *retry.AfterMs}
		}
	case errors.As(err, &permanent):
		failure.kind = 2
	}
	return failure
}

func rawActionOf(action Action) rawAction {
	raw := rawAction{name: rawOf(action.Name), destination: rawOf(action.Destination)}
	content := unsafe.Pointer(&raw.content)
	switch it := action.Content.(type) {
	case Ticket:
		raw.content = rawTicket{rawOf(it.Title), rawOf(it.Body), rawTexts(it.Labels), rawOption(it.Assignee), rawOption(it.GroupKey)}
	case Webhook:
		raw.kind = 1
		*(*rawText)(content) = rawOf(it.Payload)
	case Message:
		raw.kind = 2
		*(*rawMessage)(content) = rawMessage{rawOf(it.Title), rawOf(it.Text), rawOption(it.ThreadKey)}
	case Custom:
		raw.kind = 3
		*(*rawCustom)(content) = rawCustom{rawOf(it.Kind), rawOf(it.Content)}
	default:
		panic("an action's content is a Ticket, Webhook, Message or Custom")
	}
	return raw
}

//go:wasmexport triage:policy/plugin@0.1.0#describe
func describe() uint32 {
	it := policy.Describe()
	return address(keep(rawInfo{
		rawOf(it.Name), rawOf(it.Version), rawOf(it.Description),
		rawTexts(it.Triggers), rawTexts(it.Labels), rawTexts(it.Categories), rawOption(it.SettingsSchema),
	}))
}

//go:wasmexport triage:policy/classifier@0.1.0#classify
func classify(raw uint32) uint32 {
	it, err := policy.Classify(event((*rawEvent)(unsafe.Pointer(uintptr(raw)))))
	if err != nil {
		return address(keep(failed{1, rawFailureOf(err)}))
	}
	return address(keep(classified{0, rawClassification{
		uint8(it.Priority), rawOf(it.Category), rawTexts(it.Labels), it.ConfidencePercent, rawOf(it.Reason),
	}}))
}

//go:wasmexport triage:policy/triager@0.1.0#triage
func triage(raw uint32) uint32 {
	arguments := (*struct {
		event          rawEvent
		classification rawClassification
	})(unsafe.Pointer(uintptr(raw)))
	given := &arguments.classification
	plan, err := policy.Triage(event(&arguments.event), &Classification{
		Priority(given.priority), text(given.category), texts(given.labels), given.confidence, text(given.reason),
	})
	if err != nil {
		return address(keep(failed{1, rawFailureOf(err)}))
	}
	var actions []rawAction
	for _, it := range plan.Actions {
		actions = append(actions, rawActionOf(it))
	}
	return address(keep(planned{0, rawPlan{rawOf(plan.Summary), rawSlice(actions)}}))
}

//go:wasmimport triage:policy/settings@0.1.0 get
func settingsGet(result unsafe.Pointer)

//go:wasmimport triage:policy/log@0.1.0 write
func logWrite(level, message, messageCount, fields, fieldsCount uint32)

//go:wasmimport triage:policy/clock@0.1.0 now
func clockNow() uint64

// SettingsText is the policy's settings as JSON text.
func SettingsText() string {
	raw := keep(rawText{})
	settingsGet(unsafe.Pointer(raw))
	return text(*raw)
}

// Now is the time of this attempt, in milliseconds since the Unix epoch.
func Now() uint64 { return clockNow() }

// Log writes one line of the run's log.
func Log(level Level, message string, fields ...Header) {
	var raw []rawHeader
	for _, it := range fields {
		raw = append(raw, rawHeader{rawOf(it.Name), rawOf(it.Value)})
	}
	line, list := rawOf(message), rawSlice(raw)
	logWrite(uint32(level), line.at, line.count, list.at, list.count)
}
