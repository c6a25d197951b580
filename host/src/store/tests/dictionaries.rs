//! Contents packed behind what came before: they shrink, and come back exactly whatever else happens.
//!
//! In tests three dictionaries are in use at most, each for 8 to 40 rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::{Connection, named_params};
use tempfile::TempDir;

use super::{NOW, TestStore, event};
use crate::model::event::{Headers, NewEvent};
use crate::retention;
use crate::store::dictionaries::Dictionaries;
use crate::store::{StoreError, content, schema};

const INSERT: &str = "
INSERT INTO event_content (event_seq, encoding, dictionary, content)
VALUES (:event_seq, :encoding, :dictionary, :content)";

/// A body as a sender's software writes it, which is the same but for a number.
fn alike(number: u32) -> Vec<u8> {
    let members = (0..30).map(|it| format!("\"member_{it}\":{{\"id\":{}}},", it * it));
    let members: String = members.collect();
    format!("{{{members}\"number\":{number}}}").into_bytes()
}

/// A body that nothing is like.
fn noise(number: u32) -> Vec<u8> {
    let mut state = u64::from(number) << 1 | 1;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
        (state >> 56) as u8
    })
    .take(600)
    .collect()
}

fn delivery(integration_id: &str, number: u32, body: Vec<u8>) -> NewEvent {
    NewEvent {
        headers: Headers(vec![("x-number".to_owned(), number.to_string())]),
        body: body.into(),
        ..event(integration_id, &format!("{integration_id} {number}"), NOW)
    }
}

#[tokio::test]
async fn contents_that_are_alike_shrink_to_what_differs() {
    let mut store = TestStore::new();
    let mut kept = Vec::new();
    for number in 0..20 {
        let new = delivery("int", number, alike(number));
        kept.push((store.accept(new.clone()).await.unwrap().event_id, new));
        if number == 10 {
            store.reopen();
        }
    }
    assert_eq!(
        store.count("content_dictionary").await,
        2,
        "one for each start"
    );
    assert_eq!(
        store
            .count("event_content WHERE length(content) < 60")
            .await,
        20,
        "of {} bytes each",
        kept[0].1.body.len()
    );
    for (id, new) in kept {
        let (headers, body) = store.payload(None, id).await.unwrap().unwrap();
        assert_eq!((headers, body), (new.headers, new.body));
    }
}

#[tokio::test]
async fn a_lost_dictionary_is_an_error_of_its_contents_only() {
    let store = TestStore::new();
    let lost = store
        .accept(delivery("int", 0, alike(0)))
        .await
        .unwrap()
        .event_id;
    let other = store
        .accept(delivery("other", 0, alike(0)))
        .await
        .unwrap()
        .event_id;
    store
        .execute("DELETE FROM content_dictionary WHERE event_seq = 1")
        .await
        .unwrap();
    let error = store.payload(None, lost).await.unwrap_err();
    assert!(matches!(error, StoreError::Malformed("event content")));
    assert!(store.payload(None, other).await.unwrap().is_some());
}

#[tokio::test]
async fn a_dictionary_that_does_not_help_gives_way_but_not_at_once() {
    let store = TestStore::new();
    for number in 0..33 {
        store
            .accept(delivery("int", number, noise(number)))
            .await
            .unwrap();
    }
    assert_eq!(
        store.count("content_dictionary").await,
        5,
        "rows 1, 9, 17, 25, 33"
    );
}

#[tokio::test]
async fn few_dictionaries_are_in_use_and_each_integration_has_its_turn() {
    let store = TestStore::new();
    for number in 0..20 {
        let new = delivery(&format!("int-{number}"), number, alike(number));
        store.accept(new).await.unwrap();
    }
    assert_eq!(store.count("content_dictionary").await, 3);
    for number in 20..43 {
        let new = delivery("late", number, alike(number));
        store.accept(new).await.unwrap();
    }
    assert_eq!(
        store
            .count("content_dictionary WHERE 41 <= event_seq")
            .await,
        1,
        "as soon as the first three are out of use"
    );
}

#[tokio::test]
async fn an_integration_that_became_another_tenants_begins_anew() {
    let store = TestStore::new();
    store.accept(delivery("int", 0, alike(0))).await.unwrap();
    let of_other = NewEvent {
        tenant: "other".to_owned(),
        ..delivery("int", 1, alike(1))
    };
    store.accept(of_other).await.unwrap();
    assert_eq!(store.count("event_content WHERE dictionary = 1").await, 1);
    assert_eq!(store.count("event_content WHERE dictionary = 2").await, 1);
    // The second dictionary is made of the second content alone.
    let lengths =
        "content_dictionary WHERE length(content) <= (SELECT max(body_bytes) FROM event) + 100";
    assert_eq!(store.count(lengths).await, 2);
}

