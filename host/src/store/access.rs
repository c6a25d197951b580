//! Who may ask: tokens, and what a browser holds instead of one.
//!
//! Called by `http` for every request that is not a delivery, and by the command
//! line. Only hashes are kept, so a stolen database opens nothing; and a secret is
//! found by its hash, so how long the search takes tells nothing about the secret.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rusqlite::{Connection, OptionalExtension, Row, named_params};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::views::At;
use super::{Store, StoreError, row};
use crate::model::id::TokenId;
use crate::model::secret::Secret;
use crate::model::time::TimestampMs;

/// How long a browser stays logged in, in milliseconds.
pub const SESSION_MS: i64 = 12 * 3_600_000;
/// Every token begins with this, so that scanners for leaked secrets can find one.
pub const TOKEN_PREFIX: &str = "triage_";

const INSERT_TOKEN: &str = "
INSERT INTO token (id, hash, name, tenant, role, created_at)
VALUES (:id, :hash, :name, :tenant, :role, :now)";

const FIND_TOKEN: &str = "SELECT id, tenant, role FROM token WHERE hash = :hash";

const LIST_TOKENS: &str = "
SELECT id, name, tenant, role, created_at
  FROM token
 WHERE :tenant IS NULL OR tenant = :tenant
 ORDER BY created_at, id";

const REVOKE_TOKEN: &str = "DELETE FROM token WHERE id = :id";

const INSERT_GRANT: &str = "
INSERT INTO browser_grant (hash, kind, token_id, expires_at)
VALUES (:hash, :kind, :token_id, :expires_at)";

const PRUNE_GRANTS: &str = "DELETE FROM browser_grant WHERE expires_at <= :now";

const USE_LINK: &str = "
DELETE FROM browser_grant
 WHERE hash = :hash AND kind = 'link' AND :now < expires_at
RETURNING token_id";

const END_SESSION: &str = "DELETE FROM browser_grant WHERE hash = :hash AND kind = 'session'";

const FIND_SESSION: &str = "
SELECT token.id, token.tenant, token.role
  FROM browser_grant
  JOIN token ON token.id = browser_grant.token_id
 WHERE browser_grant.hash = :hash AND browser_grant.kind = 'session' AND :now < browser_grant.expires_at";

/// What a token may do, least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read.
    Viewer,
    /// Read and replay.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word used in SQL, JSON and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no role.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`: expected viewer, operator or admin")]
pub struct UnknownRole(pub String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [Self::Viewer, Self::Operator, Self::Admin]
            .into_iter()
            .find(|it| it.as_str() == text)
            .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}

/// What the holder of a token or session may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// The token behind it.
    pub token_id: TokenId,
    /// The tenant whose data it may see; every tenant's where `None`.
    pub tenant: Option<String>,
    /// What it may do there.
    pub role: Role,
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TokenView {
    /// Names it.
    pub token_id: TokenId,
    /// What a person called it.
    pub name: String,
    /// The tenant whose data it may see; every tenant's where `None`.
    pub tenant: Option<String>,
    /// What it may do there.
    pub role: Role,
    /// When it was made.
    pub created_at: At,
}

impl Store {
    /// Makes a token. Its secret is shown once, here.
    pub async fn create_token(
        &self,
        name: String,
        tenant: Option<String>,
        role: Role,
        now: TimestampMs,
    ) -> Result<(TokenId, Secret), StoreError> {
        let id = TokenId::new(now);
        let secret = Secret::new(format!("{TOKEN_PREFIX}{}", random_text()));
        let hash = hash(&secret);
        self.write(move |tx| {
            tx.prepare_cached(INSERT_TOKEN)?.execute(named_params! {
                ":id": id.to_bytes(),
                ":hash": hash,
                ":name": name,
                ":tenant": tenant,
                ":role": role.as_str(),
                ":now": now,
            })?;
            Ok(())
        })
        .await?;
        Ok((id, secret))
    }

    /// What the holder of this token may do, if there is such a token.
    pub async fn find_token(&self, secret: &Secret) -> Result<Option<Access>, StoreError> {
        let hash = hash(secret);
        self.read(move |db| {
            let found = db
                .prepare_cached(FIND_TOKEN)?
                .query_row(named_params! { ":hash": hash }, |row| Ok(access(row)))
                .optional()?;
            found.transpose()
        })
        .await
    }

