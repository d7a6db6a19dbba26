//! Reads delimited text as S3 Select does
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CSVInput.html>).

use std::io::Read;

use memchr::memmem;
use wire::Fault;

use super::fault;
use super::source::{Input, Window};

/// The longest record, in bytes.
pub const LONGEST_RECORD: usize = 1024 * 1024;
/// How much is read at a time; tests cut every mark somewhere.
const CHUNK: usize = if cfg!(test) { 3 } else { 64 * 1024 };

/// How the text is written. Empty quote, escape or comment characters mean that there is none.
#[derive(Clone, Debug)]
pub struct Format {
    pub field_delimiter: Vec<u8>,
    pub record_delimiter: Vec<u8>,
    pub quote: Vec<u8>,
    pub escape: Vec<u8>,
    pub comment: Vec<u8>,
    pub allows_quoted_delimiters: bool,
}

/// A record: its fields one after the other, and where each ends.
#[derive(Default)]
pub struct Record {
    text: String,
    ends: Vec<usize>,
}

impl Record {
    pub fn len(&self) -> usize {
        self.ends.len()
    }
    pub fn get(&self, n: usize) -> Option<&str> {
        let end = *self.ends.get(n)?;
        let start = match n {
            0 => 0,
            n => *self.ends.get(n - 1)?,
        };
        self.text.get(start..end)
    }
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|n| self.get(n))
    }
}

/// Reads records off an input.
pub struct Reader<R> {
    format: Format,
    window: Window<R>,
    field: Vec<u8>,
}

impl<R: Read> Reader<R> {
    pub fn new(format: Format, input: Input<R>) -> Reader<R> {
        Reader {
            format,
            window: Window::new(input),
            field: Vec::new(),
        }
    }

    /// What the input tells of itself.
    pub fn input(&self) -> &Input<R> {
        self.window.input()
    }

    /// Looks at that many bytes, fewer at the end.
    fn peek(&mut self, len: usize) -> Result<&[u8], Fault> {
        while self.window.rest().len() < len && !self.window.is_at_end() {
            self.window.fill(CHUNK)?;
        }
        let rest = self.window.rest();
        Ok(&rest[..rest.len().min(len)])
    }

    fn is_next(&mut self, mark: Mark) -> Result<bool, Fault> {
        let wanted = mark.of(&self.format);
        let len = wanted.len();
        if len == 0 {
            return Ok(false);
        }
        self.peek(len)?;
        Ok(self.window.rest().starts_with(mark.of(&self.format)))
    }

    fn take_if(&mut self, mark: Mark) -> Result<bool, Fault> {
        let is_next = self.is_next(mark)?;
        if is_next {
            self.window.take(mark.of(&self.format).len());
        }
        Ok(is_next)
    }

    /// Passes over what comes up to the next record.
    pub fn skip_record(&mut self) -> Result<(), Fault> {
        loop {
            let (rest, delimiter) = (self.window.rest(), &self.format.record_delimiter);
            let held = rest.len();
            if let Some(at) = memmem::find(rest, delimiter) {
                self.window.take(at + delimiter.len());
                return Ok(());
            }
            if self.window.is_at_end() {
                self.window.take(held);
                return Ok(());
            }
            // The delimiter may begin in what was read.
            self.window.take(held.saturating_sub(delimiter.len() - 1));
            self.window.fill(CHUNK)?;
        }
    }

    /// Passes over a byte order mark, where the text begins with one.
    pub fn skip_mark(&mut self) -> Result<(), Fault> {
        const MARK: &[u8] = "\u{feff}".as_bytes();
        if self.peek(MARK.len())? == MARK {
            self.window.take(MARK.len());
        }
        Ok(())
    }

    /// Passes over empty lines and comments to where the next record begins; `None` at the end.
    pub fn seek(&mut self) -> Result<Option<u64>, Fault> {
        loop {
            if self.peek(1)?.is_empty() {
                return Ok(None);
            }
            if self.take_if(Mark::Record)? {
                continue;
            }
            let is_lines = self.format.record_delimiter == b"\n";
            if is_lines && self.peek(2)? == b"\r\n" {
                self.window.take(2);
                continue;
            }
            if self.is_next(Mark::Comment)? {
                self.skip_record()?;
                continue;
            }
            return Ok(Some(self.window.position()));
        }
    }

