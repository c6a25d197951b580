//! Opening the database, or saying clearly why not.

use std::error::Error as _;
use std::os::unix::fs::PermissionsExt as _;

use rusqlite::Connection;

use super::{NOW, TestStore, event};
use crate::store::access::Role;
use crate::store::{OpenError, Store};

#[test]
fn a_database_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.db");
    for error in [
        Store::open(&path).err(),
        Store::open_to_read(&path).err(),
        Store::open_beside(&path).err(),
    ] {
        let error = error.unwrap();
        assert!(matches!(error, OpenError::Missing(_)));
        assert!(
            error.to_string().contains("none.db") && error.to_string().contains("triage init"),
            "{error}"
        );
    }
    assert!(!path.exists(), "looking makes no file");
}

#[test]
fn only_one_process_serves() {
    let store = TestStore::new();
    let error = Store::open(&store.path).err().unwrap();
    assert!(matches!(error, OpenError::Locked(_)));
    assert!(error.to_string().contains("triage.db"), "{error}");
}

#[test]
fn the_lock_ends_with_the_store() {
    let mut store = TestStore::new();
    store.reopen();
}

#[test]
fn a_newer_database_is_left_alone() {
    let mut store = TestStore::new();
    store.store = None;
    Connection::open(&store.path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    for error in [
        Store::open(&store.path).err(),
        Store::open_to_read(&store.path).err(),
        Store::open_beside(&store.path).err(),
        Store::create(&store.path).err(),
    ] {
        let error = error.unwrap();
        assert!(
            matches!(error, OpenError::Newer { found: 99, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("version 99"), "{error}");
    }
}

#[test]
fn a_damaged_file_is_named() {
    for contents in [
        b"this is not a database at all".repeat(400),
        vec![0xff; 20_000],
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("broken.db");
        std::fs::write(&path, &contents).unwrap();
        for error in [Store::open(&path).err(), Store::open_to_read(&path).err()] {
            let error = error.unwrap();
            assert!(matches!(error, OpenError::Sqlite { .. }));
            assert!(error.to_string().contains("broken.db"), "{error}");
            assert!(
                error
                    .source()
                    .unwrap()
                    .to_string()
                    .contains("not a database"),
                "{error:?}"
            );
        }
        assert_eq!(std::fs::read(&path).unwrap(), contents, "it stays as it is");
    }
}

#[test]
fn a_folder_is_not_a_database() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(
        Store::create(folder.path()),
        Err(OpenError::Io { .. })
    ));
}

#[test]
fn nobody_else_can_read_the_file() {
    let store = TestStore::new();
    let mode = std::fs::metadata(&store.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn one_process_reads_and_makes_tokens_beside_the_one_that_serves() {
    let store = TestStore::new();
    let accepted = store.accept(event("int", "a", NOW)).await.unwrap();
    let reading = Store::open_to_read(&store.path).unwrap();
    assert!(
        reading
            .event(None, accepted.event_id)
            .await
            .unwrap()
            .is_some()
    );
    assert!(reading.accept(event("int", "b", NOW)).await.is_err());

    let beside = Store::open_beside(&store.path).unwrap();
    let (id, secret) = beside
        .create_token("cli".to_owned(), None, Role::Admin, NOW)
        .await
        .unwrap();
    drop(beside);
    assert_eq!(
        store.find_token(&secret).await.unwrap().unwrap().token_id,
        id
    );
    assert!(
        store
            .accept(event("int", "a", NOW))
            .await
            .unwrap()
            .duplicate
    );
}
