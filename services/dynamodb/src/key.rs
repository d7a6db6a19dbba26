//! Keys: their schema, the rules for their values, and the rows that they name in the store.

use serde::{Deserialize, Serialize};
use store::{Error, Key, KeyFor, PrefixOf};
use wire::Fault;

use crate::fault::{invalid_parameter, validation};
use crate::value::{Attributes, Value};

/// The type of a key attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyType {
    /// Text.
    S,
    /// A number.
    N,
    /// Bytes.
    B,
}

impl KeyType {
    /// By its name.
    pub fn of(name: &str) -> Option<KeyType> {
        Some(match name {
            "S" => KeyType::S,
            "N" => KeyType::N,
            "B" => KeyType::B,
            _ => return None,
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            KeyType::S => "S",
            KeyType::N => "N",
            KeyType::B => "B",
        }
    }

    /// Whether a value is of it.
    pub fn fits(self, value: &Value) -> bool {
        matches!(
            (self, value),
            (KeyType::S, Value::S(_)) | (KeyType::N, Value::N(_)) | (KeyType::B, Value::B(_))
        )
    }
}

/// An attribute of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: KeyType,
}

impl Part {
    /// That a value is not of its type, of an attribute of that index.
    pub fn mismatch(&self, index: &str, value: &Value) -> Fault {
        invalid_parameter(&format!(
            "Type mismatch for Index Key {} Expected: {} Actual: {} IndexName: {index}",
            self.name,
            self.kind.name(),
            value.type_name()
        ))
    }
}

/// A key schema. Only global secondary indexes may have more than one attribute for hash or range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// What items are spread by.
    pub hash: Vec<Part>,
    /// What they are sorted by.
    pub range: Vec<Part>,
}

/// Longest hash and range keys, in bytes.
const MAX_HASH: usize = 2048;
const MAX_RANGE: usize = 1024;

impl Keys {
    /// All its attributes.
    pub fn parts(&self) -> impl Iterator<Item = &Part> {
        self.hash.iter().chain(&self.range)
    }

    /// Whether an attribute is part of it.
    pub fn has(&self, name: &str) -> bool {
        self.parts().any(|part| part.name == name)
    }

    /// The key of an item.
    pub fn of(&self, item: &Attributes) -> Attributes {
        self.parts()
            .filter_map(|part| Some((part.name.clone(), item.get(&part.name)?.clone())))
            .collect()
    }

    /// Whether an item has all its attributes, each as the key needs it, and so belongs into an index of this key.
    /// Items that were there before the index may have others.
    pub fn cover(&self, item: &Attributes) -> bool {
        let fit = |parts: &[Part], longest: usize| {
            let mut length = 0;
            parts.iter().all(|part| {
                item.get(&part.name).is_some_and(|value| {
                    length += value.size();
                    part.kind.fits(value) && value.size() > 0 && length <= longest
                })
            })
        };
        fit(&self.hash, MAX_HASH) && fit(&self.range, MAX_RANGE)
    }

    /// Checks the key of a request that names an item: exactly the key's attributes.
    pub fn check_key(&self, key: &Attributes) -> Result<(), Fault> {
        if key.len() != self.hash.len() + self.range.len() {
            for value in key.values() {
                value.check()?;
            }
            return Err(validation(
                "The provided key element does not match the schema",
            ));
        }
        for part in self.parts() {
            let Some(value) = key.get(&part.name) else {
                return Err(validation(
                    "The provided key element does not match the schema",
                ));
            };
            value.check()?;
            if !part.kind.fits(value) {
                return Err(validation(
                    "The provided key element does not match the schema",
                ));
            }
        }
        self.check_values(key)
    }

    /// Whether an item has all key attributes, each of its type.
    pub fn are_in(&self, item: &Attributes) -> bool {
        self.parts().all(|part| {
            item.get(&part.name)
                .is_some_and(|value| part.kind.fits(value))
        })
    }

    /// Checks the key attributes of an item that is to be put.
    pub fn check_item(&self, item: &Attributes) -> Result<(), Fault> {
        for part in self.parts() {
            match item.get(&part.name) {
                None => {
                    return Err(invalid_parameter(&format!(
                        "Missing the key {} in the item",
                        part.name
                    )));
                }
                Some(value) if !part.kind.fits(value) => {
                    return Err(invalid_parameter(&format!(
                        "Type mismatch for key {} expected: {} actual: {}",
                        part.name,
                        part.kind.name(),
                        value.type_name()
                    )));
                }
                Some(_) => {}
            }
        }
        self.check_values(item)
    }

    /// Checks that key values are neither empty nor too long.
    fn check_values(&self, key: &Attributes) -> Result<(), Fault> {
        for part in self.parts() {
            let Some(what) = key.get(&part.name).and_then(emptiness) else {
                continue;
            };
            return Err(validation(format!(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty {what} value. Key: {}",
                part.name
            )));
        }
        self.check_lengths(key)
    }

    /// Checks the attributes of an item that are keys of a secondary index.
    pub fn check_index(&self, index: &str, item: &Attributes) -> Result<(), Fault> {
        for part in self.parts() {
            let Some(value) = item.get(&part.name) else {
                continue;
            };
            if !part.kind.fits(value) {
                return Err(part.mismatch(index, value));
            }
            let Some(what) = emptiness(value) else {
                continue;
            };
            return Err(validation(format!(
                "One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty {what} value. IndexName: {index}, IndexKey: {}",
                part.name
            )));
        }
        self.check_lengths(item)
    }

