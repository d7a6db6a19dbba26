//! Event patterns: which events a rule, a filter or a pipe lets through.
//!
//! The language is EventBridge's: a pattern has the shape of the events that it lets through, and lists at each leaf what the value may be.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

/// A pattern, read and checked.
#[derive(Clone, Debug)]
pub struct EventPattern(Node);

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadPattern(pub String);

impl fmt::Display for BadPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for BadPattern {}

fn bad<T>(text: impl Into<String>) -> Result<T, BadPattern> {
    Err(BadPattern(text.into()))
}

/// A pattern's levels are few; more would be an attack on the stack.
const DEEPEST: usize = 64;

#[derive(Clone, Debug, Default)]
struct Node {
    fields: Vec<(String, Want)>,
    /// Each must be met by one of its alternatives.
    either: Vec<Vec<Node>>,
}

#[derive(Clone, Debug)]
enum Want {
    Inside(Node),
    Any(Vec<Test>),
}

/// What a value may be. Languages that read their patterns in another way test with it too.
#[derive(Clone, Debug)]
pub enum Test {
    /// That value; numbers by what they are worth.
    Equals(Value),
    /// Whether there is a value.
    Exists(bool),
    /// A text of that form.
    Text(TextTest),
    /// None of these values.
    Not(Vec<Value>),
    /// No text of any of these forms.
    NotText(Vec<TextTest>),
    /// A number within these bounds.
    Numeric(Vec<(Comparison, f64)>),
    /// An address of that network, which has so many bits.
    Cidr(IpAddr, u8),
}

/// What form a text may have. Where the case does not matter, the text to compare with is in small letters.
#[derive(Clone, Debug)]
pub enum TextTest {
    /// Begins so.
    Prefix(String),
    /// Ends so.
    Suffix(String),
    /// Begins so, in whatever case.
    PrefixIgnoringCase(String),
    /// Ends so, in whatever case.
    SuffixIgnoringCase(String),
    /// Is that, in whatever case.
    EqualsIgnoringCase(String),
    /// Fits that, where `*` stands for anything.
    Wildcard(String),
}

/// How a number lies to a bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `=`
    Equal,
    /// `>=`
    GreaterOrEqual,
    /// `>`
    Greater,
}

impl EventPattern {
    /// Reads a pattern.
    pub fn parse(text: &str) -> Result<EventPattern, BadPattern> {
        match serde_json::from_str(text) {
            Ok(Value::Object(map)) => EventPattern::of(&map),
            Ok(_) => bad("Filter is not an object"),
            Err(e) => bad(e.to_string()),
        }
    }
    /// Reads a pattern that is JSON already.
    pub fn of(map: &Map<String, Value>) -> Result<EventPattern, BadPattern> {
        node(map, 0).map(EventPattern)
    }
    /// Whether an event is let through.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.matches(&[event])
    }
}

fn node(map: &Map<String, Value>, depth: usize) -> Result<Node, BadPattern> {
    if depth > DEEPEST {
        return bad("Pattern is nested too deeply");
    }
    let mut node_ = Node::default();
    for (key, value) in map {
        if key == "$or" {
            let Some(list) = value.as_array().filter(|l| l.len() >= 2) else {
                return bad("There must have at least 2 Objects in $or relationship.");
            };
            let mut alternatives = Vec::new();
            for item in list {
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        alternatives.push(node(map, depth + 1)?);
                    }
                    _ => return bad("Each alternative of $or must be an object"),
                }
            }
            node_.either.push(alternatives);
            continue;
        }
        let want = match value {
            Value::Object(map) if map.is_empty() => return bad("Empty objects are not allowed"),
            Value::Object(map) => Want::Inside(node(map, depth + 1)?),
            Value::Array(list) if list.is_empty() => return bad("Empty arrays are not allowed"),
            Value::Array(list) => Want::Any(list.iter().map(test).collect::<Result<_, _>>()?),
            _ => return bad(format!("\"{key}\" must be an object or an array")),
        };
        node_.fields.push((key.clone(), want));
    }
    Ok(node_)
}

