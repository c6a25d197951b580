//! Whose guest computes next, where more want to than there are processors.
//!
//! Called by `meter` around each piece of a guest's work, which ends at the next tick at the latest.
//! Guests of one tenant take turns in the order in which they asked; of the tenants, the one whose
//! guests computed least goes first. So a tenant's guest waits for one tick or so of others, and not
//! for one of each guest that another tenant set spinning.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The turns of all guests. Cheap to clone.
#[derive(Clone)]
pub(super) struct Turns(Arc<Mutex<Shared>>);

struct Shared {
    rota: Rota,
    wakers: HashMap<u64, Waker>,
}

/// One guest's place among the others. Given up when it is dropped.
pub(super) struct Seat {
    turns: Turns,
    id: u64,
}

impl Turns {
    /// As many guests compute at once as there are processors.
    pub(super) fn new(processors: usize) -> Self {
        Self(Arc::new(Mutex::new(Shared {
            rota: Rota::new(processors),
            wakers: HashMap::new(),
        })))
    }

    /// A place for one guest.
    pub(super) fn seat(&self, tenant: &str) -> Seat {
        let id = self.lock().rota.enter(tenant);
        Seat {
            turns: self.clone(),
            id,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Nothing in here panics half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Whether it is this guest's turn; if not, it is woken when it is.
    pub(super) fn take(&self, waker: &Waker) -> bool {
        let mut shared = self.turns.lock();
        let is_taken = shared.rota.take(self.id);
        if !is_taken {
            shared.wakers.insert(self.id, waker.clone());
        }
        is_taken
    }

    /// Ends the turn, in which the guest computed for so long. One that was interrupted stands in the
    /// queue again at once, and may be next.
    pub(super) fn give(&self, used_ns: u64, was_interrupted: bool) {
        let mut shared = self.turns.lock();
        let next = if was_interrupted {
            shared.rota.pass(self.id, used_ns)
        } else {
            shared.rota.give(self.id, used_ns)
        };
        wake(shared, next);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut shared = self.turns.lock();
        shared.wakers.remove(&self.id);
        let next = shared.rota.leave(self.id);
        wake(shared, next);
    }
}

/// Wakes whose turn it is, once others can look again.
fn wake(mut shared: MutexGuard<'_, Shared>, next: Option<u64>) {
    let waker = next.and_then(|id| shared.wakers.remove(&id));
    drop(shared);
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// Who has a turn and who waits for one. Pure: no clock, no threads.
///
/// Start-time fair queueing (Goyal, Vin, Cheng: "Start-time Fair Queueing", SIGCOMM 1996) among
/// tenants: each has a time of its own that goes on as its guests compute; the one that is furthest
/// behind is next. A tenant of which no guest wanted to compute goes on at the time of the last turn:
/// nothing is saved up.
#[derive(Debug)]
struct Rota {
    free: usize,
    now_ns: u64,
    last_id: u64,
    guests: HashMap<u64, Arc<str>>,
    /// Guests that have their turn, or were told that it is theirs.
    turns: HashSet<u64>,
    tenants: BTreeMap<Arc<str>, Tenant>,
    waiting: usize,
}

#[derive(Debug, Default)]
struct Tenant {
    at_ns: u64,
    guests: usize,
    waiting: VecDeque<u64>,
}

impl Rota {
    fn new(processors: usize) -> Self {
        Self {
            free: processors.max(1),
            now_ns: 0,
            last_id: 0,
            guests: HashMap::new(),
            turns: HashSet::new(),
            tenants: BTreeMap::new(),
            waiting: 0,
        }
    }

    fn enter(&mut self, name: &str) -> u64 {
        self.last_id += 1;
        let name = match self.tenants.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => Arc::from(name),
        };
        self.tenants.entry(name.clone()).or_default().guests += 1;
        self.guests.insert(self.last_id, name);
        self.last_id
    }

    /// Whether the guest may compute now. If not, it stands in the queue.
    fn take(&mut self, id: u64) -> bool {
        if self.turns.contains(&id) {
            return true;
        }
        let now_ns = self.now_ns;
        if let Some(tenant) = self.tenant_of(id)
            && tenant.waiting.is_empty()
        {
            tenant.at_ns = tenant.at_ns.max(now_ns);
        }
        if 0 < self.free {
            self.free -= 1;
            self.begin(id);
            return true;
        }
        self.wait(id);
        false
    }

    /// Ends a guest's turn; says whose is next.
    fn give(&mut self, id: u64, used_ns: u64) -> Option<u64> {
        if !self.turns.remove(&id) {
            return None;
        }
        if let Some(tenant) = self.tenant_of(id) {
            tenant.at_ns = tenant.at_ns.saturating_add(used_ns);
        }
        self.next()
    }

    /// The same where the guest wants another turn: without it, a guest that is behind would have to
    /// let somebody else go first each time.
    fn pass(&mut self, id: u64, used_ns: u64) -> Option<u64> {
        if self.turns.contains(&id) {
            self.wait(id);
        }
        self.give(id, used_ns)
    }

    fn wait(&mut self, id: u64) {
        if let Some(tenant) = self.tenant_of(id)
            && !tenant.waiting.contains(&id)
        {
            tenant.waiting.push_back(id);
            self.waiting += 1;
        }
    }

    fn tenant_of(&mut self, id: u64) -> Option<&mut Tenant> {
        self.tenants.get_mut(self.guests.get(&id)?)
    }

    /// The guest is gone; says whose turn it is instead, if it was its.
    fn leave(&mut self, id: u64) -> Option<u64> {
        let next = self.give(id, 0);
        let name = self.guests.remove(&id)?;
        if let Some(tenant) = self.tenants.get_mut(&name) {
            let before = tenant.waiting.len();
            tenant.waiting.retain(|it| *it != id);
            self.waiting -= before - tenant.waiting.len();
            tenant.guests = tenant.guests.saturating_sub(1);
            if tenant.guests == 0 {
                self.tenants.remove(&name);
            }
        }
        next
    }

    fn next(&mut self) -> Option<u64> {
        if self.waiting == 0 {
            self.free += 1;
            return None;
        }
        let waiting = self.tenants.values_mut();
        let waiting = waiting.filter(|it| !it.waiting.is_empty());
        let next = waiting.min_by_key(|it| it.at_ns)?.waiting.pop_front()?;
        self.waiting -= 1;
        self.begin(next);
        Some(next)
    }

    fn begin(&mut self, id: u64) {
        self.turns.insert(id);
        if let Some(tenant) = self.guests.get(&id).and_then(|it| self.tenants.get(it)) {
            self.now_ns = self.now_ns.max(tenant.at_ns);
        }
    }
}

#[cfg(test)]
mod tests;
