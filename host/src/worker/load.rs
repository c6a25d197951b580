//! What is under way and what it used lately: who may take how many more. Pure: time is told.
//!
//! Kept by the worker's loop, in memory: a new process begins with full budgets.

use std::collections::HashMap;

use crate::fairness::{self, Plan, Slots, Standing, Wish};
use crate::model::budget::{Budget, Spent};
use crate::model::queue::{Lane, QueuedLane};
use crate::model::tenant::{TenantLimit, TenantLimits};
use crate::model::time::TimestampMs;
use crate::sandbox::INSTANCES_MAX;

/// Runs that are claimed at the same time; each may need a guest's slot.
const RUNS_UNDER_WAY_MAX: usize = INSTANCES_MAX as usize;
/// Of those, kept for tenants that have none.
const RUNS_RESERVED: usize = 32;
/// Runs are claimed beyond the places of their policy as far as the places are likely to be free
/// within this many microseconds. Claiming costs a transaction, so quick ones are claimed ahead.
const AHEAD_US: u64 = 10_000;
/// What was used counts half after this many microseconds.
const HALF_LIFE_US: u64 = 10_000_000;

/// What bounds the runs of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Runs of the policy that are evaluated at the same time.
    pub(super) concurrency: usize,
    /// Computing time that one of them may use, in microseconds.
    pub(super) cpu_us: u64,
    /// Those of its tenant.
    pub(super) tenant: TenantLimits,
}

/// What an attempt took.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Took {
    /// Computing time of guests in microseconds.
    pub(super) cpu_us: u64,
    /// How long it held a place of its policy, in microseconds.
    pub(super) place_us: u64,
}

/// What is under way.
#[derive(Debug, Default)]
pub(super) struct Load {
    under_way: usize,
    // As many as there are tenants and policies in the configuration, and were.
    tenants: HashMap<String, TenantLoad>,
    lanes: HashMap<Lane, LaneLoad>,
}

#[derive(Debug, Default)]
struct TenantLoad {
    under_way: usize,
    used_us: u64,
    used_at_us: u64,
    spent: Spent,
}

#[derive(Debug, Default)]
struct LaneLoad {
    under_way: usize,
    // Means; not known before one of its runs ended.
    place_us: Option<u64>,
    cpu_us: Option<u64>,
}

impl Load {
    /// Divides what is free among the lanes in which something is due.
    pub(super) fn plan(
        &self,
        queued: Vec<QueuedLane>,
        limits: impl Fn(&Lane) -> LaneLimits,
        now: TimestampMs,
        now_us: u64,
    ) -> Plan {
        let mut plan = Plan::default();
        let mut wishes = Vec::new();
        let mut rooms: HashMap<String, usize> = HashMap::new();
        for QueuedLane { lane, due_at } in queued {
            if now < due_at {
                plan.wait(u64::try_from(due_at - now).unwrap_or(0));
                continue;
            }
            let limits = limits(&lane);
            let room = self.room(&lane, limits.concurrency);
            let of_tenant = self.most_of_tenant(&lane, limits, now_us, &mut plan);
            let least = rooms.entry(lane.tenant.clone()).or_insert(of_tenant);
            *least = of_tenant.min(*least);
            wishes.push(Wish { lane, due_at, room });
        }
        let slots = Slots {
            free: RUNS_UNDER_WAY_MAX.saturating_sub(self.under_way),
            reserved: RUNS_RESERVED,
        };
        plan.shares = fairness::shares(slots, wishes, |tenant| {
            let load = self.tenants.get(tenant);
            let under_way = load.map_or(0, |it| it.under_way);
            let room = rooms.get(tenant).copied().unwrap_or(0);
            Standing {
                under_way,
                room: room.saturating_sub(under_way),
                used: load.map_or(0, |it| it.used_us(now_us)),
            }
        });
        plan
    }

    /// A run of the lane is under way.
    pub(super) fn began(&mut self, lane: &Lane) {
        self.under_way += 1;
        self.tenants
            .entry(lane.tenant.clone())
            .or_default()
            .under_way += 1;
        self.lanes.entry(lane.clone()).or_default().under_way += 1;
    }

