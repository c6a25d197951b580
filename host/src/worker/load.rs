//! What is under way and what it used lately: who may take how many more. Pure: time is told.
//!
//! Kept by the worker's loop, in memory: a new process begins with full budgets.

use std::collections::HashMap;

use crate::fairness::{self, Slots, Standing, Wish};
use crate::model::budget::{Budget, Spent};
use crate::model::queue::{Lane, QueuedLane, Share};
use crate::model::tenant::TenantLimits;
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
/// How often an operator is told that a tenant's budget is used up, in microseconds.
const TELL_EVERY_US: u64 = 60_000_000;

/// What bounds the runs of a lane.
#[derive(Clone, Copy, Debug)]
pub(super) struct LaneLimits {
    /// Runs of the policy that are evaluated at the same time.
    pub(super) concurrency: usize,
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

/// What may be claimed now, and when that changes by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// How many of which lanes.
    pub(super) shares: Vec<Share>,
    /// Tenants that wait for their budget of computing time, each with the milliseconds; not those that were told of lately.
    pub(super) out_of_budget: Vec<(String, u64)>,
    /// Milliseconds until something may be claimed that may not be now, where that is known.
    pub(super) next_ms: Option<u64>,
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
    told_at_us: Option<u64>,
}

#[derive(Debug, Default)]
struct LaneLoad {
    under_way: usize,
    place_us: Option<u64>,
    cpu_us: u64,
}

impl Load {
    /// Divides what is free among the lanes in which something is due.
    pub(super) fn plan(
        &mut self,
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
            let affordable = self.affordable(&lane, limits.tenant, now_us, &mut plan);
            let tenant_room = limits.tenant.concurrency.min(affordable);
            let least = rooms.entry(lane.tenant.clone()).or_insert(tenant_room);
            *least = tenant_room.min(*least);
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
        if let Some(budget) = budget(limits) {
            budget.spend(&mut tenant.spent, took.cpu_us, now_us);
        }
        let load = self.lanes.entry(lane.clone()).or_default();
        load.under_way = load.under_way.saturating_sub(1);
        load.place_us = Some(
            load.place_us
                .map_or(took.place_us, |it| mean(it, took.place_us)),
        );
        load.cpu_us = mean(load.cpu_us, took.cpu_us);
    }

    /// How many are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way
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

    /// How many runs of the lane's tenant may be under way with what is left of its computing time.
    fn affordable(
        &mut self,
        lane: &Lane,
        limits: TenantLimits,
        now_us: u64,
        plan: &mut Plan,
    ) -> usize {
        let Some(budget) = budget(limits) else {
            return usize::MAX;
        };
        let tenant = self.tenants.entry(lane.tenant.clone()).or_default();
        let wait_ms = budget.wait_us(tenant.spent, now_us).div_ceil(1_000);
        if 0 < wait_ms {
            plan.wait(wait_ms);
            if tenant
                .told_at_us
                .is_none_or(|it| it + TELL_EVERY_US <= now_us)
            {
                tenant.told_at_us = Some(now_us);
                plan.out_of_budget.push((lane.tenant.clone(), wait_ms));
            }
            return 0;
        }
        let each_us = self.lanes.get(lane).map_or(0, |it| it.cpu_us).max(1);
        let runs = budget.left(tenant.spent, now_us).div_ceil(each_us);
        usize::try_from(runs).unwrap_or(usize::MAX)
    }
}

impl TenantLoad {
    fn used_us(&self, now_us: u64) -> u64 {
        let halvings = now_us.saturating_sub(self.used_at_us) / HALF_LIFE_US;
        self.used_us >> halvings.min(63)
    }
}

impl Plan {
    fn wait(&mut self, ms: u64) {
        self.next_ms = Some(self.next_ms.map_or(ms, |it| it.min(ms)));
    }
}

/// In microseconds.
fn budget(limits: TenantLimits) -> Option<Budget> {
    let ms = limits.cpu_ms_per_minute?;
    Some(Budget::new(ms.saturating_mul(1_000)))
}

/// A mean in which what came last counts most.
fn mean(before: u64, last: u64) -> u64 {
    before - before / 8 + last / 8
}

#[cfg(test)]
mod tests {
    use super::*;

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
        load.ended(&one, took(1), tenant, 0);
        assert_eq!(claim(&mut load, &[&one, &two], limits(16, tenant)), [1, 0]);
    }

    #[test]
    fn who_used_up_its_computing_time_waits_until_it_grew_back_and_is_told_of_once() {
        let tenant = TenantLimits {
            cpu_ms_per_minute: Some(600),
            ..TenantLimits::default()
        };
        let (mut load, spinning) = (Load::default(), lane("a", "p"));
        let plan = |load: &mut Load, now_us| {
            load.plan(queued(&[&spinning]), limits(1, tenant), NOW, now_us)
        };
        load.began(&spinning);
        load.ended(&spinning, took(650), tenant, 0);
        let first = plan(&mut load, 0);
        assert_eq!((first.shares, first.next_ms), (vec![], Some(5_001)));
        assert_eq!(first.out_of_budget, [("a".to_owned(), 5_001)]);
        let second = plan(&mut load, 1_000_000);
        assert_eq!((second.shares, second.next_ms), (vec![], Some(4_001)));
        assert_eq!(second.out_of_budget, []);
        assert_eq!(plan(&mut load, 5_001_000).shares.len(), 1);
    }

    #[test]
    fn what_is_due_later_is_waited_for() {
        let (mut load, lane) = (Load::default(), lane("a", "p"));
        let queued = vec![QueuedLane {
            lane,
            due_at: NOW + 250,
        }];
        let plan = load.plan(queued, limits(1, TenantLimits::default()), NOW, 0);
        assert_eq!((plan.shares, plan.next_ms), (vec![], Some(250)));
    }
}
