//! The region's one clock. It can be moved forward; everything that waits for a time waits on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use wire::Timestamp;

/// The system's time plus an offset. Clones are the same clock.
#[derive(Clone, Default)]
pub struct Clock(Arc<Inner>);

#[derive(Default)]
struct Inner {
    offset: AtomicI64,
    moved: Notify,
}

impl Clock {
    /// Now.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.system().0.saturating_add(self.offset()))
    }
    /// The system's time, by which clients sign and processes of the host go.
    #[allow(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    pub fn system(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX / 2))
    }
    /// Milliseconds ahead of the system's time.
    pub fn offset(&self) -> i64 {
        self.0.offset.load(Ordering::Relaxed)
    }
    /// Sets how far ahead it is and wakes who waits.
    pub(crate) fn set_offset(&self, millis: i64) {
        self.0.offset.store(millis, Ordering::Relaxed);
        self.0.moved.notify_waiters();
    }
    /// Waits until it shows `when`, whether time passes or it is moved.
    pub async fn until(&self, when: Timestamp) {
        loop {
            let moved = self.0.moved.notified();
            let left = when.0.saturating_sub(self.now().0);
            if left <= 0 {
                return;
            }
            // A long wait is cut in pieces: the system's clock itself may be set.
            let left = Duration::from_millis(left.unsigned_abs().min(60_000));
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                () = moved => {}
            }
        }
    }
    /// Waits that many milliseconds of its time.
    pub async fn pass(&self, millis: i64) {
        self.until(self.now().plus_millis(millis)).await;
    }
}