    /// Checks that neither half of a key is too long.
    fn check_lengths(&self, attributes: &Attributes) -> Result<(), Fault> {
        let length = |parts: &[Part]| -> usize {
            parts
                .iter()
                .filter_map(|part| attributes.get(&part.name))
                .map(Value::size)
                .sum()
        };
        if length(&self.hash) > MAX_HASH {
            return Err(invalid_parameter(
                "Size of hashkey has exceeded the maximum size limit of2048 bytes",
            ));
        }
        if length(&self.range) > MAX_RANGE {
            return Err(invalid_parameter(
                "Aggregated size of all range keys has exceeded the size limit of 1024 bytes",
            ));
        }
        Ok(())
    }
}

/// What an empty value of a key is called, where it is one.
fn emptiness(value: &Value) -> Option<&'static str> {
    match value {
        Value::S(text) if text.is_empty() => Some("string"),
        Value::B(bytes) if bytes.is_empty() => Some("binary"),
        _ => None,
    }
}

/// The bytes of a key attribute, which compare as its values do.
fn ordered(value: &Value) -> Vec<u8> {
    match value {
        Value::S(text) => text.as_bytes().to_vec(),
        Value::B(bytes) => bytes.to_vec(),
        Value::N(number) => {
            let mut out = Vec::with_capacity(24);
            number.encode_ordered(&mut out);
            out
        }
        _ => Vec::new(),
    }
}

/// The key of a row: account, table and index, the hash of the hash key, hash key, range key, and in an index the
/// key of the item. A scan goes by the hash, a query within one hash key; both are ranges of rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row(pub Vec<u8>);

impl KeyFor<Row> for Row {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl PrefixOf<Row> for Row {
    fn encode_prefix(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }
}

impl Key for Row {
    fn decode(input: &mut &[u8]) -> Result<Self, Error> {
        Ok(Row(std::mem::take(input).to_vec()))
    }
}

/// The index of the table itself.
pub const BASE: u8 = 0;

impl Row {
    /// What all rows of a table and its indexes begin with.
    pub fn table(account: &str, table: u64) -> Row {
        let mut out = Vec::with_capacity(96);
        KeyFor::<String>::encode(account, &mut out);
        out.extend_from_slice(&table.to_be_bytes());
        Row(out)
    }

    /// What all rows of a table's index begin with.
    pub fn index(account: &str, table: u64, index: u8) -> Row {
        let mut row = Row::table(account, table);
        row.0.push(index);
        row
    }

    /// What all rows with that hash key begin with. The values are known to be of their types.
    pub fn partition(mut self, keys: &Keys, key: &Attributes) -> Row {
        let mut bytes = Vec::with_capacity(64);
        for part in &keys.hash {
            let value = key.get(&part.name).map(ordered).unwrap_or_default();
            KeyFor::<Vec<u8>>::encode(&value, &mut bytes);
        }
        self.0.extend_from_slice(&spread(&bytes).to_be_bytes());
        self.0.extend_from_slice(&bytes);
        self
    }

    /// What rows of a partition go on with where a range attribute has that value.
    pub fn then(mut self, value: &Value) -> Row {
        KeyFor::<Vec<u8>>::encode(&ordered(value), &mut self.0);
        self
    }

    /// What rows of a partition go on with where a range attribute begins with that value.
    pub fn then_prefix(self, value: &Value) -> Row {
        let mut row = self.then(value);
        // Without the end mark.
        row.0.truncate(row.0.len() - 2);
        row
    }

    /// The first place behind all rows that begin with this one, which ends with a value's end mark.
    pub fn behind(mut self) -> Row {
        if let Some(last) = self.0.last_mut() {
            *last = 1;
        }
        self
    }

    /// The row of an item in the table itself.
    pub fn item(account: &str, table: u64, keys: &Keys, key: &Attributes) -> Row {
        Row::index(account, table, BASE)
            .partition(keys, key)
            .ranged(keys, key)
    }

    fn ranged(mut self, keys: &Keys, key: &Attributes) -> Row {
        for part in &keys.range {
            if let Some(value) = key.get(&part.name) {
                self = self.then(value);
            }
        }
        self
    }

    /// The row of an item in an index.
    pub fn entry(
        account: &str,
        table: u64,
        index: u8,
        keys: &Keys,
        base: &Keys,
        item: &Attributes,
    ) -> Row {
        let mut row = Row::index(account, table, index)
            .partition(keys, item)
            .ranged(keys, item);
        for part in base.parts() {
            if let Some(value) = item.get(&part.name) {
                row = row.then(value);
            }
        }
        row
    }

    /// The first hash of a segment of a scan; that of one after the last is beyond all.
    pub fn segment_hash(segment: u64, of: u64) -> u64 {
        (segment << 32).div_ceil(of)
    }

    /// Where a segment of a scan begins among the hashes; the last one's end is beyond all.
    pub fn segment(mut self, segment: u64, of: u64) -> Row {
        match u32::try_from(Row::segment_hash(segment, of)) {
            Ok(begin) => self.0.extend_from_slice(&begin.to_be_bytes()),
            Err(_) => self.0.extend_from_slice(&[0xFF; 5]),
        }
        self
    }

    /// The hash of the partition key, in a row that begins with `index`.
    pub fn hash(&self, index: &Row) -> u32 {
        let hash = self
            .0
            .get(index.0.len()..)
            .and_then(|rest| rest.first_chunk());
        hash.map_or(0, |hash| u32::from_be_bytes(*hash))
    }

    /// A number below `of` that follows from the row alone.
    pub fn shard(&self, of: usize) -> usize {
        spread(&self.0) as usize % of
    }
}

/// Spreads keys evenly over 32 bits (FNV-1a, then mixed). It is part of what is stored: it must never change.
fn spread(bytes: &[u8]) -> u32 {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    (mixed >> 32) as u32
}
