//! Rows written as a Parquet file, with the types that Hive gives columns.

use std::sync::Arc;

use parquet::basic::{Compression, ConvertedType, Repetition, Type as Physical};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::{ByteArray, FixedLenByteArray, Int96};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type as Node, TypePtr};

use crate::cell::Cell;
use crate::hive::Type;

/// How a file is written.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `UNCOMPRESSED`, `GZIP` or `SNAPPY`.
    pub(crate) compression: String,
    /// Bytes.
    pub(crate) page_size: usize,
    pub(crate) has_dictionary: bool,
    /// Whether pages are of the format's second version.
    pub(crate) is_v2: bool,
}

/// The day of 1970-01-01 as `INT96` counts days, and the nanoseconds of one.
const EPOCH_DAY: i128 = 2_440_588;
const DAY: i128 = 86_400_000_000_000;

/// Values of one column, and at which levels they stand.
#[derive(Default)]
struct Leaf {
    values: Vec<Cell>,
    definitions: Vec<i16>,
    repetitions: Vec<i16>,
}

impl Type {
    /// How many columns hold it.
    fn leaves(&self) -> usize {
        match self {
            Type::List(element) => element.leaves(),
            Type::Map(key, value) => key.leaves() + value.leaves(),
            Type::Structure(members) => members.iter().map(|(_, of)| of.leaves()).sum(),
            _ => 1,
        }
    }

    fn node(&self, name: &str, repetition: Repetition) -> Result<TypePtr, ParquetError> {
        let group = |fields: Vec<TypePtr>, converted: ConvertedType, name: &str, repetition| {
            Node::group_type_builder(name)
                .with_repetition(repetition)
                .with_converted_type(converted)
                .with_fields(fields)
                .build()
                .map(Arc::new)
        };
        let optional = Repetition::OPTIONAL;
        match self {
            Type::List(element) => {
                let element = element.node("array_element", optional)?;
                let bag = group(
                    vec![element],
                    ConvertedType::NONE,
                    "bag",
                    Repetition::REPEATED,
                )?;
                return group(vec![bag], ConvertedType::LIST, name, repetition);
            }
            Type::Map(key, value) => {
                let fields = vec![
                    key.node("key", Repetition::REQUIRED)?,
                    value.node("value", optional)?,
                ];
                let entries = group(
                    fields,
                    ConvertedType::MAP_KEY_VALUE,
                    "map",
                    Repetition::REPEATED,
                )?;
                return group(vec![entries], ConvertedType::MAP, name, repetition);
            }
            Type::Structure(members) => {
                let fields = members.iter().map(|(name, of)| of.node(name, optional));
                let fields = fields.collect::<Result<_, _>>()?;
                return group(fields, ConvertedType::NONE, name, repetition);
            }
            _ => {}
        }
        let (physical, converted) = match self {
            Type::Boolean => (Physical::BOOLEAN, ConvertedType::NONE),
            Type::Integer(8) => (Physical::INT32, ConvertedType::INT_8),
            Type::Integer(16) => (Physical::INT32, ConvertedType::INT_16),
            Type::Integer(64) => (Physical::INT64, ConvertedType::NONE),
            Type::Integer(_) => (Physical::INT32, ConvertedType::NONE),
            Type::Float => (Physical::FLOAT, ConvertedType::NONE),
            Type::Double => (Physical::DOUBLE, ConvertedType::NONE),
            Type::Decimal(..) => (Physical::FIXED_LEN_BYTE_ARRAY, ConvertedType::DECIMAL),
            Type::Date => (Physical::INT32, ConvertedType::DATE),
            Type::Timestamp => (Physical::INT96, ConvertedType::NONE),
            Type::Binary => (Physical::BYTE_ARRAY, ConvertedType::NONE),
            _ => (Physical::BYTE_ARRAY, ConvertedType::UTF8),
        };
        let mut node = Node::primitive_type_builder(name, physical)
            .with_repetition(repetition)
            .with_converted_type(converted);
        if let Type::Decimal(precision, scale) = self {
            node = node
                .with_length(i32::try_from(width(*precision)).unwrap_or(16))
                .with_precision(i32::from(*precision))
                .with_scale(i32::from(*scale));
        }
        node.build().map(Arc::new)
    }
}

