//! An item: as it is stored, and as it is answered.

use serde::{Deserialize, Serialize};
use store::Record;
use wire::schema::STRING;
use wire::{Encode, Fault, Kind, Member, Schema, Writer};

use crate::value::{self, Attributes, Value};

/// The shape of an item in answers.
pub static SCHEMA: Schema = Schema::new("AttributeMap", Kind::Map).members(&[
    Member::new("key", &STRING),
    Member::new("value", &value::SCHEMA),
]);

/// An item as it is stored: its size as DynamoDB measures it, then its attributes in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Stored(#[serde(with = "serde_bytes")] Vec<u8>);

impl Record for Stored {}

/// The size of attributes, as DynamoDB measures items.
pub fn size(attributes: &Attributes) -> usize {
    attributes
        .iter()
        .map(|(name, value)| name.len() + value.size())
        .sum()
}

fn corrupt() -> Fault {
    Fault::from(store::Error::Corrupt("a stored item ends early".into()))
}

impl Stored {
    /// The stored form of these attributes.
    pub fn new(attributes: &Attributes) -> Stored {
        let size = size(attributes);
        let mut out = Vec::with_capacity(size + 8 * attributes.len() + 8);
        value::store_len(size, &mut out);
        value::store_map(attributes, &mut out);
        Stored(out)
    }

    /// Its size.
    pub fn size(&self) -> usize {
        value::load_len(&mut &self.0[..]).unwrap_or(0)
    }

    fn body(&self) -> Option<&[u8]> {
        let mut input = &self.0[..];
        value::load_len(&mut input)?;
        Some(input)
    }

    /// Its attributes.
    pub fn attributes(&self) -> Result<Attributes, Fault> {
        self.body()
            .and_then(|mut body| value::load_map(&mut body))
            .ok_or_else(corrupt)
    }

    /// Some of its attributes, by name.
    pub fn pick(&self, wanted: &[&str]) -> Result<Attributes, Fault> {
        // A request may name many, and an item have many.
        let mut wanted = wanted.to_vec();
        wanted.sort_unstable();
        let pick = || {
            let mut input = self.body()?;
            let mut found = Attributes::new();
            for _ in 0..value::load_len(&mut input)? {
                let name = value::load_text(&mut input)?;
                if wanted.binary_search(&name).is_ok() {
                    found.insert(name.to_owned(), Value::load(&mut input)?);
                } else {
                    Value::skip(&mut input)?;
                }
            }
            Some(found)
        };
        pick().ok_or_else(corrupt)
    }
}

/// An item in an answer: decoded, or still as it is stored.
#[derive(Clone, Debug)]
pub enum Item {
    /// Attributes.
    Plain(Attributes),
    /// Stored bytes, written without being decoded first.
    Stored(Stored),
}

impl Default for Item {
    fn default() -> Item {
        Item::Plain(Attributes::new())
    }
}

impl From<Attributes> for Item {
    fn from(attributes: Attributes) -> Item {
        Item::Plain(attributes)
    }
}

impl Encode for Item {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }
    fn encode(&self, w: &mut dyn Writer) {
        match self {
            Item::Plain(map) => wire::encode::map(w, &SCHEMA, map, |w, value| value.encode(w)),
            Item::Stored(stored) => {
                let relayed = stored
                    .body()
                    .and_then(|mut body| value::relay_map(&mut body, &SCHEMA, w));
                if relayed.is_none() {
                    tracing::error!("a stored item cannot be read");
                }
            }
        }
    }
}
