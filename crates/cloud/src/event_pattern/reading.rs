//! A pattern's text, read with the errors that EventBridge gives.

use std::net::IpAddr;

use serde_json::Value;

use super::tokens::{Token, Tokens};
use super::{BadPattern, Comparison, Node, Test, TextTest, Want};

/// A pattern's levels are few; more would be an attack on the stack.
const DEEPEST: usize = 64;
/// More stars in a text would take too long to follow.
const MOST_STARS: usize = 5;

/// Words that no field is called in `$or`.
const RESERVED: [&str; 14] = [
    "exactly",
    "equals-ignore-case",
    "prefix",
    "suffix",
    "anything-but",
    "exists",
    "wildcard",
    "numeric",
    "cidr",
    "=",
    "<",
    "<=",
    ">",
    ">=",
];

/// Reads a whole pattern.
pub(super) fn read(text: &str) -> Result<Node, BadPattern> {
    let mut reading = Reading(Tokens::new(text));
    match reading.0.next()? {
        Token::BeginObject => {}
        _ => return reading.0.bad("Filter is not an object"),
    }
    let node = reading.node(0, false)?;
    match reading.0.next()? {
        Token::End => Ok(node),
        _ => reading.0.bad("Filter is not an object"),
    }
}

struct Reading<'a>(Tokens<'a>);

/// What `anything-but` may hold besides values.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    IgnoringCase,
    Prefix,
    Suffix,
    Wildcard,
}

