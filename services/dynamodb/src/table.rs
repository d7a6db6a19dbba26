//! A table: what is kept of it, and how it is described.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::Record;
use wire::Timestamp;

use crate::api;
use crate::key::{KeyType, Keys, Part, Row};
use crate::replica::Replica;
use crate::scaling::{Scaled, Scaling};
use crate::value::{Attributes, Value};
use crate::vector::VectorIndex;

/// A table's record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TableRecord {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// Its name.
    pub name: String,
    /// `TableId`
    pub id: String,
    /// What its rows are kept under.
    pub uid: u64,
    /// Raised with every change of this record.
    pub revision: u64,
    /// When it was created, in milliseconds.
    pub created: i64,
    /// Its key.
    pub keys: Keys,
    /// Attribute definitions, as they were given.
    pub attributes: Vec<(String, KeyType)>,
    /// Its secondary indexes.
    pub indexes: Vec<Index>,
    /// The number of the next index; numbers are not given again.
    pub next_index: u8,
    /// Read and write capacity; absent on demand.
    pub provisioned: Option<Capacity>,
    /// When it was last changed to on demand.
    pub on_demand_since: Option<i64>,
    /// Largest throughput on demand.
    pub on_demand: Option<(Option<i64>, Option<i64>)>,
    /// Warm throughput that was asked for.
    pub warm: Option<(i64, i64)>,
    /// Class, and when it was changed.
    pub class: Option<(String, Option<i64>)>,
    /// Encryption with a customer's key: its ARN.
    pub sse: Option<String>,
    /// What its stream shows, while it has one.
    pub stream_view: Option<String>,
    /// The label of its last stream.
    pub stream_label: Option<String>,
    /// What that stream's records are kept under.
    #[serde(default)]
    pub stream_uid: u64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
    /// Whether it may not be deleted.
    pub is_protected: bool,
    /// The attribute that says when an item ends.
    pub ttl: Option<String>,
    /// What the order of ends is kept under.
    #[serde(default)]
    pub ttl_uid: u64,
    /// Point-in-time recovery: since when, and for how many days.
    pub recovery: Option<(i64, i32)>,
    /// What its history is kept under.
    #[serde(default)]
    pub recovery_uid: u64,
    /// Where it was restored from: backup, source table, time.
    pub restored: Option<(Option<String>, String, i64)>,
    /// Kinesis streams that were named, their status and precision.
    #[serde(default)]
    pub kinesis: Vec<(String, String, Option<String>)>,
    /// Contributor insights by index (empty for the table): mode and last change.
    #[serde(default)]
    pub insights: BTreeMap<String, (String, i64)>,
    /// The same table in other regions.
    #[serde(default)]
    pub replicas: Vec<Replica>,
    /// Its vector indexes.
    #[serde(default)]
    pub vectors: Vec<VectorIndex>,
    /// Whether it was joined with its replicas, as version 2017.11.29 of global tables does it.
    #[serde(default)]
    pub is_joined: bool,
    /// How capacities are to be scaled, by kind and index (empty for the table).
    #[serde(default)]
    pub scalings: Vec<(Scaled, String, Scaling)>,
}

impl Record for TableRecord {}

/// Provisioned capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Reads.
    pub read: i64,
    /// Writes.
    pub write: i64,
    /// When it was last raised.
    pub increased: Option<i64>,
    /// When it was last lowered.
    pub decreased: Option<i64>,
}

/// Which attributes an index holds besides keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Projected {
    /// All.
    All,
    /// None.
    KeysOnly,
    /// Those.
    Include(Vec<String>),
}

impl Projected {
    /// Whether it names an attribute that is not a key.
    pub fn includes(&self, name: &str) -> bool {
        match self {
            Projected::All => true,
            Projected::KeysOnly => false,
            Projected::Include(names) => names.iter().any(|n| n == name),
        }
    }
}

/// A secondary index.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Its number among the table's indexes, from 1 on.
    pub number: u8,
    /// Its name.
    pub name: String,
    /// Whether it shares the table's hash key.
    pub is_local: bool,
    /// Its key.
    pub keys: Keys,
    /// What it holds.
    pub projected: Projected,
    /// Capacity; absent on demand and for local ones.
    pub provisioned: Option<Capacity>,
    /// Largest throughput on demand.
    pub on_demand: Option<(Option<i64>, Option<i64>)>,
    /// Warm throughput that was asked for.
    pub warm: Option<(i64, i64)>,
    /// Whether older items are still being added.
    pub is_backfilling: bool,
}

impl Index {
    /// Whether it holds an attribute of a table with that key.
    pub fn projects(&self, base: &Keys, name: &str) -> bool {
        self.keys.has(name) || base.has(name) || self.projected.includes(name)
    }

    /// What it holds of an item.
    pub fn project(&self, base: &Keys, item: &Attributes) -> Attributes {
        item.iter()
            .filter(|(name, _)| self.projects(base, name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }
}

/// Items and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many.
    pub items: i64,
    /// How large.
    pub bytes: i64,
}

/// What a part of a table's writes have added up to: by index number, the table itself first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Tallies(pub Vec<Tally>);

impl Record for Tallies {}

impl Tallies {
    /// The tally of an index, to be changed.
    pub fn at(&mut self, index: u8) -> &mut Tally {
        let index = usize::from(index);
        if self.0.len() <= index {
            self.0.resize(index + 1, Tally::default());
        }
        &mut self.0[index]
    }

