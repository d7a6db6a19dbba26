//! What a shard takes and gives in a second, where the region is asked to keep to it.
//!
//! `CUMULO_KINESIS_LIMITS` set to `1` asks for it: a program that handles throttling can then be tested.

use std::collections::HashMap;

use parking_lot::Mutex;
use wire::Fault;

use crate::errors::provisioned_throughput_exceeded_exception;
use crate::shard::id;
use crate::stream::{KIB, Place};

/// Records and bytes written in a second, reads in a second, and bytes read.
const RECORDS: usize = 1_000;
const WRITTEN: usize = KIB * KIB;
const READS: usize = 5;
const READ: usize = 2 * KIB * KIB;
const SECOND: i64 = 1_000;

/// The meters of all shards, by stream and shard.
pub(crate) struct Throughput {
    is_on: bool,
    meters: Mutex<HashMap<(u64, u64), Meter>>,
}

#[derive(Default)]
struct Meter {
    /// The seconds that are counted.
    writing: i64,
    records: usize,
    written: usize,
    reading: i64,
    reads: usize,
    /// Until when a large read takes up the shard.
    busy: i64,
}

impl Throughput {
    /// As the environment asks.
    pub(crate) fn from_environment() -> Throughput {
        let asked = std::env::var("CUMULO_KINESIS_LIMITS").unwrap_or_default();
        Throughput::new(matches!(asked.as_str(), "1" | "true"))
    }

    fn new(is_on: bool) -> Throughput {
        Throughput {
            is_on,
            meters: Mutex::default(),
        }
    }

    /// Whether limits are kept to at all.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether a shard takes another record.
    pub(crate) fn admits_record(&self, shard: (u64, u64), bytes: usize, now: i64) -> bool {
        if !self.is_on {
            return true;
        }
        let mut meters = self.meters.lock();
        let meter = meters.entry(shard).or_default();
        let second = now.div_euclid(SECOND);
        if meter.writing != second {
            (meter.writing, meter.records, meter.written) = (second, 0, 0);
        }
        if meter.records >= RECORDS || meter.written + bytes > WRITTEN {
            return false;
        }
        meter.records += 1;
        meter.written += bytes;
        true
    }

    /// Whether a shard can be read once more.
    pub(crate) fn admits_read(&self, shard: (u64, u64), now: i64) -> bool {
        if !self.is_on {
            return true;
        }
        let mut meters = self.meters.lock();
        let meter = meters.entry(shard).or_default();
        let second = now.div_euclid(SECOND);
        if meter.reading != second {
            (meter.reading, meter.reads) = (second, 0);
        }
        if meter.reads >= READS || meter.busy > now {
            return false;
        }
        meter.reads += 1;
        true
    }

    /// Counts what a read gave: more than a shard gives in a second keeps it busy.
    pub(crate) fn count_read(&self, shard: (u64, u64), bytes: usize, now: i64) {
        if self.is_on && bytes > READ {
            let millis = i64::try_from(bytes * SECOND as usize / READ).unwrap_or(i64::MAX);
            self.meters.lock().entry(shard).or_default().busy = now.saturating_add(millis);
        }
    }
}

/// That a shard is asked for too much.
pub(crate) fn exceeded(place: &Place, shard: u64) -> Fault {
    provisioned_throughput_exceeded_exception(format!(
        "Rate exceeded for shard {} in stream {} under account {}.",
        id(shard),
        place.name,
        place.account
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: (u64, u64) = (1, 0);

    #[test]
    fn a_shard_takes_a_thousand_records_or_a_mebibyte_in_a_second() {
        let throughput = Throughput::new(true);
        let taken = |bytes, now| throughput.admits_record(SHARD, bytes, now);
        assert!((0..RECORDS).all(|_| taken(10, 5_000)));
        assert!(!taken(10, 5_999) && throughput.admits_record((1, 1), 10, 5_999));
        assert!(taken(WRITTEN, 6_000) && !taken(1, 6_500));
        assert!(taken(1, 7_000));
    }

    #[test]
    fn a_shard_is_read_five_times_in_a_second_and_less_often_where_much_is_read() {
        let throughput = Throughput::new(true);
        assert!((0..READS).all(|_| throughput.admits_read(SHARD, 1_000)));
        assert!(!throughput.admits_read(SHARD, 1_500) && throughput.admits_read(SHARD, 2_000));
        throughput.count_read(SHARD, 5 * READ, 2_000);
        assert!(!throughput.admits_read(SHARD, 6_999) && throughput.admits_read(SHARD, 7_000));
    }

    #[test]
    fn nothing_is_counted_unless_asked_for() {
        let throughput = Throughput::new(false);
        assert!((0..10 * RECORDS).all(|_| throughput.admits_record(SHARD, WRITTEN, 0)));
        assert!(throughput.meters.lock().is_empty());
    }
}
