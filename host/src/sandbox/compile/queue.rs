//! Who compiles next: one at a time, in the order in which they came, and not too many waiting.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Components that may wait for their turn; one more is refused.
pub const COMPILES_WAITING_MAX: u64 = 64;

#[derive(Default)]
pub(super) struct Queue {
    numbers: Mutex<Numbers>,
    moved: Condvar,
}

#[derive(Default)]
struct Numbers {
    /// The number of the next that comes.
    next: u64,
    /// Whose turn it is.
    now: u64,
}

/// It is the holder's turn until this is dropped.
pub(super) struct Turn<'a>(&'a Queue);

impl Queue {
    /// Waits for one's turn; `None` where too many wait already.
    pub(super) fn wait(&self) -> Option<Turn<'_>> {
        let mut numbers = self.numbers();
        if COMPILES_WAITING_MAX < numbers.next - numbers.now {
            return None;
        }
        let own = numbers.next;
        numbers.next += 1;
        let waited = self.moved.wait_while(numbers, |it| it.now != own);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        Some(Turn(self))
    }

    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        // Two numbers are never left half changed.
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.numbers().now += 1;
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(queue: &Queue) -> u64 {
        let numbers = queue.numbers();
        numbers.next - numbers.now
    }

    #[test]
    fn turns_come_in_order_and_one_at_a_time() {
        let (queue, order) = (Queue::default(), Mutex::new(Vec::new()));
        std::thread::scope(|scope| {
            let first = queue.wait().unwrap();
            for number in 0..8 {
                let (queue, order) = (&queue, &order);
                scope.spawn(move || {
                    let _turn = queue.wait().unwrap();
                    let mut order = order.try_lock().expect("it is one's own turn");
                    order.push(number);
                });
                while waiting(queue) < number + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        assert_eq!(order.into_inner().unwrap(), [0, 1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn one_more_than_may_wait_is_refused_at_once() {
        let queue = Queue::default();
        std::thread::scope(|scope| {
            let first = queue.wait().unwrap();
            for _ in 0..COMPILES_WAITING_MAX {
                scope.spawn(|| queue.wait().unwrap());
            }
            while waiting(&queue) <= COMPILES_WAITING_MAX {
                std::thread::yield_now();
            }
            assert!(queue.wait().is_none());
            drop(first);
        });
        assert!(queue.wait().is_some());
    }
}