    /// A run of the lane is over.
    pub(super) fn ended(&mut self, lane: &Lane, took: Took, limits: TenantLimits, now_us: u64) {
        self.under_way = self.under_way.saturating_sub(1);
        let tenant = self.tenants.entry(lane.tenant.clone()).or_default();
        tenant.under_way = tenant.under_way.saturating_sub(1);
        tenant.used_us = tenant.used_us(now_us) + took.cpu_us;
        tenant.used_at_us = now_us;
        if let Some((_, budget)) = budget(limits) {
            budget.spend(&mut tenant.spent, took.cpu_us, now_us);
        }
        let load = self.lanes.entry(lane.clone()).or_default();
        load.under_way = load.under_way.saturating_sub(1);
        load.place_us = Some(mean(load.place_us, took.place_us));
        load.cpu_us = Some(mean(load.cpu_us, took.cpu_us));
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether no more may be claimed of anything.
    pub(super) fn is_full(&self) -> bool {
        RUNS_UNDER_WAY_MAX <= self.under_way
    }

    /// How many more of a lane may be claimed, its tenant left out.
    fn room(&self, lane: &Lane, concurrency: usize) -> usize {
        let load = self.lanes.get(lane);
        let ahead = match load.and_then(|it| it.place_us) {
            None => concurrency,
            Some(place_us) => {
                let soon = concurrency as u64 * AHEAD_US / place_us.max(1);
                usize::try_from(soon).unwrap_or(usize::MAX).max(1)
            }
        };
        let most = concurrency.saturating_add(ahead);
        most.saturating_sub(load.map_or(0, |it| it.under_way))
    }

    /// How many runs of the lane's tenant may be under way, with what is left of its computing time.
    fn most_of_tenant(
        &self,
        lane: &Lane,
        limits: LaneLimits,
        now_us: u64,
        plan: &mut Plan,
    ) -> usize {
        let concurrency = limits.tenant.concurrency;
        let load = self.tenants.get(&lane.tenant);
        let under_way = load.map_or(0, |it| it.under_way);
        let spent = load.map(|it| it.spent).unwrap_or_default();
        if concurrency <= under_way {
            plan.hold(&lane.tenant, TenantLimit::Concurrency, concurrency as u64);
        }
        let Some((ms, budget)) = budget(limits.tenant) else {
            return concurrency;
        };
        let wait_ms = budget.wait_us(spent, now_us).div_ceil(1_000);
        if 0 < wait_ms {
            plan.wait(wait_ms);
            plan.hold(&lane.tenant, TenantLimit::CpuMsPerMinute, ms);
            return 0;
        }
        let each_us = self.lanes.get(lane).and_then(|it| it.cpu_us);
        let each_us = each_us.unwrap_or(limits.cpu_us).max(1);
        let affordable = budget.left(spent, now_us).div_ceil(each_us);
        concurrency.min(usize::try_from(affordable).unwrap_or(usize::MAX))
    }
}

impl TenantLoad {
    fn used_us(&self, now_us: u64) -> u64 {
        let halvings = now_us.saturating_sub(self.used_at_us) / HALF_LIFE_US;
        self.used_us >> halvings.min(63)
    }
}

/// Milliseconds of computing in a minute, and the budget of them in microseconds.
fn budget(limits: TenantLimits) -> Option<(u64, Budget)> {
    let ms = limits.cpu_ms_per_minute?;
    Some((ms, Budget::new(ms.saturating_mul(1_000))))
}

/// A mean in which what came last counts most.
fn mean(before: Option<u64>, last: u64) -> u64 {
    before.map_or(last, |it| it - it / 8 + last / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tenant::AtLimit;

    const NOW: TimestampMs = 1_795_248_000_000;

    fn lane(tenant: &str, policy: &str) -> Lane {
        Lane {
            tenant: tenant.to_owned(),
            policy: policy.to_owned(),
        }
    }

    fn queued(lanes: &[&Lane]) -> Vec<QueuedLane> {
        let queued = lanes.iter().map(|it| QueuedLane {
            lane: (*it).clone(),
            due_at: NOW,
        });
        queued.collect()
    }

    fn limits(concurrency: usize, tenant: TenantLimits) -> impl Fn(&Lane) -> LaneLimits {
        move |_| LaneLimits {
            concurrency,
            cpu_us: 100_000,
            tenant,
        }
    }

    fn claim(load: &mut Load, lanes: &[&Lane], limits: impl Fn(&Lane) -> LaneLimits) -> Vec<usize> {
        let plan = load.plan(queued(lanes), limits, NOW, 0);
        for share in &plan.shares {
            (0..share.count).for_each(|_| load.began(&share.lane));
        }
        let count = |lane: &&Lane| plan.shares.iter().find(|it| it.lane == **lane);
        lanes
            .iter()
            .map(|it| count(it).map_or(0, |it| it.count))
            .collect()
    }

    fn took(ms: u64) -> Took {
        Took {
            cpu_us: ms * 1_000,
            place_us: ms * 1_000,
        }
    }

    #[test]
    fn slow_runs_are_not_claimed_beyond_the_places_of_their_policy() {
        let (mut load, slow) = (Load::default(), lane("a", "slow"));
        let limits = limits(4, TenantLimits::default());
        assert_eq!(claim(&mut load, &[&slow], &limits), [8], "not known yet");
        (0..8).for_each(|_| load.ended(&slow, took(100), TenantLimits::default(), 0));
        assert_eq!(claim(&mut load, &[&slow], &limits), [5]);
        assert_eq!(claim(&mut load, &[&slow], &limits), [0]);
    }

    #[test]
    fn quick_runs_are_claimed_ahead_up_to_what_the_tenant_may() {
        let (mut load, quick) = (Load::default(), lane("a", "quick"));
        let limits = limits(4, TenantLimits::default());
        claim(&mut load, &[&quick], &limits);
        let moment = Took {
            cpu_us: 40,
            place_us: 50,
        };
        (0..8).for_each(|_| load.ended(&quick, moment, TenantLimits::default(), 0));
        assert_eq!(claim(&mut load, &[&quick], &limits), [192]);
        let other = lane("b", "other");
        assert_eq!(claim(&mut load, &[&quick, &other], &limits), [0, 8]);
    }

    #[test]
    fn a_tenants_policies_share_its_concurrency() {
        let tenant = TenantLimits {
            concurrency: 3,
            ..TenantLimits::default()
        };
        let (mut load, one, two) = (Load::default(), lane("a", "one"), lane("a", "two"));
        assert_eq!(claim(&mut load, &[&one, &two], limits(16, tenant)), [2, 1]);
        assert_eq!(claim(&mut load, &[&one, &two], limits(16, tenant)), [0, 0]);
        let held = load
            .plan(queued(&[&one, &two]), limits(16, tenant), NOW, 0)
            .held;
        let held: Vec<_> = held.iter().map(ToString::to_string).collect();
        assert_eq!(
            held,
            ["tenant `a` is at its limit of 3 runs at the same time (`tenants.a.concurrency`)"]
        );
        load.ended(&one, took(1), tenant, 0);
        assert_eq!(claim(&mut load, &[&one, &two], limits(16, tenant)), [1, 0]);
    }

    #[test]
    fn who_used_up_its_computing_time_waits_until_it_grew_back() {
        let tenant = TenantLimits {
            cpu_ms_per_minute: Some(600),
            ..TenantLimits::default()
        };
        let (mut load, spinning) = (Load::default(), lane("a", "p"));
        let plan =
            |load: &Load, now_us| load.plan(queued(&[&spinning]), limits(64, tenant), NOW, now_us);
        let first = plan(&load, 0);
        assert_eq!(first.shares[0].count, 6, "each may use 100 ms of the 600");
        load.began(&spinning);
        load.ended(&spinning, took(650), tenant, 0);
        let used_up = plan(&load, 0);
        assert_eq!((used_up.shares, used_up.next_ms), (vec![], Some(5_001)));
        let held = AtLimit {
            tenant: "a".to_owned(),
            limit: TenantLimit::CpuMsPerMinute,
            most: 600,
        };
        assert_eq!(used_up.held, [held].into());
        let later = plan(&load, 1_000_000);
        assert_eq!((later.shares, later.next_ms), (vec![], Some(4_001)));
        let grown = plan(&load, 5_001_000);
        assert_eq!(grown.shares[0].count, 1);
        assert!(grown.held.is_empty());
    }

    #[test]
    fn what_is_due_later_is_waited_for() {
        let (load, lane) = (Load::default(), lane("a", "p"));
        let queued = vec![QueuedLane {
            lane,
            due_at: NOW + 250,
        }];
        let plan = load.plan(queued, limits(1, TenantLimits::default()), NOW, 0);
        assert_eq!((plan.shares, plan.next_ms), (vec![], Some(250)));
    }
}
