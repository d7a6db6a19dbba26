//! A thread that has just served stays awake for a moment.
//!
//! A busy client's next request comes within microseconds. To fall asleep and be woken takes longer, above all in a
//! virtual machine, whose idle processors go back to the host: half the time of a small request was that. So the thread
//! looks for the next request for [`MOMENT`] before it sleeps. Only one thread at a time does, and between two looks it
//! lets whoever else is ready go first: what it spends is a processor's spare time. Who is not asked for anything sleeps.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// How long after its last answer a thread stays awake. Twice this did not bring more, less did not last from one
/// request to the next (`bench/RESULTS.md`).
const MOMENT: Duration = Duration::from_micros(50);

thread_local! {
    /// Answers of this thread.
    static SERVED: Cell<u64> = const { Cell::new(0) };
    /// Where the thread waits for the next one.
    static RESTING: RefCell<Option<Waker>> = const { RefCell::new(None) };
}

/// Whether one of a server's threads stays awake.
#[derive(Default)]
pub(crate) struct Awake(AtomicBool);

/// The right to be that thread.
struct Turn<'a>(&'a Awake);

impl Awake {
    fn turn(&self) -> Option<Turn<'_>> {
        let is_taken = self.0.swap(true, Ordering::Relaxed);
        (!is_taken).then_some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Told on the thread of a connection that an answer is about to be sent.
pub(crate) fn served() {
    SERVED.set(SERVED.get().wrapping_add(1));
    if let Some(resting) = RESTING.take() {
        resting.wake();
    }
}

/// Keeps this thread, whose runtime must be its own, awake for a moment after each answer.
pub(crate) async fn linger(awake: Arc<Awake>) {
    let mut seen = SERVED.get();
    loop {
        poll_fn(|context| {
            if SERVED.get() != seen {
                return Poll::Ready(());
            }
            RESTING.set(Some(context.waker().clone()));
            Poll::Pending
        })
        .await;
        if let Some(turn) = awake.turn() {
            stay_awake().await;
            drop(turn);
        }
        seen = SERVED.get();
    }
}

/// Returns when nothing was served for a moment.
async fn stay_awake() {
    let mut seen = SERVED.get();
    let mut end = Instant::now() + MOMENT;
    loop {
        // The runtime looks at its sockets before it comes back here.
        tokio::task::yield_now().await;
        let now = Instant::now();
        if SERVED.get() != seen {
            seen = SERVED.get();
            end = now + MOMENT;
        } else if now < end {
            std::thread::yield_now();
        } else {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_stays_awake_for_its_answers_and_then_rests() {
        let is_resting = || RESTING.with_borrow(Option::is_some);
        let awake = Arc::new(Awake::default());
        tokio::spawn(linger(awake.clone()));
        tokio::task::yield_now().await;
        assert!(is_resting());
        for _ in 0..3 {
            served();
            tokio::task::yield_now().await;
            assert!(!is_resting() && awake.turn().is_none());
            while !is_resting() {
                tokio::task::yield_now().await;
            }
            assert!(awake.turn().is_some());
        }
        // Another thread has the turn.
        let turn = awake.turn().expect("the turn");
        served();
        tokio::task::yield_now().await;
        assert!(is_resting());
        drop(turn);
    }
}
