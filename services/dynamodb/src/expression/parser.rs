//! What all expressions have in common: placeholders, paths, operands, and how errors are told.

use std::collections::{BTreeMap, BTreeSet};

use wire::Fault;

use super::path::{Path, Step};
use super::reserved::is_reserved;
use super::token::{Kind, Token, tokens};
use crate::fault::validation;
use crate::value::{Attributes, MAX_NESTING, Value};

/// An expression's largest length in bytes.
const MAX_LENGTH: usize = 4096;
/// Operators and functions in one expression.
const MAX_OPERATORS: usize = 300;
/// Parentheses and functions within each other; bounds the stack.
const MAX_DEPTH: usize = 200;

/// The placeholders of a request, and which of them its expressions have used.
#[derive(Debug, Default)]
pub struct Placeholders {
    names: Option<BTreeMap<String, String>>,
    values: Option<Attributes>,
    used_names: BTreeSet<String>,
    used_values: BTreeSet<String>,
}

impl Placeholders {
    /// The placeholders of a request, checked. `has_expressions` is false where it holds nothing they could stand in;
    /// `expected` then says for values what is missing.
    pub fn new(
        names: Option<BTreeMap<String, String>>,
        values: Option<Attributes>,
        has_expressions: bool,
        value_expressions: Option<&str>,
    ) -> Result<Placeholders, Fault> {
        if let Some(names) = &names {
            if !has_expressions {
                return Err(validation(
                    "ExpressionAttributeNames can only be specified when using expressions",
                ));
            }
            if names.is_empty() {
                return Err(validation("ExpressionAttributeNames must not be empty"));
            }
            for (key, name) in names {
                if !is_placeholder(key, b'#') {
                    return Err(validation(format!(
                        "ExpressionAttributeNames contains invalid key: Syntax error; key: \"{key}\""
                    )));
                }
                if name.is_empty() {
                    return Err(validation(format!(
                        "ExpressionAttributeNames contains invalid value: Empty attribute name for key {key}"
                    )));
                }
                if name.len() > 65_535 {
                    return Err(validation(format!(
                        "ExpressionAttributeNames contains invalid value: Attribute name is too large, must be less than 65536 bytes for key {key}"
                    )));
                }
            }
        }
        if let Some(values) = &values {
            if let Some(missing) = value_expressions {
                return Err(validation(format!(
                    "ExpressionAttributeValues can only be specified when using expressions{missing}"
                )));
            }
            if values.is_empty() {
                return Err(validation("ExpressionAttributeValues must not be empty"));
            }
            for (key, value) in values {
                if !is_placeholder(key, b':') {
                    return Err(validation(format!(
                        "ExpressionAttributeValues contains invalid key: Syntax error; key: \"{key}\""
                    )));
                }
                if let Some(problem) = value.problem() {
                    return Err(validation(format!(
                        "ExpressionAttributeValues contains invalid value: {problem} for key {key}"
                    )));
                }
            }
        }
        Ok(Placeholders {
            names,
            values,
            ..Placeholders::default()
        })
    }

    /// Refuses placeholders that no expression used; called when all have been read.
    pub fn finish(&self) -> Result<(), Fault> {
        let unused = |what: &str, all: Vec<&String>, used: &BTreeSet<String>| {
            let left: Vec<&str> = all
                .into_iter()
                .filter(|key| !used.contains(*key))
                .map(String::as_str)
                .collect();
            if left.is_empty() {
                return Ok(());
            }
            Err(validation(format!(
                "Value provided in {what} unused in expressions: keys: {{{}}}",
                left.join(", ")
            )))
        };
        let names = self.names.iter().flatten().map(|(key, _)| key).collect();
        unused("ExpressionAttributeNames", names, &self.used_names)?;
        let values = self.values.iter().flatten().map(|(key, _)| key).collect();
        unused("ExpressionAttributeValues", values, &self.used_values)
    }
}

fn is_placeholder(key: &str, mark: u8) -> bool {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    match key.as_bytes().split_first() {
        Some((first, rest)) => *first == mark && !rest.is_empty() && rest.iter().all(is_part),
        None => false,
    }
}

/// Reads one expression, word by word.
pub struct Parser<'a, 'p> {
    /// The parameter it is the value of.
    pub kind: &'static str,
    text: &'a str,
    tokens: Vec<Token<'a>>,
    at: usize,
    operators: usize,
    depth: usize,
    placeholders: &'p mut Placeholders,
}

impl<'a, 'p> Parser<'a, 'p> {
    /// Begins to read.
    pub fn new(
        kind: &'static str,
        text: &'a str,
        placeholders: &'p mut Placeholders,
    ) -> Result<Parser<'a, 'p>, Fault> {
        if text.is_empty() {
            return Err(validation(format!(
                "Invalid {kind}: The expression can not be empty;"
            )));
        }
        if text.len() > MAX_LENGTH {
            return Err(validation(format!(
                "Invalid {kind}: Expression size has exceeded the maximum allowed size; expression size: {}",
                text.len()
            )));
        }
        let tokens = tokens(text);
        if tokens.is_empty() {
            return Err(validation(format!(
                "Invalid {kind}: The expression can not be empty;"
            )));
        }
        Ok(Parser {
            kind,
            text,
            tokens,
            at: 0,
            operators: 0,
            depth: 0,
            placeholders,
        })
    }

    /// An error of this expression.
    pub fn error(&self, message: impl std::fmt::Display) -> Fault {
        validation(format!("Invalid {}: {message}", self.kind))
    }