    /// Adds others to it.
    pub fn merge(&mut self, other: &Tallies) {
        for (index, tally) in other.0.iter().enumerate() {
            let own = self.at(index as u8);
            own.items += tally.items;
            own.bytes += tally.bytes;
        }
    }
}

impl TableRecord {
    /// Its ARN.
    pub fn arn(&self) -> String {
        arn(&self.account, &self.region, &self.name)
    }

    /// The ARN of its last stream.
    pub fn stream_arn(&self) -> Option<String> {
        let label = self.stream_label.as_ref()?;
        Some(format!("{}/stream/{label}", self.arn()))
    }

    /// The index of that name.
    pub fn index(&self, name: &str) -> Option<&Index> {
        self.indexes.iter().find(|index| index.name == name)
    }

    /// The row of an item by its key.
    pub fn row(&self, key: &Attributes) -> Row {
        Row::item(&self.account, self.uid, &self.keys, key)
    }

    /// When an item ends, in seconds, if it does and that time counts.
    pub fn expiry(&self, item: &Attributes) -> Option<i64> {
        match item.get(self.ttl.as_ref()?)? {
            Value::N(number) => number.floor_i64(),
            _ => None,
        }
    }

    /// Its local indexes.
    pub fn has_local_index(&self) -> bool {
        self.indexes.iter().any(|index| index.is_local)
    }

    /// How it is described.
    pub fn describe(&self, status: &str, tallies: &Tallies) -> api::TableDescription {
        let tally = |number: u8| {
            let tally = tallies.0.get(usize::from(number));
            tally.copied().unwrap_or_default()
        };
        let all = tally(0);
        let local = self.indexes.iter().filter(|index| index.is_local);
        let global = self.indexes.iter().filter(|index| !index.is_local);
        let is_gone = status == "DELETING";
        let described = api::TableDescription {
            table_name: Some(self.name.clone()),
            table_status: Some(status.to_owned()),
            table_arn: Some(self.arn()),
            table_id: Some(self.id.clone()),
            table_size_bytes: Some(all.bytes.max(0)),
            item_count: Some(all.items.max(0)),
            deletion_protection_enabled: Some(self.is_protected),
            provisioned_throughput: Some(throughput(self.provisioned.as_ref())),
            billing_mode_summary: self.billing(),
            ..Default::default()
        };
        if is_gone {
            return described;
        }
        let arn = self.arn();
        api::TableDescription {
            creation_date_time: Some(Timestamp(self.created)),
            attribute_definitions: Some(
                self.attributes
                    .iter()
                    .map(|(name, kind)| api::AttributeDefinition {
                        attribute_name: name.clone(),
                        attribute_type: kind.name().to_owned(),
                    })
                    .collect(),
            ),
            key_schema: Some(key_schema(&self.keys)),
            local_secondary_indexes: some(
                local
                    .map(|index| api::LocalSecondaryIndexDescription {
                        index_name: Some(index.name.clone()),
                        key_schema: Some(key_schema(&index.keys)),
                        projection: Some(projection(&index.projected)),
                        index_size_bytes: Some(tally(index.number).bytes.max(0)),
                        item_count: Some(tally(index.number).items.max(0)),
                        index_arn: Some(format!("{arn}/index/{}", index.name)),
                    })
                    .collect(),
            ),
            global_secondary_indexes: some(
                global
                    .map(|index| self.describe_index(index, status, tally(index.number)))
                    .collect(),
            ),
            vector_indexes: some(
                self.vectors
                    .iter()
                    .map(|index| index.describe(&arn, status, tally(index.number)))
                    .collect(),
            ),
            stream_specification: self
                .stream_view
                .as_ref()
                .map(|view| api::StreamSpecification {
                    stream_enabled: true,
                    stream_view_type: Some(view.clone()),
                }),
            replicas: self.replica_descriptions(),
            global_table_version: match (self.is_joined, self.replicas.is_empty()) {
                (true, _) => Some("2017.11.29".into()),
                (false, false) => Some("2019.11.21".into()),
                (false, true) => None,
            },
            latest_stream_label: self.stream_label.clone(),
            latest_stream_arn: self.stream_arn(),
            restore_summary: self.restored.as_ref().map(|(backup, table, when)| {
                api::RestoreSummary {
                    source_backup_arn: backup.clone(),
                    source_table_arn: Some(table.clone()),
                    restore_date_time: Timestamp(*when),
                    restore_in_progress: false,
                }
            }),
            sse_description: self.sse.as_ref().map(|key| api::SSEDescription {
                status: Some("ENABLED".into()),
                sse_type: Some("KMS".into()),
                kms_master_key_arn: Some(key.clone()),
                inaccessible_encryption_date_time: None,
            }),
            table_class_summary: self
                .class
                .as_ref()
                .map(|(class, when)| api::TableClassSummary {
                    table_class: Some(class.clone()),
                    last_update_date_time: when.map(Timestamp),
                }),
            on_demand_throughput: on_demand(self.on_demand.as_ref()),
            warm_throughput: Some(self.warm_throughput(status)),
            ..described
        }
    }

