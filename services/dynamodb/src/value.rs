//! An attribute value: how it is read from a request, answered, stored and measured.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use wire::decode::Read;
use wire::schema::{BLOB, BOOLEAN, STRING};
use wire::{
    Audit, Bytes, Decode, DecodeError, Encode, Fault, Kind, Member, Reader, Schema, Writer,
};

use crate::fault::{invalid, validation};
use crate::number::Number;

/// Attributes by name.
pub type Attributes = BTreeMap<String, Value>;

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    S(String),
    /// A number.
    N(Number),
    /// Bytes.
    B(Bytes),
    /// True or false.
    Bool(bool),
    /// Null.
    Null,
    /// A list.
    L(Vec<Value>),
    /// A map.
    M(Attributes),
    /// A set of texts.
    SS(Vec<String>),
    /// A set of numbers.
    NS(Vec<Number>),
    /// A set of bytes.
    BS(Vec<Bytes>),
    /// What a request held in place of a value; only [`Value::check`] may see it.
    Bad(Box<str>),
}

/// The shape. Not a union to the codecs: DynamoDB has its own words for none and for several members.
pub static SCHEMA: Schema = Schema::new("AttributeValue", Kind::Structure).members(&[
    Member::new("S", &STRING),
    Member::new("N", &STRING),
    Member::new("B", &BLOB),
    Member::new("SS", &STRINGS),
    Member::new("NS", &STRINGS),
    Member::new("BS", &BLOBS),
    Member::new("M", &MAP),
    Member::new("L", &LIST),
    Member::new("NULL", &BOOLEAN),
    Member::new("BOOL", &BOOLEAN),
]);
static STRINGS: Schema =
    Schema::new("StringSetAttributeValue", Kind::List).members(&[Member::new("member", &STRING)]);
static BLOBS: Schema =
    Schema::new("BinarySetAttributeValue", Kind::List).members(&[Member::new("member", &BLOB)]);
static LIST: Schema =
    Schema::new("ListAttributeValue", Kind::List).members(&[Member::new("member", &SCHEMA)]);
static MAP: Schema = Schema::new("MapAttributeValue", Kind::Map)
    .members(&[Member::new("key", &STRING), Member::new("value", &SCHEMA)]);

const EMPTY: &str =
    "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes";
const SEVERAL: &str = "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes";
const NESTING: &str = "Nesting Levels have exceeded supported limits";
/// Levels of lists and maps within an attribute.
pub const MAX_NESTING: usize = 32;

impl Read for Value {
    fn read(r: &mut dyn Reader, _: &mut Audit, _: &'static Member) -> Result<Self, DecodeError> {
        read(r)
    }
}

impl Decode for Value {
    const SCHEMA: &'static Schema = &SCHEMA;
    fn decode(r: &mut dyn Reader, _: &mut Audit) -> Result<Self, DecodeError> {
        read(r)
    }
}

fn read(r: &mut dyn Reader) -> Result<Value, DecodeError> {
    if r.is_null() {
        return Ok(Value::Bad(EMPTY.into()));
    }
    let mut found: Option<Value> = None;
    r.structure(&SCHEMA, &mut |r, index| {
        let value = match index {
            0 => Value::S(r.string()?),
            1 => match Number::parse(&r.string()?) {
                Ok(number) => Value::N(number),
                Err(bad) => Value::Bad(bad.to_string().into()),
            },
            2 => Value::B(r.blob()?),
            3 => {
                let mut set = Vec::new();
                r.list(&STRINGS, &mut |r| {
                    set.push(r.string()?);
                    Ok(())
                })?;
                Value::SS(set)
            }
            4 => {
                let (mut set, mut bad) = (Vec::new(), None);
                r.list(&STRINGS, &mut |r| {
                    match Number::parse(&r.string()?) {
                        Ok(number) => set.push(number),
                        Err(b) => bad = Some(Value::Bad(b.to_string().into())),
                    }
                    Ok(())
                })?;
                bad.unwrap_or(Value::NS(set))
            }
            5 => {
                let mut set = Vec::new();
                r.list(&BLOBS, &mut |r| {
                    set.push(r.blob()?);
                    Ok(())
                })?;
                Value::BS(set)
            }
            6 => {
                let mut map = Attributes::new();
                r.map(&MAP, &mut |key, r| {
                    map.insert(key, read(r)?);
                    Ok(())
                })?;
                Value::M(map)
            }
            7 => {
                let mut list = Vec::new();
                r.list(&LIST, &mut |r| {
                    list.push(read(r)?);
                    Ok(())
                })?;
                Value::L(list)
            }
            8 => match r.boolean()? {
                true => Value::Null,
                false => Value::Bad(
                    "One or more parameter values were invalid: Null attribute value types must have the value of true".into(),
                ),
            },
            _ => Value::Bool(r.boolean()?),
        };
        found = Some(match found {
            None => value,
            Some(_) => Value::Bad(SEVERAL.into()),
        });
        Ok(())
    })?;
    Ok(found.unwrap_or_else(|| Value::Bad(EMPTY.into())))
}

