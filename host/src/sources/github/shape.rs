//! What a body shows of the event that it is.
//!
//! The event's name comes in a header that is not signed: whoever caught one signed body could
//! send it again as another event. So the name must fit the members that GitHub documents
//! (<https://docs.github.com/en/webhooks/webhook-events-and-payloads>).

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::super::payload::{Raw, Text};

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
    subjects: [Subject<'a>; SUBJECTS.len()],
    marks: Marks,
}

/// What is looked at of a member that may be what the event is about.
#[derive(Clone, Copy, Default)]
enum Subject<'a> {
    /// It is not there, or null.
    #[default]
    None,
    /// It is no object.
    Other,
    Object {
        updated_at: Option<Raw<'a>>,
        has_secret_type: bool,
        has_dependency: bool,
    },
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
    /// When what the event is about was changed.
    pub fn updated_at(&self) -> Option<Raw<'a>> {
        let mut there = self
            .subjects
            .iter()
            .filter(|it| !matches!(it, Subject::None));
        match there.next()? {
            Subject::Object { updated_at, .. } => *updated_at,
            Subject::None | Subject::Other => None,
        }
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
        let [.., alert, _] = self.subjects;
        let (has_secret_type, has_dependency) = match alert {
            Subject::Object {
                has_secret_type,
                has_dependency,
                ..
            } => (has_secret_type, has_dependency),
            // Neither kind is anything else than an object.
            Subject::None | Subject::Other => (true, true),
        };
        match event {
            "dependabot_alert" => !has_secret_type,
            "secret_scanning_alert" => !has_dependency,
            _ => true,
        }
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
            let mut subjects = SUBJECTS.iter().zip(&mut head.subjects);
            match subjects.find(|(it, _)| **it == name) {
                Some((_, subject)) => *subject = map.next_value()?,
                None => _ = map.next_value::<IgnoredAny>()?,
            }
        }
        Ok(head)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Subject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SubjectVisitor)
    }
}

struct SubjectVisitor;

impl<'de> Visitor<'de> for SubjectVisitor {
    type Value = Subject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Subject<'de>, E> {
        Ok(Subject::None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Subject<'de>, E> {
        Ok(Subject::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Subject<'de>, E> {
        Ok(Subject::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Subject<'de>, E> {
        Ok(Subject::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Subject<'de>, E> {
        Ok(Subject::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Subject<'de>, E> {
        Ok(Subject::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Subject<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Subject::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Subject<'de>, A::Error> {
        let (mut updated_at, mut times) = (None, 0);
        let (mut has_secret_type, mut has_dependency) = (false, false);
        while let Some(Text(name)) = map.next_key()? {
            match &*name {
                "updated_at" => {
                    updated_at = Some(map.next_value::<Raw<'_>>()?);
                    times += 1;
                    continue;
                }
                "secret_type" => has_secret_type = true,
                "dependency" => has_dependency = true,
                _ => (),
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(Subject::Object {
            // Which of two is meant is not known.
            updated_at: updated_at.filter(|_| times == 1),
            has_secret_type,
            has_dependency,
        })
    }
}
