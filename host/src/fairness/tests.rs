use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn wish(tenant: &str, policy: &str, due_at: TimestampMs, room: usize) -> Wish {
    Wish {
        lane: Lane {
            tenant: tenant.to_owned(),
            policy: policy.to_owned(),
        },
        due_at,
        room,
    }
}

fn count(shares: &[Share], tenant: &str) -> usize {
    let of_tenant = shares.iter().filter(|it| it.lane.tenant == tenant);
    of_tenant.map(|it| it.count).sum()
}

const OPEN: Standing = Standing {
    under_way: 0,
    room: usize::MAX,
    used: 0,
};

fn slots(free: usize) -> Slots {
    Slots { free, reserved: 0 }
}

#[test]
fn tenants_share_evenly_however_old_their_runs_are() {
    let wishes = vec![wish("old", "p", 1, 100), wish("new", "p", 9, 100)];
    let shares = shares(slots(10), wishes, |_| OPEN);
    assert_eq!((count(&shares, "old"), count(&shares, "new")), (5, 5));
}

#[test]
fn what_one_does_not_want_goes_to_others() {
    let wishes = vec![wish("many", "p", 1, 100), wish("one", "p", 1, 1)];
    let shares = shares(slots(10), wishes, |_| OPEN);
    assert_eq!((count(&shares, "many"), count(&shares, "one")), (9, 1));
}

#[test]
fn a_tenants_policies_share_evenly() {
    let wishes = vec![
        wish("a", "slow", 1, 2),
        wish("a", "quick", 5, 100),
        wish("a", "other", 9, 100),
    ];
    let shares = shares(slots(10), wishes, |_| OPEN);
    let counts: Vec<_> = shares.iter().map(|it| it.count).collect();
    assert_eq!(counts, [2, 4, 4]);
}

#[test]
fn who_used_less_comes_first_where_not_everybody_can() {
    let wishes = vec![wish("spinning", "p", 1, 100), wish("quiet", "p", 9, 1)];
    let standing = |tenant: &str| Standing {
        used: if tenant == "spinning" { 60_000 } else { 10 },
        ..OPEN
    };
    let shares = shares(slots(1), wishes, standing);
    assert_eq!(
        (count(&shares, "spinning"), count(&shares, "quiet")),
        (0, 1)
    );
}

#[test]
fn the_last_slots_are_for_tenants_that_have_none() {
    let wishes = vec![wish("busy", "p", 1, 100), wish("quiet", "p", 9, 100)];
    let standing = |tenant: &str| Standing {
        under_way: if tenant == "busy" { 3 } else { 0 },
        ..OPEN
    };
    let slots = Slots {
        free: 4,
        reserved: 4,
    };
    let shares = shares(slots, wishes, standing);
    assert_eq!((count(&shares, "busy"), count(&shares, "quiet")), (0, 1));
}

#[test]
fn an_operator_is_told_of_a_limit_once_a_minute() {
    let at = |tenant: &str| AtLimit {
        tenant: tenant.to_owned(),
        limit: TenantLimit::CpuMsPerMinute,
        most: 50,
    };
    let mut notices = Notices::default();
    assert!(notices.is_due(&at("a"), 1_000));
    assert!(!notices.is_due(&at("a"), 60_999));
    assert!(notices.is_due(&at("b"), 60_999));
    assert!(notices.is_due(&at("a"), 61_000));
    assert_eq!(
        at("a").to_string(),
        "tenant `a` is at its limit of 50 ms of computing in a minute (`tenants.a.cpu_ms_per_minute`)"
    );
}

/// A tenant with its standing and the rooms of its lanes.
fn tenant() -> impl Strategy<Value = (Standing, Vec<usize>)> {
    let standing = (0..20usize, 0..40usize, 0..1_000u64);
    let standing = standing.prop_map(|(under_way, room, used)| Standing {
        under_way,
        room,
        used,
    });
    (standing, prop::collection::vec(0..30usize, 1..5))
}

proptest! {
    #[test]
    fn no_bound_is_passed_and_nothing_is_left_that_could_be_given(
        tenants in prop::collection::vec(tenant(), 0..12),
        free in 0..100usize,
        reserved in 0..10usize,
    ) {
        let named: BTreeMap<String, _> =
            tenants.iter().enumerate().map(|(index, it)| (format!("t{index}"), it.clone())).collect();
        let wishes = named.iter().flat_map(|(name, (_, rooms))| {
            rooms.iter().enumerate().map(move |(lane, room)| wish(name, &lane.to_string(), lane as i64, *room))
        });
        let given = shares(Slots { free, reserved }, wishes.collect(), |name| named[name].0);
        let total: usize = given.iter().map(|it| it.count).sum();
        prop_assert!(total <= free);
        for share in &given {
            let rooms = &named[&share.lane.tenant].1;
            prop_assert!(0 < share.count && share.count <= rooms[share.lane.policy.parse::<usize>().unwrap()]);
        }
        let wanted = |it: &(Standing, Vec<usize>)| it.0.room.min(it.1.iter().sum());
        for (name, it) in &named {
            prop_assert!(count(&given, name) <= wanted(it));
        }
        let left = free - total;
        for (name, it) in &named {
            let has = it.0.under_way + count(&given, name);
            let may = 0 < left && (has == 0 || reserved < left);
            prop_assert!(!may || count(&given, name) == wanted(it), "{name} could have had more");
        }
    }

    #[test]
    fn a_quiet_tenants_single_run_is_taken_with_the_next_claim(
        floods in prop::collection::vec((1..200usize, 1..10_000u64), 0..30),
        free in 1..256usize,
    ) {
        let mut wishes: Vec<Wish> =
            floods.iter().enumerate().map(|(index, _)| wish(&format!("f{index}"), "p", 0, 256)).collect();
        wishes.push(wish("quiet", "p", 1_000_000, 1));
        let given = shares(Slots { free, reserved: 32 }, wishes, |name| {
            match name.strip_prefix('f') {
                Some(index) => {
                    let (under_way, used) = floods[index.parse::<usize>().unwrap()];
                    Standing { under_way, room: 256, used }
                }
                None => Standing { under_way: 0, room: 192, used: 0 },
            }
        });
        prop_assert_eq!(count(&given, "quiet"), 1);
    }

    #[test]
    fn no_tenant_starves(weights in prop::collection::vec(1..50u64, 2..20), free in 1..6usize) {
        // Everybody always wants more, and each run costs its tenant something of its own.
        let mut used = vec![0_u64; weights.len()];
        let mut taken = vec![0_usize; weights.len()];
        for _ in 0..weights.len() * 60 {
            let wishes = (0..weights.len()).map(|it| wish(&it.to_string(), "p", 0, 100)).collect();
            for share in shares(slots(free), wishes, |name| Standing { used: used[name.parse::<usize>().unwrap()], ..OPEN }) {
                let index: usize = share.lane.tenant.parse().unwrap();
                taken[index] += share.count;
                used[index] += share.count as u64 * weights[index];
            }
        }
        prop_assert!(taken.iter().all(|it| 0 < *it), "{taken:?}");
    }
}