    /// The error that the word here is not expected.
    pub fn unexpected(&self) -> Fault {
        let shown = self.peek().map_or("<EOF>", |token| token.text);
        let first = self.tokens.get(self.at.saturating_sub(1));
        let last = self.tokens.get(self.at + 1).or(self.tokens.last());
        let near = match (first, last) {
            (Some(first), Some(last)) => self
                .text
                .get(first.start..last.start + last.text.len())
                .unwrap_or(self.text),
            _ => self.text,
        };
        self.error(format!(
            "Syntax error; token: \"{shown}\", near: \"{near}\""
        ))
    }

    /// The word here.
    pub fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).copied()
    }

    /// The word after the one here.
    pub fn peek_next(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at + 1).copied()
    }

    /// Steps over the word here.
    pub fn next(&mut self) {
        self.at += 1;
    }

    /// Steps over that symbol, if it is here.
    pub fn takes(&mut self, symbol: &str) -> bool {
        let is_here = self
            .peek()
            .is_some_and(|token| token.kind == Kind::Symbol && token.text == symbol);
        self.at += usize::from(is_here);
        is_here
    }

    /// Steps over that symbol, which must be here.
    pub fn expect(&mut self, symbol: &str) -> Result<(), Fault> {
        match self.takes(symbol) {
            true => Ok(()),
            false => Err(self.unexpected()),
        }
    }

    /// Whether that keyword is here, in any case.
    pub fn is_keyword(&self, word: &str) -> bool {
        self.peek()
            .is_some_and(|token| token.kind == Kind::Word && token.text.eq_ignore_ascii_case(word))
    }

    /// Steps over that keyword, if it is here.
    pub fn takes_keyword(&mut self, word: &str) -> bool {
        let is_here = self.is_keyword(word);
        self.at += usize::from(is_here);
        is_here
    }

    /// The name of the function that is called here.
    pub fn function(&self) -> Option<&'a str> {
        let name = self.peek().filter(|token| token.kind == Kind::Word)?;
        let open = self.peek_next()?;
        (open.kind == Kind::Symbol && open.text == "(").then_some(name.text)
    }

    /// Nothing may follow.
    pub fn end(&self) -> Result<(), Fault> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected()),
        }
    }

    /// Counts an operator or function.
    pub fn count(&mut self) -> Result<(), Fault> {
        self.operators += 1;
        if self.operators > MAX_OPERATORS {
            return Err(
                self.error("The expression contains too many operators; operator count: 301")
            );
        }
        Ok(())
    }

    /// Goes one level deeper while `f` reads.
    pub fn deeper<R>(&mut self, f: impl FnOnce(&mut Self) -> Result<R, Fault>) -> Result<R, Fault> {
        if self.depth >= MAX_DEPTH {
            return Err(self.error("The expression has too many levels of nesting"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Whether a path can begin here.
    pub fn is_path(&self) -> bool {
        self.peek()
            .is_some_and(|token| matches!(token.kind, Kind::Word | Kind::Name))
    }

    fn name(&mut self) -> Result<String, Fault> {
        let Some(token) = self.peek() else {
            return Err(self.unexpected());
        };
        let name = match token.kind {
            Kind::Word if is_reserved(token.text) => {
                return Err(self.error(format!(
                    "Attribute name is a reserved keyword; reserved keyword: {}",
                    token.text
                )));
            }
            Kind::Word => token.text.to_owned(),
            Kind::Name => {
                let names = self.placeholders.names.as_ref();
                let Some(name) = names.and_then(|names| names.get(token.text)).cloned() else {
                    return Err(self.error(format!(
                        "An expression attribute name used in the document path is not defined; attribute name: {}",
                        token.text
                    )));
                };
                self.placeholders.used_names.insert(token.text.to_owned());
                name
            }
            _ => return Err(self.unexpected()),
        };
        self.next();
        Ok(name)
    }

    /// A path.
    pub fn path(&mut self) -> Result<Path, Fault> {
        let root = self.name()?;
        let mut steps = Vec::new();
        loop {
            if self.takes(".") {
                steps.push(Step::Name(self.name()?));
            } else if self.takes("[") {
                let digits = self.peek().filter(|token| token.kind == Kind::Number);
                let Some(digits) = digits else {
                    return Err(self.unexpected());
                };
                let Ok(index) = digits.text.parse::<u32>() else {
                    return Err(self.error(format!(
                        "List index is not within the allowable range; index: [{}]",
                        digits.text
                    )));
                };
                self.next();
                self.expect("]")?;
                steps.push(Step::Index(index as usize));
            } else {
                break;
            }
        }
        if steps.len() >= MAX_NESTING {
            return Err(
                self.error("The document path has too many nesting elements; nesting levels: 33")
            );
        }
        Ok(Path { root, steps })
    }

    /// The value that a placeholder stands for.
    pub fn value(&mut self) -> Result<Value, Fault> {
        let Some(token) = self.peek().filter(|token| token.kind == Kind::Value) else {
            return Err(self.unexpected());
        };
        let values = self.placeholders.values.as_ref();
        let Some(value) = values.and_then(|values| values.get(token.text)).cloned() else {
            return Err(self.error(format!(
                "An expression attribute value used in expression is not defined; attribute value: {}",
                token.text
            )));
        };
        self.placeholders.used_values.insert(token.text.to_owned());
        self.next();
        Ok(value)
    }

    /// Whether a value's placeholder is here.
    pub fn is_value(&self) -> bool {
        self.peek().is_some_and(|token| token.kind == Kind::Value)
    }
}
