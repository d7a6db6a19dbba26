//! Typed inputs: how a generated struct is read and checked.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::audit::{Audit, shown_list, shown_map};
use crate::body::Body;
use crate::reader::{DecodeError, Reader};
use crate::schema::{Member, Schema};
use crate::timestamp::Timestamp;

/// A struct that can be read from any protocol. Implemented by generated code.
pub trait Decode: Sized {
    /// The struct's shape.
    const SCHEMA: &'static Schema;
    /// Reads it; constraints that do not hold go to `audit`.
    fn decode(r: &mut dyn Reader, audit: &mut Audit) -> Result<Self, DecodeError>;
}

/// Reads a whole input and checks every constraint.
pub fn input<T: Decode>(r: &mut dyn Reader, audit: &mut Audit) -> Result<T, DecodeError> {
    let value = T::decode(r, audit)?;
    audit.finish()?;
    Ok(value)
}

/// Reads a value of one type: the argument that lists and maps take.
pub trait Read: Sized {
    /// Reads it as the target of `member`.
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError>;
}

impl Read for String {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        let value = r.string()?;
        if member.target.is_constrained() {
            audit.within(member, |a| a.text(member.target, &value));
        }
        Ok(value)
    }
}
impl Read for bool {
    fn read(r: &mut dyn Reader, _: &mut Audit, _: &'static Member) -> Result<Self, DecodeError> {
        r.boolean()
    }
}
impl Read for i32 {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        let value = r.long()?;
        let value =
            i32::try_from(value).map_err(|_| DecodeError::type_mismatch("a 32-bit integer"))?;
        if member.target.is_constrained() {
            audit.within(member, |a| {
                a.number(member.target, f64::from(value), &value.to_string())
            });
        }
        Ok(value)
    }
}
impl Read for i64 {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        let value = r.long()?;
        if member.target.is_constrained() {
            audit.within(member, |a| {
                a.number(member.target, value as f64, &value.to_string())
            });
        }
        Ok(value)
    }
}
impl Read for f32 {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        Ok(f64::read(r, audit, member)? as f32)
    }
}
impl Read for f64 {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        let value = r.double()?;
        if member.target.is_constrained() {
            audit.within(member, |a| {
                a.number(member.target, value, &value.to_string())
            });
        }
        Ok(value)
    }
}
impl Read for Bytes {
    fn read(
        r: &mut dyn Reader,
        audit: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        let value = r.blob()?;
        if member.target.is_constrained() {
            audit.within(member, |a| {
                a.length(member.target, value.len(), "java.nio.HeapByteBuffer")
            });
        }
        Ok(value)
    }
}
impl Read for Timestamp {
    fn read(
        r: &mut dyn Reader,
        _: &mut Audit,
        member: &'static Member,
    ) -> Result<Self, DecodeError> {
        r.timestamp(member)
    }
}
impl Read for serde_json::Value {
    fn read(r: &mut dyn Reader, _: &mut Audit, _: &'static Member) -> Result<Self, DecodeError> {
        r.document()
    }
}
impl Read for Body {
    fn read(r: &mut dyn Reader, _: &mut Audit, _: &'static Member) -> Result<Self, DecodeError> {
        r.stream()
    }
}

/// Reads a nested structure.
pub fn nested<T: Decode>(
    r: &mut dyn Reader,
    audit: &mut Audit,
    member: &'static Member,
) -> Result<T, DecodeError> {
    audit.within(member, |a| T::decode(r, a))
}

/// Reads a list into `into`, which holds the earlier runs of a flattened one.
pub fn list<T: 'static>(
    r: &mut dyn Reader,
    audit: &mut Audit,
    member: &'static Member,
    into: &mut Option<Vec<T>>,
    mut each: impl FnMut(&mut dyn Reader, &mut Audit, &'static Member) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    let items = into.get_or_insert_with(Vec::new);
    audit.within(member, |audit| {
        let Some(element) = member.target.members.first() else {
            return Ok(());
        };
        let mut index = items.len();
        let (read, is_broken) = audit.scalars(element.target, |audit| {
            r.list(member.target, &mut |r| {
                if r.is_null() && !member.target.sparse {
                    return Ok(());
                }
                items.push(audit.element(index, |a| each(r, a, element))?);
                index += 1;
                Ok(())
            })
        });
        read?;
        if is_broken {
            audit.elements("Member", element.target, &shown_list(items));
        }
        if member.target.breaks_length(items.len()) {
            audit.length(member.target, items.len(), &shown_list(items));
        }
        Ok(())
    })
}

/// Reads a map.
pub fn map<T: 'static>(
    r: &mut dyn Reader,
    audit: &mut Audit,
    member: &'static Member,
    into: &mut Option<BTreeMap<String, T>>,
    mut each: impl FnMut(&mut dyn Reader, &mut Audit, &'static Member) -> Result<T, DecodeError>,
) -> Result<(), DecodeError> {
    let entries = into.get_or_insert_with(BTreeMap::new);
    audit.within(member, |audit| {
        let [key, value] = member.target.members else {
            return Ok(());
        };
        let (mut are_keys_broken, mut are_values_broken) = (false, false);
        r.map(member.target, &mut |k, r| {
            if key.target.is_constrained() {
                let check = |a: &mut Audit| a.text(key.target, &k);
                are_keys_broken |= audit.scalars(key.target, check).1;
            }
            if r.is_null() && !member.target.sparse {
                return Ok(());
            }
            let (v, is_broken) =
                audit.scalars(value.target, |a| a.entry(&k, |a| each(r, a, value)));
            are_values_broken |= is_broken;
            entries.insert(k, v?);
            Ok(())
        })?;
        if are_keys_broken {
            audit.elements("Map keys", key.target, &shown_map(entries));
        }
        if are_values_broken {
            audit.elements("Map value", value.target, &shown_map(entries));
        }
        if member.target.breaks_length(entries.len()) {
            audit.length(member.target, entries.len(), &shown_map(entries));
        }
        Ok(())
    })
}

/// A list within a list or map.
pub fn inner_list<T: 'static>(
    r: &mut dyn Reader,
    audit: &mut Audit,
    member: &'static Member,
    each: impl FnMut(&mut dyn Reader, &mut Audit, &'static Member) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = None;
    list(r, audit, member, &mut items, each)?;
    Ok(items.unwrap_or_default())
}

/// A map within a list or map.
pub fn inner_map<T: 'static>(
    r: &mut dyn Reader,
    audit: &mut Audit,
    member: &'static Member,
    each: impl FnMut(&mut dyn Reader, &mut Audit, &'static Member) -> Result<T, DecodeError>,
) -> Result<BTreeMap<String, T>, DecodeError> {
    let mut entries = None;
    map(r, audit, member, &mut entries, each)?;
    Ok(entries.unwrap_or_default())
}