impl Encode for Value {
    fn schema(&self) -> &'static Schema {
        &SCHEMA
    }
    fn encode(&self, w: &mut dyn Writer) {
        let member = |w: &mut dyn Writer, index: usize| {
            w.structure(&SCHEMA);
            w.member(&SCHEMA.members[index]);
        };
        match self {
            Value::S(text) => {
                member(w, 0);
                w.string(text);
            }
            Value::N(number) => {
                member(w, 1);
                w.string(&number.to_string());
            }
            Value::B(bytes) => {
                member(w, 2);
                w.blob(bytes);
            }
            Value::SS(set) => {
                member(w, 3);
                wire::encode::list(w, &STRINGS, set, |w, text| w.string(text));
            }
            Value::NS(set) => {
                member(w, 4);
                wire::encode::list(w, &STRINGS, set, |w, number| w.string(&number.to_string()));
            }
            Value::BS(set) => {
                member(w, 5);
                wire::encode::list(w, &BLOBS, set, |w, bytes| w.blob(bytes));
            }
            Value::M(map) => {
                member(w, 6);
                wire::encode::map(w, &MAP, map, |w, value| value.encode(w));
            }
            Value::L(list) => {
                member(w, 7);
                wire::encode::list(w, &LIST, list, |w, value| value.encode(w));
            }
            Value::Null | Value::Bad(_) => {
                member(w, 8);
                w.boolean(true);
            }
            Value::Bool(value) => {
                member(w, 9);
                w.boolean(*value);
            }
        }
        w.end_structure();
    }
}

