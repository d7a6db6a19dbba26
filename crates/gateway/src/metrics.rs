//! Counters of the server itself, in Prometheus' text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

/// Upper bounds of the latency histogram, in microseconds.
const BUCKETS: [u64; 10] = [
    100, 250, 500, 1_000, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];

/// Requests by service, operation and status class, with their latency.
#[derive(Default)]
pub struct Metrics {
    /// By thread, more or less: counters that processors take from each other cost a request more than the rest of this.
    shares: [Share; SHARES],
    /// Connections open now.
    pub connections: AtomicU64,
    /// Modelled operations that were asked for and do not exist here.
    absent: RwLock<FxHashMap<(&'static str, &'static str), u64>>,
}

type Key = (&'static str, &'static str, u16);

const SHARES: usize = 16;

/// Apart from its neighbours in memory, too.
#[derive(Default)]
#[repr(align(128))]
struct Share(RwLock<FxHashMap<Key, Box<Series>>>);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// The number of this thread among those that count.
    static THREAD: usize = THREADS.fetch_add(1, Ordering::Relaxed);
}

#[derive(Default)]
struct Series {
    buckets: [AtomicU64; BUCKETS.len()],
    count: AtomicU64,
    micros: AtomicU64,
}

impl Metrics {
    /// Counts one answered request.
    pub fn count(&self, service: &'static str, operation: &'static str, status: u16, micros: u64) {
        let key = (service, operation, status / 100);
        let Share(all) = &self.shares[THREAD.with(|n| n % SHARES)];
        if let Some(series) = all.read().get(&key) {
            return series.add(micros);
        }
        all.write().entry(key).or_default().add(micros);
    }
    /// Counts a call of an operation that does not exist here.
    pub fn count_absent(&self, service: &'static str, operation: &'static str) {
        *self.absent.write().entry((service, operation)).or_default() += 1;
    }
    /// The exposition text.
    pub fn text(&self) -> String {
        let mut t = String::from("# TYPE cumulo_requests histogram\n");
        let mut sums: BTreeMap<Key, Series> = BTreeMap::new();
        for Share(all) in &self.shares {
            for (key, series) in all.read().iter() {
                sums.entry(*key).or_default().merge(series);
            }
        }
        for ((service, operation, class), s) in &sums {
            let labels =
                format!("service=\"{service}\",operation=\"{operation}\",status=\"{class}xx\"");
            let mut total = 0;
            for (bound, n) in BUCKETS.iter().zip(&s.buckets) {
                total += n.load(Ordering::Relaxed);
                let _ = writeln!(
                    t,
                    "cumulo_requests_bucket{{{labels},le=\"{}\"}} {total}",
                    *bound as f64 / 1e6
                );
            }
            let count = s.count.load(Ordering::Relaxed);
            let _ = writeln!(t, "cumulo_requests_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ = writeln!(
                t,
                "cumulo_requests_sum{{{labels}}} {}",
                s.micros.load(Ordering::Relaxed) as f64 / 1e6
            );
            let _ = writeln!(t, "cumulo_requests_count{{{labels}}} {count}");
        }
        let _ = writeln!(
            t,
            "# TYPE cumulo_connections gauge\ncumulo_connections {}",
            self.connections.load(Ordering::Relaxed)
        );
        t.push_str("# TYPE cumulo_absent_operations counter\n");
        for ((service, operation), n) in self.absent.read().iter() {
            let _ = writeln!(
                t,
                "cumulo_absent_operations{{service=\"{service}\",operation=\"{operation}\"}} {n}"
            );
        }
        t
    }
}

impl Series {
    fn merge(&self, other: &Series) {
        let own = self.buckets.iter().chain([&self.count, &self.micros]);
        let others = other.buckets.iter().chain([&other.count, &other.micros]);
        for (sum, n) in own.zip(others) {
            sum.fetch_add(n.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }
    fn add(&self, micros: u64) {
        if let Some(i) = BUCKETS.iter().position(|b| micros <= *b) {
            self.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_threads_counted_apart_is_told_together() {
        let metrics = Metrics::default();
        std::thread::scope(|scope| {
            for _ in 0..SHARES + 3 {
                scope.spawn(|| {
                    metrics.count("sqs", "SendMessage", 200, 120);
                    metrics.count("sqs", "SendMessage", 400, 30);
                });
            }
        });
        let (text, n) = (metrics.text(), SHARES + 3);
        let line = |class: u8| {
            format!(
                "cumulo_requests_count{{service=\"sqs\",operation=\"SendMessage\",status=\"{class}xx\"}} {n}\n"
            )
        };
        assert!(text.contains(&line(2)) && text.contains(&line(4)), "{text}");
        assert!(text.contains("status=\"2xx\",le=\"0.0001\"} 0\n"));
        assert!(text.contains(&format!("status=\"2xx\",le=\"0.00025\"}} {n}\n")));
    }
}
