use insta::assert_snapshot;

use super::{good, problems};
use crate::config::ready_sources;
use crate::config::sources::shipped;
use crate::model::source::Source;

const SIGNATURE: &str =
    r#"signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex" }"#;

/// The problems of one declared source.
fn problems_of(lines: &str) -> String {
    problems(&format!("[sources.acme]\n{lines}"))
}

#[test]
fn shipped_declarations_have_no_problems() {
    let mut found = crate::config::problem::Problems::default();
    let names: Vec<String> = shipped(&mut found)
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(found.into_list(), []);
    assert_eq!(
        names,
        [
            "gitlab",
            "intercom",
            "linear",
            "pagerduty",
            "shopify",
            "zendesk"
        ]
    );
    assert_eq!(ready_sources().len(), names.len() + Source::BUILT_IN.len());
}

#[test]
fn a_declared_source_can_be_named_by_integrations_and_triggers() {
    let config = good(&format!(
        r#"
        [sources.acme]
        {SIGNATURE}
        event_type = "{{body:/type}}"
        [[integration]]
        id = "acme-main"
        source = "acme"
        secrets = ["env:PLAIN"]
        [plugins.incidents]
        path = "plugins/incident_desk.wasm"
        [[policy]]
        name = "all"
        triggers = ["acme.*", "shopify.orders.*"]
        triager = "incidents"
        "#
    ));
    assert_eq!(config.integrations["acme-main"].source.as_str(), "acme");
}

#[test]
fn a_declaration_of_the_file_takes_the_place_of_a_shipped_one() {
    let config = good(&format!(
        "[sources.shopify]\n{SIGNATURE}\nevent_type = \"{{body:/type}}\""
    ));
    let Source::Custom(source) = &config.sources["shopify"] else {
        panic!("not declared")
    };
    assert_eq!(source.signature.header, "x-acme");
}

#[test]
fn the_content_counts_where_the_key_is_not_signed() {
    let window = |lines: &str| {
        let text = format!("[sources.acme]\nevent_type = \"{{body:/t}}\"\n{lines}");
        let Source::Custom(source) = good(&text).sources["acme"].clone() else {
            panic!("not declared")
        };
        source.content_window_ms
    };
    let unsigned = "idempotency_key = \"{header:X-Id}\"";
    assert_eq!(window(SIGNATURE), None);
    assert_eq!(
        window(&format!("{SIGNATURE}\nidempotency_key = \"{{body:/id}}\"")),
        None
    );
    assert_eq!(window(&format!("{SIGNATURE}\n{unsigned}")), Some(3_600_000));
    assert_eq!(
        window(&format!("{SIGNATURE}\n{unsigned}\ncontent_window = \"2d\"")),
        Some(172_800_000)
    );
    assert_eq!(
        window(&format!(
            "{SIGNATURE}\n{unsigned}\ntimestamp = {{ from = \"{{body:/at}}\", unit = \"seconds\", tolerance = \"1h\" }}"
        )),
        Some(7_200_000)
    );
    let signed = SIGNATURE.replace(" }", ", signed = \"{header:X-Id}.{body}\" }");
    assert_eq!(window(&format!("{signed}\n{unsigned}")), None);
    let token = r#"signature = { header = "X-Acme", algorithm = "token" }"#;
    assert_eq!(window(&format!("{token}\n{unsigned}")), None);
}

