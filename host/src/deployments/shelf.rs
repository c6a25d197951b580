//! Components of versions that were pushed or active, in a folder beside the database, named by their digests.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::sandbox::read_plugin;

/// The folder. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shelf(PathBuf);

impl Shelf {
    /// `triage.db.plugins` beside `triage.db`. It is made when the first version is kept.
    pub fn beside(database: &Path) -> Self {
        let mut folder = OsString::from(database);
        folder.push(".plugins");
        Self(folder.into())
    }

    /// Where a version is, if it is kept.
    pub fn path(&self, digest: &str) -> PathBuf {
        self.0.join(format!("{digest}.wasm"))
    }

    /// Keeps the bytes of a version that was loaded from a file.
    ///
    /// # Errors
    /// Where the file cannot be read, or has other bytes by now, or the folder cannot be written.
    pub fn keep(&self, digest: &str, file: &Path) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        let bytes = read_plugin(file)?;
        if hex::encode(Sha256::digest(&bytes)) != digest {
            let message = format!("{} changed after it was loaded", file.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        self.write(digest, &bytes)
    }

    /// Keeps the bytes of a version: whole or not at all.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn write(&self, digest: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(digest);
        if path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.0)?;
        // A server and a command may write the same one.
        let unfinished = self.0.join(format!("{digest}.{}.part", std::process::id()));
        let mut written = File::create(&unfinished)?;
        written.write_all(bytes)?;
        written.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(&self.0)?.sync_all()
    }

    /// Everything that is kept.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn files(&self) -> io::Result<Vec<PathBuf>> {
        match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            entries => entries?.map(|it| Ok(it?.path())).collect(),
        }
    }

    /// Removes those of these files that are of other versions.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn clear(&self, files: Vec<PathBuf>, kept: &BTreeSet<String>) -> io::Result<()> {
        for path in files {
            let name = path.file_name().and_then(|it| it.to_str());
            let digest = name.and_then(|it| it.split('.').next());
            let is_ours = path
                .extension()
                .is_some_and(|it| it == "wasm" || it == "part");
            if is_ours && digest.is_some_and(|it| !kept.contains(it)) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Shelf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(bytes: &[u8]) -> String {
        hex::encode(Sha256::digest(bytes))
    }

    fn names(shelf: &Shelf) -> Vec<String> {
        let entries = fs::read_dir(&shelf.0).unwrap();
        let name = |it: io::Result<fs::DirEntry>| it.unwrap().file_name().into_string().unwrap();
        entries.map(name).collect()
    }

    #[test]
    fn a_version_is_kept_whole_and_cleared_away() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::beside(&folder.path().join("triage.db"));
        let file = folder.path().join("a.wasm");
        fs::write(&file, "one").unwrap();
        let one = digest(b"one");
        shelf.keep(&one, &file).unwrap();
        assert_eq!(fs::read(shelf.path(&one)).unwrap(), b"one");
        // Kept already: the file may be gone.
        fs::remove_file(&file).unwrap();
        shelf.keep(&one, &file).unwrap();
        let clear = |kept: &BTreeSet<String>| shelf.clear(shelf.files().unwrap(), kept).unwrap();
        fs::write(shelf.path(&digest(b"two")).with_extension("7.part"), "tw").unwrap();
        clear(&BTreeSet::from([one.clone()]));
        assert_eq!(names(&shelf), [format!("{one}.wasm")]);
        clear(&BTreeSet::new());
        assert!(names(&shelf).is_empty());
    }

    #[test]
    fn other_bytes_than_were_loaded_are_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::beside(&folder.path().join("triage.db"));
        let file = folder.path().join("a.wasm");
        fs::write(&file, "two").unwrap();
        let one = digest(b"one");
        let error = shelf.keep(&one, &file).unwrap_err();
        assert!(error.to_string().ends_with("changed after it was loaded"));
        assert!(!shelf.path(&one).exists());
    }
}