/// The fewest bytes that hold a number of so many digits.
fn width(precision: u8) -> usize {
    let most = 10_u128.pow(u32::from(precision)) - 1;
    let bits = 128 - most.leading_zeros() + 1;
    usize::try_from(bits.div_ceil(8)).unwrap_or(16)
}

/// Takes a value apart into its columns. `level` is the definition level of what holds it, `depth` how many lists do.
fn shred(
    of: &Type,
    cell: Cell,
    (repetition, level, depth): (i16, i16, i16),
    leaves: &mut [Leaf],
    is_required: bool,
) {
    let own = if is_required { level } else { level + 1 };
    let mut end = |level: i16| {
        for leaf in &mut *leaves {
            leaf.definitions.push(level);
            leaf.repetitions.push(repetition);
        }
    };
    match (of, cell) {
        (_, Cell::Null) => end(level),
        (Type::List(element), Cell::List(items)) => {
            if items.is_empty() {
                return end(own);
            }
            for (n, item) in items.into_iter().enumerate() {
                let repetition = if n == 0 { repetition } else { depth + 1 };
                shred(
                    element,
                    item,
                    (repetition, own + 1, depth + 1),
                    leaves,
                    false,
                );
            }
        }
        (Type::Map(key, value), Cell::Map(entries)) => {
            if entries.is_empty() {
                return end(own);
            }
            let (keys, values) = leaves.split_at_mut(key.leaves());
            for (n, (k, v)) in entries.into_iter().enumerate() {
                let at = (
                    if n == 0 { repetition } else { depth + 1 },
                    own + 1,
                    depth + 1,
                );
                shred(key, k, at, keys, true);
                shred(value, v, at, values, false);
            }
        }
        (Type::Structure(members), Cell::Structure(cells)) => {
            let mut rest = leaves;
            for ((_, of), cell) in members.iter().zip(cells) {
                let (own_leaves, more) = rest.split_at_mut(of.leaves());
                shred(of, cell, (repetition, own, depth), own_leaves, false);
                rest = more;
            }
        }
        (_, value) => {
            end(own);
            if let Some(leaf) = leaves.first_mut() {
                leaf.values.push(value);
            }
        }
    }
}

/// Writes rows, each with a cell for every column.
pub(crate) fn write(
    columns: &[(String, Type)],
    rows: Vec<Vec<Cell>>,
    options: &Options,
) -> Result<Vec<u8>, ParquetError> {
    let fields = columns
        .iter()
        .map(|(name, of)| of.node(name, Repetition::OPTIONAL))
        .collect::<Result<_, _>>()?;
    let schema = Node::group_type_builder("hive_schema")
        .with_fields(fields)
        .build()?;
    let compression = match options.compression.as_str() {
        "UNCOMPRESSED" => Compression::UNCOMPRESSED,
        "GZIP" => Compression::GZIP(Default::default()),
        _ => Compression::SNAPPY,
    };
    let version = match options.is_v2 {
        true => WriterVersion::PARQUET_2_0,
        false => WriterVersion::PARQUET_1_0,
    };
    let properties = WriterProperties::builder()
        .set_created_by("parquet-mr (cumulo)".into())
        .set_compression(compression)
        .set_dictionary_enabled(options.has_dictionary)
        .set_data_page_size_limit(options.page_size)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_writer_version(version)
        .build();
    let count = columns.iter().map(|(_, of)| of.leaves()).sum();
    let mut leaves: Vec<Leaf> = std::iter::repeat_with(Leaf::default).take(count).collect();
    for row in rows {
        let mut rest = leaves.as_mut_slice();
        for ((_, of), cell) in columns.iter().zip(row) {
            let (own, more) = rest.split_at_mut(of.leaves());
            shred(of, cell, (0, 0, 0), own, false);
            rest = more;
        }
    }
    let mut bytes = Vec::new();
    let mut file = SerializedFileWriter::new(&mut bytes, Arc::new(schema), Arc::new(properties))?;
    let mut group = file.next_row_group()?;
    let mut leaves = leaves.into_iter();
    while let Some(mut column) = group.next_column()? {
        if let Some(leaf) = leaves.next() {
            leaf.write(column.untyped())?;
        }
        column.close()?;
    }
    group.close()?;
    file.close()?;
    Ok(bytes)
}

