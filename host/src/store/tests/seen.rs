//! The index of keys against a map that forgets nothing, with a memory so small that it is
//! merged all the time.

use std::collections::HashMap;

use proptest::prelude::*;
use rusqlite::{Connection, named_params};
use tempfile::TempDir;

use crate::store::StoreError;
use crate::store::keys::KeyHash;
use crate::store::schema;
use crate::store::seen::Seen;

const KEYS_MAX: usize = 6;

const INSERT: &str = "
INSERT INTO event (seq, id, tenant, integration_id, source, event_type, idempotency_key, received_at, body_bytes,
                   id_hash, content_hash, content_until)
VALUES (:seq, randomblob(16), 't', 'i', 'github', 'github.x', 'k', 0, 0, :id_hash, :content_hash, :content_until)";

#[derive(Clone, Debug)]
enum Step {
    /// One transaction with these deliveries: id, content, and how long the content counts.
    Deliver {
        deliveries: Vec<(u8, u8, Option<i64>)>,
        commit: bool,
    },
    /// Retention deletes so many of the oldest events, but not the last one.
    Delete(usize),
    /// Time passes.
    Wait(i64),
    /// The process ends, and another one reads the database.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let delivery = (0_u8..40, 40_u8..60, proptest::option::of(1_i64..20));
    prop_oneof![
        6 => (proptest::collection::vec(delivery, 1..6), proptest::bool::weighted(0.8))
            .prop_map(|(deliveries, commit)| Step::Deliver { deliveries, commit }),
        1 => (1_usize..8).prop_map(Step::Delete),
        1 => (1_i64..10).prop_map(Step::Wait),
        1 => Just(Step::Restart),
    ]
}

fn hash(key: u8) -> KeyHash {
    // Few buckets, so that some hold several keys.
    let mut hash = [key; 16];
    hash[0] = key % 7;
    hash
}

/// Accepts as `store::events` does; gives the event's row and whether it was there before.
fn deliver(
    tx: &Connection,
    seen: &mut Seen,
    (id, content, window): (u8, u8, Option<i64>),
    now: i64,
) -> (i64, bool) {
    if let Some(seq) = seen.find(tx, &hash(id), now).unwrap() {
        return (seq, true);
    }
    if let Some(seq) = seen.find(tx, &hash(content), now).unwrap() {
        seen.add_name(tx, hash(id), seq).unwrap();
        return (seq, true);
    }
    let until = window.map(|it| now + it);
    let seq = seen.next_event();
    let params = named_params! { ":seq": seq, ":id_hash": hash(id), ":content_hash": hash(content), ":content_until": until };
    tx.execute(INSERT, params).unwrap();
    seen.insert(hash(id), seq);
    seen.insert(hash(content), seq);
    (seq, false)
}

