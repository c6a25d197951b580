//! A disk that fails on demand: a host whose database is written through `faults/shim.c`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::binary;
use crate::folder::Folder;

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    Sound,
    /// So many bytes can still be written; then it is full.
    Full {
        /// Counted from now on, over all files of the database.
        after_bytes: u64,
    },
    /// A write takes at most so many bytes, and says so.
    ShortWrites {
        /// More than none.
        bytes: u64,
    },
    /// Flushes fail as on a disk with bad sectors.
    NoFlush {
        /// So many succeed before.
        after: u64,
        /// So many fail, or all of them.
        times: Option<u64>,
    },
    /// Each flush takes so long.
    SlowFlush(Duration),
}

impl Fault {
    /// The numbers of `shim.c` but for the first.
    fn numbers(self) -> String {
        match self {
            Self::Sound => "-1 -1 0 0 0".to_owned(),
            Self::Full { after_bytes } => format!("{after_bytes} -1 0 0 0"),
            Self::ShortWrites { bytes } => format!("-1 {bytes} 0 0 0"),
            Self::NoFlush { after, times } => {
                let times = times.map_or_else(|| "-1".to_owned(), |it| it.to_string());
                format!("-1 -1 {after} {times} 0")
            }
            Self::SlowFlush(time) => format!("-1 -1 0 0 {}", time.as_millis()),
        }
    }
}

/// The disk under the database of one folder.
#[derive(Debug)]
pub struct Disk {
    library: PathBuf,
    files: PathBuf,
    control: PathBuf,
    changes: AtomicU64,
}

impl Disk {
    /// A sound disk under `triage.db` of a folder.
    pub fn under(folder: &Folder) -> Self {
        let source = binary::root().join("tests/faults/shim.c");
        let library = folder.path("faults.so");
        let output = Command::new("cc")
            .args([
                "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o",
            ])
            .args([&library, &source])
            .output()
            .unwrap_or_else(|error| {
                panic!("a C compiler is needed as `cc`, as for SQLite itself: {error}")
            });
        assert!(
            output.status.success(),
            "cc {}: {}",
            source.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        let root = folder.root().canonicalize().unwrap();
        let disk = Self {
            library,
            files: root.join("triage.db"),
            control: root.join("disk"),
            changes: AtomicU64::new(0),
        };
        disk.set(Fault::Sound);
        disk
    }

    /// What a process needs in its environment to write to this disk.
    pub fn environment(&self) -> Vec<(String, OsString)> {
        vec![
            ("LD_PRELOAD".to_owned(), self.library.clone().into()),
            ("TRIAGE_FAULT_FILES".to_owned(), self.files.clone().into()),
            (
                "TRIAGE_FAULT_CONTROL".to_owned(),
                self.control.clone().into(),
            ),
        ]
    }

    /// Changes what is wrong, from the next call on.
    pub fn set(&self, fault: Fault) {
        self.set_for("*", fault);
    }

    /// Changes what is wrong with files that end so: `.db` is the database, `-wal` its log.
    pub fn set_for(&self, suffix: &str, fault: Fault) {
        let change = self.changes.fetch_add(1, Ordering::SeqCst);
        let next = self.control.with_extension("next");
        std::fs::write(&next, format!("{change} {} {suffix}\n", fault.numbers())).unwrap();
        // Whole or not at all, for whoever reads it meanwhile.
        std::fs::rename(next, &self.control).unwrap();
    }

    /// The calls that failed or were cut short so far, as `write triage.db-wal`.
    pub fn failures(&self) -> Vec<String> {
        let hits = std::fs::read_to_string(self.control.with_extension("hits"));
        hits.unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }
}
