//! Versions of plugins: which were pushed, which were active when, and which are quarantined for whom.
//!
//! Called by `deployments`, `worker`, `http` and the command line. Every change of a choice or a
//! quarantine moves a revision on, by which a host notices what another process wrote.

mod choices;

use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;

use super::views::At;
use super::{Store, StoreError};
use crate::model::queue::Lane;
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
pub use choices::{Choice, SettledChoices};

/// Versions of one plugin that are remembered, the active one included.
pub const VERSIONS_KEPT_MAX: usize = 10;
/// Runs that are taken out of their wait at once; the others look again by themselves.
const RUNS_WOKEN_MAX: usize = 10_000;

const RETIRE: &str = "
UPDATE plugin_version SET retired_at = :now
 WHERE retired_at IS NULL AND activated_at IS NOT NULL AND plugin = :plugin AND digest <> :digest";

const RETIRE_GONE: &str = "
UPDATE plugin_version SET retired_at = :now
 WHERE retired_at IS NULL AND activated_at IS NOT NULL
   AND plugin NOT IN (SELECT value FROM json_each(:plugins))";

const ACTIVATE: &str = "
INSERT INTO plugin_version (plugin, digest, first_active_at, activated_at)
VALUES (:plugin, :digest, :now, :now)
    ON CONFLICT DO UPDATE
   SET first_active_at = coalesce(first_active_at, :now), activated_at = :now, retired_at = NULL
 WHERE retired_at IS NOT NULL OR activated_at IS NULL";

const FORGET: &str = "
DELETE FROM plugin_version
 WHERE plugin = :plugin AND (retired_at IS NOT NULL OR activated_at IS NULL)
   AND digest NOT IN (SELECT digest FROM plugin_choice WHERE plugin = :plugin)
   AND digest NOT IN (SELECT digest FROM plugin_version WHERE plugin = :plugin
                       ORDER BY activated_at IS NOT NULL AND retired_at IS NULL DESC,
                                max(coalesce(activated_at, 0), coalesce(pushed_at, 0)) DESC
                       LIMIT :kept)";

const VERSIONS: &str = "
SELECT plugin, digest, pushed_at, first_active_at, activated_at, retired_at,
       EXISTS (SELECT 1 FROM plugin_choice AS choice
                WHERE choice.plugin = plugin_version.plugin AND choice.digest = plugin_version.digest)
       AS is_chosen
  FROM plugin_version
 ORDER BY plugin, activated_at IS NOT NULL AND retired_at IS NULL DESC, activated_at DESC,
          pushed_at DESC, digest";

const QUARANTINES: &str = "
SELECT tenant, plugin, digest, at, reason, instead FROM quarantine ORDER BY plugin, tenant, at";

const SUSPECTS: &str = "
SELECT tenant, plugin, digest, since, events, runs, broken FROM suspect ORDER BY plugin, tenant";

const QUARANTINE: &str = "
INSERT OR IGNORE INTO quarantine (tenant, plugin, digest, at, reason)
VALUES (:tenant, :plugin, :digest, :now, :reason)";

const KEEP_INSTEAD: &str = "
UPDATE quarantine SET instead = :instead
 WHERE tenant = :tenant AND plugin = :plugin AND digest = :digest";

const RELEASE: &str = "
DELETE FROM quarantine WHERE plugin = :plugin AND (:tenant IS NULL OR tenant = :tenant)";

const ACQUIT: &str = "
DELETE FROM suspect WHERE plugin = :plugin AND (:tenant IS NULL OR tenant = :tenant)";

const WAKE: &str = "
UPDATE run SET run_after = :now
 WHERE seq IN (SELECT run.seq
                 FROM json_each(:lanes) AS lane
                CROSS JOIN run INDEXED BY run_due
                 JOIN attempt ON attempt.run_seq = run.seq AND attempt.number = run.attempt
                WHERE run.state = 'queued' AND run.waits = 0
                  AND run.tenant = lane.value ->> 0 AND run.policy = lane.value ->> 1
                  AND :now < run.run_after AND attempt.class = 'quarantined'
                LIMIT :limit)";

const REVISION: &str = "SELECT value FROM meta WHERE name = 'plugin_revision'";

const KEEP_REVISION: &str = "
INSERT INTO meta (name, value) VALUES ('plugin_revision', :value)
    ON CONFLICT (name) DO UPDATE SET value = :value";

/// A version that was pushed or active.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct VersionView {
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the component.
    pub digest: String,
    /// When it was pushed the last time; none where it only came from the plugin's file.
    pub pushed_at: Option<At>,
    /// When it was active for the first time, if it ever was.
    pub first_active_at: Option<At>,
    /// When it became active the last time.
    pub activated_at: Option<At>,
    /// When another one took its place; none while it is the plugin's version.
    pub retired_at: Option<At>,
    /// Whether it was activated in the place of the version in the plugin's file.
    pub is_chosen: bool,
    /// For whom it is not run any more.
    pub quarantines: Vec<QuarantineView>,
    /// What is counted against it.
    pub strikes: Vec<StrikesView>,
}

