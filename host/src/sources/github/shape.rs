//! What a body shows of the event that it is.
//!
//! The event's name comes in a header that is not signed: whoever caught one signed body could
//! send it again as another event. So the name must fit the members that GitHub documents
//! (<https://docs.github.com/en/webhooks/webhook-events-and-payloads>).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

use super::super::payload::{self, Raw, Text};

/// Members of a body that tell events apart; their places are the bits of [`Marks`].
const MEMBERS: [&str; 34] = [
    "after",
    "alert",
    "approver",
    "before",
    "check_run",
    "check_suite",
    "comment",
    "commit_oid",
    "commits",
    "context",
    "deployment",
    "deployment_callback_url",
    "deployment_status",
    "discussion",
    "hook_id",
    "issue",
    "label",
    "location",
    "milestone",
    "number",
    "pull_request",
    "ref",
    "ref_type",
    "release",
    "review",
    "security_advisory",
    "sha",
    "state",
    "thread",
    "workflow_job",
    "workflow_job_run",
    "workflow_job_runs",
    "workflow_run",
    "zen",
];

/// Event, members that it has, members that it never has.
type Shape = (
    &'static str,
    &'static [&'static str],
    &'static [&'static str],
);

/// The documented events whose members are not those of another one.
static SHAPES: [Shape; 28] = [
    ("check_run", &["check_run"], &["deployment"]),
    ("check_suite", &["check_suite"], &[]),
    ("code_scanning_alert", &["alert", "commit_oid"], &[]),
    (
        "commit_comment",
        &["comment"],
        &["issue", "pull_request", "discussion", "workflow_run"],
    ),
    ("create", &["ref", "ref_type"], &[]),
    ("delete", &["ref", "ref_type"], &[]),
    ("dependabot_alert", &["alert"], &["commit_oid", "location"]),
    (
        "deployment",
        &["deployment"],
        &[
            "deployment_status",
            "workflow_job",
            "deployment_callback_url",
        ],
    ),
    (
        "deployment_status",
        &["deployment", "deployment_status"],
        &[],
    ),
    ("discussion", &["discussion"], &["comment"]),
    ("discussion_comment", &["discussion", "comment"], &[]),
    ("issue_comment", &["issue", "comment"], &[]),
    ("issues", &["issue"], &["comment"]),
    (
        "label",
        &["label"],
        &["issue", "pull_request", "discussion"],
    ),
    ("milestone", &["milestone"], &["issue", "pull_request"]),
    ("ping", &["zen", "hook_id"], &[]),
    (
        "pull_request",
        &["pull_request", "number"],
        &["review", "comment", "thread"],
    ),
    ("pull_request_review", &["pull_request", "review"], &[]),
    (
        "pull_request_review_comment",
        &["pull_request", "comment"],
        &[],
    ),
    (
        "pull_request_review_thread",
        &["pull_request", "thread"],
        &[],
    ),
    ("push", &["ref", "before", "after", "commits"], &[]),
    ("release", &["release"], &[]),
    (
        "secret_scanning_alert",
        &["alert"],
        &["commit_oid", "location"],
    ),
    (
        "secret_scanning_alert_location",
        &["alert", "location"],
        &[],
    ),
    ("security_advisory", &["security_advisory"], &[]),
    ("status", &["sha", "state", "context"], &[]),
    ("workflow_job", &["workflow_job"], &[]),
    (
        "workflow_run",
        &["workflow_run"],
        &[
            "deployment",
            "approver",
            "workflow_job_run",
            "workflow_job_runs",
        ],
    ),
];

/// The wanted members of a body.
#[derive(Default)]
pub struct Head<'a> {
    /// What happened to the subject.
    pub action: Option<Text<'a>>,
    /// What the event is about, the narrower first: a comment comes with its issue.
    subjects: [Option<Raw<'a>>; SUBJECTS.len()],
    marks: Marks,
}

const SUBJECTS: [&str; 5] = ["comment", "issue", "pull_request", "alert", "workflow_run"];

/// Which of [`MEMBERS`] are there.
#[derive(Clone, Copy, Default)]
struct Marks(u64);

const _: () = assert!(MEMBERS.len() <= 64, "a bit for each member");

impl Marks {
    fn of(names: &[&str]) -> Self {
        Self(
            names
                .iter()
                .filter_map(|it| bit(it))
                .fold(0, |all, it| all | it),
        )
    }

    fn has_all(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    fn has_any(self, others: Self) -> bool {
        self.0 & others.0 != 0
    }

    fn fit(self, (_, with, without): &Shape) -> bool {
        self.has_all(Self::of(with)) && !self.has_any(Self::of(without))
    }
}

fn bit(name: &str) -> Option<u64> {
    MEMBERS.iter().position(|it| *it == name).map(|it| 1 << it)
}

impl<'a> Head<'a> {
    /// What the event is about.
    pub fn subject(&self) -> Option<Raw<'a>> {
        self.subjects.iter().find_map(|it| *it)
    }

    /// Whether the body can be of the event of this name.
    ///
    /// An event that is not known here may have any members, unless they are those of one that is.
    pub fn fits(&self, event: &str) -> bool {
        match SHAPES.iter().find(|(name, ..)| *name == event) {
            Some(shape) => self.marks.fit(shape) && self.alert_fits(event),
            None => !SHAPES.iter().any(|it| self.marks.fit(it)),
        }
    }

    /// Alerts of different kinds differ only within.
    fn alert_fits(&self, event: &str) -> bool {
        let other = match event {
            "dependabot_alert" => "secret_type",
            "secret_scanning_alert" => "dependency",
            _ => return true,
        };
        let [.., alert, _] = self.subjects;
        alert.is_some_and(|it| payload::has_member(it.get(), other) == Some(false))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Head<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeadVisitor(Head::default()))
    }
}

struct HeadVisitor<'a>(Head<'a>);

impl<'de: 'a, 'a> Visitor<'de> for HeadVisitor<'a> {
    type Value = Head<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Head<'a>, A::Error> {
        let mut head = self.0;
        while let Some(Text(name)) = map.next_key()? {
            if name == "action" {
                let action = map.next_value::<Option<Text<'_>>>()?;
                if head.action.is_some() {
                    return Err(A::Error::duplicate_field("action"));
                }
                head.action = action;
                continue;
            }
            let Some(bit) = bit(&name) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // A plugin's parser may take the other one.
            if head.marks.has_any(Marks(bit)) {
                return Err(A::Error::custom("a member is there twice"));
            }
            head.marks.0 |= bit;
            let value = map.next_value::<Raw<'_>>()?;
            let subjects = SUBJECTS.iter().zip(&mut head.subjects);
            for (_, subject) in subjects.filter(|(it, _)| **it == name) {
                *subject = Some(value).filter(|it| it.get() != "null");
            }
        }
        Ok(head)
    }
}