fn test(value: &Value) -> Result<Test, BadPattern> {
    let Value::Object(map) = value else {
        return match value {
            Value::Array(_) => bad("Match value must be String, number, true, false, or null"),
            scalar => Ok(Test::Equals(scalar.clone())),
        };
    };
    let mut entries = map.iter();
    let (Some((name, argument)), None) = (entries.next(), entries.next()) else {
        return bad("Only one key allowed in match expression");
    };
    match name.as_str() {
        "exists" => match argument {
            Value::Bool(yes) => Ok(Test::Exists(*yes)),
            _ => bad("exists match pattern must be either true or false."),
        },
        "anything-but" => anything_but(argument),
        "numeric" => numeric(argument),
        "cidr" => cidr(argument),
        _ => text_test(name, argument).map(Test::Text),
    }
}

fn text_of(name: &str, argument: &Value) -> Result<String, BadPattern> {
    match argument {
        Value::String(text) => Ok(text.clone()),
        _ => bad(format!("{name} match pattern must be a string")),
    }
}

fn text_test(name: &str, argument: &Value) -> Result<TextTest, BadPattern> {
    let ignoring = |argument: &Value| argument.get("equals-ignore-case").cloned();
    Ok(match name {
        "prefix" => match ignoring(argument) {
            Some(inner) => TextTest::PrefixIgnoringCase(text_of(name, &inner)?.to_lowercase()),
            None => TextTest::Prefix(text_of(name, argument)?),
        },
        "suffix" => match ignoring(argument) {
            Some(inner) => TextTest::SuffixIgnoringCase(text_of(name, &inner)?.to_lowercase()),
            None => TextTest::Suffix(text_of(name, argument)?),
        },
        "equals-ignore-case" => {
            TextTest::EqualsIgnoringCase(text_of(name, argument)?.to_lowercase())
        }
        "wildcard" => {
            let text = text_of(name, argument)?;
            if text.contains("**") {
                return bad("Consecutive wildcard characters are not allowed");
            }
            TextTest::Wildcard(text)
        }
        _ => return bad(format!("Unrecognized match type {name}")),
    })
}

fn anything_but(argument: &Value) -> Result<Test, BadPattern> {
    match argument {
        Value::Object(map) => {
            let mut entries = map.iter();
            let (Some((name, inner)), None) = (entries.next(), entries.next()) else {
                return bad("Only one key allowed in match expression");
            };
            let tests = match inner {
                Value::Array(list) if !list.is_empty() => list
                    .iter()
                    .map(|item| text_test(name, item))
                    .collect::<Result<_, _>>()?,
                other => vec![text_test(name, other)?],
            };
            Ok(Test::NotText(tests))
        }
        Value::Array(list) if !list.is_empty() => {
            match list.iter().all(|v| v.is_string() || v.is_number()) {
                true => Ok(Test::Not(list.clone())),
                false => bad("Inside anything-but list, only strings and numbers are allowed"),
            }
        }
        Value::String(_) | Value::Number(_) => Ok(Test::Not(vec![argument.clone()])),
        _ => bad("Value of anything-but must be an array or single string/number value."),
    }
}

fn numeric(argument: &Value) -> Result<Test, BadPattern> {
    let Some(list) = argument.as_array().filter(|l| matches!(l.len(), 2 | 4)) else {
        return bad("Value of numeric must be an array of one or two comparisons.");
    };
    let mut all = Vec::new();
    for pair in list.chunks(2) {
        let comparison = match pair[0].as_str() {
            Some("<") => Comparison::Less,
            Some("<=") => Comparison::LessOrEqual,
            Some("=") => Comparison::Equal,
            Some(">=") => Comparison::GreaterOrEqual,
            Some(">") => Comparison::Greater,
            _ => return bad("Unrecognized numeric range operator"),
        };
        match pair[1].as_f64() {
            Some(number) => all.push((comparison, number)),
            None => return bad("Value of numeric operator must be numeric"),
        }
    }
    Ok(Test::Numeric(all))
}

fn cidr(argument: &Value) -> Result<Test, BadPattern> {
    let read = argument.as_str().and_then(|text| {
        let (address, bits) = text.split_once('/')?;
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some(Test::Cidr(address, bits))
    });
    read.map_or_else(|| bad("Malformed CIDR"), Ok)
}

