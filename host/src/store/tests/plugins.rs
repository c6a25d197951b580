//! Versions of plugins: which are remembered, and what is forgotten.

use super::TestStore;
use crate::model::strike::PluginVersion;
use crate::store::plugins::{Choice, SettledChoices, VERSIONS_KEPT_MAX};

/// The version of plugin `p` with this number.
fn version(number: usize) -> PluginVersion {
    PluginVersion {
        plugin: "p".to_owned(),
        digest: format!("{number:064x}"),
    }
}

/// Numbers of the versions that are remembered, in the order in which they are listed.
async fn remembered(store: &TestStore) -> Vec<usize> {
    let versions = store.plugin_versions(None).await.unwrap().versions;
    let number = |digest: &str| usize::from_str_radix(digest, 16).unwrap();
    versions.iter().map(|it| number(&it.digest)).collect()
}

#[tokio::test]
async fn the_oldest_versions_are_forgotten_but_not_the_active_or_the_chosen_one() {
    let store = TestStore::new();
    store
        .keep_active_versions(vec![version(0)], 1)
        .await
        .unwrap();
    assert!(store.keep_pushed_version(version(1), 2).await.unwrap());
    assert!(!store.keep_pushed_version(version(1), 3).await.unwrap());
    assert!(store.choose_version(version(1)).await.unwrap());
    for number in 2..=VERSIONS_KEPT_MAX + 5 {
        let at = i64::try_from(number).unwrap() + 10;
        assert!(
            store
                .keep_pushed_version(version(number), at)
                .await
                .unwrap()
        );
    }
    let mut expected = vec![0];
    expected.extend(
        (2..=VERSIONS_KEPT_MAX + 5)
            .rev()
            .take(VERSIONS_KEPT_MAX - 1),
    );
    expected.push(1);
    assert_eq!(remembered(&store).await, expected);
    // What was forgotten cannot be activated.
    assert!(!store.choose_version(version(2)).await.unwrap());
}

#[tokio::test]
async fn a_choice_moves_the_revision_and_is_settled_only_as_it_was_seen() {
    let store = TestStore::new();
    for number in [1, 2] {
        store.keep_pushed_version(version(number), 1).await.unwrap();
    }
    let before = store.plugin_revision().await.unwrap();
    store.choose_version(version(1)).await.unwrap();
    let seen = store.plugin_versions(None).await.unwrap();
    assert!(before < seen.revision);
    let choice = |number: usize, beside: Option<&str>| Choice {
        version: version(number),
        beside: beside.map(str::to_owned),
    };
    assert_eq!(seen.choices, [choice(1, None)]);

    // Another process chooses before what was seen is written down.
    store.choose_version(version(2)).await.unwrap();
    let settle = |settled: SettledChoices| store.settle_choices(settled);
    let begun = vec![(version(1), "file".to_owned())];
    let ended = seen.choices;
    settle(SettledChoices { begun, ended }).await.unwrap();
    let found = async || store.plugin_versions(None).await.unwrap().choices;
    assert_eq!(found().await, [choice(2, None)]);

    let begun = vec![(version(2), "file".to_owned())];
    let ended = Vec::new();
    settle(SettledChoices { begun, ended }).await.unwrap();
    assert_eq!(found().await, [choice(2, Some("file"))]);
    let (begun, ended) = (Vec::new(), found().await);
    settle(SettledChoices { begun, ended }).await.unwrap();
    assert!(found().await.is_empty());
    let revision = store.plugin_revision().await.unwrap();
    store.choose_file("p".to_owned()).await.unwrap();
    assert_eq!(store.plugin_revision().await.unwrap(), revision);
}