    /// Every token of a tenant, oldest first.
    pub async fn list_tokens(&self, tenant: Option<String>) -> Result<Vec<TokenView>, StoreError> {
        self.read(move |db| {
            let mut statement = db.prepare_cached(LIST_TOKENS)?;
            let mut rows = statement.query(named_params! { ":tenant": tenant })?;
            let mut tokens = Vec::new();
            while let Some(row) = rows.next()? {
                tokens.push(TokenView {
                    token_id: row::id(row, "id")?,
                    name: row.get("name")?,
                    tenant: row.get("tenant")?,
                    role: row::word(&row.get::<_, String>("role")?, "token role")?,
                    created_at: At(row.get("created_at")?),
                });
            }
            Ok(tokens)
        })
        .await
    }

    /// Ends a token with every session and link made from it; says whether there was one.
    pub async fn revoke_token(&self, id: TokenId) -> Result<bool, StoreError> {
        self.write(move |tx| {
            Ok(tx
                .prepare_cached(REVOKE_TOKEN)?
                .execute(named_params! { ":id": id.to_bytes() })?
                == 1)
        })
        .await
    }

    /// Makes a link that logs a browser in once, within `ttl_ms` milliseconds.
    pub async fn create_login_link(
        &self,
        token_id: TokenId,
        now: TimestampMs,
        ttl_ms: i64,
    ) -> Result<Secret, StoreError> {
        let link = Secret::new(random_text());
        let hash = hash(&link);
        self.write(move |tx| insert_grant(tx, hash, "link", token_id, now, ttl_ms))
            .await?;
        Ok(link)
    }

    /// Turns a login link into a session, once: `None` where it was used, ran out or never was.
    pub async fn use_login_link(
        &self,
        link: &Secret,
        now: TimestampMs,
    ) -> Result<Option<Secret>, StoreError> {
        let (link_hash, session) = (hash(link), Secret::new(random_text()));
        let session_hash = hash(&session);
        let used = self
            .write(move |tx| {
                let token_id = tx
                    .prepare_cached(USE_LINK)?
                    .query_row(named_params! { ":hash": link_hash, ":now": now }, |row| {
                        row::id(row, "token_id")
                    })
                    .optional()?;
                let Some(token_id) = token_id else {
                    return Ok(false);
                };
                insert_grant(tx, session_hash, "session", token_id, now, SESSION_MS)?;
                Ok(true)
            })
            .await?;
        Ok(used.then_some(session))
    }

    /// Logs a browser in for [`SESSION_MS`].
    pub async fn create_session(
        &self,
        token_id: TokenId,
        now: TimestampMs,
    ) -> Result<Secret, StoreError> {
        let session = Secret::new(random_text());
        let hash = hash(&session);
        self.write(move |tx| insert_grant(tx, hash, "session", token_id, now, SESSION_MS))
            .await?;
        Ok(session)
    }

    /// What the holder of this session may do, while it lasts.
    pub async fn find_session(
        &self,
        session: &Secret,
        now: TimestampMs,
    ) -> Result<Option<Access>, StoreError> {
        let hash = hash(session);
        self.read(move |db| {
            let found = db
                .prepare_cached(FIND_SESSION)?
                .query_row(named_params! { ":hash": hash, ":now": now }, |row| {
                    Ok(access(row))
                })
                .optional()?;
            found.transpose()
        })
        .await
    }

    /// Logs a browser out.
    pub async fn end_session(&self, session: &Secret) -> Result<(), StoreError> {
        let hash = hash(session);
        self.write(move |tx| {
            tx.prepare_cached(END_SESSION)?
                .execute(named_params! { ":hash": hash })?;
            Ok(())
        })
        .await
    }
}

/// Keeps a link or a session, and forgets those that ran out.
fn insert_grant(
    tx: &Connection,
    hash: [u8; 32],
    kind: &str,
    token_id: TokenId,
    now: TimestampMs,
    ttl_ms: i64,
) -> Result<(), StoreError> {
    tx.prepare_cached(PRUNE_GRANTS)?
        .execute(named_params! { ":now": now })?;
    tx.prepare_cached(INSERT_GRANT)?.execute(named_params! {
        ":hash": hash,
        ":kind": kind,
        ":token_id": token_id.to_bytes(),
        ":expires_at": now.saturating_add(ttl_ms),
    })?;
    Ok(())
}

fn access(row: &Row<'_>) -> Result<Access, StoreError> {
    Ok(Access {
        token_id: row::id(row, "id")?,
        tenant: row.get("tenant")?,
        role: row::word(&row.get::<_, String>("role")?, "token role")?,
    })
}

/// 43 characters that nobody can guess: 256 random bits.
fn random_text() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// A plain hash is enough for a secret with 256 random bits: there is nothing to try out.
fn hash(secret: &Secret) -> [u8; 32] {
    Sha256::digest(secret.expose().as_bytes()).into()
}
