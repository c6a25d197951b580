//! Who may take how many of what is queued. Pure: no clock, no I/O.
//!
//! Called by `worker` for runs and by `actions` for actions, with what is queued and what is under
//! way; the store claims what is decided here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::model::queue::{Lane, Share};
use crate::model::tenant::{AtLimit, TenantLimit};
use crate::model::time::TimestampMs;

/// How often an operator is told that a tenant is at a limit, in milliseconds.
const TELL_EVERY_MS: u64 = 60_000;

/// Room for what is under way at the same time.
#[derive(Clone, Copy, Debug)]
pub struct Slots {
    /// How many are free.
    pub free: usize,
    /// How many of those are kept for tenants that have nothing under way.
    pub reserved: usize,
}

/// A lane in which something is due.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Which.
    pub lane: Lane,
    /// Since when.
    pub due_at: TimestampMs,
    /// How many more of it may be under way.
    pub room: usize,
}

/// How a tenant stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// How many it has under way.
    pub under_way: usize,
    /// How many more it may have.
    pub room: usize,
    /// What it used lately, of whatever is short. Who used less comes first.
    pub used: u64,
}

/// What may be claimed now, and when that changes by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// How many of which lanes.
    pub shares: Vec<Share>,
    /// Limits of tenants because of which something that is due is not claimed.
    pub held: BTreeSet<AtLimit>,
    /// Milliseconds until something may be claimed that may not be now, where that is known.
    pub next_ms: Option<u64>,
}

impl Plan {
    /// Something more may be claimed in so many milliseconds.
    pub fn wait(&mut self, ms: u64) {
        self.next_ms = Some(self.next_ms.map_or(ms, |it| it.min(ms)));
    }

    /// Something of a tenant is due and stays where it is.
    pub fn hold(&mut self, tenant: &str, limit: TenantLimit, most: u64) {
        self.held.insert(AtLimit {
            tenant: tenant.to_owned(),
            limit,
            most,
        });
    }
}

/// What an operator was told of lately: as many as there are limits of tenants, and were.
#[derive(Debug, Default)]
pub struct Notices(HashMap<AtLimit, TimestampMs>);

impl Notices {
    /// Whether the operator is to be told of this limit, again or for the first time.
    pub fn is_due(&mut self, at: &AtLimit, now: TimestampMs) -> bool {
        let told = self.0.get(at);
        let is_due = told.is_none_or(|it| TELL_EVERY_MS <= it.abs_diff(now));
        if is_due {
            self.0.insert(at.clone(), now);
        }
        is_due
    }
}

/// One tenant's wishes, and what was given to it.
struct Party {
    standing: Standing,
    since: TimestampMs,
    given: usize,
    wishes: Vec<(Wish, usize)>,
    next: usize,
}

/// Divides free slots among tenants: one each in turn, those that used least first, and among a
/// tenant's lanes one each in turn, the oldest first.
///
/// Every tenant that has room gets one as long as slots are free, and a tenant with nothing under
/// way comes before others get the reserved ones: a single run is taken at once however many
/// others are queued.
pub fn shares(slots: Slots, wishes: Vec<Wish>, standing: impl Fn(&str) -> Standing) -> Vec<Share> {
    let mut parties = parties(wishes, standing);
    let mut free = slots.free;
    loop {
        let before = free;
        for party in &mut parties {
            let is_new = party.standing.under_way + party.given == 0;
            if 0 < free && (is_new || slots.reserved < free) && party.take_one() {
                free -= 1;
            }
        }
        if free == before {
            break;
        }
    }
    let wishes = parties.into_iter().flat_map(|it| it.wishes);
    wishes
        .filter(|(_, count)| 0 < *count)
        .map(|(wish, count)| Share {
            lane: wish.lane,
            count,
        })
        .collect()
}

fn parties(wishes: Vec<Wish>, standing: impl Fn(&str) -> Standing) -> Vec<Party> {
    let mut by_tenant: BTreeMap<String, Vec<(Wish, usize)>> = BTreeMap::new();
    for wish in wishes {
        let of_tenant = by_tenant.entry(wish.lane.tenant.clone()).or_default();
        of_tenant.push((wish, 0));
    }
    let mut parties: Vec<Party> = by_tenant
        .into_iter()
        .map(|(tenant, mut wishes)| {
            wishes.sort_by_key(|(wish, _)| wish.due_at);
            Party {
                standing: standing(&tenant),
                since: wishes.first().map_or(TimestampMs::MAX, |it| it.0.due_at),
                given: 0,
                wishes,
                next: 0,
            }
        })
        .collect();
    parties.sort_by_key(|it| (it.standing.used, it.since));
    parties
}

impl Party {
    /// Takes one for the next lane that has room; says whether there was one.
    fn take_one(&mut self) -> bool {
        if self.standing.room <= self.given {
            return false;
        }
        for _ in 0..self.wishes.len() {
            let at = self.next;
            self.next = (at + 1) % self.wishes.len();
            if let Some((wish, count)) = self.wishes.get_mut(at)
                && *count < wish.room
            {
                *count += 1;
                self.given += 1;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;
