use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// A tick, in nanoseconds.
const TICK: u64 = 1_000_000;

#[test]
fn who_comes_while_others_spin_waits_for_one_tick() {
    let mut rota = Rota::new(2);
    let spinning: Vec<u64> = (0..100).map(|_| rota.enter("spinning")).collect();
    let began: Vec<bool> = spinning.iter().map(|it| rota.take(*it)).collect();
    assert_eq!(began.iter().filter(|it| **it).count(), 2);
    let quiet = rota.enter("quiet");
    assert!(!rota.take(quiet));
    assert_eq!(rota.give(spinning[0], TICK), Some(quiet));
    assert!(rota.take(quiet), "the turn is its own until it gives it");
}

#[test]
fn a_free_processor_is_used_whoever_wants_it() {
    let mut rota = Rota::new(3);
    let guests: Vec<u64> = (0..3).map(|_| rota.enter("one")).collect();
    assert!(guests.iter().all(|it| rota.take(*it)));
    assert_eq!(rota.give(guests[0], TICK), None);
    assert!(rota.take(guests[0]), "nobody else wants it");
}

#[test]
fn a_guest_that_goes_while_it_is_its_turn_hands_it_on() {
    let mut rota = Rota::new(1);
    let [first, second, third] = ["a", "b", "c"].map(|it| rota.enter(it));
    assert!(rota.take(first));
    assert!(!rota.take(second) && !rota.take(third));
    assert_eq!(rota.give(first, TICK), Some(second));
    assert_eq!(
        rota.leave(second),
        Some(third),
        "woken, and gone before it came"
    );
    assert_eq!(rota.leave(third), None);
    assert!(rota.take(first));
}

#[test]
fn a_tenant_that_was_away_or_waited_for_something_saved_nothing_up() {
    let mut rota = Rota::new(1);
    let [busy, waits] = ["busy", "waits"].map(|it| rota.enter(it));
    assert!(rota.take(waits));
    assert_eq!(rota.give(waits, TICK), None, "it calls the host, for long");
    assert!(rota.take(busy));
    for _ in 0..1_000 {
        assert_eq!(rota.pass(busy, TICK), Some(busy));
    }
    let comes = rota.enter("comes");
    assert!(!rota.take(comes) && !rota.take(waits));
    let mut turns = BTreeMap::<u64, usize>::new();
    let mut has = busy;
    for _ in 0..30 {
        *turns.entry(has).or_default() += 1;
        has = rota.pass(has, TICK).unwrap();
    }
    assert_eq!(
        turns,
        BTreeMap::from([(busy, 10), (waits, 10), (comes, 10)])
    );
}

proptest! {
    #[test]
    fn tenants_that_always_want_to_compute_get_the_same_time(
        guests in prop::collection::vec(1..20usize, 2..6),
        pieces in prop::collection::vec(1..1_500u64, 20..60),
    ) {
        let mut rota = Rota::new(1);
        let mut owner = HashMap::new();
        for (tenant, count) in guests.iter().enumerate() {
            for _ in 0..*count {
                owner.insert(rota.enter(&tenant.to_string()), tenant);
            }
        }
        let mut ids: Vec<u64> = owner.keys().copied().collect();
        ids.sort_unstable();
        let began: Vec<u64> = ids.into_iter().filter(|it| rota.take(*it)).collect();
        prop_assert_eq!(began.len(), 1);
        let mut id = began[0];
        let mut used = vec![0_u64; guests.len()];
        for round in 0..2_000 {
            // Each tenant's pieces are of another length, and change.
            let piece = pieces[(owner[&id] + round / 100) % pieces.len()];
            used[owner[&id]] += piece;
            let next = rota.pass(id, piece).unwrap();
            prop_assert_eq!(rota.take(id), next == id);
            id = next;
        }
        let (least, most) = (used.iter().min().unwrap(), used.iter().max().unwrap());
        prop_assert!(most - least <= 2 * 1_500, "{used:?}");
    }

    #[test]
    fn no_turn_is_lost(steps in prop::collection::vec((0..5u8, 0..12usize), 1..200), processors in 1..4usize) {
        let mut rota = Rota::new(processors);
        let mut guests: Vec<(u64, bool)> = Vec::new();
        for (step, which) in steps {
            let wake = |guests: &mut Vec<(u64, bool)>, next: Option<u64>| {
                for guest in guests.iter_mut().filter(|it| Some(it.0) == next) {
                    guest.1 = true;
                }
            };
            match (step, guests.get(which).copied()) {
                (0, _) => guests.push((rota.enter(&(which % 3).to_string()), false)),
                (1, Some((id, _))) => guests[which].1 = rota.take(id),
                (2, Some((id, true))) => {
                    guests[which].1 = false;
                    let next = rota.give(id, 1);
                    wake(&mut guests, next);
                }
                (3, Some((id, true))) => {
                    guests[which].1 = false;
                    let next = rota.pass(id, 1);
                    wake(&mut guests, next);
                }
                (4, Some((id, _))) => {
                    guests.remove(which);
                    let next = rota.leave(id);
                    wake(&mut guests, next);
                }
                _ => (),
            }
            let has = guests.iter().filter(|it| it.1).count();
            prop_assert_eq!(rota.free + has, processors);
            prop_assert!(rota.waiting == 0 || rota.free == 0);
        }
        for (id, _) in guests {
            rota.leave(id);
        }
        prop_assert_eq!(rota.free, processors);
        prop_assert!(rota.tenants.is_empty() && rota.guests.is_empty() && rota.turns.is_empty());
    }
}
