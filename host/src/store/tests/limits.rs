//! What the store holds at most of what is added while the host runs.

use super::{NOW, TestStore};
use crate::model::id::SecretId;
use crate::model::secret::MasterKey;
use crate::store::integrations::{INTEGRATIONS_MAX, Refused, StoredIntegration, StoredLimits};
use crate::store::sealing::Sealer;
use crate::store::secrets::{NewSecret, RETIRED_MAX};

fn integration(id: &str) -> StoredIntegration {
    StoredIntegration {
        id: id.to_owned(),
        tenant: "acme".to_owned(),
        source: "github".to_owned(),
        limits: StoredLimits {
            body_bytes_max: 1,
            inflated_bytes_max: None,
            rate: None,
            burst: None,
        },
        created_at: NOW,
    }
}

fn secret(integration_id: &str, now: i64) -> NewSecret {
    NewSecret {
        id: SecretId::new(now),
        tenant: "acme".to_owned(),
        integration_id: integration_id.to_owned(),
        sealed: vec![1],
        key_check: Sealer::new(&MasterKey::new([7; MasterKey::BYTES])).check(),
        created_at: now,
        declared: None,
        others_live_until: None,
    }
}

#[tokio::test]
async fn one_integration_too_many_is_refused_until_another_one_goes() {
    let store = TestStore::new();
    let add = async |id: &str| {
        let added = store.add_integration(integration(id), secret(id, NOW));
        added.await.unwrap()
    };
    store
        .execute(
            "WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 9999)
             INSERT INTO integration (id, tenant, source, body_bytes_max, created_at)
             SELECT 'int-' || n, 'acme', 'github', 1, 0 FROM number",
        )
        .await
        .unwrap();
    assert_eq!(add("last").await, Ok(()));
    assert_eq!(
        store.count("integration").await,
        i64::from(INTEGRATIONS_MAX)
    );
    assert_eq!(add("one-too-many").await, Err(Refused::TooManyIntegrations));
    // Nothing of it stays, not even its secret.
    assert_eq!(store.count("secret").await, 1);
    let removed = store.remove_integration("acme".to_owned(), "int-1".to_owned());
    assert_eq!(removed.await.unwrap(), Ok(()));
    assert_eq!(add("one-too-many").await, Ok(()));
}

#[tokio::test]
async fn of_retired_secrets_the_newest_are_kept() {
    let store = TestStore::new();
    let added = store.add_integration(integration("hub"), secret("hub", NOW));
    assert_eq!(added.await.unwrap(), Ok(()));
    let mut retired = Vec::new();
    for minute in 1..=i64::from(RETIRED_MAX) + 3 {
        let now = NOW + minute * 60_000;
        let new = secret("hub", now);
        let id = new.id;
        assert_eq!(store.add_secret(new).await.unwrap(), Ok(()));
        let (tenant, hub) = ("acme".to_owned(), "hub".to_owned());
        let ended = store.retire_secret(tenant, hub, id, 0, false, now);
        assert_eq!(ended.await.unwrap(), Ok(()));
        retired.push(id);
    }
    let kept = store
        .secrets_of("acme".to_owned(), "hub".to_owned())
        .await
        .unwrap();
    let (live, kept): (Vec<_>, Vec<_>) = kept.iter().partition(|it| it.retired_at.is_none());
    assert_eq!(live.len(), 1);
    let kept: Vec<SecretId> = kept.iter().map(|it| it.id).collect();
    assert_eq!(kept, retired[3..]);
    assert_eq!(kept.len(), RETIRED_MAX as usize);
}

#[tokio::test]
async fn a_change_of_limits_that_another_one_overtook_is_refused() {
    let store = TestStore::new();
    let was = integration("hub");
    let added = store.add_integration(was.clone(), secret("hub", NOW));
    assert_eq!(added.await.unwrap(), Ok(()));
    let limits = |body_bytes_max| StoredLimits {
        body_bytes_max,
        ..was.limits
    };
    let first = store.change_integration(was.clone(), limits(2));
    assert_eq!(first.await.unwrap(), Ok(()));
    let second = store.change_integration(was.clone(), limits(3));
    assert_eq!(second.await.unwrap(), Err(Refused::Gone));
    let stored = store.stored_integration("hub".to_owned()).await.unwrap();
    assert_eq!(stored.unwrap().limits, limits(2));
}
