//! Writes what a query gives, as CSV or JSON.

use wire::Fault;

use super::csv::LONGEST_RECORD;
use super::fault;
use super::value::{Value, write_members};

/// How results are written.
pub enum Format {
    Csv {
        field_delimiter: String,
        record_delimiter: String,
        quote: String,
        escape: String,
        quotes_always: bool,
    },
    Json {
        record_delimiter: String,
    },
}

impl Format {
    /// Writes a record of named values.
    pub fn write<'v>(
        &self,
        values: impl Iterator<Item = (&'v str, &'v Value)>,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let begin = out.len();
        match self {
            Format::Json { record_delimiter } => {
                write_members(values, out);
                out.extend_from_slice(record_delimiter.as_bytes());
            }
            Format::Csv {
                record_delimiter, ..
            } => {
                for (n, (_, value)) in values.enumerate() {
                    // Nested data is written only as JSON.
                    let text = value.text().ok_or_else(fault::structure)?;
                    self.write_field(n, &text, out);
                }
                out.extend_from_slice(record_delimiter.as_bytes());
            }
        }
        if out.len() - begin > LONGEST_RECORD {
            return Err(fault::record_too_large());
        }
        Ok(())
    }

    fn write_field(&self, n: usize, text: &str, out: &mut Vec<u8>) {
        let Format::Csv {
            field_delimiter,
            record_delimiter,
            quote,
            escape,
            quotes_always,
        } = self
        else {
            return;
        };
        if n > 0 {
            out.extend_from_slice(field_delimiter.as_bytes());
        }
        let is_special = text.contains(field_delimiter.as_str())
            || text.contains(record_delimiter.as_str())
            || (!quote.is_empty() && text.contains(quote.as_str()));
        if quote.is_empty() || !(*quotes_always || is_special) {
            out.extend_from_slice(text.as_bytes());
            return;
        }
        out.extend_from_slice(quote.as_bytes());
        for (n, part) in text.split(quote.as_str()).enumerate() {
            if n > 0 {
                out.extend_from_slice(escape.as_bytes());
                out.extend_from_slice(quote.as_bytes());
            }
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(quote.as_bytes());
    }
}