    /// Reads the next record; false at the end.
    pub fn read(&mut self, record: &mut Record) -> Result<bool, Fault> {
        record.ends.clear();
        let mut text = std::mem::take(&mut record.text).into_bytes();
        text.clear();
        let Some(begin) = self.seek()? else {
            return Ok(false);
        };
        loop {
            let is_last = self.field(text.len())?;
            if is_last && self.format.record_delimiter == b"\n" && self.field.last() == Some(&b'\r')
            {
                self.field.pop();
            }
            text.extend_from_slice(&self.field);
            record.ends.push(text.len());
            if is_last {
                break;
            }
        }
        record.text = String::from_utf8(text).map_err(|error| {
            let near = begin + error.utf8_error().valid_up_to() as u64;
            fault::of(
                "InvalidTextEncoding",
                format!(
                    "UTF-8 encoding is required. The text encoding error was found near byte {}.",
                    grouped(near)
                ),
            )
        })?;
        // Fields are cut where delimiters stand, which are whole characters.
        let is_cut_well = |end: &usize| record.text.is_char_boundary(*end);
        if !record.ends.iter().all(is_cut_well) {
            return Err(fault::csv_parsing());
        }
        Ok(true)
    }

    /// Reads a field; true if it is its record's last.
    fn field(&mut self, before: usize) -> Result<bool, Fault> {
        self.field.clear();
        if self.take_if(Mark::Quote)? {
            self.quoted(before)?;
        }
        loop {
            // Up to the next byte that may begin a delimiter, all is the field's.
            let rest = self.window.rest();
            let (field, record) = (
                self.format.field_delimiter[0],
                self.format.record_delimiter[0],
            );
            let plain = memchr::memchr2(field, record, rest).unwrap_or(rest.len());
            self.field.extend_from_slice(&rest[..plain]);
            self.window.take(plain);
            if before + self.field.len() > LONGEST_RECORD {
                return Err(fault::record_too_large());
            }
            if self.take_if(Mark::Field)? {
                return Ok(false);
            }
            if self.take_if(Mark::Record)? {
                return Ok(true);
            }
            match self.peek(1)? {
                [] => return Ok(true),
                [byte] if *byte == field || *byte == record => {
                    let byte = *byte;
                    self.field.push(byte);
                    self.window.take(1);
                }
                _ => {}
            }
        }
    }