/// What `deliver` must come to, with nothing but a map.
fn expected(
    model: &mut HashMap<u8, (i64, Option<i64>)>,
    (id, content, window): (u8, u8, Option<i64>),
    now: i64,
    next_seq: i64,
) -> (i64, bool) {
    let find = |model: &HashMap<u8, (i64, Option<i64>)>, key| {
        model
            .get(&key)
            .filter(|(_, until)| until.is_none_or(|until| now < until))
            .map(|it| it.0)
    };
    if let Some(seq) = find(model, id) {
        return (seq, true);
    }
    if let Some(seq) = find(model, content) {
        model.insert(id, (seq, None));
        return (seq, true);
    }
    model.insert(id, (next_seq, None));
    model.insert(content, (next_seq, window.map(|it| now + it)));
    (next_seq, false)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_index_agrees_with_a_map_that_forgets_nothing(steps in proptest::collection::vec(step(), 1..60)) {
        let folder = TempDir::new().unwrap();
        let db = schema::open_for_writing(&folder.path().join("t.db")).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF").unwrap();
        let mut seen = Seen::load(&db, KEYS_MAX).unwrap();
        let mut model = HashMap::new();
        let mut next_seq = 1;
        let mut now = 0;
        for step in steps {
            match step {
                Step::Wait(ms) => now += ms,
                Step::Delete(count) => {
                    let first: Option<i64> = db
                        .query_row("SELECT min(seq) FROM event", [], |row| row.get(0))
                        .unwrap();
                    let before = first.map_or(0, |it| (it + count as i64).min(next_seq - 1));
                    db.execute("DELETE FROM event_name WHERE event_seq < ?", [before]).unwrap();
                    db.execute("DELETE FROM event WHERE seq < ?", [before]).unwrap();
                    seen.delete_outdated(&db, 1).unwrap();
                    seen.committed();
                    model.retain(|_, (seq, _)| before <= *seq);
                }
                Step::Restart => seen = Seen::load(&db, KEYS_MAX).unwrap(),
                Step::Deliver { deliveries, commit } => {
                    db.execute_batch("BEGIN IMMEDIATE").unwrap();
                    let mut model_after = model.clone();
                    let mut next_after = next_seq;
                    for delivery in deliveries {
                        let wanted = expected(&mut model_after, delivery, now, next_after);
                        next_after += i64::from(!wanted.1);
                        prop_assert_eq!(deliver(&db, &mut seen, delivery, now), wanted);
                    }
                    seen.before_commit(&db).unwrap();
                    if commit {
                        db.execute_batch("COMMIT").unwrap();
                        seen.committed();
                        (model, next_seq) = (model_after, next_after);
                    } else {
                        db.execute_batch("ROLLBACK").unwrap();
                        seen.rolled_back();
                    }
                }
            }
        }
    }
}

#[test]
fn memory_is_bounded_however_many_keys_there_are() {
    let folder = TempDir::new().unwrap();
    let db = schema::open_for_writing(&folder.path().join("t.db")).unwrap();
    db.execute_batch("PRAGMA synchronous = OFF").unwrap();
    let mut seen = Seen::load(&db, 100).unwrap();
    for number in 0_u64..5_000 {
        db.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut hash = [0; 16];
        hash[..8].copy_from_slice(&number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        let seq = seen.next_event();
        let params = named_params! { ":seq": seq, ":id_hash": hash, ":content_hash": None::<KeyHash>, ":content_until": None::<i64> };
        db.execute(INSERT, params).unwrap();
        seen.insert(hash, seq);
        seen.before_commit(&db).unwrap();
        db.execute_batch("COMMIT").unwrap();
        seen.committed();
    }
    assert!(
        seen.keys_in_memory() < 400,
        "{} keys in memory",
        seen.keys_in_memory()
    );
    let merged: i64 = db
        .query_row(
            "SELECT sum(length(entries)) / 24 FROM event_key_block",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert!(4_600 < merged, "only {merged} keys merged");
}

#[test]
fn damaged_filters_are_an_error_and_no_repeat_is_taken_for_new() {
    const WHOLE: i64 = 32 * 1024;
    // Id and length of each row.
    for rows in [
        &[(0, WHOLE - 1)][..],
        &[(0, 2048)],
        &[(-32, WHOLE)],
        &[(4, WHOLE)],
        &[(i64::MAX - 31, WHOLE)],
        &[(0, WHOLE), (64, WHOLE)],
        &[(0, WHOLE), (i64::MAX - 31, WHOLE)],
    ] {
        let folder = TempDir::new().unwrap();
        let db = schema::open_for_writing(&folder.path().join("t.db")).unwrap();
        // The schema refuses some of it.
        db.execute_batch("PRAGMA ignore_check_constraints = ON")
            .unwrap();
        for (id, length) in rows {
            db.execute(
                "INSERT INTO event_key_filter (id, event_seq_max, name_seq_max, filters) VALUES (?, 0, 0, zeroblob(?))",
                [id, length],
            )
            .unwrap();
        }
        let error = Seen::load(&db, KEYS_MAX).err().unwrap();
        assert!(
            matches!(error, StoreError::Malformed("filter of keys")),
            "{error:?}"
        );
    }
}
