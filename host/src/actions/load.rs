//! Whose actions are under way, and who may begin how many more. Pure: time is told.
//!
//! Kept by the loop of `actions`, in memory: a new process begins with full budgets.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fairness::{self, Plan, Slots, Standing, Wish};
use crate::model::budget::{Budget, Spent};
use crate::model::queue::QueuedLane;
use crate::model::tenant::{TenantLimit, TenantLimits};
use crate::model::time::TimestampMs;

/// Actions under way at the same time: each may need a request.
pub(super) const UNDER_WAY_MAX: usize = 64;
/// Of one tenant, so that its slow destinations do not hold up those of others.
const OF_TENANT_MAX: usize = 48;
/// Of those that are free, kept for tenants that have none under way.
const RESERVED: usize = 8;

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Load {
    under_way: Arc<Mutex<HashMap<String, usize>>>,
    // As many as there are tenants with a budget in the configuration, and were.
    spent: HashMap<String, Spent>,
}

/// An action that is under way, until this is dropped.
pub(super) struct UnderWay {
    all: Arc<Mutex<HashMap<String, usize>>>,
    tenant: String,
}

impl Load {
    /// Divides what is free among the tenants of which something is due.
    pub(super) fn plan(
        &self,
        queued: Vec<QueuedLane>,
        limits: impl Fn(&str) -> TenantLimits,
        now: TimestampMs,
        now_us: u64,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut wishes = Vec::new();
        for QueuedLane { lane, due_at } in queued {
            if now < due_at {
                plan.wait(u64::try_from(due_at - now).unwrap_or(0));
                continue;
            }
            let mut room = usize::MAX;
            if let Some(per_minute) = limits(&lane.tenant).actions_per_minute {
                let budget = Budget::new(per_minute);
                let spent = self.spent.get(&lane.tenant).copied().unwrap_or_default();
                let wait_ms = budget.wait_us(spent, now_us).div_ceil(1_000);
                if 0 < wait_ms {
                    plan.wait(wait_ms);
                    plan.hold(&lane.tenant, TenantLimit::ActionsPerMinute, per_minute);
                    continue;
                }
                room = usize::try_from(budget.left(spent, now_us)).unwrap_or(usize::MAX);
            }
            wishes.push(Wish { lane, due_at, room });
        }
        let under_way = lock(&self.under_way);
        let slots = Slots {
            free: UNDER_WAY_MAX.saturating_sub(under_way.values().sum()),
            reserved: RESERVED,
        };
        plan.shares = fairness::shares(slots, wishes, |tenant| {
            let count = under_way.get(tenant).copied().unwrap_or(0);
            Standing {
                under_way: count,
                room: OF_TENANT_MAX.saturating_sub(count),
                used: count as u64,
            }
        });
        plan
    }

    /// An attempt of a tenant's action begins.
    pub(super) fn begin(&mut self, tenant: &str, limits: TenantLimits, now_us: u64) -> UnderWay {
        if let Some(per_minute) = limits.actions_per_minute {
            let spent = self.spent.entry(tenant.to_owned()).or_default();
            Budget::new(per_minute).spend(spent, 1, now_us);
        }
        *lock(&self.under_way).entry(tenant.to_owned()).or_default() += 1;
        UnderWay {
            all: self.under_way.clone(),
            tenant: tenant.to_owned(),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut all = lock(&self.all);
        if let Some(count) = all.get_mut(&self.tenant) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                all.remove(&self.tenant);
            }
        }
    }
}

fn lock(counts: &Mutex<HashMap<String, usize>>) -> MutexGuard<'_, HashMap<String, usize>> {
    // Numbers in a map are never half written.
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::queue::Lane;

    const NOW: TimestampMs = 1_795_248_000_000;

    fn queued(tenants: &[&str]) -> Vec<QueuedLane> {
        let lanes = tenants.iter().map(|tenant| QueuedLane {
            lane: Lane {
                tenant: (*tenant).to_owned(),
                policy: String::new(),
            },
            due_at: NOW,
        });
        lanes.collect()
    }

    fn counts(plan: &Plan) -> Vec<(&str, usize)> {
        let shares = plan.shares.iter();
        shares
            .map(|it| (it.lane.tenant.as_str(), it.count))
            .collect()
    }

    #[test]
    fn a_tenant_whose_destinations_are_slow_leaves_room_for_others() {
        let mut load = Load::default();
        let open = |_: &str| TenantLimits::default();
        let plan = load.plan(queued(&["slow"]), open, NOW, 0);
        assert_eq!(counts(&plan), [("slow", 48)]);
        let mut held: Vec<UnderWay> = (0..48)
            .map(|_| load.begin("slow", TenantLimits::default(), 0))
            .collect();
        let plan = load.plan(queued(&["slow", "other"]), open, NOW, 0);
        assert_eq!(counts(&plan), [("other", 8)]);
        held.truncate(40);
        let plan = load.plan(queued(&["slow"]), open, NOW, 0);
        assert_eq!(counts(&plan), [("slow", 8)]);
    }

    #[test]
    fn no_more_attempts_begin_in_a_minute_than_the_tenant_may() {
        let mut load = Load::default();
        let limits = TenantLimits {
            actions_per_minute: Some(3),
            ..TenantLimits::default()
        };
        let plan = load.plan(queued(&["a"]), |_| limits, NOW, 0);
        assert_eq!(counts(&plan), [("a", 3)]);
        (0..3).for_each(|_| drop(load.begin("a", limits, 0)));
        let plan = load.plan(queued(&["a"]), |_| limits, NOW, 1_000_000);
        assert_eq!((plan.shares.len(), plan.next_ms), (0, Some(19_000)));
        let held: Vec<_> = plan.held.iter().map(ToString::to_string).collect();
        assert_eq!(
            held,
            [
                "tenant `a` is at its limit of 3 attempts of actions in a minute (`tenants.a.actions_per_minute`)"
            ]
        );
        let plan = load.plan(queued(&["a"]), |_| limits, NOW, 20_000_000);
        assert_eq!(counts(&plan), [("a", 1)]);
    }
}
