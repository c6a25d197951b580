//! A start that cannot work says everything that is wrong, and changes nothing.

use triage_tests::{Delivery, Folder, Host, config};

#[test]
fn a_bad_configuration_is_refused_with_all_of_its_problems() {
    let folder = Folder::new(
        r#"
        [egress]
        allow = ["everything"]
        [[integration]]
        id = "github main"
        source = "pigeon"
        secrets = ["env:NOT_SET_ANYWHERE"]
        [[policy]]
        name = "incidents"
        triggers = ["github..opened"]
        classifier = "nobody"
        colour = "red"
        [policy.grants]
        destinations = ["nowhere"]
        [policy.limits]
        cpu_ms = 0
        [unknown]
        "#,
    );
    for command in ["serve", "check"] {
        folder.triage(&[command]).expect(1).complains(&[
            "egress.allow[0]",
            "integration[0].id",
            "pigeon",
            "NOT_SET_ANYWHERE",
            "policy.incidents.triggers[0]",
            "policy.incidents.classifier",
            "policy.incidents.colour",
            "policy.incidents.grants.destinations[0]",
            "policy.incidents.limits.cpu_ms",
            "unknown section",
        ]);
    }
}

#[test]
fn a_missing_configuration_names_the_command_that_writes_one() {
    let folder = Folder::bare();
    for command in [&["serve"][..], &["check"], &["event", "list"]] {
        folder
            .triage(command)
            .expect(1)
            .complains(&["triage.toml", "triage init"]);
    }
}

#[test]
fn a_missing_database_names_the_command_that_makes_one() {
    let folder = Folder::bare();
    folder.configure("");
    folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["triage.db", "triage init"]);
    assert!(
        !folder.path("triage.db").exists(),
        "a start must not make a database"
    );
}

#[test]
fn a_file_that_is_no_plugin_is_named() {
    let folder = Folder::new("");
    let text = folder.write("text.wasm", "not WebAssembly");
    let module = folder.write("module.wasm", wat::parse_str("(module)").unwrap());
    let good = std::fs::read(triage_tests::binary::component("payments")).unwrap();
    let cut = folder.write("cut.wasm", &good[..good.len() / 2]);
    let empty = folder.write("empty.wasm", wat::parse_str("(component)").unwrap());
    for (component, problem) in [
        (&text, "not a component"),
        (&module, "not a component"),
        (&cut, "not a component"),
        (&empty, "exports neither"),
    ] {
        folder.configure(
            &(config::plugin("broken", component) + &config::policy("p", "broken", r#"["*"]"#, "")),
        );
        let path = component.display().to_string();
        folder
            .triage(&["serve"])
            .expect(1)
            .complains(&["plugins.broken", &path, problem]);
    }
    let large = folder.write("large.wasm", "");
    // Nothing of it is on the disk.
    let sparse = std::fs::File::create(&large).unwrap();
    sparse.set_len(64 << 30).unwrap();
    folder.configure(&config::plugin("broken", &large));
    folder.triage(&["serve"]).expect(1).complains(&[
        "plugins.broken",
        "large.wasm",
        "it has 68719476736 bytes, and a plugin may have 33554432",
    ]);
    folder.configure(&config::plugin("broken", &folder.path("nowhere.wasm")));
    folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["plugins.broken.path", "nowhere.wasm"]);
}

#[test]
fn a_plugin_that_cannot_do_what_a_policy_asks_is_named() {
    let folder = Folder::new("");
    let only_classifies = folder.guest("c", &triage_tests::guest::classifier(""));
    folder.configure(
        &(config::plugin("c", &only_classifies) + &config::policy("p", "c", r#"["*"]"#, "")),
    );
    folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["policy.p.triager", "`c`", "triager"]);
}

#[test]
fn a_damaged_database_is_a_clear_error() {
    let folder = Folder::new("");
    for content in [
        &b"this was a database once, and now it is a letter to my aunt about the weather"[..],
        &[0xff; 9000],
    ] {
        folder.write("triage.db", content);
        for name in ["triage.db-wal", "triage.db-shm"] {
            let _ = std::fs::remove_file(folder.path(name));
        }
        folder
            .triage(&["serve"])
            .expect(1)
            .complains(&["triage.db as a triage database"]);
        assert_eq!(
            std::fs::read(folder.path("triage.db")).unwrap(),
            content,
            "it was changed"
        );
    }
}

#[test]
fn a_database_of_a_newer_version_is_left_alone() {
    let mut host = Host::start("");
    host.accept(&Delivery::incident("newer-1"));
    host.stop();
    let path = host.folder.path("triage.db");
    let connection = rusqlite::Connection::open(&path).unwrap();
    connection
        .execute_batch("PRAGMA user_version = 999")
        .unwrap();
    drop(connection);
    host.folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["schema version 999", "newer triage"]);
}

#[test]
fn an_address_that_is_taken_is_named() {
    let host = Host::start("");
    let folder = Folder::new("");
    let taken = host.address();
    folder.write("triage.toml", format!("[server]\nlisten = \"{taken}\"\n"));
    folder
        .triage(&["serve"])
        .expect(1)
        .complains(&["server.listen", &taken.to_string()]);
}