    /// How its billing is described: a table that was always provisioned says nothing of it.
    pub fn billing(&self) -> Option<api::BillingModeSummary> {
        if self.provisioned.is_some() && self.on_demand_since.is_none() {
            return None;
        }
        Some(api::BillingModeSummary {
            billing_mode: Some(self.billing_mode().to_owned()),
            last_update_to_pay_per_request_date_time: self.on_demand_since.map(Timestamp),
        })
    }

    /// Its billing mode.
    pub fn billing_mode(&self) -> &'static str {
        match self.provisioned {
            Some(_) => "PROVISIONED",
            None => "PAY_PER_REQUEST",
        }
    }

    fn describe_index(
        &self,
        index: &Index,
        status: &str,
        tally: Tally,
    ) -> api::GlobalSecondaryIndexDescription {
        let (read, write) = index
            .warm
            .unwrap_or(default_warm(index.provisioned.as_ref()));
        let index_status = match index.is_backfilling || status == "CREATING" {
            true => "CREATING",
            false => "ACTIVE",
        };
        api::GlobalSecondaryIndexDescription {
            index_name: Some(index.name.clone()),
            key_schema: Some(key_schema(&index.keys)),
            projection: Some(projection(&index.projected)),
            index_status: Some(index_status.into()),
            backfilling: index.is_backfilling.then_some(true),
            provisioned_throughput: Some(throughput(index.provisioned.as_ref())),
            index_size_bytes: Some(tally.bytes.max(0)),
            item_count: Some(tally.items.max(0)),
            index_arn: Some(format!("{}/index/{}", self.arn(), index.name)),
            on_demand_throughput: on_demand(index.on_demand.as_ref()),
            warm_throughput: Some(api::GlobalSecondaryIndexWarmThroughputDescription {
                read_units_per_second: Some(read),
                write_units_per_second: Some(write),
                status: Some("ACTIVE".into()),
            }),
        }
    }

    fn warm_throughput(&self, status: &str) -> api::TableWarmThroughputDescription {
        let (read, write) = self.warm.unwrap_or(default_warm(self.provisioned.as_ref()));
        api::TableWarmThroughputDescription {
            read_units_per_second: Some(read),
            write_units_per_second: Some(write),
            status: Some(match status {
                "CREATING" => "UPDATING".into(),
                _ => "ACTIVE".into(),
            }),
        }
    }
}

/// What a table is warm for without being asked.
pub fn default_warm(provisioned: Option<&Capacity>) -> (i64, i64) {
    match provisioned {
        Some(capacity) => (capacity.read, capacity.write),
        None => (12_000, 4_000),
    }
}

/// The ARN of a table.
pub fn arn(account: &str, region: &str, name: &str) -> String {
    cloud::arn::text("dynamodb", region, account, format_args!("table/{name}"))
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn throughput(capacity: Option<&Capacity>) -> api::ProvisionedThroughputDescription {
    let capacity = capacity.copied().unwrap_or_default();
    api::ProvisionedThroughputDescription {
        last_increase_date_time: capacity.increased.map(Timestamp),
        last_decrease_date_time: capacity.decreased.map(Timestamp),
        number_of_decreases_today: Some(0),
        read_capacity_units: Some(capacity.read),
        write_capacity_units: Some(capacity.write),
    }
}

/// How throughput on demand is described.
pub fn on_demand(limits: Option<&(Option<i64>, Option<i64>)>) -> Option<api::OnDemandThroughput> {
    limits.map(|(read, write)| api::OnDemandThroughput {
        max_read_request_units: Some(read.unwrap_or(-1)),
        max_write_request_units: Some(write.unwrap_or(-1)),
    })
}

/// How a key schema is described.
pub fn key_schema(keys: &Keys) -> Vec<api::KeySchemaElement> {
    let element = |kind: &'static str| {
        move |part: &Part| api::KeySchemaElement {
            attribute_name: part.name.clone(),
            key_type: kind.to_owned(),
        }
    };
    let hash = keys.hash.iter().map(element("HASH"));
    hash.chain(keys.range.iter().map(element("RANGE")))
        .collect()
}

/// How a projection is described.
pub fn projection(projected: &Projected) -> api::Projection {
    let (kind, names) = match projected {
        Projected::All => ("ALL", None),
        Projected::KeysOnly => ("KEYS_ONLY", None),
        Projected::Include(names) => ("INCLUDE", Some(names.clone())),
    };
    api::Projection {
        projection_type: Some(kind.into()),
        non_key_attributes: names,
    }
}

impl TableRecord {
    /// Gives it a new stream.
    pub fn open_stream(&mut self, view: String, now: Timestamp) {
        self.stream_view = Some(view);
        self.stream_label = Some(crate::create::stream_label(now));
        self.stream_uid = crate::create::unique();
    }
}
