//! Provisioned throughput, enforced where the region is told to: what a table or an index has beyond its share is refused.
//!
//! A bucket holds what a table may still use. It fills by its capacity each second, up to five minutes' worth; a request is
//! let in while anything is left, and pays for what it took afterwards, so that the bucket may fall below nothing.

use std::collections::HashMap;

use cloud::Clock;
use parking_lot::Mutex;
use wire::Fault;

use crate::capacity::Usage;
use crate::errors::provisioned_throughput_exceeded_exception;
use crate::service::Dynamo;
use crate::table::{Capacity, Index, TableRecord};

/// Seconds of capacity that are saved up at most.
const BURST: f64 = 300.0;

/// What is left of a capacity, and when that was reckoned, in milliseconds.
struct Bucket {
    left: f64,
    when: i64,
}

/// Which capacity: a table's number, an index's or 0, and whether it is for writes.
type Name = (u64, u8, bool);

/// The buckets of all tables.
pub struct Throttle {
    clock: Clock,
    buckets: Mutex<HashMap<Name, Bucket>>,
}

const OF_TABLE: &str = "The level of configured provisioned throughput for the table was exceeded. Consider increasing your provisioning level with the UpdateTable API.";
const OF_INDEX: &str = "The level of configured provisioned throughput for one or more global secondary indexes of the table was exceeded. Consider increasing your provisioning level for the under-provisioned global secondary indexes with the UpdateTable API";

impl Throttle {
    /// With full seconds in all buckets.
    pub fn new(clock: &Clock) -> Throttle {
        Throttle {
            clock: clock.clone(),
            buckets: Mutex::default(),
        }
    }

    /// Forgets what was used.
    pub fn forget(&self) {
        self.buckets.lock().clear();
    }

    fn take(&self, name: Name, capacity: &Capacity, units: f64) -> f64 {
        let rate = if name.2 {
            capacity.write
        } else {
            capacity.read
        } as f64;
        let now = self.clock.now().millis();
        let mut buckets = self.buckets.lock();
        let bucket = buckets.entry(name).or_insert(Bucket {
            left: rate,
            when: now,
        });
        let passed = (now - bucket.when).max(0) as f64 / 1000.0;
        bucket.left = (bucket.left + passed * rate).min(rate * BURST) - units;
        bucket.when = now;
        bucket.left
    }
}

/// Whether an error is that of throughput that was exceeded.
pub fn is_exceeded(fault: &Fault) -> bool {
    fault.is("ProvisionedThroughputExceededException")
}

impl Dynamo {
    /// Refuses a write to a table whose own capacity or an index's is used up.
    pub fn admit_write(&self, table: &TableRecord) -> Result<(), Fault> {
        let (Some(throttle), Some(capacity)) = (&self.throttle, &table.provisioned) else {
            return Ok(());
        };
        if throttle.take((table.uid, 0, true), capacity, 0.0) <= 0.0 {
            return Err(provisioned_throughput_exceeded_exception(OF_TABLE));
        }
        for index in &table.indexes {
            if let Some(capacity) = &index.provisioned
                && throttle.take((table.uid, index.number, true), capacity, 0.0) <= 0.0
            {
                return Err(provisioned_throughput_exceeded_exception(OF_INDEX));
            }
        }
        Ok(())
    }

    /// Refuses a read of a table, or of one of its indexes, whose capacity is used up.
    pub fn admit_read(&self, table: &TableRecord, index: Option<&Index>) -> Result<(), Fault> {
        let Some(throttle) = &self.throttle else {
            return Ok(());
        };
        let (number, capacity, text) = match index.filter(|index| !index.is_local) {
            Some(index) => (index.number, &index.provisioned, OF_INDEX),
            None => (0, &table.provisioned, OF_TABLE),
        };
        match capacity {
            Some(capacity) if throttle.take((table.uid, number, false), capacity, 0.0) <= 0.0 => {
                Err(provisioned_throughput_exceeded_exception(text))
            }
            _ => Ok(()),
        }
    }

    /// Takes what a request used.
    pub fn spend(&self, table: &TableRecord, usage: &Usage, is_write: bool) {
        let (Some(throttle), Some(capacity)) = (&self.throttle, &table.provisioned) else {
            return;
        };
        let own = usage.table + usage.local.values().sum::<f64>();
        throttle.take((table.uid, 0, is_write), capacity, own);
        for (name, units) in &usage.global {
            if let Some(index) = table.index(name)
                && let Some(capacity) = &index.provisioned
            {
                throttle.take((table.uid, index.number, is_write), capacity, *units);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_what_it_has_and_goes_below_nothing_once() {
        let throttle = Throttle::new(&Clock::default());
        let capacity = Capacity {
            read: 2,
            write: 5,
            ..Capacity::default()
        };
        let read = |units| throttle.take((1, 0, false), &capacity, units);
        assert!(read(0.0) > 1.9);
        assert!(read(10.0) < 0.0);
        assert!(read(0.0) < 0.0);
        assert!(
            throttle.take((1, 0, true), &capacity, 0.0) > 4.9,
            "writes have their own"
        );
        assert!(
            throttle.take((2, 0, false), &capacity, 0.0) > 1.9,
            "as other tables do"
        );
    }
}