#[test]
fn a_name_must_be_free() {
    assert_snapshot!(problems("[sources.github]\n[sources.\"a b\"]\nevent_type = 1"), @r#"
    sources.a b: `a b` is not a name: 1 to 64 letters, digits, `-` and `_`
    sources.a b.signature: missing: as `{ header = "X-Signature", algorithm = "hmac-sha256", encoding = "hex" }`
    sources.a b.event_type: must be a text, as `{body:/id}`
    sources.github: is built in: give yours another name
    "#);
}

#[test]
fn all_problems_of_a_declaration_are_found() {
    assert_snapshot!(problems_of(""), @r#"
    sources.acme.signature: missing: as `{ header = "X-Signature", algorithm = "hmac-sha256", encoding = "hex" }`
    sources.acme.event_type: missing: as `event_type = "{header:X-Event}"` or `"{body:/type}"`
    "#);
    assert_snapshot!(problems_of(r#"
        signature = { header = "X Acme", algorithm = "md5", encodng = "hex" }
        secret_encoding = "hunter2"
        timestamp = { from = "{header:X-Time}.", unit = "minutes", tolerance = "2d" }
        event_type = ["type", "{body:type}", 5]
        idempotency_key = []
        occurred_at = { from = "{body:/at}", tolerance = "1m" }
        form_field = ""
        content_window = "31d"
    "#), @r#"
    sources.acme.signature.encodng: unknown field `encodng`, expected one of `header`, `algorithm`, `encoding`, `prefix`, `separator`, `signed`
    sources.acme.signature.header: `X Acme` is not the name of a header
    sources.acme.signature.algorithm: `md5` is not known: hmac-sha256, hmac-sha512, hmac-sha1 or token
    sources.acme.timestamp.tolerance: `2d` is not within 1ms and 1d
    sources.acme.timestamp.from: `{header:X-Time}.`: must be one place, as `{header:X-Time}`
    sources.acme.timestamp.unit: `minutes` is not known: seconds, milliseconds or rfc3339
    sources.acme.event_type[0]: `type`: names no place, as `{header:NAME}` or `{body:/pointer}`
    sources.acme.event_type[1]: `{body:type}`: `type` is not a JSON pointer, as `/issue/id`: it begins with `/`, and `~` is written `~0`, `/` within a name `~1`
    sources.acme.event_type[2]: must be a text, as `{body:/id}`
    sources.acme.idempotency_key: must be a text, or a list of 1 to 4 of them
    sources.acme.occurred_at.tolerance: this time is not checked: only `timestamp` has a tolerance
    sources.acme.occurred_at.unit: missing: seconds, milliseconds or rfc3339
    sources.acme.secret_encoding: must be `text`, `base64` or `hex`
    sources.acme.form_field: must be 1 to 64 printable ASCII characters
    sources.acme.content_window: `31d` is not within 1ms and 30d
    "#);
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "hmac-sha1", encoding = "base32", prefix = "é", separator = "", signed = "{timestamp}" }
        event_type = "{header:X-Event}"
    "#), @r#"
    sources.acme.signature.prefix: must be 1 to 64 printable ASCII characters
    sources.acme.signature.encoding: `base32` is neither hex nor base64
    sources.acme.signature.separator: must be 1 to 64 printable ASCII characters
    sources.acme.signature.signed: `{timestamp}`: must hold `{body}` once: a body that is not signed could be exchanged
    "#);
}

#[test]
fn the_parts_of_a_declaration_fit_each_other() {
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "token", encoding = "hex", signed = "{body}" }
        secret_encoding = "hex"
        event_type = "{signature:e}"
        content_window = "1h"
    "#), @r#"
    sources.acme.signature.encoding: `token` signs nothing: take this setting out
    sources.acme.signature.signed: `token` signs nothing: take this setting out
    sources.acme.content_window: `token` signs nothing: take this setting out
    sources.acme.secret_encoding: the token is compared as it stands: take this setting out
    sources.acme.event_type: `token` has no list of pairs
    "#);
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", signed = "{timestamp}.{body}" }
        event_type = "{header:X-Event}"
        idempotency_key = "{signature:id}"
    "#), @r#"
    sources.acme.signature.signed: holds `{timestamp}`: say in `timestamp` where it is
    sources.acme.idempotency_key: a pair is one of a list: say what separates it in `signature.separator`
    "#);
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", prefix = "v1,", separator = ",", signed = "{timestamp}.{body}" }
        timestamp = { from = "{body:/at}", unit = "seconds", tolerance = "1h" }
        event_type = "{header:X-Event}"
        content_window = "1h"
    "#), @r#"
    sources.acme.signature.signed: holds `{timestamp}`, which stands in the body: `{body}` signs it already
    sources.acme.signature.separator: stands in the prefix, which would be cut apart
    sources.acme.content_window: is shorter than twice the tolerance: what somebody caught could be sent again in between
    "#);
}

#[test]
fn the_signatures_header_is_read_for_the_signature_only() {
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "token", prefix = " Bearer" }
        timestamp = { from = "{header:X-Acme}", unit = "seconds" }
        event_type = ["{body:/type}", "{header:x-acme}"]
        idempotency_key = "{header:X-ACME}"
        ordering_key = "{header:X-Acme}.{body:/id}"
        occurred_at = { from = "{header:X-Acme}", unit = "seconds" }
    "#), @"
    sources.acme.timestamp.from: `x-acme` is the signature's own header
    sources.acme.occurred_at.from: `x-acme` is the signature's own header
    sources.acme.event_type: `x-acme` is the signature's own header
    sources.acme.idempotency_key: `x-acme` is the signature's own header
    sources.acme.ordering_key: `x-acme` is the signature's own header
    sources.acme.signature.prefix: begins with a space, which no header's value does
    ");
    assert_snapshot!(problems_of(r#"
        signature = { header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", signed = "{header:X-Acme}.{body}" }
        event_type = "{body:/type}"
    "#), @"sources.acme.signature.signed: `x-acme` is the signature's own header");
}

#[test]
fn a_list_can_be_cut_in_one_way_only() {
    let list = |more: &str, time: &str| {
        problems_of(&format!(
            r#"
            signature = {{ header = "X-Acme", algorithm = "hmac-sha256", encoding = "hex", {more} }}
            timestamp = {{ from = "{{signature:{time}", unit = "rfc3339" }}
            event_type = "{{body:/type}}"
            "#
        ))
    };
    for separator in ["a", "0", ", 1", "=", "+", "/", ":", ".", "-"] {
        let found = list(&format!("separator = \"{separator}\""), "t}");
        let expected =
            "sources.acme.signature.separator: holds what stands in signatures, pairs or times";
        assert!(found.starts_with(expected), "{separator}: {found}");
    }
    assert_snapshot!(list("separator = \",\", prefix = \"v1=\"", "v1}"), @"sources.acme.timestamp.from: the pair has the name that signatures begin with");
    assert_snapshot!(list("separator = \";;\"", "t;;u}"), @"sources.acme.timestamp.from: the pair's name holds `signature.separator`, which would cut it apart");
    for separator in [",", ", ", ";", " ", "|"] {
        good(&format!(
            r#"
            [sources.acme]
            signature = {{ header = "X-Acme", algorithm = "hmac-sha256", encoding = "base64", prefix = "v1=", separator = "{separator}" }}
            timestamp = {{ from = "{{signature:t}}", unit = "rfc3339" }}
            event_type = "{{body:/type}}"
            "#
        ));
    }
}

#[test]
fn an_integration_of_a_source_with_problems_has_no_further_one() {
    assert_snapshot!(problems(r#"
        [sources.acme]
        event_type = "{header:X-Event}"
        [[integration]]
        id = "acme-main"
        source = "acme"
        secrets = ["env:PLAIN"]
    "#), @r#"sources.acme.signature: missing: as `{ header = "X-Signature", algorithm = "hmac-sha256", encoding = "hex" }`"#);
}
