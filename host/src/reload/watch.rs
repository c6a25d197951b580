//! Knows whether files changed, and whether they rest again.
//!
//! Called by `reload`. Links are followed: what Kubernetes mounts is changed by pointing
//! a link at another folder. Nothing here knows what the files mean.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::sandbox::PLUGIN_BYTES_MAX;

/// What the system says about each file, without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stamps(BTreeMap<PathBuf, Stamp>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Stamp {
    There {
        device: u64,
        inode: u64,
        bytes: u64,
        /// Seconds and nanoseconds.
        modified: (i64, i64),
        /// The same for owner, rights and names: a file may become readable without being written.
        changed: (i64, i64),
    },
    Missing(ErrorKind),
}

/// What each file holds, as a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contents(BTreeMap<PathBuf, Result<[u8; 32], ErrorKind>>);

/// Files that are looked at again and again.
#[derive(Debug)]
pub(super) struct Watch {
    seen: Stamps,
    is_pending: bool,
}

impl Stamps {
    pub(super) fn of<'a>(files: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        Self(
            files
                .into_iter()
                .map(|path| (path.clone(), Stamp::of(path)))
                .collect(),
        )
    }

    /// The same files as they are now.
    fn again(&self) -> Self {
        Self::of(self.0.keys())
    }

    /// Whether each file of `newer` is one of these.
    fn knows_all_of(&self, newer: &Self) -> bool {
        newer.0.keys().all(|path| self.0.contains_key(path))
    }
}

impl Stamp {
    fn of(path: &Path) -> Self {
        match path.metadata() {
            Ok(metadata) => Self::There {
                device: metadata.dev(),
                inode: metadata.ino(),
                bytes: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            },
            Err(error) => Self::Missing(error.kind()),
        }
    }
}

impl Contents {
    pub(super) fn of(files: &BTreeSet<PathBuf>) -> Self {
        let digest = |path: &PathBuf| digest(path).map_err(|error| error.kind());
        Self(
            files
                .iter()
                .map(|path| (path.clone(), digest(path)))
                .collect(),
        )
    }
}

/// SHA-256 of a file, as far as a file of a configuration may be long: a longer one is refused.
fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?.take(PLUGIN_BYTES_MAX + 1);
    let mut digest = Sha256::new();
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let read = match file.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            read => read?,
        };
        match bytes.get(..read) {
            Some(read) if !read.is_empty() => digest.update(read),
            _ => return Ok(digest.finalize().into()),
        }
    }
}

impl Watch {
    /// Begins with what was seen when the configuration was read.
    ///
    /// Where files changed while they were read, they are read again when they rest.
    pub(super) fn new(seen: Stamps, is_stable: bool) -> Self {
        Self {
            seen,
            is_pending: !is_stable,
        }
    }

    /// Whether it is time to read: something changed, and nothing since the look before.
    pub(super) fn look(&mut self) -> bool {
        let now = self.seen.again();
        self.look_at(now)
    }

    fn look_at(&mut self, now: Stamps) -> bool {
        if now == self.seen {
            return self.is_pending;
        }
        self.seen = now;
        self.is_pending = true;
        false
    }

    /// Notes what was read, and says whether it may be used.
    ///
    /// Not while files change; and files that were not watched before must be seen twice as
    /// well, except where somebody `asked` and so says that they are whole.
    pub(super) fn settle(&mut self, read: &Stamps, is_stable: bool, asked: bool) -> bool {
        let is_settled = is_stable && (asked || self.seen.knows_all_of(read));
        self.seen = read.clone();
        self.is_pending = !is_settled;
        is_settled
    }

    /// Whether files are as they were when they were read; else they are read again.
    pub(super) fn is_still(&mut self, read: &Stamps) -> bool {
        let now = read.again();
        let is_still = now == *read;
        self.seen = now;
        self.is_pending = !is_still;
        is_still
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamps(files: &[(&str, u64)]) -> Stamps {
        let stamp = |bytes| Stamp::There {
            device: 1,
            inode: 1,
            bytes,
            modified: (0, 0),
            changed: (0, 0),
        };
        Stamps(
            files
                .iter()
                .map(|(path, bytes)| (PathBuf::from(path), stamp(*bytes)))
                .collect(),
        )
    }

    #[test]
    fn a_change_is_taken_up_when_it_rests() {
        let mut watch = Watch::new(stamps(&[("a", 1)]), true);
        assert!(!watch.look_at(stamps(&[("a", 1)])));
        for bytes in [0, 10, 20] {
            assert!(!watch.look_at(stamps(&[("a", bytes)])), "{bytes}");
        }
        assert!(watch.look_at(stamps(&[("a", 20)])));
        assert!(watch.settle(&stamps(&[("a", 20)]), true, false));
        assert!(!watch.look_at(stamps(&[("a", 20)])), "it was read");
    }

    #[test]
    fn what_changed_while_it_was_read_is_read_again() {
        let mut watch = Watch::new(stamps(&[("a", 1)]), true);
        assert!(!watch.settle(&stamps(&[("a", 2)]), false, true));
        assert!(watch.look_at(stamps(&[("a", 2)])));
        let mut at_start = Watch::new(stamps(&[("a", 1)]), false);
        assert!(at_start.look_at(stamps(&[("a", 1)])));
    }

    #[test]
    fn a_file_that_is_named_for_the_first_time_must_rest_as_well() {
        let (before, after) = (stamps(&[("a", 1)]), stamps(&[("a", 2), ("b", 1)]));
        let mut watch = Watch::new(before.clone(), true);
        assert!(!watch.settle(&after, true, false));
        assert!(watch.look_at(after.clone()));
        assert!(watch.settle(&after, true, false));
        let mut asked = Watch::new(before, true);
        assert!(asked.settle(&after, true, true));
    }

    #[test]
    fn links_are_followed_and_rights_are_seen() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for data in ["one", "two"] {
            std::fs::create_dir(path(data)).unwrap();
            std::fs::write(path(data).join("file"), "same").unwrap();
        }
        // As Kubernetes does: `file` → `data/file`, `data` → `one`, later → `two`.
        symlink("one", path("data")).unwrap();
        symlink("data/file", path("file")).unwrap();
        let files = BTreeSet::from([path("file")]);
        let (stamps, contents) = (Stamps::of(&files), Contents::of(&files));
        assert_eq!(stamps, stamps.again());
        symlink("two", path("next")).unwrap();
        std::fs::rename(path("next"), path("data")).unwrap();
        let swapped = stamps.again();
        assert_ne!(stamps, swapped);
        assert_eq!(contents, Contents::of(&files), "the content is the same");
        std::fs::set_permissions(path("two/file"), PermissionsExt::from_mode(0o600)).unwrap();
        assert_ne!(swapped, swapped.again());
        std::fs::remove_file(path("two/file")).unwrap();
        assert_eq!(
            Stamps::of(&files).0.values().next(),
            Some(&Stamp::Missing(ErrorKind::NotFound))
        );
    }
}