/// A version that is not run any more for a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct QuarantineView {
    /// Whose runs.
    pub tenant: String,
    /// Since when.
    pub at: At,
    /// Why, for a person.
    pub reason: String,
    /// The version that runs in its place, if there is one.
    pub instead: Option<String>,
}

/// What is counted against a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StrikesView {
    /// Whose runs.
    pub tenant: String,
    /// When the first of them was.
    pub since: At,
    /// Different events on which it broke a rule.
    pub events: u32,
    /// Runs on which it was asked since then.
    pub runs: u32,
    /// Those of them on which it broke a rule.
    pub broken: u32,
}

impl VersionView {
    /// Whether it is the plugin's version.
    pub fn is_active(&self) -> bool {
        self.activated_at.is_some() && self.retired_at.is_none()
    }
}

/// Every version that is remembered, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versions {
    /// By plugin; of each the active one first, then the others, the last one that was active first.
    pub versions: Vec<VersionView>,
    /// Those that were activated in the place of the files', at most one of each plugin.
    pub choices: Vec<Choice>,
    /// Moves on with every change of a choice or a quarantine.
    pub revision: u64,
}

impl Versions {
    /// What was activated in the place of the version in a plugin's file.
    pub fn choice(&self, plugin: &str) -> Option<&Choice> {
        self.choices.iter().find(|it| it.version.plugin == plugin)
    }

    /// The quarantine of a version for a tenant, if there is one.
    pub fn quarantine(&self, tenant: &str, plugin: &str, digest: &str) -> Option<&QuarantineView> {
        let version = self
            .versions
            .iter()
            .find(|it| it.plugin == plugin && it.digest == digest)?;
        version.quarantines.iter().find(|it| it.tenant == tenant)
    }

    /// Digests of the versions before this one that a tenant can go back to, the last one first.
    pub fn before(&self, tenant: &str, plugin: &str, digest: &str) -> Vec<String> {
        let others = self.versions.iter().filter(|it| {
            it.plugin == plugin
                && it.digest != digest
                && it.activated_at.is_some()
                && it.quarantines.iter().all(|it| it.tenant != tenant)
        });
        others.map(|it| it.digest.clone()).collect()
    }
}

impl Store {
    /// Remembers which versions are active from now on. The oldest ones beyond
    /// [`VERSIONS_KEPT_MAX`] are forgotten.
    pub async fn keep_active_versions(
        &self,
        active: Vec<PluginVersion>,
        now: TimestampMs,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            let names: Vec<&str> = active.iter().map(|it| it.plugin.as_str()).collect();
            let names = super::row::to_json(&names)?;
            tx.prepare_cached(RETIRE_GONE)?
                .execute(named_params! { ":now": now, ":plugins": names })?;
            for it in &active {
                let (plugin, digest) = (&it.plugin, &it.digest);
                let version = named_params! { ":plugin": plugin, ":digest": digest, ":now": now };
                tx.prepare_cached(RETIRE)?.execute(version)?;
                tx.prepare_cached(ACTIVATE)?.execute(version)?;
                tx.prepare_cached(FORGET)?
                    .execute(named_params! { ":plugin": plugin, ":kept": VERSIONS_KEPT_MAX })?;
            }
            Ok(())
        })
        .await
    }

    /// Every version that is remembered. Of quarantines and strikes only a tenant's, where one is named.
    pub async fn plugin_versions(&self, tenant: Option<String>) -> Result<Versions, StoreError> {
        self.read(move |db| {
            let is_seen = |of: &str| tenant.as_deref().is_none_or(|it| it == of);
            let mut versions: Vec<VersionView> = all(db, VERSIONS, version)?;
            for (of, quarantine) in all(db, QUARANTINES, quarantine)? {
                if let Some(it) = find(&mut versions, &of)
                    && is_seen(&quarantine.tenant)
                {
                    it.quarantines.push(quarantine);
                }
            }
            for (of, strikes) in all(db, SUSPECTS, strikes)? {
                if let Some(it) = find(&mut versions, &of)
                    && is_seen(&strikes.tenant)
                {
                    it.strikes.push(strikes);
                }
            }
            Ok(Versions {
                versions,
                choices: choices::all(db)?,
                revision: revision(db)?,
            })
        })
        .await
    }

    /// Which change of choices or quarantines was the last.
    pub async fn plugin_revision(&self) -> Result<u64, StoreError> {
        self.read(revision).await
    }

    /// Takes a version out of use for a tenant; says whether it was in use.
    pub async fn quarantine(
        &self,
        tenant: String,
        version: PluginVersion,
        reason: String,
        now: TimestampMs,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let changed = tx.prepare_cached(QUARANTINE)?.execute(named_params! {
                ":tenant": tenant,
                ":plugin": version.plugin,
                ":digest": version.digest,
                ":now": now,
                ":reason": reason,
            })?;
            move_on(tx, changed)?;
            Ok(0 < changed)
        })
        .await
    }

    /// Remembers which version runs in the place of a quarantined one.
    pub async fn keep_instead(
        &self,
        tenant: String,
        version: PluginVersion,
        instead: Option<String>,
    ) -> Result<(), StoreError> {
        self.write(move |tx| {
            tx.prepare_cached(KEEP_INSTEAD)?.execute(named_params! {
                ":tenant": tenant,
                ":plugin": version.plugin,
                ":digest": version.digest,
                ":instead": instead,
            })?;
            Ok(())
        })
        .await
    }

    /// Ends the quarantines of a plugin's versions, of every tenant where none is named, and forgets what
    /// was counted. Says how many there were.
    pub async fn release_plugin(
        &self,
        tenant: Option<String>,
        plugin: String,
    ) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let params = named_params! { ":tenant": tenant, ":plugin": plugin };
            tx.prepare_cached(ACQUIT)?.execute(params)?;
            let changed = tx.prepare_cached(RELEASE)?.execute(params)?;
            move_on(tx, changed)?;
            Ok(changed)
        })
        .await
    }

    /// Lets runs of these lanes that wait because of a quarantine look again now.
    pub async fn wake_held_runs(
        &self,
        lanes: Vec<Lane>,
        now: TimestampMs,
    ) -> Result<usize, StoreError> {
        self.write(move |tx| {
            let lanes: Vec<_> = lanes.iter().map(|it| (&it.tenant, &it.policy)).collect();
            let lanes = super::row::to_json(&lanes)?;
            let params = named_params! { ":lanes": lanes, ":now": now, ":limit": RUNS_WOKEN_MAX };
            Ok(tx.prepare_cached(WAKE)?.execute(params)?)
        })
        .await
    }
}

