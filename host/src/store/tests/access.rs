//! Tokens, links and sessions.

use super::{NOW, TestStore};
use crate::model::secret::Secret;
use crate::store::access::{Access, Role, SESSION_MS};

#[tokio::test]
async fn a_token_is_found_by_its_secret_only() {
    let mut store = TestStore::new();
    let created = store
        .create_token(
            "ci".to_owned(),
            Some("acme".to_owned()),
            Role::Operator,
            NOW,
        )
        .await
        .unwrap();
    let (token_id, secret) = created;
    let text = secret.expose().to_owned();
    assert!(text.starts_with("triage_"));
    assert_eq!(text.len(), 7 + 43);
    store.reopen();
    let expected = Access {
        token_id,
        tenant: Some("acme".to_owned()),
        role: Role::Operator,
    };
    assert_eq!(store.find_token(&secret).await.unwrap(), Some(expected));
    for wrong in ["", &text[..49], &format!("{text} "), &text[7..]] {
        assert_eq!(
            store.find_token(&Secret::new(wrong)).await.unwrap(),
            None,
            "{wrong}"
        );
    }
    // What is kept does not open anything.
    let kept = std::fs::read(&store.path).unwrap();
    assert!(!kept.windows(43).any(|it| it == &text.as_bytes()[7..]));
}

#[tokio::test]
async fn tokens_are_listed_and_revoked_with_what_was_made_from_them() {
    let store = TestStore::new();
    let (first, secret) = store
        .create_token("a".to_owned(), None, Role::Admin, NOW)
        .await
        .unwrap();
    store
        .create_token(
            "b".to_owned(),
            Some("acme".to_owned()),
            Role::Viewer,
            NOW + 1,
        )
        .await
        .unwrap();
    let names = |tokens: Vec<crate::store::access::TokenView>| {
        tokens.into_iter().map(|it| it.name).collect::<Vec<_>>()
    };
    assert_eq!(names(store.list_tokens(None).await.unwrap()), ["a", "b"]);
    assert_eq!(
        names(store.list_tokens(Some("acme".to_owned())).await.unwrap()),
        ["b"]
    );

    let session = store.create_session(first, NOW).await.unwrap();
    let link = store.create_login_link(first, NOW, 1_000).await.unwrap();
    assert!(store.revoke_token(first).await.unwrap());
    assert!(!store.revoke_token(first).await.unwrap());
    assert_eq!(store.find_token(&secret).await.unwrap(), None);
    assert_eq!(store.find_session(&session, NOW).await.unwrap(), None);
    assert!(store.use_login_link(&link, NOW).await.unwrap().is_none());
    assert!(store.create_session(first, NOW).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_login_link_is_used_once_also_in_parallel() {
    let store = TestStore::new();
    let (token_id, _) = store
        .create_token("a".to_owned(), None, Role::Admin, NOW)
        .await
        .unwrap();
    let link = store.create_login_link(token_id, NOW, 1_000).await.unwrap();
    assert_eq!(
        store.find_session(&link, NOW).await.unwrap(),
        None,
        "a link is no session"
    );
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let (store, link) = (store.store.clone().unwrap(), link.clone());
        uses.spawn(async move { store.use_login_link(&link, NOW + 999).await.unwrap() });
    }
    let sessions: Vec<_> = uses.join_all().await.into_iter().flatten().collect();
    assert_eq!(sessions.len(), 1);
    assert_eq!(
        store
            .find_session(&sessions[0], NOW)
            .await
            .unwrap()
            .unwrap()
            .token_id,
        token_id
    );
    assert!(
        store
            .use_login_link(&sessions[0], NOW)
            .await
            .unwrap()
            .is_none(),
        "a session is no link"
    );
}

#[tokio::test]
async fn links_and_sessions_run_out_and_are_forgotten() {
    let store = TestStore::new();
    let (token_id, _) = store
        .create_token("a".to_owned(), None, Role::Admin, NOW)
        .await
        .unwrap();
    let link = store.create_login_link(token_id, NOW, 1_000).await.unwrap();
    assert!(
        store
            .use_login_link(&link, NOW + 1_000)
            .await
            .unwrap()
            .is_none()
    );
    let session = store.create_session(token_id, NOW).await.unwrap();
    assert!(
        store
            .find_session(&session, NOW + SESSION_MS - 1)
            .await
            .unwrap()
            .is_some()
    );
    assert!(
        store
            .find_session(&session, NOW + SESSION_MS)
            .await
            .unwrap()
            .is_none()
    );
    store
        .create_session(token_id, NOW + SESSION_MS)
        .await
        .unwrap();
    assert_eq!(store.count("browser_grant").await, 1);
}

#[test]
fn roles_have_an_order_and_a_word_each() {
    assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
    for role in [Role::Viewer, Role::Operator, Role::Admin] {
        assert_eq!(role.to_string().parse(), Ok(role));
    }
    assert!(
        "root"
            .parse::<Role>()
            .unwrap_err()
            .to_string()
            .contains("root")
    );
}
