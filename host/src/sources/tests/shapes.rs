//! A signed body is not believed to be another event than it shows, whatever unsigned headers say.

use super::*;

fn github(event: &str, body: &str) -> EventIdentity {
    let pairs = [("x-github-event", event), ("x-github-delivery", "guid-1")];
    super::event(Source::Github, &pairs, body.as_bytes())
}

fn sentry(resource: &str, body: &str) -> EventIdentity {
    let pairs = [("sentry-hook-resource", resource), ("request-id", "req-1")];
    super::event(Source::Sentry, &pairs, body.as_bytes())
}

/// One body of each kind, in the members that GitHub documents.
const GITHUB: [(&str, &str); 28] = [
    (
        "issues",
        r#"{"action":"labeled","issue":{},"label":{},"repository":{}}"#,
    ),
    (
        "issue_comment",
        r#"{"action":"created","issue":{},"comment":{}}"#,
    ),
    (
        "pull_request",
        r#"{"action":"opened","number":1,"pull_request":{},"label":{},"before":"0","after":"1"}"#,
    ),
    (
        "pull_request_review",
        r#"{"action":"submitted","pull_request":{},"review":{}}"#,
    ),
    (
        "pull_request_review_comment",
        r#"{"action":"created","pull_request":{},"comment":{}}"#,
    ),
    (
        "pull_request_review_thread",
        r#"{"action":"resolved","pull_request":{},"thread":{}}"#,
    ),
    (
        "push",
        r#"{"ref":"refs/heads/main","before":"0","after":"1","commits":[]}"#,
    ),
    (
        "ping",
        r#"{"zen":"Design for failure.","hook_id":1,"hook":{}}"#,
    ),
    ("release", r#"{"action":"published","release":{}}"#),
    (
        "workflow_run",
        r#"{"action":"completed","workflow_run":{},"workflow":{}}"#,
    ),
    (
        "workflow_job",
        r#"{"action":"completed","workflow_job":{},"deployment":{}}"#,
    ),
    ("check_run", r#"{"action":"completed","check_run":{}}"#),
    ("check_suite", r#"{"action":"completed","check_suite":{}}"#),
    (
        "dependabot_alert",
        r#"{"action":"created","alert":{"dependency":{}}}"#,
    ),
    (
        "secret_scanning_alert",
        r#"{"action":"created","alert":{"secret_type":"x"}}"#,
    ),
    (
        "secret_scanning_alert_location",
        r#"{"action":"created","alert":{"secret_type":"x"},"location":{}}"#,
    ),
    (
        "code_scanning_alert",
        r#"{"action":"created","alert":{"rule":{}},"ref":"r","commit_oid":"0"}"#,
    ),
    (
        "security_advisory",
        r#"{"action":"published","security_advisory":{}}"#,
    ),
    (
        "create",
        r#"{"ref":"v1","ref_type":"tag","master_branch":"main"}"#,
    ),
    (
        "deployment",
        r#"{"action":"created","deployment":{},"workflow_run":{}}"#,
    ),
    (
        "deployment_status",
        r#"{"action":"created","deployment":{},"deployment_status":{},"check_run":{},"workflow_run":{}}"#,
    ),
    (
        "discussion",
        r#"{"action":"created","discussion":{},"label":{}}"#,
    ),
    (
        "discussion_comment",
        r#"{"action":"created","discussion":{},"comment":{}}"#,
    ),
    ("commit_comment", r#"{"action":"created","comment":{}}"#),
    ("label", r#"{"action":"created","label":{}}"#),
    ("milestone", r#"{"action":"created","milestone":{}}"#),
    (
        "status",
        r#"{"sha":"0","state":"success","context":"ci","commit":{}}"#,
    ),
    // Not known here; an approver's comment is a text.
    (
        "deployment_review",
        r#"{"action":"approved","approver":{},"comment":"ok","workflow_run":{}}"#,
    ),
];

#[test]
fn a_github_body_is_the_event_that_it_shows_and_no_other() {
    for (event, body) in GITHUB {
        let kept = github(event, body);
        assert!(
            kept.event_type.starts_with(&format!("github.{event}")),
            "{event}: {}",
            kept.event_type
        );
        assert_ne!(kept.event_type, "github.unparsable", "{event}");
        for (claimed, _) in GITHUB.iter().filter(|(it, _)| *it != event) {
            let forged = github(claimed, body);
            assert_eq!(
                forged.event_type, "github.unparsable",
                "{event} as {claimed}"
            );
            assert_eq!(forged.idempotency_key, mac::sha256_hex(&[body.as_bytes()]));
            // Still the first one's repeat.
            assert_eq!(forged.content_key, kept.content_key, "{event} as {claimed}");
        }
    }
}

#[test]
fn a_github_event_that_is_not_known_has_a_body_that_is_of_no_known_one() {
    assert_eq!(
        github("star", r#"{"action":"created","starred_at":null}"#).event_type,
        "github.star.created"
    );
    assert_eq!(
        github("meta", r#"{"action":"deleted","hook_id":1,"hook":{}}"#).event_type,
        "github.meta.deleted"
    );
    assert_eq!(
        github("star", r#"{"action":"opened","issue":{}}"#).event_type,
        "github.unparsable"
    );
}

#[test]
fn a_member_that_is_there_twice_makes_a_github_body_unparsable() {
    for body in [
        r#"{"issue":{},"issue":{}}"#,
        r#"{"action":"opened","action":"closed","issue":{}}"#,
    ] {
        assert_eq!(
            github("issues", body).event_type,
            "github.unparsable",
            "{body}"
        );
    }
}

#[test]
fn a_sentry_body_is_the_resource_that_it_shows_and_no_other() {
    let bodies = [
        ("issue", r#"{"action":"created","data":{"issue":{}}}"#),
        ("error", r#"{"action":"created","data":{"error":{}}}"#),
        (
            "event_alert",
            r#"{"action":"triggered","data":{"event":{},"triggered_rule":"r"}}"#,
        ),
        (
            "metric_alert",
            r#"{"action":"critical","data":{"metric_alert":{}}}"#,
        ),
        (
            "installation",
            r#"{"action":"created","data":{"installation":{}}}"#,
        ),
        (
            "comment",
            r#"{"action":"created","data":{"comment":"text","issue_id":1}}"#,
        ),
    ];
    for (resource, body) in bodies {
        let kept = sentry(resource, body);
        assert!(
            kept.event_type.starts_with(&format!("sentry.{resource}.")),
            "{resource}"
        );
        for (claimed, _) in bodies.iter().filter(|(it, _)| *it != resource) {
            let forged = sentry(claimed, body);
            assert_eq!(
                forged.event_type, "sentry.unparsable",
                "{resource} as {claimed}"
            );
            assert_eq!(
                forged.content_key, kept.content_key,
                "{resource} as {claimed}"
            );
        }
    }
}