#[tokio::test]
async fn nothing_of_an_event_is_left_when_it_is_deleted_in_a_store_where_few_come() {
    let mut store = TestStore::new();
    let quiet = |number, now| NewEvent {
        received_at: now,
        runs: Vec::new(),
        ..delivery("int", number, alike(number))
    };
    store.accept(quiet(0, NOW)).await.unwrap();
    store.accept(quiet(1, NOW + 1)).await.unwrap();
    store.reopen();
    store.accept(quiet(2, NOW + 2)).await.unwrap();
    store
        .accept(quiet(3, NOW + 2 + 24 * 3_600_000))
        .await
        .unwrap();
    assert_eq!(
        store.count("content_dictionary").await,
        3,
        "another one after the restart and after a day"
    );
    retention::sweep(&store, NOW + 2).await.unwrap();
    assert_eq!(
        store.count("content_dictionary WHERE event_seq = 1").await,
        0
    );
    retention::sweep(&store, NOW + 10).await.unwrap();
    assert_eq!(
        store.count("content_dictionary").await,
        1,
        "the one of the event that is left"
    );
    retention::sweep(&store, NOW + 10 * 24 * 3_600_000)
        .await
        .unwrap();
    assert_eq!(store.count("event").await, 0);
    assert_eq!(store.count("content_dictionary").await, 0);
    let last = store
        .accept(quiet(4, NOW + 11 * 24 * 3_600_000))
        .await
        .unwrap();
    assert!(store.payload(None, last.event_id).await.unwrap().is_some());
}

#[tokio::test]
async fn many_integrations_that_take_turns_do_not_bring_a_dictionary_with_every_event() {
    let store = TestStore::new();
    for number in 0..36 {
        let new = delivery(&format!("int-{}", number % 3), number, noise(number));
        store.accept(new).await.unwrap();
    }
    assert_eq!(
        store.count("content_dictionary").await,
        6,
        "after 8 contents of each"
    );
}

#[derive(Clone, Debug)]
enum Step {
    /// One transaction with contents of these integrations, alike or not.
    Write {
        contents: Vec<(u8, bool)>,
        commit: bool,
    },
    /// Retention deletes so many of the oldest events.
    Delete(usize),
    /// The process ends, and another one goes on.
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let content = (0_u8..5, proptest::bool::weighted(0.7));
    prop_oneof![
        6 => (proptest::collection::vec(content, 1..10), proptest::bool::weighted(0.8))
            .prop_map(|(contents, commit)| Step::Write { contents, commit }),
        2 => (1_usize..30).prop_map(Step::Delete),
        1 => Just(Step::Restart),
    ]
}

fn write(db: &Connection, all: &Dictionaries, event_seq: i64, new: &NewEvent) {
    let packed = all.pack(db, event_seq, new).unwrap();
    let params = named_params! {
        ":event_seq": event_seq,
        ":encoding": packed.encoding,
        ":dictionary": packed.dictionary,
        ":content": packed.bytes,
    };
    db.execute(INSERT, params).unwrap();
    db.execute(
        "INSERT INTO event (seq, id, tenant, integration_id, source, event_type, idempotency_key, received_at, body_bytes, id_hash)
         VALUES (?, randomblob(16), 't', 'i', 's', 'e', 'k', 0, 0, randomblob(16))",
        [event_seq],
    )
    .unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn contents_come_back_exactly_whatever_else_happens(steps in proptest::collection::vec(step(), 1..60)) {
        let folder = TempDir::new().unwrap();
        let db = schema::open_for_writing(&folder.path().join("t.db")).unwrap();
        db.execute_batch("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF").unwrap();
        let mut all = Dictionaries::default();
        let mut kept = BTreeMap::new();
        let mut next = 1_i64;
        for step in steps {
            match step {
                Step::Restart => all = Dictionaries::load(&db, next).unwrap(),
                Step::Delete(count) => {
                    for event_seq in kept.keys().take(count) {
                        db.execute("DELETE FROM event_content WHERE event_seq = ?", [event_seq]).unwrap();
                        db.execute("DELETE FROM event WHERE seq = ?", [event_seq]).unwrap();
                    }
                    kept = kept.into_iter().skip(count).collect();
                    while 0 < all.delete_outdated(&db, NOW, next).unwrap() {}
                    all.committed();
                    let left: i64 = db
                        .query_row("SELECT count(*) FROM content_dictionary WHERE event_seq <= (SELECT min(seq) FROM event) - 40", [], |row| row.get(0))
                        .unwrap();
                    prop_assert_eq!(left, 0);
                }
                Step::Write { contents, commit } => {
                    db.execute_batch("BEGIN IMMEDIATE").unwrap();
                    let mut written = BTreeMap::new();
                    for (event_seq, (integration, is_alike)) in (next..).zip(contents) {
                        let number = event_seq as u32;
                        let body = if is_alike { alike(number) } else { noise(number) };
                        let new = delivery(&integration.to_string(), number, body);
                        write(&db, &all, event_seq, &new);
                        written.insert(event_seq, new);
                    }
                    if commit {
                        db.execute_batch("COMMIT").unwrap();
                        all.committed();
                        next += written.len() as i64;
                        kept.extend(written);
                    } else {
                        db.execute_batch("ROLLBACK").unwrap();
                        all.rolled_back();
                    }
                }
            }
        }
        for (event_seq, new) in &kept {
            let read = content::find(&db, *event_seq).unwrap();
            prop_assert_eq!(read, Some((new.headers.clone(), new.body.clone())));
        }
    }
}
