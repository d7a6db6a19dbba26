//! A value that tasks wait on.

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

/// A value whose changes wake those who wait for something of it.
#[derive(Default)]
pub struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    pub fn new(value: T) -> Watched<T> {
        Watched {
            value: Mutex::new(value),
            changed: Notify::new(),
        }
    }

    /// The value; what is changed through this wakes nobody.
    pub fn quietly(&self) -> MutexGuard<'_, T> {
        self.value.lock()
    }

    /// Changes the value, answers for it and wakes who waits.
    pub fn change<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let answer = f(&mut self.value.lock());
        self.changed.notify_waiters();
        answer
    }

    /// Waits until there is an answer. May be cancelled.
    pub async fn wait<R>(&self, mut ask: impl FnMut(&mut T) -> Option<R>) -> R {
        loop {
            let changed = self.changed.notified();
            if let Some(answer) = ask(&mut self.value.lock()) {
                return answer;
            }
            changed.await;
        }
    }
}