    /// Reads what stands in quotes, to the closing one.
    fn quoted(&mut self, before: usize) -> Result<(), Fault> {
        let is_doubled = self.format.escape == self.format.quote || self.format.escape.is_empty();
        loop {
            let rest = self.window.rest();
            let quote = self.format.quote[0];
            let escape = self.format.escape.first().copied().unwrap_or(quote);
            let record = self.format.record_delimiter[0];
            let plain = memchr::memchr3(quote, escape, record, rest).unwrap_or(rest.len());
            self.field.extend_from_slice(&rest[..plain]);
            self.window.take(plain);
            if before + self.field.len() > LONGEST_RECORD {
                return Err(fault::record_too_large());
            }
            if !is_doubled && self.take_if(Mark::Escape)? {
                for mark in [Mark::Quote, Mark::Escape] {
                    if self.take_if(mark)? {
                        self.field.extend_from_slice(mark.of(&self.format));
                        break;
                    }
                }
                continue;
            }
            if self.take_if(Mark::Quote)? {
                if is_doubled && self.take_if(Mark::Quote)? {
                    self.field.extend_from_slice(&self.format.quote);
                    continue;
                }
                return Ok(());
            }
            if !self.format.allows_quoted_delimiters && self.is_next(Mark::Record)? {
                return Err(fault::quoted_delimiter());
            }
            match self.peek(1)? {
                [] => return Err(fault::csv_parsing()),
                [byte] if [quote, escape, record].contains(byte) => {
                    let byte = *byte;
                    self.field.push(byte);
                    self.window.take(1);
                }
                _ => {}
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Mark {
    Field,
    Record,
    Quote,
    Escape,
    Comment,
}

impl Mark {
    fn of(self, format: &Format) -> &[u8] {
        match self {
            Mark::Field => &format.field_delimiter,
            Mark::Record => &format.record_delimiter,
            Mark::Quote => &format.quote,
            Mark::Escape => &format.escape,
            Mark::Comment => &format.comment,
        }
    }
}

/// A number with commas between its thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut shown = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn format() -> Format {
        Format {
            field_delimiter: b",".to_vec(),
            record_delimiter: b"\n".to_vec(),
            quote: b"\"".to_vec(),
            escape: b"\"".to_vec(),
            comment: b"#".to_vec(),
            allows_quoted_delimiters: false,
        }
    }

    fn read(text: &[u8], format: &Format) -> Result<Vec<Vec<String>>, String> {
        let mut reader = Reader::new(format.clone(), Input::of(text));
        let (mut all, mut record) = (Vec::new(), Record::default());
        loop {
            match reader.read(&mut record) {
                Ok(true) => all.push(record.iter().map(str::to_owned).collect()),
                Ok(false) => return Ok(all),
                Err(fault) => return Err(fault.code.to_string()),
            }
        }
    }

    #[test]
    fn records_are_read() {
        let text = "a,b\r\n\n#no\n\"x, \"\"y\"\"\",\nü\n\"q\"z,1".as_bytes();
        let expected: Vec<Vec<&str>> = vec![
            vec!["a", "b"],
            vec!["x, \"y\"", ""],
            vec!["ü"],
            vec!["qz", "1"],
        ];
        assert_eq!(read(text, &format()).unwrap(), expected);
    }

    #[test]
    fn marks_may_be_others() {
        let other = Format {
            field_delimiter: b"::".to_vec(),
            record_delimiter: b"\r\n".to_vec(),
            quote: b"'".to_vec(),
            escape: b"\\".to_vec(),
            comment: Vec::new(),
            allows_quoted_delimiters: true,
        };
        let text = b"#a::b:c::\r\n'x\\'\r\ny\\\\::'::z\rq\r\n";
        let expected = vec![vec!["#a", "b:c", ""], vec!["x'\r\ny\\::", "z\rq"]];
        assert_eq!(read(text, &other).unwrap(), expected);
    }

    #[test]
    fn what_is_no_csv_is_refused() {
        assert_eq!(
            read(b"\"a\nb\"", &format()),
            Err("CSVEscapingRecordDelimiter".into())
        );
        assert_eq!(read(b"\"a", &format()), Err("CSVParsingError".into()));
        assert_eq!(read(b"a\xff", &format()), Err("InvalidTextEncoding".into()));
        let long = vec![b'a'; LONGEST_RECORD + 1];
        assert_eq!(read(&long, &format()), Err("OverMaxRecordSize".into()));
        assert_eq!(grouped(90_112), "90,112");
        assert_eq!(grouped(1_000_000), "1,000,000");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_neither_panic_nor_hang(
            bytes in proptest::collection::vec(prop_oneof![Just(b','), Just(b'\n'), Just(b'"'), Just(b'\\'), Just(b'\r'), any::<u8>()], 0..200),
            escape in prop_oneof![Just(b"\"".to_vec()), Just(b"\\".to_vec()), Just(Vec::new())],
            allows: bool,
        ) {
            let format = Format { escape, allows_quoted_delimiters: allows, ..format() };
            let _ = read(&bytes, &format);
        }
        #[test]
        fn what_is_quoted_is_read_back(rows in proptest::collection::vec(proptest::collection::vec("[a-z,\"\n#é]{1,5}", 1..4), 1..5)) {
            let quoted = |field: &String| format!("\"{}\"", field.replace('"', "\"\""));
            let line = |row: &Vec<String>| row.iter().map(quoted).collect::<Vec<_>>().join(",");
            let text = rows.iter().map(line).collect::<Vec<_>>().join("\n");
            let format = Format { allows_quoted_delimiters: true, ..format() };
            prop_assert_eq!(read(text.as_bytes(), &format), Ok(rows));
        }
    }
}