fn all<T>(
    db: &Connection,
    sql: &str,
    read: fn(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare_cached(sql)?.query_map([], read)?.collect()
}

fn find<'a>(versions: &'a mut [VersionView], of: &PluginVersion) -> Option<&'a mut VersionView> {
    versions
        .iter_mut()
        .find(|it| it.plugin == of.plugin && it.digest == of.digest)
}

fn version(row: &Row<'_>) -> rusqlite::Result<VersionView> {
    Ok(VersionView {
        plugin: row.get("plugin")?,
        digest: row.get("digest")?,
        pushed_at: at(row, "pushed_at")?,
        first_active_at: at(row, "first_active_at")?,
        activated_at: at(row, "activated_at")?,
        retired_at: at(row, "retired_at")?,
        is_chosen: row.get("is_chosen")?,
        quarantines: Vec::new(),
        strikes: Vec::new(),
    })
}

fn at(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<At>> {
    Ok(row.get::<_, Option<TimestampMs>>(column)?.map(At))
}

fn of(row: &Row<'_>) -> rusqlite::Result<PluginVersion> {
    Ok(PluginVersion {
        plugin: row.get("plugin")?,
        digest: row.get("digest")?,
    })
}

fn quarantine(row: &Row<'_>) -> rusqlite::Result<(PluginVersion, QuarantineView)> {
    let view = QuarantineView {
        tenant: row.get("tenant")?,
        at: At(row.get("at")?),
        reason: row.get("reason")?,
        instead: row.get("instead")?,
    };
    Ok((of(row)?, view))
}

fn strikes(row: &Row<'_>) -> rusqlite::Result<(PluginVersion, StrikesView)> {
    let view = StrikesView {
        tenant: row.get("tenant")?,
        since: At(row.get("since")?),
        events: row.get("events")?,
        runs: row.get("runs")?,
        broken: row.get("broken")?,
    };
    Ok((of(row)?, view))
}

fn move_on(tx: &Connection, changed: usize) -> Result<(), StoreError> {
    if 0 < changed {
        let next = revision(tx)?.wrapping_add(1);
        tx.prepare_cached(KEEP_REVISION)?
            .execute(named_params! { ":value": next.to_be_bytes() })?;
    }
    Ok(())
}

fn revision(db: &Connection) -> Result<u64, StoreError> {
    let kept: Option<[u8; 8]> = db
        .prepare_cached(REVISION)?
        .query_row([], |row| row.get(0))
        .optional()?;
    Ok(kept.map_or(0, u64::from_be_bytes))
}
