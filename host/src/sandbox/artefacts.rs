//! Keeps compiled components on disk, so that a start does not compile them again.
//!
//! Called by `load`. A file's name says which component it was compiled from, by which version, with which
//! settings and for which processor; its seal says that this host wrote it under that name. What is not as it
//! was written is never loaded, but removed and compiled again. The folder may be deleted at any time.

#[cfg(test)]
mod tests;
mod trusted;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use sha2::{Digest, Sha256};

use self::trusted::Seal;
pub use self::trusted::{ArtefactKey, Trusted};

/// Bytes of all artefacts together; those that were not used for longest go first.
pub const ARTEFACTS_BYTES_MAX: u64 = 2 << 30;
/// Bytes of one, as `compile` bounds them, with its head.
const ARTEFACT_BYTES_MAX: u64 = (256 << 20) + 64;
/// How a file begins.
const MAGIC: &[u8; 16] = b"triage-artefact1";
/// What files that are being written are called.
const UNFINISHED: &str = "unfinished-";
/// When such a file was left by a process that is gone.
const UNFINISHED_FOR: Duration = Duration::from_secs(600);

/// The system writes its own time: nobody else reads it here.
const USED_NOW: Timestamps = Timestamps {
    last_access: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_OMIT,
    },
    last_modification: Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    },
};

/// The folder of compiled components.
pub struct Artefacts {
    folder: PathBuf,
    key: ArtefactKey,
    bytes_max: u64,
    written: AtomicU64,
}

/// Why an artefact is not loaded.
#[derive(Debug, thiserror::Error)]
enum Distrust {
    #[error("it is not a file of this cache")]
    NotOurs,
    #[error("it was cut off, changed, or written by another host or under another name")]
    Seal,
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
}

impl Artefacts {
    /// Keeps artefacts in a folder, which is made when the first is written.
    pub fn new(folder: PathBuf, key: ArtefactKey) -> Self {
        Self {
            folder,
            key,
            bytes_max: ARTEFACTS_BYTES_MAX,
            written: AtomicU64::new(0),
        }
    }

    /// The folder beside a database: its name with `.artefacts`.
    pub fn beside(database: &Path) -> PathBuf {
        let mut name = database.as_os_str().to_owned();
        name.push(".artefacts");
        PathBuf::from(name)
    }

    /// The artefact of a component, if it is there and as it was written.
    pub(super) fn read(&self, name: &str) -> Option<Trusted> {
        let path = self.folder.join(name);
        match self.open(name, &path) {
            Ok(artefact) => Some(artefact),
            Err(Distrust::Unreadable(error)) if error.kind() == ErrorKind::NotFound => None,
            Err(distrust) => {
                self.drop_artefact(name, &distrust.to_string());
                None
            }
        }
    }

    fn open(&self, name: &str, path: &Path) -> Result<Trusted, Distrust> {
        // Never a link to elsewhere, and never something that is waited for, as a pipe is.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(flags)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(Distrust::NotOurs);
        }
        // Whole into memory: what is checked is what is loaded, whatever happens to the file.
        let (mut magic, mut seal, mut bytes) = ([0; 16], Seal::default(), Vec::new());
        let mut reader = (&file).take(ARTEFACT_BYTES_MAX);
        reader.read_exact(&mut magic).map_err(short)?;
        reader.read_exact(&mut seal).map_err(short)?;
        if &magic != MAGIC {
            return Err(Distrust::NotOurs);
        }
        reader.read_to_end(&mut bytes)?;
        let artefact = self.key.open(name, &seal, bytes).ok_or(Distrust::Seal)?;
        // The time of the last use decides what goes first. Never needed to work.
        let _ = futimens(&file, &USED_NOW);
        Ok(artefact)
    }

    /// Keeps an artefact. What fails is a warning: it is compiled again next time.
    pub(super) fn write(&self, name: &str, artefact: &Trusted) {
        let written = self.try_write(name, artefact);
        if let Err(error) = written.and_then(|()| self.tidy(name)) {
            tracing::warn!(
                folder = %self.folder.display(), artefact = name, %error,
                "a compiled plugin is not cached, and compiled again at the next start"
            );
        }
    }

    fn try_write(&self, name: &str, artefact: &Trusted) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.folder)?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        let unfinished = format!("{UNFINISHED}{}-{number}", std::process::id());
        let unfinished = self.folder.join(unfinished);
        let written = self.write_to(&unfinished, name, artefact);
        if written.is_err() {
            // The error that is told is the first one.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }

    fn write_to(&self, unfinished: &Path, name: &str, artefact: &Trusted) -> io::Result<()> {
        // Left by a process with the same number that was killed.
        remove(unfinished)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(unfinished)?;
        file.write_all(MAGIC)?;
        file.write_all(&self.key.seal(name, artefact))?;
        file.write_all(artefact.bytes())?;
        file.sync_all()?;
        fs::rename(unfinished, self.folder.join(name))?;
        File::open(&self.folder)?.sync_all()
    }

    /// Removes an artefact that is not what it should be.
    pub(super) fn drop_artefact(&self, name: &str, why: &str) {
        let path = self.folder.join(name);
        tracing::warn!(
            artefact = %path.display(), why,
            "a compiled plugin in the cache is not loaded; it is removed and compiled again"
        );
        // A folder in its place stays there, and is told of again.
        let _ = fs::remove_file(path);
    }

    /// Removes what was not used for longest, but not what was just written, until the rest fits.
    fn tidy(&self, newest: &str) -> io::Result<()> {
        let now = fs::metadata(self.folder.join(newest))?.modified()?;
        let mut total = 0;
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let about = entry.metadata()?;
            let used = about.modified()?;
            let is_unfinished = entry.file_name().to_string_lossy().starts_with(UNFINISHED);
            if is_unfinished && used + UNFINISHED_FOR < now {
                remove(&entry.path())?;
            } else if !is_unfinished && about.is_file() {
                total += about.len();
                files.push((used, about.len(), entry.path()));
            }
        }
        files.sort();
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            if !path.ends_with(newest) {
                remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// The name under which a component's artefact is kept.
pub(super) fn name(digest: &str, fingerprint: &[u8; 32]) -> String {
    let mut hash = Sha256::new();
    hash.update(fingerprint);
    hash.update(digest.as_bytes());
    hex::encode(hash.finalize())
}

/// Removes a file that another process may have removed already.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// A file that is shorter than its head was cut off.
fn short(error: io::Error) -> Distrust {
    match error.kind() {
        ErrorKind::UnexpectedEof => Distrust::Seal,
        _ => Distrust::Unreadable(error),
    }
}