impl Leaf {
    fn write(self, column: &mut ColumnWriter<'_>) -> Result<(), ParquetError> {
        let Leaf {
            values,
            definitions,
            repetitions,
        } = self;
        macro_rules! batch {
            ($writer:expr, $value:ident => $($pattern:pat => $make:expr),+) => {{
                let values: Vec<_> = values
                    .into_iter()
                    .filter_map(|$value| match $value { $($pattern => Some($make),)+ _ => None })
                    .collect();
                $writer.write_batch(&values, Some(&definitions), Some(&repetitions))?
            }};
        }
        match column {
            ColumnWriter::BoolColumnWriter(w) => batch!(w, v => Cell::Boolean(b) => b),
            ColumnWriter::Int32ColumnWriter(w) => batch!(w, v => Cell::Int(n) => n),
            ColumnWriter::Int64ColumnWriter(w) => batch!(w, v => Cell::Long(n) => n),
            ColumnWriter::FloatColumnWriter(w) => batch!(w, v => Cell::Float(n) => n),
            ColumnWriter::DoubleColumnWriter(w) => batch!(w, v => Cell::Double(n) => n),
            ColumnWriter::Int96ColumnWriter(w) => batch!(w, v => Cell::Moment(n) => int96(n)),
            ColumnWriter::ByteArrayColumnWriter(w) => {
                batch!(w, v => Cell::Bytes(b) => ByteArray::from(b))
            }
            ColumnWriter::FixedLenByteArrayColumnWriter(w) => {
                let width = usize::try_from(w.get_descriptor().type_length()).unwrap_or(16);
                batch!(w, v => Cell::Decimal(n) => fixed(n, width))
            }
        };
        Ok(())
    }
}

fn fixed(number: i128, width: usize) -> FixedLenByteArray {
    let bytes = number.to_be_bytes();
    let from = bytes.len().saturating_sub(width);
    bytes.get(from..).unwrap_or_default().to_vec().into()
}

/// A moment as nanoseconds of a day, and the Julian number of the day.
fn int96(nanos: i128) -> Int96 {
    let day = u32::try_from(nanos.div_euclid(DAY) + EPOCH_DAY).unwrap_or(0);
    let within = u64::try_from(nanos.rem_euclid(DAY)).unwrap_or(0);
    let mut moment = Int96::new();
    #[allow(clippy::cast_possible_truncation, reason = "halves of a number")]
    moment.set_data(within as u32, (within >> 32) as u32, day);
    moment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_take_the_fewest_bytes() {
        assert_eq!((width(1), width(2), width(4), width(9)), (1, 1, 2, 4));
        assert_eq!((width(10), width(18), width(38)), (5, 8, 16));
        assert_eq!(fixed(-1, 2).data(), [0xff, 0xff]);
    }

    #[test]
    fn values_are_taken_apart_by_their_levels() {
        let of = Type::parse("array<struct<a:int,b:array<int>>>").unwrap();
        let inner = |n: i32, list: &[i32]| {
            let list = list.iter().map(|n| Cell::Int(*n)).collect();
            Cell::Structure(vec![Cell::Int(n), Cell::List(list)])
        };
        let rows = [
            Cell::List(vec![inner(1, &[7, 8]), inner(2, &[])]),
            Cell::Null,
            Cell::List(vec![]),
            Cell::List(vec![Cell::Null]),
        ];
        let mut leaves = [Leaf::default(), Leaf::default()];
        for row in rows {
            shred(&of, row, (0, 0, 0), &mut leaves, false);
        }
        let [a, b] = leaves;
        assert_eq!(a.values, [Cell::Int(1), Cell::Int(2)]);
        assert_eq!(a.definitions, [4, 4, 0, 1, 2]);
        assert_eq!(a.repetitions, [0, 1, 0, 0, 0]);
        assert_eq!(b.values, [Cell::Int(7), Cell::Int(8)]);
        assert_eq!(b.definitions, [6, 6, 4, 0, 1, 2]);
        assert_eq!(b.repetitions, [0, 2, 1, 0, 0, 0]);
    }
}
