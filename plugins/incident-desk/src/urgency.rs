//! How a priority comes about, step by step, with a reason for each step.

use triage_plugin::Priority;

use crate::settings::Settings;

/// A priority and why it is so.
pub struct Urgency {
    pub priority: Priority,
    pub reasons: Vec<String>,
}

impl Urgency {
    /// Where to start from.
    pub fn new(priority: Priority, reason: &str) -> Self {
        Self {
            priority,
            reasons: vec![reason.to_owned()],
        }
    }

    /// One step up.
    pub fn raise(&mut self, reason: &str) {
        self.set(
            match self.priority {
                Priority::Ignore => Priority::Low,
                Priority::Low => Priority::Normal,
                Priority::Normal => Priority::High,
                Priority::High | Priority::Critical => Priority::Critical,
            },
            reason,
        );
    }

    /// One step down, but never to `ignore`.
    pub fn lower(&mut self, reason: &str) {
        self.set(
            match self.priority {
                Priority::Ignore => Priority::Ignore,
                Priority::Low | Priority::Normal => Priority::Low,
                Priority::High => Priority::Normal,
                Priority::Critical => Priority::High,
            },
            reason,
        );
    }

    /// Not below this.
    pub fn at_least(&mut self, priority: Priority, reason: &str) {
        self.set(self.priority.max(priority), reason);
    }

    /// Not above this.
    pub fn at_most(&mut self, priority: Priority, reason: &str) {
        self.set(self.priority.min(priority), reason);
    }

    /// As many affected users ask for.
    pub fn by_users(&mut self, users: u64, settings: &Settings) {
        let reason = format!("{users} users are affected");
        if settings.users_critical <= users {
            self.at_least(Priority::Critical, &reason);
        } else if settings.users_high <= users {
            self.at_least(Priority::High, &reason);
        }
    }

    fn set(&mut self, priority: Priority, reason: &str) {
        if self.priority != priority {
            self.priority = priority;
            self.reasons.push(reason.to_owned());
        }
    }
}