impl Node {
    /// Whether the event lies within, where `at` is what the event has here: more than one value behind an array.
    fn matches(&self, at: &[&Value]) -> bool {
        // The fields of one object of an array must match together.
        at.iter().any(|value| self.matches_one(value))
            || (at.is_empty() && self.matches_one(&Value::Null))
    }
    fn matches_one(&self, value: &Value) -> bool {
        if let Value::Array(list) = value {
            return list.iter().any(|item| self.matches_one(item));
        }
        self.fields.iter().all(|(key, want)| {
            let found = value.get(key);
            match want {
                Want::Inside(node) => node.matches(found.as_slice()),
                Want::Any(tests) => tests.iter().any(|test| test.matches(found)),
            }
        }) && self
            .either
            .iter()
            .all(|alternatives| alternatives.iter().any(|node| node.matches_one(value)))
    }
}

impl Test {
    fn matches(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Test::Exists(yes), found) => *yes == found.is_some_and(|v| !v.is_object()),
            (_, None) => false,
            // Of a list, one value that is let through is enough; `anything-but` must let all through.
            (Test::Not(_) | Test::NotText(_), Some(Value::Array(list))) => {
                list.iter().all(|item| self.matches_value(item))
            }
            (_, Some(Value::Array(list))) => list.iter().any(|item| self.matches_value(item)),
            (_, Some(value)) => self.matches_value(value),
        }
    }
    /// Whether one value passes.
    pub fn matches_value(&self, value: &Value) -> bool {
        match self {
            Test::Equals(wanted) => equals(wanted, value),
            Test::Exists(yes) => *yes,
            Test::Text(test) => value.as_str().is_some_and(|text| test.matches(text)),
            Test::Not(unwanted) => !unwanted.iter().any(|u| equals(u, value)),
            Test::NotText(unwanted) => !value
                .as_str()
                .is_some_and(|text| unwanted.iter().any(|u| u.matches(text))),
            Test::Numeric(all) => value.as_f64().is_some_and(|number| {
                all.iter().all(|(comparison, bound)| match comparison {
                    Comparison::Less => number < *bound,
                    Comparison::LessOrEqual => number <= *bound,
                    Comparison::Equal => number == *bound,
                    Comparison::GreaterOrEqual => number >= *bound,
                    Comparison::Greater => number > *bound,
                })
            }),
            Test::Cidr(network, bits) => value
                .as_str()
                .and_then(|text| text.parse().ok())
                .is_some_and(|address| is_within(address, *network, *bits)),
        }
    }
}

fn equals(wanted: &Value, value: &Value) -> bool {
    match (wanted, value) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            u32::from(a) & mask == u32::from(b) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            u128::from(a) & mask == u128::from(b) & mask
        }
        _ => false,
    }
}

impl TextTest {
    fn matches(&self, text: &str) -> bool {
        match self {
            TextTest::Prefix(prefix) => text.starts_with(prefix.as_str()),
            TextTest::Suffix(suffix) => text.ends_with(suffix.as_str()),
            TextTest::PrefixIgnoringCase(prefix) => {
                text.to_lowercase().starts_with(prefix.as_str())
            }
            TextTest::SuffixIgnoringCase(suffix) => text.to_lowercase().ends_with(suffix.as_str()),
            TextTest::EqualsIgnoringCase(wanted) => text.to_lowercase() == *wanted,
            TextTest::Wildcard(pattern) => wildcard(pattern.as_bytes(), text.as_bytes()),
        }
    }
}

