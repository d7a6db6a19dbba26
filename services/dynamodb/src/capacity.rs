//! What requests consume, as DynamoDB counts it.

use std::collections::BTreeMap;

use crate::api;
use crate::key::Row;
use crate::table::TableRecord;

/// Capacity units of one table.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Of the table itself.
    pub table: f64,
    /// Of local indexes.
    pub local: BTreeMap<String, f64>,
    /// Of global indexes.
    pub global: BTreeMap<String, f64>,
    /// Bytes written to vector indexes, which are not units.
    pub vectors: BTreeMap<String, f64>,
}

/// Units that reading that many bytes takes.
pub fn read_units(bytes: usize, is_consistent: bool) -> f64 {
    let units = bytes.div_ceil(4096).max(1) as f64;
    if is_consistent { units } else { units / 2.0 }
}

/// Units that writing that many bytes takes.
pub fn write_units(bytes: usize) -> f64 {
    bytes.div_ceil(1024).max(1) as f64
}

/// What a scan reads of each partition that it comes through. Every one is paid for by itself, with half a unit at least, so
/// that a scan of the smallest table on demand takes 2 units, or 4 if it is consistent.
#[derive(Clone, Debug)]
pub struct Partitions {
    /// What the rows begin with.
    index: Row,
    bytes: [usize; Partitions::COUNT],
    first: usize,
    last: usize,
}

impl Partitions {
    /// How many a table on demand begins with: they divide the hashes of the keys evenly.
    const COUNT: usize = 4;

    /// Those that hold the rows of an index with hashes from `first` to `last`.
    pub fn of(index: Row, first: u32, last: u32) -> Partitions {
        Partitions {
            index,
            bytes: [0; Partitions::COUNT],
            first: Partitions::number(first),
            last: Partitions::number(last),
        }
    }

    fn number(hash: u32) -> usize {
        (hash as usize * Partitions::COUNT) >> 32
    }

    /// Counts an item; `is_last`: the scan goes no further.
    pub fn read(&mut self, row: &Row, bytes: usize, is_last: bool) {
        let number = Partitions::number(row.hash(&self.index));
        self.bytes[number] += bytes;
        if is_last {
            self.last = number;
        }
    }

    /// Units that the scan takes.
    pub fn units(&self, is_consistent: bool) -> f64 {
        (self.first..=self.last)
            .map(|number| read_units(self.bytes[number], is_consistent))
            .sum()
    }
}

impl Usage {
    /// Of the table alone.
    pub fn of_table(units: f64) -> Usage {
        Usage {
            table: units,
            ..Usage::default()
        }
    }

    /// Of a table or one of its indexes.
    pub fn of(table: &TableRecord, index: Option<&str>, units: f64) -> Usage {
        let mut usage = Usage::default();
        match index.and_then(|name| table.index(name)) {
            None => usage.table = units,
            Some(index) => usage.add_index(&index.name, index.is_local, units),
        }
        usage
    }

    /// Adds units of an index.
    pub fn add_index(&mut self, name: &str, is_local: bool, units: f64) {
        let map = if is_local {
            &mut self.local
        } else {
            &mut self.global
        };
        *map.entry(name.to_owned()).or_default() += units;
    }

    /// Adds bytes written to a vector index.
    pub fn add_vector(&mut self, name: &str, bytes: usize) {
        *self.vectors.entry(name.to_owned()).or_default() += bytes as f64;
    }

    /// Adds what another request consumed.
    pub fn add(&mut self, other: &Usage) {
        self.table += other.table;
        for (name, units) in &other.local {
            *self.local.entry(name.clone()).or_default() += units;
        }
        for (name, units) in &other.global {
            *self.global.entry(name.clone()).or_default() += units;
        }
        for (name, bytes) in &other.vectors {
            *self.vectors.entry(name.clone()).or_default() += bytes;
        }
    }

    /// All together.
    pub fn total(&self) -> f64 {
        self.table + self.local.values().sum::<f64>() + self.global.values().sum::<f64>()
    }

    /// As a transaction pays it: twice.
    pub fn doubled(mut self) -> Usage {
        self.table *= 2.0;
        self.local.values_mut().for_each(|units| *units *= 2.0);
        self.global.values_mut().for_each(|units| *units *= 2.0);
        self
    }

    /// What the answer says of it where `ReturnConsumedCapacity` is `mode`.
    pub fn report(&self, table: &str, mode: Option<&str>) -> Option<api::ConsumedCapacity> {
        self.report_as(table, mode, |units| api::Capacity {
            capacity_units: Some(units),
            ..Default::default()
        })
    }

    /// [`Usage::report`] with the fields that transactions add.
    pub fn report_transaction(
        &self,
        table: &str,
        mode: Option<&str>,
        is_read: bool,
    ) -> Option<api::ConsumedCapacity> {
        let capacity = |units: f64| api::Capacity {
            capacity_units: Some(units),
            read_capacity_units: is_read.then_some(units),
            write_capacity_units: (!is_read).then_some(units),
        };
        let mut report = self.report_as(table, mode, capacity)?;
        let total = capacity(self.total());
        report.read_capacity_units = total.read_capacity_units;
        report.write_capacity_units = total.write_capacity_units;
        Some(report)
    }

    fn report_as(
        &self,
        table: &str,
        mode: Option<&str>,
        capacity: impl Fn(f64) -> api::Capacity,
    ) -> Option<api::ConsumedCapacity> {
        let mut report = api::ConsumedCapacity {
            table_name: Some(table.to_owned()),
            capacity_units: Some(self.total()),
            ..Default::default()
        };
        match mode {
            Some("TOTAL") => {}
            Some("INDEXES") => {
                let each = |map: &BTreeMap<String, f64>| {
                    let map: BTreeMap<String, api::Capacity> = map
                        .iter()
                        .map(|(name, units)| (name.clone(), capacity(*units)))
                        .collect();
                    (!map.is_empty()).then_some(map)
                };
                report.table = Some(capacity(self.table));
                report.local_secondary_indexes = each(&self.local);
                report.global_secondary_indexes = each(&self.global);
                let vectors = self.vectors.iter().map(|(name, bytes)| {
                    let written = api::VectorCapacity {
                        vector_write_request_bytes: Some(*bytes),
                        ..Default::default()
                    };
                    (name.clone(), written)
                });
                report.vector_indexes = (!self.vectors.is_empty()).then(|| vectors.collect());
            }
            _ => return None,
        }
        Some(report)
    }
}
