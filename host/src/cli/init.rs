//! `triage init`: everything that `serve` needs, made once, nothing overwritten.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::failure::Failure;
use super::output::Output;
use super::{Context, wait_for};
use crate::config;
use crate::model::secret::{MasterKey, Secret};
use crate::store::Store;
use crate::store::access::Role;

/// Who may read secrets: nobody else.
const PRIVATE_FILE: u32 = 0o600;
const PRIVATE_FOLDER: u32 = 0o700;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The folder to write to; it is made where it is missing.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
}

/// What is written, in the folder.
struct Files {
    config: PathBuf,
    secrets: PathBuf,
    secret: PathBuf,
    master_key: PathBuf,
    database: PathBuf,
}

pub(super) fn run(
    arguments: &Arguments,
    context: &Context<'_>,
    output: &mut Output<'_>,
) -> Result<(), Failure> {
    let files = Files::in_folder(&arguments.folder);
    refuse_existing(&files)?;

    fs::create_dir_all(&arguments.folder)
        .with_context(|| format!("cannot make {}", arguments.folder.display()))?;
    make_private_folder(&files.secrets)?;
    write_new(
        &files.secret,
        &format!("{}\n", new_secret().expose()),
        PRIVATE_FILE,
    )?;
    let master_key = STANDARD.encode(rand::random::<[u8; MasterKey::BYTES]>());
    write_new(&files.master_key, &format!("{master_key}\n"), PRIVATE_FILE)?;
    let token = make_database(&files.database, context)?;
    // Last, so that a folder with a configuration has all that it names.
    write_new(&files.config, config::TEMPLATE, 0o644)?;

    if output.is_json() {
        return output.json(&json!({
            "config": files.config,
            "database": files.database,
            "secret": files.secret,
            "master_key": files.master_key,
            "token": token.expose(),
        }));
    }
    let in_folder = match arguments.folder.as_path() {
        folder if folder == Path::new(".") => String::new(),
        folder => format!("cd {} && ", folder.display()),
    };
    output.field("wrote", Some(files.config.display().to_string()))?;
    output.field(
        "",
        Some(format!(
            "{}, the signing secret of standard-main",
            files.secret.display()
        )),
    )?;
    output.field(
        "",
        Some(format!(
            "{}, which encrypts the secrets in the database: keep a copy elsewhere",
            files.master_key.display()
        )),
    )?;
    output.field("", Some(files.database.display().to_string()))?;
    output.field("admin token", Some(token.expose().to_owned()))?;
    output.line("\nThe token opens the API and the console. It is shown only now.")?;
    output.line("\nNext:")?;
    output.line(&format!("  {in_folder}triage serve"))?;
    output.line(&format!(
        "  {in_folder}triage send standard incident.opened   # in another terminal"
    ))
}

impl Files {
    fn in_folder(folder: &Path) -> Self {
        let secrets = folder.join("secrets");
        Self {
            config: folder.join("triage.toml"),
            secret: secrets.join("standard-main"),
            secrets,
            master_key: folder.join("triage.key"),
            database: folder.join("triage.db"),
        }
    }
}

fn refuse_existing(files: &Files) -> Result<(), Failure> {
    let files = [
        &files.config,
        &files.secret,
        &files.master_key,
        &files.database,
    ];
    let existing: Vec<String> = files
        .into_iter()
        // Also a link that leads nowhere is somebody's.
        .filter(|it| it.symlink_metadata().is_ok())
        .map(|it| it.display().to_string())
        .collect();
    if existing.is_empty() {
        return Ok(());
    }
    let existing = existing.join(", ");
    Err(
        anyhow::anyhow!("{existing} exists already: nothing was written; choose another folder")
            .into(),
    )
}

fn make_private_folder(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_FOLDER)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))?;
    Ok(())
}

fn write_new(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// A signing secret of Standard Webhooks: 256 random bits.
fn new_secret() -> Secret {
    Secret::new(format!(
        "whsec_{}",
        STANDARD.encode(rand::random::<[u8; 32]>())
    ))
}

fn make_database(path: &Path, context: &Context<'_>) -> Result<Secret, Failure> {
    Store::create(path).map_err(anyhow::Error::new)?;
    let store = Store::open(path).map_err(anyhow::Error::new)?;
    let now = context.clock.now();
    let made = wait_for(store.create_token("admin".to_owned(), None, Role::Admin, now))?;
    let (_, token) = made?;
    Ok(token)
}
