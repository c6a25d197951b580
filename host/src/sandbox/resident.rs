//! Which loaded versions have their code in memory: those that were used last, as far as they fit.
//!
//! A version that had to go comes back from the cache of compiled plugins at its next event, within
//! a millisecond or few. So there may be thousands of versions, of which some are used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::load::Linked;

/// Bytes of machine code and tables of all versions in memory.
pub const RESIDENT_BYTES_MAX: u64 = 512 << 20;

/// A version of a plugin, ready to be called for any number of events.
pub struct Plugin {
    /// SHA-256 of the component's bytes in hexadecimal: the version's name.
    pub digest: String,
    classifies: bool,
    triages: bool,
    linked: Mutex<Option<Arc<Linked>>>,
    /// The number of its last use.
    used: AtomicU64,
}

impl Plugin {
    /// Whether it exports `classifier`.
    pub fn can_classify(&self) -> bool {
        self.classifies
    }

    /// Whether it exports `triager`.
    pub fn can_triage(&self) -> bool {
        self.triages
    }

    /// Its code, if that is in memory.
    fn linked(&self) -> Option<Arc<Linked>> {
        self.slot().clone()
    }

    fn slot(&self) -> MutexGuard<'_, Option<Arc<Linked>>> {
        self.linked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every version that somebody holds, and how much of them may be in memory.
pub(super) struct Resident {
    plugins: Mutex<Vec<Weak<Plugin>>>,
    uses: AtomicU64,
    bytes_max: u64,
}

impl Resident {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            plugins: Mutex::default(),
            uses: AtomicU64::new(0),
            bytes_max,
        }
    }

    /// A version that was just linked. Others may have to go.
    pub(super) fn add(&self, digest: String, linked: Linked) -> Arc<Plugin> {
        let plugin = Arc::new(Plugin {
            digest,
            classifies: linked.classifier.is_some(),
            triages: linked.triager.is_some(),
            linked: Mutex::new(Some(Arc::new(linked))),
            used: AtomicU64::new(self.next_use()),
        });
        self.plugins().push(Arc::downgrade(&plugin));
        self.make_room();
        plugin
    }

    /// The code of a version for one more use; from `load` where it is not in memory.
    pub(super) fn of(
        &self,
        plugin: &Plugin,
        load: impl FnOnce() -> Option<Linked>,
    ) -> Option<Arc<Linked>> {
        plugin.used.store(self.next_use(), Ordering::Relaxed);
        if let Some(linked) = plugin.linked() {
            return Some(linked);
        }
        let linked = Arc::new(load()?);
        *plugin.slot() = Some(linked.clone());
        self.make_room();
        Some(linked)
    }

    /// Takes code out of memory that was not used for longest, until the rest fits. What is being run goes
    /// when it has ended.
    fn make_room(&self) {
        let mut plugins = self.plugins();
        plugins.retain(|it| 0 < it.strong_count());
        let mut loaded: Vec<_> = plugins
            .iter()
            .filter_map(Weak::upgrade)
            .filter_map(|it| Some((it.used.load(Ordering::Relaxed), it.linked()?.bytes, it)))
            .collect();
        loaded.sort_unstable_by_key(|(used, ..)| *used);
        let mut bytes: u64 = loaded.iter().map(|(_, bytes, _)| bytes).sum();
        // The one that is used now stays, however large it is.
        loaded.pop();
        for (_, own, plugin) in loaded {
            if bytes <= self.bytes_max {
                break;
            }
            *plugin.slot() = None;
            bytes -= own;
        }
    }

    /// How many versions have their code in memory.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let plugins = self.plugins();
        let held = plugins.iter().filter_map(Weak::upgrade);
        held.filter(|it| it.linked().is_some()).count()
    }

    fn next_use(&self) -> u64 {
        self.uses.fetch_add(1, Ordering::Relaxed)
    }

    fn plugins(&self) -> MutexGuard<'_, Vec<Weak<Plugin>>> {
        self.plugins.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