impl Reading<'_> {
    /// The members of an object, up to its end.
    fn node(&mut self, depth: usize, is_in_or: bool) -> Result<Node, BadPattern> {
        if depth > DEEPEST {
            return self.0.bad("Pattern is nested too deeply");
        }
        let mut node = Node::default();
        while let Token::Field(name) = self.0.next()? {
            if name == "$or" {
                node.either.push(self.alternatives(depth)?);
                continue;
            }
            if is_in_or && RESERVED.contains(&name.as_str()) {
                return self.0.bad(format!(
                    "{name} is Ruler reserved fieldName which cannot be used inside $or."
                ));
            }
            let want = match self.0.next()? {
                Token::BeginObject => Want::Inside(self.node(depth + 1, is_in_or)?),
                Token::BeginArray => Want::Any(self.tests()?),
                _ => {
                    return self
                        .0
                        .bad(format!("\"{name}\" must be an object or an array"));
                }
            };
            // Of a field that is named twice the last one counts.
            match node.fields.iter_mut().find(|(known, _)| *known == name) {
                Some((_, earlier)) => *earlier = want,
                None => node.fields.push((name, want)),
            }
        }
        match node.fields.is_empty() && node.either.is_empty() {
            true => self.0.bad("Empty objects are not allowed"),
            false => Ok(node),
        }
    }

    fn alternatives(&mut self, depth: usize) -> Result<Vec<Node>, BadPattern> {
        if self.0.next()? != Token::BeginArray {
            return self.0.bad("It must be an Array followed with $or.");
        }
        let mut all = Vec::new();
        loop {
            match self.0.next()? {
                Token::EndArray => break,
                Token::BeginObject => all.push(self.node(depth + 1, true)?),
                _ => {
                    return self
                        .0
                        .bad("Only JSON object is allowed in array of $or relationship.");
                }
            }
        }
        match all.len() < 2 {
            true => self
                .0
                .bad("There must have at least 2 Objects in $or relationship."),
            false => Ok(all),
        }
    }

    /// What one field may be, up to the array's end.
    fn tests(&mut self) -> Result<Vec<Test>, BadPattern> {
        let mut all = Vec::new();
        loop {
            let token = self.0.next()?;
            all.push(match token {
                Token::EndArray => break,
                Token::BeginObject => self.expression()?,
                Token::Text(text) => {
                    self.0.take_text();
                    Test::Equals(Value::String(text))
                }
                Token::Number(text) => Test::Equals(number(&text)),
                Token::True => Test::Equals(Value::Bool(true)),
                Token::False => Test::Equals(Value::Bool(false)),
                Token::Null => Test::Equals(Value::Null),
                _ => {
                    return self
                        .0
                        .bad("Match value must be String, number, true, false, or null");
                }
            });
        }
        match all.is_empty() {
            true => self.0.bad("Empty arrays are not allowed"),
            false => Ok(all),
        }
    }

    fn close(&mut self) -> Result<(), BadPattern> {
        match self.0.next()? {
            Token::EndObject => Ok(()),
            _ => self.0.bad("Only one key allowed in match expression"),
        }
    }

    fn close_numeric(&mut self) -> Result<(), BadPattern> {
        match self.0.next()? {
            Token::EndObject => Ok(()),
            _ => self.0.bad("Too many elements in numeric expression"),
        }
    }

    /// The text of a token that must be one.
    fn text(&mut self, token: Token, problem: &str) -> Result<String, BadPattern> {
        match token {
            Token::Text(text) => {
                self.0.take_text();
                Ok(text)
            }
            _ => self.0.bad(problem),
        }
    }

    fn expression(&mut self) -> Result<Test, BadPattern> {
        let name = match self.0.next()? {
            Token::Field(name) => name,
            _ => return self.0.bad("Match expression name not found"),
        };
        let test = match name.as_str() {
            "exactly" => {
                let token = self.0.next()?;
                let text = self.text(token, "exact match pattern must be a string")?;
                Test::Equals(Value::String(text))
            }
            "prefix" | "suffix" => Test::Text(self.affix(&name)?),
            "equals-ignore-case" => {
                let token = self.0.next()?;
                let text = self.text(token, "equals-ignore-case match pattern must be a string")?;
                Test::Text(TextTest::EqualsIgnoringCase(text.to_lowercase()))
            }
            "wildcard" => {
                let token = self.0.next()?;
                let text = self.text(token, "wildcard match pattern must be a string")?;
                Test::Text(self.wildcard(text)?)
            }
            "cidr" => {
                let token = self.0.next()?;
                let text = self.text(token, "prefix match pattern must be a string")?;
                cidr(&text)?
            }
            "exists" => match self.0.next()? {
                Token::True => Test::Exists(true),
                Token::False => Test::Exists(false),
                _ => {
                    return self
                        .0
                        .bad("exists match pattern must be either true or false.");
                }
            },
            "numeric" => {
                if self.0.next()? != Token::BeginArray {
                    return self.0.bad("Value of numeric must be an array.");
                }
                let test = self.numeric()?;
                self.close_numeric()?;
                return Ok(test);
            }
            "anything-but" => return self.anything_but(),
            _ => return self.0.bad(format!("Unrecognized match type {name}")),
        };
        self.close()?;
        Ok(test)
    }

    fn affix(&mut self, name: &str) -> Result<TextTest, BadPattern> {
        let is_prefix = name == "prefix";
        let token = self.0.next()?;
        if token != Token::BeginObject {
            let text = self.text(token, &format!("{name} match pattern must be a string"))?;
            return Ok(match is_prefix {
                true => TextTest::Prefix(text),
                false => TextTest::Suffix(text),
            });
        }
        let shown = if is_prefix { "Prefix" } else { "Suffix" };
        match self.0.next()? {
            Token::Field(inner) if inner == "equals-ignore-case" => {}
            Token::Field(inner) => {
                return self.0.bad(format!("Unsupported {name} pattern: {inner}"));
            }
            _ => return self.0.bad(format!("{shown} expression name not found")),
        }
        let token = self.0.next()?;
        let text = self.text(token, "equals-ignore-case match pattern must be a string")?;
        self.close()?;
        Ok(match is_prefix {
            true => TextTest::PrefixIgnoringCase(text.to_lowercase()),
            false => TextTest::SuffixIgnoringCase(text.to_lowercase()),
        })
    }

    fn wildcard(&mut self, text: String) -> Result<TextTest, BadPattern> {
        let mut is_escaped = false;
        let (mut stars, mut last) = (0, None);
        for (at, c) in text.chars().enumerate() {
            match c {
                _ if is_escaped => {
                    if !matches!(c, '*' | '\\') {
                        return self
                            .0
                            .bad(format!("Invalid escape character at pos {}", at));
                    }
                    is_escaped = false;
                }
                '\\' => is_escaped = true,
                '*' => {
                    if last.is_some_and(|last| last + 1 == at) {
                        // The quote before the text counts.
                        return self
                            .0
                            .bad(format!("Consecutive wildcard characters at pos {at}"));
                    }
                    (stars, last) = (stars + 1, Some(at));
                }
                _ => {}
            }
        }
        if is_escaped {
            let end = text.chars().count();
            return self.0.bad(format!("Invalid escape character at pos {end}"));
        }
        match stars > MOST_STARS {
            true => Err(BadPattern(
                "Rule is too complex - try using fewer wildcard characters or fewer repeating character sequences after a wildcard character"
                    .into(),
            )),
            false => Ok(TextTest::Wildcard(text)),
        }
    }

    fn anything_but(&mut self) -> Result<Test, BadPattern> {
        let mut token = self.0.next()?;
        let mut kind = None;
        if token == Token::BeginObject {
            kind = Some(match self.0.next()? {
                Token::Field(name) => match name.as_str() {
                    "equals-ignore-case" => Kind::IgnoringCase,
                    "prefix" => Kind::Prefix,
                    "suffix" => Kind::Suffix,
                    "wildcard" => Kind::Wildcard,
                    _ => {
                        return self
                            .0
                            .bad(format!("Unsupported anything-but pattern: {name}"));
                    }
                },
                _ => return self.0.bad("Anything-But expression name not found"),
            });
            token = self.0.next()?;
        }
        let is_list = token == Token::BeginArray;
        if !is_list && !matches!(token, Token::Text(_) | Token::Number(_)) {
            return self
                .0
                .bad("Value of anything-but must be an array or single string/number value.");
        }
        let test = match kind {
            None => Test::Not(match is_list {
                true => self.unwanted()?,
                false => vec![self.scalar(token)],
            }),
            Some(kind) => {
                let mut all = Vec::new();
                if is_list {
                    loop {
                        let token = self.0.next()?;
                        if token == Token::EndArray {
                            break;
                        }
                        all.push(self.unwanted_text(token, kind, true)?);
                    }
                } else {
                    all.push(self.unwanted_text(token, kind, false)?);
                }
                self.close_numeric()?;
                Test::NotText(all)
            }
        };
        self.close_numeric()?;
        Ok(test)
    }

    fn scalar(&mut self, token: Token) -> Value {
        match token {
            Token::Text(text) => {
                self.0.take_text();
                Value::String(text)
            }
            Token::Number(text) => number(&text),
            _ => Value::Null,
        }
    }

    fn unwanted(&mut self) -> Result<Vec<Value>, BadPattern> {
        let mut all = Vec::new();
        loop {
            let token = self.0.next()?;
            match token {
                Token::EndArray => break,
                Token::Text(_) | Token::Number(_) => {
                    let value = self.scalar(token);
                    all.push(value);
                }
                _ => {
                    return self.0.bad_twice(
                        "Inside anything but list, start|null|boolean is not supported.",
                    );
                }
            }
        }
        let texts = all.iter().filter(|v| v.is_string()).count();
        match all.is_empty() || (texts > 0 && texts < all.len()) {
            true => self.0.bad(
                "Inside anything but list, either all values are number or string, mixed type is not supported",
            ),
            false => Ok(all),
        }
    }

    fn unwanted_text(
        &mut self,
        token: Token,
        kind: Kind,
        is_in_list: bool,
    ) -> Result<TextTest, BadPattern> {
        let Token::Text(text) = token else {
            let problem = match kind {
                Kind::IgnoringCase => {
                    "Inside anything-but/equals-ignore-case list, number|start|null|boolean is not supported."
                }
                Kind::Wildcard => "wildcard match pattern must be a string",
                Kind::Prefix | Kind::Suffix => "prefix/suffix match pattern must be a string",
            };
            return match is_in_list {
                true => self.0.bad_twice(problem),
                false => self.0.bad(problem),
            };
        };
        self.0.take_text();
        if text.is_empty() && matches!(kind, Kind::Prefix | Kind::Suffix) {
            let problem = "Null prefix/suffix not allowed";
            return match is_in_list {
                true => self.0.bad_twice(problem),
                false => self.0.bad(problem),
            };
        }
        Ok(match kind {
            Kind::IgnoringCase => TextTest::EqualsIgnoringCase(text.to_lowercase()),
            Kind::Prefix => TextTest::Prefix(text),
            Kind::Suffix => TextTest::Suffix(text),
            Kind::Wildcard => self.wildcard(text)?,
        })
    }

    /// A number that a comparison needs.
    fn bound(&mut self, operator: &str) -> Result<f64, BadPattern> {
        let shown = if operator == "=" { "equals" } else { operator };
        match self.0.next()? {
            Token::Number(text) => Ok(text.parse().unwrap_or_default()),
            _ => self.0.bad(format!("Value of {shown} must be numeric")),
        }
    }

    fn numeric(&mut self) -> Result<Test, BadPattern> {
        let token = self.0.next()?;
        let operator = match token {
            Token::Text(operator) => operator,
            Token::Number(shown) => {
                return self
                    .0
                    .bad(format!("Invalid member in numeric match: {shown}"));
            }
            _ => return self.0.bad("Invalid member in numeric match: "),
        };
        self.0.take_text();
        let comparison = match operator.as_str() {
            "=" => Comparison::Equal,
            ">=" => Comparison::GreaterOrEqual,
            ">" => Comparison::Greater,
            "<=" => Comparison::LessOrEqual,
            "<" => Comparison::Less,
            _ => {
                // The number behind it is read already.
                self.0.next()?;
                return self
                    .0
                    .bad(format!("Unrecognized numeric range operator: {operator}"));
            }
        };
        let mut all = vec![(comparison, self.bound(&operator)?)];
        match self.0.next()? {
            Token::EndArray => return Ok(Test::Numeric(all)),
            _ if !matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual) => {
                return self.0.bad("Too many elements in numeric expression");
            }
            Token::Text(operator) => {
                self.0.take_text();
                let comparison = match operator.as_str() {
                    "<" => Comparison::Less,
                    "<=" => Comparison::LessOrEqual,
                    _ => {
                        return self
                            .0
                            .bad(format!("Bad numeric range operator: {operator}"));
                    }
                };
                all.push((comparison, self.bound(&operator)?));
            }
            Token::Number(shown) => {
                return self.0.bad(format!("Bad value in numeric range: {shown}"));
            }
            _ => return self.0.bad("Bad value in numeric range: "),
        }
        match self.0.next()? {
            Token::EndArray => Ok(Test::Numeric(all)),
            _ => self.0.bad("Too many terms in numeric range expression"),
        }
    }
}

fn number(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

fn cidr(text: &str) -> Result<Test, BadPattern> {
    let bad = |text: String| Err(BadPattern(text));
    let parts: Vec<&str> = text.split('/').collect();
    let [address, bits] = parts.as_slice() else {
        return bad("Malformed CIDR, one '/' required".into());
    };
    let Ok(bits) = bits.parse::<i64>() else {
        return bad("Malformed CIDR, mask bits must be an integer".into());
    };
    if bits < 0 {
        return bad("Malformed CIDR, mask bits must not be negative".into());
    }
    let Ok(ip) = address.parse::<IpAddr>() else {
        return bad(format!("Nonstandard IP address: {address}"));
    };
    if ip.is_ipv4() && bits > 31 {
        return bad("IPv4 mask bits must be < 32".into());
    }
    if bits > 127 {
        return bad("IPv6 mask bits must be < 128".into());
    }
    Ok(Test::Cidr(ip, u8::try_from(bits).unwrap_or(127)))
}
