//! Counters of the server itself, in Prometheus' text format.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

/// Upper bounds of the latency histogram, in microseconds.
const BUCKETS: [u64; 10] = [
    100, 250, 500, 1_000, 5_000, 10_000, 50_000, 250_000, 1_000_000, 10_000_000,
];

/// Requests by service, operation and status class, with their latency.
#[derive(Default)]
pub struct Metrics {
    series: RwLock<FxHashMap<Key, Box<Series>>>,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Modelled operations that were asked for and do not exist here.
    absent: RwLock<FxHashMap<(&'static str, &'static str), u64>>,
}

type Key = (&'static str, &'static str, u16);

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
        if let Some(series) = self.series.read().get(&key) {
            return series.add(micros);
        }
        self.series.write().entry(key).or_default().add(micros);
    }
    /// Counts a call of an operation that does not exist here.
    pub fn count_absent(&self, service: &'static str, operation: &'static str) {
        *self.absent.write().entry((service, operation)).or_default() += 1;
    }
    /// The exposition text.
    pub fn text(&self) -> String {
        let mut t = String::from("# TYPE cumulo_requests histogram\n");
        let series = self.series.read();
        let mut keys: Vec<_> = series.keys().collect();
        keys.sort();
        for key @ (service, operation, class) in keys {
            let Some(s) = series.get(key) else { continue };
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
    fn add(&self, micros: u64) {
        if let Some(i) = BUCKETS.iter().position(|b| micros <= *b) {
            self.buckets[i].fetch_add(1, Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
    }
}