/// Whether a text matches, where `*` stands for any characters and `\` takes a character as it is. Takes time by the product of the
/// lengths at most.
fn wildcard(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        let escaped = pattern.get(p) == Some(&b'\\') && p + 1 < pattern.len();
        let at = if escaped { p + 1 } else { p };
        match pattern.get(at) {
            Some(b'*') if !escaped => {
                back = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == text[t] => {
                p = at + 1;
                t += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    (p, t) = (star, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn lets(pattern: Value, event: Value) -> bool {
        EventPattern::parse(&pattern.to_string())
            .unwrap_or_else(|e| panic!("{pattern}: {e}"))
            .matches(&event)
    }

    #[test]
    fn each_operator_lets_through_what_it_says() {
        let yes = [
            (json!({"a": ["x"]}), json!({"a": "x"})),
            (json!({"a": [1.0]}), json!({"a": 1})),
            (json!({"a": [null]}), json!({"a": null})),
            (json!({"a": ["x"]}), json!({"a": ["y", "x"]})),
            (
                json!({"a": {"b": ["x"]}}),
                json!({"a": [{"b": "y"}, {"b": "x"}]}),
            ),
            (json!({"a": [{"prefix": "ab"}]}), json!({"a": "abc"})),
            (json!({"a": [{"suffix": "bc"}]}), json!({"a": "abc"})),
            (
                json!({"a": [{"prefix": {"equals-ignore-case": "AB"}}]}),
                json!({"a": "abc"}),
            ),
            (
                json!({"a": [{"equals-ignore-case": "ABC"}]}),
                json!({"a": "abc"}),
            ),
            (json!({"a": [{"anything-but": "x"}]}), json!({"a": "y"})),
            (json!({"a": [{"anything-but": ["x", 1]}]}), json!({"a": 2})),
            (
                json!({"a": [{"anything-but": {"prefix": "x"}}]}),
                json!({"a": "y"}),
            ),
            (
                json!({"a": [{"numeric": [">", 1, "<=", 3]}]}),
                json!({"a": 3}),
            ),
            (json!({"a": [{"exists": false}]}), json!({"b": 1})),
            (json!({"a": {"b": [{"exists": false}]}}), json!({})),
            (json!({"a": [{"exists": true}]}), json!({"a": null})),
            (
                json!({"a": [{"cidr": "10.0.0.0/24"}]}),
                json!({"a": "10.0.0.255"}),
            ),
            (
                json!({"a": [{"wildcard": "a*c\\*d"}]}),
                json!({"a": "abbcc*d"}),
            ),
            (
                json!({"$or": [{"a": ["x"]}, {"b": ["y"]}]}),
                json!({"b": "y"}),
            ),
        ];
        for (pattern, event) in yes {
            assert!(lets(pattern.clone(), event.clone()), "{pattern} {event}");
        }
    }

    #[test]
    fn each_operator_keeps_out_the_rest() {
        let no = [
            (json!({"a": ["x"]}), json!({"a": "X"})),
            (json!({"a": ["1"]}), json!({"a": 1})),
            (json!({"a": ["x"], "b": ["y"]}), json!({"a": "x"})),
            (
                json!({"a": [{"anything-but": "x"}]}),
                json!({"a": ["x", "y"]}),
            ),
            (json!({"a": [{"anything-but": "x"}]}), json!({"b": "y"})),
            (json!({"a": [{"numeric": [">", 1]}]}), json!({"a": "2"})),
            (
                json!({"a": [{"numeric": [">", 1, "<", 3]}]}),
                json!({"a": 3}),
            ),
            (json!({"a": [{"exists": true}]}), json!({"b": 1})),
            (
                json!({"a": [{"cidr": "10.0.0.0/24"}]}),
                json!({"a": "10.0.1.0"}),
            ),
            (json!({"a": [{"wildcard": "a*c"}]}), json!({"a": "abcd"})),
            (
                json!({"$or": [{"a": ["x"]}, {"b": ["y"]}]}),
                json!({"a": "y"}),
            ),
        ];
        for (pattern, event) in no {
            assert!(!lets(pattern.clone(), event.clone()), "{pattern} {event}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let deep = "{\"a\":".repeat(100) + "[1]" + &"}".repeat(100);
        for text in [
            "",
            "[]",
            "\"x\"",
            "{\"a\": \"x\"}",
            "{\"a\": []}",
            "{\"a\": {}}",
            "{\"a\": [[1]]}",
            "{\"a\": [{\"magic\": 1}]}",
            "{\"a\": [{\"numeric\": [\"~\", 1]}]}",
            "{\"a\": [{\"exists\": 1}]}",
            "{\"$or\": [{\"a\": [1]}]}",
            "{\"a\": [{\"cidr\": \"10.0.0.0/33\"}]}",
            &deep,
        ] {
            assert!(EventPattern::parse(text).is_err(), "{text}");
        }
    }
}
