//! JSON token by token, with the place that EventBridge's errors name.
//!
//! The place is how far its parser has read: behind the opening quote of a text until somebody asks for the text, and
//! behind the beginning of a field's value as soon as the field's name is known.

use super::BadPattern;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Token {
    BeginObject,
    EndObject,
    BeginArray,
    EndArray,
    Field(String),
    Text(String),
    /// As it is written.
    Number(String),
    True,
    False,
    Null,
    End,
}

/// Reads tokens.
pub(super) struct Tokens<'a> {
    source: &'a str,
    chars: Vec<char>,
    /// How far it has read.
    at: usize,
    /// How far EventBridge's parser would have.
    place: usize,
    /// The value behind a field's name.
    ahead: Option<Token>,
    /// Whether each open bracket is an object's, and whether it has a member yet.
    open: Vec<(bool, bool)>,
    /// The end of the last text, once it is asked for.
    text_end: Option<usize>,
}

impl<'a> Tokens<'a> {
    pub(super) fn new(source: &'a str) -> Tokens<'a> {
        Tokens {
            source,
            chars: source.chars().collect(),
            at: 0,
            place: 0,
            ahead: None,
            open: Vec::new(),
            text_end: None,
        }
    }

    /// An error at the place.
    pub(super) fn bad<T>(&self, text: impl std::fmt::Display) -> Result<T, BadPattern> {
        Err(BadPattern(format!("{text}{}", self.location(self.place))))
    }

    /// An error within a list, which names the place twice.
    pub(super) fn bad_twice<T>(&self, text: impl std::fmt::Display) -> Result<T, BadPattern> {
        let location = self.location(self.place);
        Err(BadPattern(format!("{text}{location}{location}")))
    }

    fn location(&self, place: usize) -> String {
        let before = self.chars.get(..place).unwrap_or(&self.chars);
        let line = before.iter().filter(|c| **c == '\n').count();
        let column = before.iter().rev().take_while(|c| **c != '\n').count();
        format!(
            "\n at [Source: (String)\"{}\"; line: {}, column: {}]",
            self.source,
            line + 1,
            column + 1
        )
    }

    /// Says that the text of the token is read.
    pub(super) fn take_text(&mut self) {
        if let Some(end) = self.text_end.take() {
            self.place = end;
        }
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn skip_blanks(&mut self) {
        while self
            .peek()
            .is_some_and(|c| matches!(c, ' ' | '\t' | '\n' | '\r'))
        {
            self.at += 1;
        }
    }

    /// The next token.
    pub(super) fn next(&mut self) -> Result<Token, BadPattern> {
        if let Some(token) = self.ahead.take() {
            return Ok(token);
        }
        self.take_text();
        self.skip_blanks();
        let Some((is_object, has_member)) = self.open.last().copied() else {
            return match (self.peek(), self.place) {
                (None, 0) => Ok(Token::End),
                (Some(_), 0) => self.value(),
                (None, _) => Ok(Token::End),
                (Some(c), _) => self.unexpected(c, "end of input"),
            };
        };
        let Some(c) = self.peek() else {
            let kind = if is_object { "Object" } else { "Array" };
            self.place = self.at;
            return self.bad(format!(
                "Unexpected end-of-input: expected close marker for {kind}"
            ));
        };
        if c == if is_object { '}' } else { ']' } {
            self.at += 1;
            self.place = self.at;
            self.open.pop();
            return Ok(if is_object {
                Token::EndObject
            } else {
                Token::EndArray
            });
        }
        if has_member {
            if c != ',' {
                let kind = if is_object { "Object" } else { "Array" };
                return self.unexpected(
                    c,
                    &format!("was expecting comma to separate {kind} entries"),
                );
            }
            self.at += 1;
            self.skip_blanks();
        }
        if let Some(last) = self.open.last_mut() {
            last.1 = true;
        }
        if !is_object {
            return self.value();
        }
        match self.peek() {
            Some('"') => {}
            Some(c) => {
                return self.unexpected(c, "was expecting double-quote to start field name");
            }
            None => return self.bad("Unexpected end-of-input"),
        }
        self.at += 1;
        let name = self.text()?;
        self.skip_blanks();
        match self.peek() {
            Some(':') => self.at += 1,
            Some(c) => {
                return self
                    .unexpected(c, "was expecting a colon to separate field name and value");
            }
            None => return self.bad("Unexpected end-of-input"),
        }
        self.skip_blanks();
        let value = self.value()?;
        self.ahead = Some(value);
        Ok(Token::Field(name))
    }

    fn unexpected<T>(&mut self, c: char, wanted: &str) -> Result<T, BadPattern> {
        self.place = self.at;
        self.bad(format!(
            "Unexpected character ('{c}' (code {})): {wanted}",
            u32::from(c)
        ))
    }

    fn value(&mut self) -> Result<Token, BadPattern> {
        const WANTED: &str =
            "was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')";
        let Some(c) = self.peek() else {
            self.place = self.at;
            return self.bad("Unexpected end-of-input");
        };
        match c {
            '{' | '[' => {
                self.at += 1;
                self.place = self.at;
                self.open.push((c == '{', false));
                Ok(if c == '{' {
                    Token::BeginObject
                } else {
                    Token::BeginArray
                })
            }
            '"' => {
                self.at += 1;
                self.place = self.at;
                let text = self.text()?;
                self.text_end = Some(self.at);
                Ok(Token::Text(text))
            }
            '-' | '0'..='9' => {
                let start = self.at;
                let is_part = |c: char| matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E');
                while self.peek().is_some_and(is_part) {
                    self.at += 1;
                }
                self.place = self.at;
                let text: String = self
                    .chars
                    .get(start..self.at)
                    .into_iter()
                    .flatten()
                    .collect();
                match serde_json::from_str::<serde_json::Number>(&text) {
                    Ok(_) => Ok(Token::Number(text)),
                    Err(_) => self.bad(format!("Malformed numeric value ({text})")),
                }
            }
            _ => {
                let start = self.at;
                while self.peek().is_some_and(|c| c.is_alphanumeric() || c == '_') {
                    self.at += 1;
                }
                let word: String = self
                    .chars
                    .get(start..self.at)
                    .into_iter()
                    .flatten()
                    .collect();
                self.place = self.at;
                match word.as_str() {
                    "true" => Ok(Token::True),
                    "false" => Ok(Token::False),
                    "null" => Ok(Token::Null),
                    "" => {
                        let wanted =
                            WANTED.replacen("was expecting ", "expected a valid value ", 1);
                        self.unexpected(c, &wanted)
                    }
                    _ => self.bad(format!("Unrecognized token '{word}': {WANTED}")),
                }
            }
        }
    }

    /// The rest of a text behind its opening quote.
    fn text(&mut self) -> Result<String, BadPattern> {
        let start = self.at;
        loop {
            match self.peek() {
                Some('"') => break,
                Some('\\') => self.at += 2,
                Some(_) => self.at += 1,
                None => {
                    self.at = self.chars.len();
                    self.place = self.at;
                    return self.bad(
                        "Unexpected end-of-input: was expecting closing quote for a string value",
                    );
                }
            }
        }
        let raw: String = self
            .chars
            .get(start..self.at)
            .into_iter()
            .flatten()
            .collect();
        self.at += 1;
        match serde_json::from_str(&format!("\"{raw}\"")) {
            Ok(text) => Ok(text),
            Err(_) => {
                self.place = self.at;
                self.bad("Unrecognized character escape in a string value")
            }
        }
    }
}
