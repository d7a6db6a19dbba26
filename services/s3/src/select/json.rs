//! Reads JSON values that stand one after the other
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_JSONInput.html>).

use std::io::Read;

use cloud::json_tree::Json;
use wire::Fault;

use super::fault;
use super::source::{Input, Window};
use super::value::Value;

/// The longest value, in bytes: it is held as a whole.
pub const LONGEST: usize = 64 * 1024 * 1024;
/// How much is read at a time, at least; tests cut values everywhere.
const CHUNK: usize = if cfg!(test) { 3 } else { 64 * 1024 };

/// Reads values off an input.
pub struct Reader<R>(Window<R>);

/// A value and how long its text is.
pub struct Document {
    pub value: Value,
    pub len: usize,
}

impl<R: Read> Reader<R> {
    pub fn new(input: Input<R>) -> Reader<R> {
        Reader(Window::new(input))
    }

    /// What the input tells of itself.
    pub fn input(&self) -> &Input<R> {
        self.0.input()
    }

    fn fill(&mut self) -> Result<(), Fault> {
        let held = self.0.rest().len();
        if held > LONGEST {
            return Err(fault::record_too_large());
        }
        // What grows is read in growing steps, so that it is not copied too often.
        self.0.fill(CHUNK.max(held / 2))
    }

    /// Passes over the rest of a line.
    pub fn skip_line(&mut self) -> Result<(), Fault> {
        loop {
            let rest = self.0.rest();
            let found = memchr::memchr(b'\n', rest);
            let passed = found.map_or(rest.len(), |at| at + 1);
            self.0.take(passed);
            if found.is_some() || self.0.is_at_end() {
                return Ok(());
            }
            self.fill()?;
        }
    }

    /// Passes over white space to where the next value begins; `None` at the end.
    pub fn seek(&mut self) -> Result<Option<u64>, Fault> {
        loop {
            let rest = self.0.rest();
            let space = rest.iter().take_while(|b| b.is_ascii_whitespace());
            let space = space.count();
            self.0.take(space);
            if !self.0.rest().is_empty() {
                return Ok(Some(self.0.position()));
            }
            if self.0.is_at_end() {
                return Ok(None);
            }
            self.fill()?;
        }
    }

    /// Reads the next value; `None` at the end.
    pub fn read(&mut self) -> Result<Option<Document>, Fault> {
        if self.seek()?.is_none() {
            return Ok(None);
        }
        let mut scan = Scan::default();
        let mut looked = 0;
        let len = loop {
            let rest = &self.0.rest()[looked..];
            match rest.iter().position(|byte| scan.ends_at(*byte)) {
                Some(at) => break looked + at + usize::from(scan.is_inclusive),
                None => looked += rest.len(),
            }
            if self.0.is_at_end() {
                break looked;
            }
            self.fill()?;
        };
        let text = &self.0.rest()[..len];
        let json = Json::read(text).map_err(|_| fault::json_parsing())?;
        self.0.take(len);
        let value = Value::of_json(json)?;
        Ok(Some(Document { value, len }))
    }
}

/// Looks for the end of a value.
#[derive(Default)]
struct Scan {
    depth: usize,
    is_text: bool,
    is_escaped: bool,
    has_begun: bool,
    /// Whether the byte that ended it is its own.
    is_inclusive: bool,
}

impl Scan {
    fn ends_at(&mut self, byte: u8) -> bool {
        if self.is_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => {
                    self.is_text = false;
                    self.is_inclusive = self.depth == 0;
                    return self.is_inclusive;
                }
                _ => {}
            }
            return false;
        }
        let is_scalar = self.has_begun && self.depth == 0;
        match byte {
            b'"' | b'{' | b'[' if is_scalar => return true,
            b if b.is_ascii_whitespace() && is_scalar => return true,
            b'"' => self.is_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                self.is_inclusive = self.depth == 0;
                return self.is_inclusive;
            }
            _ => {}
        }
        self.has_begun = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Result<Vec<String>, String> {
        let mut reader = Reader::new(Input::of(text));
        let mut all = Vec::new();
        loop {
            match reader.read() {
                Ok(Some(document)) => {
                    let mut out = Vec::new();
                    document.value.write_json(&mut out);
                    all.push(String::from_utf8(out).unwrap());
                }
                Ok(None) => return Ok(all),
                Err(fault) => return Err(fault.code.to_string()),
            }
        }
    }

    #[test]
    fn values_are_read_one_by_one() {
        let text = b" {\"a\": \"}\\\"\"}{\"b\":[1,{}]}\n\n[1.50]\n12 \"x\"true";
        let expected = [
            "{\"a\":\"}\\\"\"}",
            "{\"b\":[1,{}]}",
            "[1.50]",
            "12",
            "\"x\"",
            "true",
        ];
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read(b"").unwrap(), [""; 0]);
        for bad in ["{", "{]", "}", "{} x", "nul", "\"a"] {
            assert_eq!(
                read(bad.as_bytes()),
                Err("JSONParsingError".into()),
                "{bad}"
            );
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_neither_panic_nor_hang(text in "[\\[\\]{}\",:\\\\ 01a-c]{0,100}") {
            let _ = read(text.as_bytes());
        }
    }
}
