//! Reads Parquet files, off their object by ranges: the file's end says where its columns are.

use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::parquet::basic::Compression;
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ColumnChunkMetaData;
use ::parquet::file::reader::{ChunkReader, FileReader, Length, SerializedFileReader};
use ::parquet::record::{Field, Row};
use bigdecimal::BigDecimal;
use bytes::Bytes;
use tokio::runtime::Handle;
use wire::Fault;

use super::fault;
use super::timestamp::{Precision, Timestamp};
use super::value::{Value, decimal};
use crate::bucket::Bucket;
use crate::data_key::Masters;
use crate::encryption::CustomerKey;
use crate::object::{Objects, Version};

/// The largest group of rows, in bytes.
const LARGEST_GROUP: i64 = 256 * 1024 * 1024;
/// How much is read at a time of what has no announced length.
const CHUNK: u64 = 1024 * 1024;

/// A version of an object, read by ranges on a thread that may wait for it.
#[derive(Clone)]
pub struct Object {
    pub objects: Objects,
    pub masters: Masters,
    pub bucket: Arc<Bucket>,
    pub key: String,
    pub version: Arc<Version>,
    pub customer: Option<Arc<CustomerKey>>,
    pub handle: Handle,
    pub scanned: Arc<AtomicU64>,
}

impl Object {
    fn range(&self, range: Range<u64>) -> io::Result<Bytes> {
        let customer = self.customer.as_deref();
        let len = range.end.saturating_sub(range.start);
        let (bucket, key, version) = (&self.bucket, &self.key, &self.version);
        let body = self
            .objects
            .read(&self.masters, bucket, key, version, range, customer)
            .map_err(|fault| io::Error::other(fault.to_string()))?
            .ok_or_else(|| io::Error::other("the object was replaced while it was read"))?;
        let bytes = self.handle.block_on(body.collect(len));
        self.scanned.fetch_add(len, Ordering::Relaxed);
        bytes.map_err(io::Error::other)
    }
}

/// Reads on from somewhere.
pub struct Onward {
    object: Object,
    at: u64,
    chunk: Cursor<Bytes>,
}

impl Read for Onward {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.chunk.read(buffer)?;
        if len > 0 || self.at >= self.object.version.size {
            return Ok(len);
        }
        let end = (self.at + CHUNK).min(self.object.version.size);
        self.chunk = Cursor::new(self.object.range(self.at..end)?);
        self.at = end;
        self.chunk.read(buffer)
    }
}

impl Length for Object {
    fn len(&self) -> u64 {
        self.version.size
    }
}

impl ChunkReader for Object {
    type T = Onward;
    fn get_read(&self, start: u64) -> Result<Onward, ParquetError> {
        Ok(Onward {
            object: self.clone(),
            at: start,
            chunk: Cursor::default(),
        })
    }
    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let end = start.checked_add(length as u64);
        let end = end.filter(|end| *end <= self.version.size);
        let end = end.ok_or_else(|| ParquetError::EOF("the file ends before".into()))?;
        self.range(start..end)
            .map_err(|error| ParquetError::External(Box::new(error)))
    }
}

/// Reads the rows of the groups that begin within `range` of the file. `each` says whether to go on.
pub fn read(
    object: Object,
    range: Option<Range<u64>>,
    each: &mut dyn FnMut(Value) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    // The library asserts some of what a file says of itself.
    let run = AssertUnwindSafe(|| read_groups(object, range, each));
    catch_unwind(run).unwrap_or_else(|_| Err(fault::parquet_parsing()))
}

fn read_groups(
    object: Object,
    range: Option<Range<u64>>,
    each: &mut dyn FnMut(Value) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let failed = |_: ParquetError| fault::parquet_parsing();
    let file = SerializedFileReader::new(object).map_err(failed)?;
    for (n, group) in file.metadata().row_groups().iter().enumerate() {
        let is_placed = |column: &ColumnChunkMetaData| {
            let dictionary = column.dictionary_page_offset().unwrap_or(0);
            dictionary >= 0 && column.data_page_offset() >= 0 && column.compressed_size() >= 0
        };
        if !group.columns().iter().all(is_placed) {
            return Err(fault::parquet_parsing());
        }
        let begin = group.columns().first().map_or(0, |c| c.byte_range().0);
        if range.as_ref().is_some_and(|range| !range.contains(&begin)) {
            continue;
        }
        if group.total_byte_size() > LARGEST_GROUP {
            return Err(fault::of(
                "OverMaxParquetBlockSize",
                "The Parquet file is above the max row group size.",
            ));
        }
        let is_known = |compression: Compression| {
            matches!(
                compression,
                Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_)
            )
        };
        if group.columns().iter().any(|c| !is_known(c.compression())) {
            return Err(fault::parquet_codec());
        }
        let group = file.get_row_group(n).map_err(failed)?;
        for row in group.get_row_iter(None).map_err(failed)? {
            if !each(object_of(&row.map_err(failed)?)?)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn object_of(row: &Row) -> Result<Value, Fault> {
    let members = row.get_column_iter();
    let members = members.map(|(name, field)| Ok((name.clone(), value_of(field)?)));
    Ok(Value::Object(members.collect::<Result<_, Fault>>()?))
}

fn utc(millis: i64) -> Result<Value, Fault> {
    let at = Timestamp::utc(millis).ok_or_else(fault::parquet_parsing)?;
    Ok(Value::Timestamp(at))
}

fn value_of(field: &Field) -> Result<Value, Fault> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(is_true) => Value::Bool(*is_true),
        Field::Byte(n) => Value::Int((*n).into()),
        Field::Short(n) => Value::Int((*n).into()),
        Field::Int(n) => Value::Int((*n).into()),
        Field::Long(n) => Value::Int(*n),
        Field::UByte(n) => Value::Int((*n).into()),
        Field::UShort(n) => Value::Int((*n).into()),
        Field::UInt(n) => Value::Int((*n).into()),
        Field::ULong(n) => decimal(BigDecimal::from(*n))?,
        Field::Float(f) => Value::Float(f64::from(*f)),
        Field::Double(f) => Value::Float(*f),
        Field::Decimal(_) => Value::number(&field.to_string())
            .and_then(|n| decimal(n.as_decimal().ok_or_else(fault::parquet_parsing)?))?,
        Field::Str(text) => Value::Text(text.clone()),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => {
                return Err(fault::of(
                    "UnsupportedParquetType",
                    "The specified Parquet type is not supported.",
                ));
            }
        },
        Field::Date(days) => {
            let mut at =
                Timestamp::utc(i64::from(*days) * 86_400_000).ok_or_else(fault::parquet_parsing)?;
            at.precision = Precision::Day;
            at.offset = None;
            Value::Timestamp(at)
        }
        Field::TimestampMillis(millis) => utc(*millis)?,
        Field::TimestampMicros(micros) => utc(micros.div_euclid(1000))?,
        Field::Group(row) => object_of(row)?,
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(value_of);
            Value::List(items.collect::<Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let members = map.entries().iter().map(|(name, field)| {
                let name = value_of(name)?.text().unwrap_or_default();
                Ok((name, value_of(field)?))
            });
            Value::Object(members.collect::<Result<_, Fault>>()?)
        }
        other => Value::Text(other.to_string()),
    })
}
