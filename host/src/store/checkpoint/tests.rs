use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::model::event::NewEvent;
use crate::store::Store;
use crate::store::tests::{NOW, TestStore, event};

fn log(pages: i32, moved: i32) -> Log {
    Log {
        pages: pages.into(),
        moved: moved.into(),
        ..Log::default()
    }
}

#[test]
fn the_writer_starts_a_long_log_anew_when_little_is_left() {
    assert!(!log(PAGES_MAX - 1, PAGES_MAX - 1).is_ripe(), "short");
    assert!(!log(PAGES_MAX, 0).is_ripe(), "the thread has much to move");
    assert!(!log(PAGES_MAX, PAGES_MAX - PAGES_LEFT_MAX - 1).is_ripe());
    assert!(log(PAGES_MAX, PAGES_MAX - PAGES_LEFT_MAX).is_ripe());
}

#[test]
fn a_log_that_the_thread_does_not_get_moved_is_moved_by_the_writer() {
    assert!(!log(PAGES_TOO_MANY - 1, 0).is_ripe());
    assert!(log(PAGES_TOO_MANY, 0).is_ripe());
}

#[test]
fn a_log_is_never_started_anew_when_a_flush_has_failed() {
    let sqlite = |code| {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        MoveError::from(error).is_flush()
    };
    assert!(!sqlite(ffi::SQLITE_FULL), "nothing was moved");
    assert!(sqlite(ffi::SQLITE_IOERR_FSYNC));
    assert!(MoveError::from(io::Error::other("EIO")).is_flush());
    let log = log(PAGES_TOO_MANY, PAGES_TOO_MANY);
    *log.turn(false).unwrap() = true;
    assert!(log.turn(false).is_none() && log.turn(true).is_none());
}

#[test]
fn a_writer_that_need_not_wait_leaves_the_thread_at_it() {
    let log = log(PAGES_MAX, PAGES_MAX);
    let moving = log.turn(true).unwrap();
    assert!(log.turn(false).is_none());
    drop(moving);
    assert!(log.turn(false).is_some());
}

#[test]
fn a_log_that_was_begun_anew_is_moved_from_its_begin() {
    let log = log(PAGES_MAX, PAGES_MAX);
    log.tell(1);
    assert_eq!(log.left(), 1);
    log.tell(PAGES_MIN);
    assert_eq!(log.left(), PAGES_MIN);
    assert!(*log.is_long.lock().unwrap(), "the thread is told");
}

#[test]
fn what_was_written_last_stays_in_the_cache() {
    let mut cache = Cache { from: 1_000 };
    assert_eq!(cache.old(1_000 + CACHED_BYTES), None);
    assert_eq!(cache.old(1_500 + CACHED_BYTES), Some((1_000, 1_500)));
    assert_eq!(cache.old(1_500 + CACHED_BYTES), None, "once");
    assert_eq!(cache.old(10), None, "a file that was cut off");
    assert_eq!(cache.old(1_501 + CACHED_BYTES), Some((1_500, 1_501)));
}

/// The leaves of a table, and how many of them are taken for contents.
fn contents_of(database: &Connection, file: &File, table: &str) -> (usize, usize) {
    let mut pages = database
        .prepare("SELECT pageno FROM dbstat WHERE name = :name AND pagetype = 'leaf'")
        .unwrap();
    let pages: Vec<u64> = pages
        .query_map(&[(":name", table)], |row| row.get::<_, u64>("pageno"))
        .unwrap()
        .map(|it| it.unwrap() - 1)
        .collect();
    let head = |page: u64| {
        let mut head = Head::default();
        file.read_exact_at(&mut head, page * PAGE_BYTES).unwrap();
        head
    };
    let contents = pages.iter().filter(|it| is_content(head(**it))).count();
    (pages.len(), contents)
}

#[tokio::test]
async fn only_contents_leave_the_cache() {
    let mut store = TestStore::new();
    for number in 0..200 {
        let event = NewEvent {
            body: noise(number, 1_500),
            ..event("small", &number.to_string(), NOW)
        };
        store.accept(event).await.unwrap();
    }
    store.store = None;
    let database = schema::checkpointing_connection(&store.path).unwrap();
    let file = File::open(&store.path).unwrap();
    let (pages, contents) = contents_of(&database, &file, "event_content");
    assert!(10 < pages && contents == pages, "{contents} of {pages}");
    let (pages, contents) = contents_of(&database, &file, "event");
    assert!(2 < pages && contents <= 1, "{contents} of {pages}");
    let (_, contents) = contents_of(&database, &file, "event_by_id");
    assert_eq!(contents, 0);
}

/// Bytes that do not get smaller when they are packed.
fn noise(seed: u64, bytes: usize) -> bytes::Bytes {
    let mut noise = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill(&mut noise[..]);
    noise.into()
}

/// Events that do not get smaller when they are packed, one after the other without a pause.
async fn write(store: &Store, bytes: u64) {
    let body = noise(0, 1 << 20);
    for number in 0..bytes.div_ceil(body.len() as u64) {
        let event = NewEvent {
            body: body.clone(),
            ..event("large", &number.to_string(), NOW)
        };
        store.accept(event).await.unwrap();
    }
}

fn file_bytes(path: &Path, end: &str) -> u64 {
    let mut path = path.as_os_str().to_owned();
    path.push(end);
    std::fs::metadata(path).unwrap().len()
}

#[tokio::test]
async fn the_log_stays_bounded_beside_a_writer_that_never_pauses() {
    let store = TestStore::new();
    let bound = (PAGES_TOO_MANY as u64 + 1_000) * PAGE_BYTES;
    write(&store, 2 * bound).await;
    let log_bytes = file_bytes(&store.path, "-wal");
    assert!(log_bytes < bound, "{log_bytes} of at most {bound}");
    let database_bytes = file_bytes(&store.path, "");
    assert!(
        bound / 2 < database_bytes,
        "only {database_bytes} were moved"
    );
}