impl Value {
    /// The type's name, as requests and messages write it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::S(_) => "S",
            Value::N(_) => "N",
            Value::B(_) => "B",
            Value::Bool(_) => "BOOL",
            Value::Null | Value::Bad(_) => "NULL",
            Value::L(_) => "L",
            Value::M(_) => "M",
            Value::SS(_) => "SS",
            Value::NS(_) => "NS",
            Value::BS(_) => "BS",
        }
    }

    /// Refuses what a request may not hold; the message is AWS's, without what operations put before it.
    pub fn problem(&self) -> Option<String> {
        self.problem_within(0)
    }

    fn problem_within(&self, depth: usize) -> Option<String> {
        let deep = || (depth >= MAX_NESTING).then(|| NESTING.to_owned());
        match self {
            Value::Bad(message) => Some(message.to_string()),
            Value::L(list) => {
                deep().or_else(|| list.iter().find_map(|v| v.problem_within(depth + 1)))
            }
            Value::M(map) => {
                deep().or_else(|| map.values().find_map(|v| v.problem_within(depth + 1)))
            }
            Value::SS(set) if set.is_empty() => Some(invalid("An string set  may not be empty")),
            Value::NS(set) if set.is_empty() => Some(invalid("An number set  may not be empty")),
            Value::BS(set) if set.is_empty() => Some(invalid("Binary sets should not be empty")),
            Value::SS(set) => has_twins(set).then(|| {
                invalid(&format!(
                    "Input collection [{}] contains duplicates.",
                    set.join(", ")
                ))
            }),
            Value::NS(set) => has_twins(set).then(|| "Input collection contains duplicates".into()),
            Value::BS(set) => {
                has_twins(set).then(|| invalid("Input collection of type BS contains duplicates."))
            }
            _ => None,
        }
    }

    /// [`Value::problem`] as an error.
    pub fn check(&self) -> Result<(), Fault> {
        match self.problem() {
            Some(message) => Err(validation(message)),
            None => Ok(()),
        }
    }

    /// Whether two values are equal as DynamoDB sees it: sets have no order.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::SS(a), Value::SS(b)) => same_set(a, b),
            (Value::NS(a), Value::NS(b)) => same_set(a, b),
            (Value::BS(a), Value::BS(b)) => same_set(a, b),
            (Value::L(a), Value::L(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b))
            }
            (Value::M(a), Value::M(b)) => {
                a.len() == b.len()
                    && a.iter()
                        .zip(b)
                        .all(|((ka, a), (kb, b))| ka == kb && a.equals(b))
            }
            (a, b) => a == b,
        }
    }

    /// The order of two values of one ordered type.
    pub fn order(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::S(a), Value::S(b)) => Some(a.cmp(b)),
            (Value::N(a), Value::N(b)) => Some(a.cmp(b)),
            (Value::B(a), Value::B(b)) => Some(a.cmp(b)),
            _ => None,
        }
    }

    /// What it counts for in an item's size.
    pub fn size(&self) -> usize {
        match self {
            Value::S(text) => text.len(),
            Value::N(number) => number.size(),
            Value::B(bytes) => bytes.len(),
            Value::Bool(_) | Value::Null | Value::Bad(_) => 1,
            Value::L(list) => 3 + list.iter().map(|v| v.size() + 1).sum::<usize>(),
            Value::M(map) => {
                3 + map
                    .iter()
                    .map(|(k, v)| k.len() + v.size() + 1)
                    .sum::<usize>()
            }
            Value::SS(set) => set.iter().map(String::len).sum(),
            Value::NS(set) => set.iter().map(|n| n.size()).sum(),
            Value::BS(set) => set.iter().map(|b| b.len()).sum(),
        }
    }

    /// Appends the form that items are stored in.
    pub fn store(&self, out: &mut Vec<u8>) {
        match self {
            Value::S(text) => {
                out.push(tag::S);
                store_bytes(text.as_bytes(), out);
            }
            Value::N(number) => {
                out.push(tag::N);
                number.encode(out);
            }
            Value::B(bytes) => {
                out.push(tag::B);
                store_bytes(bytes, out);
            }
            Value::Bool(false) => out.push(tag::FALSE),
            Value::Bool(true) => out.push(tag::TRUE),
            Value::Null | Value::Bad(_) => out.push(tag::NULL),
            Value::L(list) => {
                out.push(tag::L);
                store_len(list.len(), out);
                list.iter().for_each(|value| value.store(out));
            }
            Value::M(map) => {
                out.push(tag::M);
                store_map(map, out);
            }
            Value::SS(set) => {
                out.push(tag::SS);
                store_len(set.len(), out);
                set.iter()
                    .for_each(|text| store_bytes(text.as_bytes(), out));
            }
            Value::NS(set) => {
                out.push(tag::NS);
                store_len(set.len(), out);
                set.iter().for_each(|number| number.encode(out));
            }
            Value::BS(set) => {
                out.push(tag::BS);
                store_len(set.len(), out);
                set.iter().for_each(|bytes| store_bytes(bytes, out));
            }
        }
    }

    /// Takes a stored value off the front of `input`.
    pub fn load(input: &mut &[u8]) -> Option<Value> {
        let (&kind, rest) = input.split_first()?;
        *input = rest;
        Some(match kind {
            tag::S => Value::S(load_text(input)?.to_owned()),
            tag::N => Value::N(Number::decode(input)?),
            tag::B => Value::B(Bytes::copy_from_slice(load_bytes(input)?)),
            tag::FALSE => Value::Bool(false),
            tag::TRUE => Value::Bool(true),
            tag::NULL => Value::Null,
            tag::L => {
                let len = load_len(input)?;
                Value::L(
                    (0..len)
                        .map(|_| Value::load(input))
                        .collect::<Option<_>>()?,
                )
            }
            tag::M => Value::M(load_map(input)?),
            tag::SS => {
                let len = load_len(input)?;
                let each = |_| load_text(input).map(str::to_owned);
                Value::SS((0..len).map(each).collect::<Option<_>>()?)
            }
            tag::NS => {
                let len = load_len(input)?;
                Value::NS(
                    (0..len)
                        .map(|_| Number::decode(input))
                        .collect::<Option<_>>()?,
                )
            }
            tag::BS => {
                let len = load_len(input)?;
                let each = |_| load_bytes(input).map(Bytes::copy_from_slice);
                Value::BS((0..len).map(each).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }

    /// Writes a stored value straight into an answer.
    pub fn relay(input: &mut &[u8], w: &mut dyn Writer) -> Option<()> {
        match *input.first()? {
            tag::S => {
                *input = &input[1..];
                w.structure(&SCHEMA);
                w.member(&SCHEMA.members[0]);
                w.string(load_text(input)?);
                w.end_structure();
            }
            tag::M => {
                *input = &input[1..];
                w.structure(&SCHEMA);
                w.member(&SCHEMA.members[6]);
                relay_map(input, &MAP, w)?;
                w.end_structure();
            }
            _ => Value::load(input)?.encode(w),
        }
        Some(())
    }

    /// Steps over a stored value.
    pub fn skip(input: &mut &[u8]) -> Option<()> {
        match *input.first()? {
            tag::S | tag::B => {
                *input = &input[1..];
                load_bytes(input)?;
            }
            tag::FALSE | tag::TRUE | tag::NULL => *input = &input[1..],
            tag::N => {
                *input = &input[1..];
                Number::decode(input)?;
            }
            _ => {
                Value::load(input)?;
            }
        }
        Some(())
    }
}

mod tag {
    pub const S: u8 = 0;
    pub const N: u8 = 1;
    pub const B: u8 = 2;
    pub const FALSE: u8 = 3;
    pub const TRUE: u8 = 4;
    pub const NULL: u8 = 5;
    pub const L: u8 = 6;
    pub const M: u8 = 7;
    pub const SS: u8 = 8;
    pub const NS: u8 = 9;
    pub const BS: u8 = 10;
}

fn has_twins<T: Ord>(set: &[T]) -> bool {
    let mut sorted: Vec<&T> = set.iter().collect();
    sorted.sort_unstable();
    sorted.windows(2).any(|pair| pair[0] == pair[1])
}

fn same_set<T: Ord>(a: &[T], b: &[T]) -> bool {
    let sorted = |set: &'_ [T]| -> Vec<usize> {
        let mut order: Vec<usize> = (0..set.len()).collect();
        order.sort_unstable_by(|x, y| set[*x].cmp(&set[*y]));
        order
    };
    a.len() == b.len() && sorted(a).iter().zip(sorted(b)).all(|(x, y)| a[*x] == b[y])
}

pub(crate) fn store_len(mut len: usize, out: &mut Vec<u8>) {
    while len >= 0x80 {
        out.push(len as u8 | 0x80);
        len >>= 7;
    }
    out.push(len as u8);
}

pub(crate) fn load_len(input: &mut &[u8]) -> Option<usize> {
    let mut len = 0usize;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = input.split_first()?;
        *input = rest;
        len |= usize::from(byte & 0x7F) << shift;
        if byte & 0x80 == 0 {
            return Some(len);
        }
    }
    None
}

fn store_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    store_len(bytes.len(), out);
    out.extend_from_slice(bytes);
}

fn load_bytes<'a>(input: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = load_len(input)?;
    let (bytes, rest) = input.split_at_checked(len)?;
    *input = rest;
    Some(bytes)
}

pub(crate) fn load_text<'a>(input: &mut &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(load_bytes(input)?).ok()
}

pub(crate) fn store_map(map: &Attributes, out: &mut Vec<u8>) {
    store_len(map.len(), out);
    for (name, value) in map {
        store_bytes(name.as_bytes(), out);
        value.store(out);
    }
}

pub(crate) fn load_map(input: &mut &[u8]) -> Option<Attributes> {
    let len = load_len(input)?;
    (0..len)
        .map(|_| Some((load_text(input)?.to_owned(), Value::load(input)?)))
        .collect()
}

pub(crate) fn relay_map(
    input: &mut &[u8],
    schema: &'static Schema,
    w: &mut dyn Writer,
) -> Option<()> {
    let len = load_len(input)?;
    w.map(schema, len);
    for _ in 0..len {
        w.key(load_text(input)?);
        Value::relay(input, w)?;
    }
    w.end_map();
    Some(())
}
