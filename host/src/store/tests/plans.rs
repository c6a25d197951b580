//! Lists are read by indexes: no page costs a walk through a whole table.

use super::{NOW, TestStore, event};
use crate::store::views::{EventFilter, PageRequest, ROWS_WALKED_MAX, RunFilter, RunState};

#[tokio::test]
async fn a_rare_match_costs_a_bounded_walk() {
    let store = TestStore::new();
    let mut accepts = tokio::task::JoinSet::new();
    let wanted = store.accept(event("rare", "rare", NOW)).await.unwrap();
    for number in 0..ROWS_WALKED_MAX + 100 {
        let store = store.store.clone().unwrap();
        accepts.spawn(async move {
            store
                .accept(event("int", &number.to_string(), NOW))
                .await
                .unwrap()
        });
    }
    accepts.join_all().await;
    let pattern = EventFilter {
        event_type: Some("stripe.*".parse().unwrap()),
        ..EventFilter::default()
    };
    let first = store
        .list_events(None, pattern.clone(), PageRequest::default())
        .await
        .unwrap();
    assert!(first.items.is_empty());
    let rest = PageRequest::new(first.next_cursor.as_deref(), None).unwrap();
    let rest = store.list_events(None, pattern, rest).await.unwrap();
    assert_eq!((rest.items.len(), rest.next_cursor), (0, None));

    // What an index finds needs no walk.
    let by_integration = EventFilter {
        integration_id: Some("rare".to_owned()),
        ..EventFilter::default()
    };
    let found = store
        .list_events(None, by_integration, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(found.items[0].event_id, wanted.event_id);
    let dead = RunFilter {
        state: Some(RunState::Dead),
        ..RunFilter::default()
    };
    let dead = store
        .list_runs(None, dead, PageRequest::default())
        .await
        .unwrap();
    assert_eq!(dead.next_cursor, None);
}

/// Every statement of the store, read from its sources.
fn statements() -> Vec<&'static str> {
    let sources = [
        include_str!("../access.rs"),
        include_str!("../actions.rs"),
        include_str!("../content.rs"),
        include_str!("../dictionaries.rs"),
        include_str!("../events.rs"),
        include_str!("../integrations.rs"),
        include_str!("../secrets.rs"),
        include_str!("../order.rs"),
        include_str!("../plugins.rs"),
        include_str!("../plugins/choices.rs"),
        include_str!("../retention.rs"),
        include_str!("../seen.rs"),
        include_str!("../seen/block.rs"),
        include_str!("../seen/load.rs"),
        include_str!("../strikes.rs"),
        include_str!("../runs.rs"),
        include_str!("../tickets.rs"),
        include_str!("../trace.rs"),
        include_str!("../views/events.rs"),
        include_str!("../views/runs.rs"),
    ];
    let constants = sources.iter().flat_map(|it| it.split("\nconst ").skip(1));
    let texts = constants.filter_map(|it| Some(it.split_once('"')?.1.split_once("\";")?.0));
    texts
        .filter(|it| {
            ["SELECT ", "WITH ", "UPDATE ", "DELETE "]
                .iter()
                .any(|verb| it.trim_start().starts_with(verb))
        })
        .collect()
}

#[tokio::test]
async fn no_statement_walks_through_a_whole_table() {
    let store = TestStore::new();
    let statements = statements();
    assert!(30 < statements.len(), "the sources are read");
    for sql in statements {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let plan: Vec<String> = store
            .read(move |db| {
                let mut statement = db.prepare(&explain)?;
                // Unbound parameters do not matter: nothing is run.
                let mut rows = statement.raw_query();
                let mut lines = Vec::new();
                while let Some(row) = rows.next()? {
                    lines.push(row.get("detail")?);
                }
                Ok(lines)
            })
            .await
            .unwrap();
        for table in [
            "event",
            "event_content",
            "content_dictionary",
            "event_key_block",
            "event_name",
            "run",
            "attempt",
            "action",
            "action_attempt",
            "ticket",
        ] {
            let scan = format!("SCAN {table}");
            assert!(
                !plan
                    .iter()
                    .any(|it| *it == scan || it.starts_with(&format!("{scan} "))),
                "{plan:?} of {sql}"
            );
        }
    }
}

#[tokio::test]
async fn events_of_a_time_are_found_although_their_order_is_another() {
    let store = TestStore::new();
    // Every third delivery waited eight seconds for the writer.
    for number in 0..90_i64 {
        let late_ms = if number % 3 == 0 { 8_000 } else { 0 };
        let at = NOW + number * 1_000 - late_ms;
        store
            .accept(event("int", &number.to_string(), at))
            .await
            .unwrap();
    }
    for (since, until) in [
        (30_000, 40_000),
        (0, 5_000),
        (85_000, 100_000),
        (40_000, 30_000),
    ] {
        let filter = EventFilter {
            since: Some(NOW + since),
            until: Some(NOW + until),
            ..EventFilter::default()
        };
        let page = PageRequest::new(None, Some(200)).unwrap();
        let found = store.list_events(None, filter, page).await.unwrap();
        let times = (0..90_i64).map(|it| it * 1_000 - if it % 3 == 0 { 8_000 } else { 0 });
        let expected = times.filter(|it| (since..until).contains(it)).count();
        assert_eq!(found.items.len(), expected, "{since} to {until}");
        assert_eq!(found.next_cursor, None);
    }
}
