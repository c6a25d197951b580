//! Versions that were pushed, and which were activated in the place of the one in the plugin's file.

use rusqlite::{Connection, Row, named_params};

use super::{FORGET, VERSIONS_KEPT_MAX, move_on};
use crate::model::strike::PluginVersion;
use crate::model::time::TimestampMs;
use crate::store::{Store, StoreError};

const IS_KNOWN: &str = "
SELECT EXISTS (SELECT 1 FROM plugin_version WHERE plugin = :plugin AND digest = :digest)";

const PUSH: &str = "
INSERT INTO plugin_version (plugin, digest, pushed_at) VALUES (:plugin, :digest, :now)
    ON CONFLICT DO UPDATE SET pushed_at = :now";

const CHOOSE: &str = "
INSERT INTO plugin_choice (plugin, digest)
SELECT plugin, digest FROM plugin_version WHERE plugin = :plugin AND digest = :digest
    ON CONFLICT (plugin) DO UPDATE SET digest = excluded.digest, beside = NULL";

const CHOOSE_FILE: &str = "DELETE FROM plugin_choice WHERE plugin = :plugin";

const CHOICES: &str = "SELECT plugin, digest, beside FROM plugin_choice ORDER BY plugin";

const SET_BESIDE: &str = "
UPDATE plugin_choice SET beside = :beside
 WHERE plugin = :plugin AND digest = :digest AND beside IS NULL";

const END: &str = "
DELETE FROM plugin_choice
 WHERE plugin = :plugin AND digest = :digest AND beside IS :beside";

/// A version that was activated in the place of the one in the plugin's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The version.
    pub version: PluginVersion,
    /// The version that the file had then; another one there ends the choice. `None` until a server saw it.
    pub beside: Option<String>,
}

/// What a server found out about choices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettledChoices {
    /// New ones, with the version that the file has.
    pub begun: Vec<(PluginVersion, String)>,
    /// Those that hold no longer.
    pub ended: Vec<Choice>,
}

impl Store {
    /// Remembers a version that was pushed; says whether it was unknown. The oldest ones beyond
    /// [`VERSIONS_KEPT_MAX`] are forgotten.
    pub async fn keep_pushed_version(
        &self,
        version: PluginVersion,
        now: TimestampMs,
    ) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let (plugin, digest) = (&version.plugin, &version.digest);
            let of = named_params! { ":plugin": plugin, ":digest": digest };
            let is_known: bool = tx
                .prepare_cached(IS_KNOWN)?
                .query_row(of, |row| row.get(0))?;
            tx.prepare_cached(PUSH)?
                .execute(named_params! { ":plugin": plugin, ":digest": digest, ":now": now })?;
            tx.prepare_cached(FORGET)?
                .execute(named_params! { ":plugin": plugin, ":kept": VERSIONS_KEPT_MAX })?;
            Ok(!is_known)
        })
        .await
    }

    /// Activates a version in the place of the one in the plugin's file; says whether it is known.
    pub async fn choose_version(&self, version: PluginVersion) -> Result<bool, StoreError> {
        self.write(move |tx| {
            let changed = tx.prepare_cached(CHOOSE)?.execute(named_params! {
                ":plugin": version.plugin, ":digest": version.digest,
            })?;
            move_on(tx, changed)?;
            Ok(0 < changed)
        })
        .await
    }

    /// Activates the version in the plugin's file again.
    pub async fn choose_file(&self, plugin: String) -> Result<(), StoreError> {
        self.write(move |tx| {
            let changed = tx
                .prepare_cached(CHOOSE_FILE)?
                .execute(named_params! { ":plugin": plugin })?;
            move_on(tx, changed)
        })
        .await
    }

    /// Writes down what was found out about choices. One that was changed meanwhile stays as it is.
    pub async fn settle_choices(&self, settled: SettledChoices) -> Result<(), StoreError> {
        self.write(move |tx| {
            for (version, beside) in &settled.begun {
                tx.prepare_cached(SET_BESIDE)?.execute(named_params! {
                    ":plugin": version.plugin, ":digest": version.digest, ":beside": beside,
                })?;
            }
            for Choice { version, beside } in &settled.ended {
                tx.prepare_cached(END)?.execute(named_params! {
                    ":plugin": version.plugin, ":digest": version.digest, ":beside": beside,
                })?;
            }
            Ok(())
        })
        .await
    }
}

/// Every choice.
pub(super) fn all(db: &Connection) -> Result<Vec<Choice>, StoreError> {
    super::all(db, CHOICES, choice).map_err(StoreError::from)
}

fn choice(row: &Row<'_>) -> rusqlite::Result<Choice> {
    Ok(Choice {
        version: super::of(row)?,
        beside: row.get("beside")?,
    })
}
