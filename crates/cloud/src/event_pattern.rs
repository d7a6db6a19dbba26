//! Event patterns: which events a rule, a filter or a pipe lets through.
//!
//! The language is EventBridge's: a pattern has the shape of the events that it lets through, and lists at each leaf what the value may be.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

mod reading;
mod tokens;

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
        reading::read(text).map(EventPattern)
    }
    /// Whether an event is let through.
    pub fn matches(&self, event: &Value) -> bool {
        self.0.matches_one(event)
    }
}

impl Node {
    /// Whether what the event has here lies within; more than one value where a name can be read in more than one way.
    fn matches(&self, at: &[Cow<'_, Value>]) -> bool {
        // The fields of one object of an array must match together.
        at.iter().any(|value| self.matches_one(value))
            || (at.is_empty() && self.matches_one(&Value::Null))
    }
    fn matches_one(&self, value: &Value) -> bool {
        if let Value::Array(list) = value
            && !list.is_empty()
        {
            return list.iter().any(|item| self.matches_one(item));
        }
        self.fields.iter().all(|(key, want)| match want {
            Want::Inside(node) => node.matches(&inside(value, key)),
            Want::Any(tests) => {
                let found = values(value, key);
                match found.is_empty() {
                    true => tests.iter().any(|test| test.matches(None)),
                    false => found
                        .iter()
                        .any(|v| tests.iter().any(|test| test.matches(Some(v)))),
                }
            }
        }) && self
            .either
            .iter()
            .all(|alternatives| alternatives.iter().any(|node| node.matches_one(value)))
    }
}

/// The values of a name: dots in it may also lead into objects.
fn values<'a>(value: &'a Value, name: &str) -> Vec<&'a Value> {
    let mut all: Vec<&Value> = value.get(name).into_iter().collect();
    for (at, _) in name.match_indices('.') {
        let (first, rest) = (&name[..at], &name[at + 1..]);
        match value.get(first) {
            Some(Value::Array(list)) => all.extend(list.iter().flat_map(|v| values(v, rest))),
            Some(inner) => all.extend(values(inner, rest)),
            None => {}
        }
    }
    all
}

/// The values of a name in which something is looked for: fields of the event whose names go on behind a dot are in it too.
fn inside<'a>(value: &'a Value, name: &str) -> Vec<Cow<'a, Value>> {
    let mut all: Vec<_> = values(value, name).into_iter().map(Cow::Borrowed).collect();
    if !all.is_empty() {
        return all;
    }
    let longer = |key: &str| {
        let rest = key.strip_prefix(name)?.strip_prefix('.')?;
        Some(rest.to_owned())
    };
    let fields = value.as_object().into_iter().flatten();
    let fields: Map<String, Value> = fields
        .filter_map(|(key, value)| Some((longer(key)?, value.clone())))
        .collect();
    if !fields.is_empty() {
        all.push(Cow::Owned(Value::Object(fields)));
    }
    all
}

impl Test {
    fn matches(&self, found: Option<&Value>) -> bool {
        match (self, found) {
            (Test::Exists(yes), found) => *yes == found.is_some_and(is_leaf),
            (_, None) => false,
            // Of a list, one value that is let through is enough.
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

/// Whether a value is one in itself, or a list that has such.
fn is_leaf(value: &Value) -> bool {
    match value {
        Value::Object(_) => false,
        Value::Array(list) => list.iter().any(is_leaf),
        _ => true,
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
            (json!({"a": [{"anything-but": [3, 1]}]}), json!({"a": 2})),
            (
                json!({"a": [{"anything-but": "x"}]}),
                json!({"a": ["x", "y"]}),
            ),
            (
                json!({"a": {"b.c": ["x"]}}),
                json!({"a": {"b": {"c": "x"}}}),
            ),
            (
                json!({"a": {"b": {"c": ["x"]}}}),
                json!({"a": {"b.c": "x"}}),
            ),
            (json!({"a": [{"exists": false}]}), json!({"a": []})),
            (
                json!({"a": [{"anything-but": {"wildcard": ["*x", "y*"]}}]}),
                json!({"a": "axy"}),
            ),
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
    fn an_error_says_what_and_where_as_eventbridge_does() {
        let at = |reason: &str, text: &str, column: usize| {
            format!("{reason}\n at [Source: (String)\"{text}\"; line: 1, column: {column}]")
        };
        let cases = [
            (
                r#"{"int": 42}"#,
                "\"int\" must be an object or an array",
                11,
            ),
            (
                r#"{"string": "my-value"}"#,
                "\"string\" must be an object or an array",
                13,
            ),
            (r#"{"resources": []}"#, "Empty arrays are not allowed", 17),
            (
                r#"{"my_key": [{"EXISTS": true}]}"#,
                "Unrecognized match type EXISTS",
                28,
            ),
            (
                r#"{"detail": {"equal": [{"NUMERIC": ["=", 5]}]}}"#,
                "Unrecognized match type NUMERIC",
                36,
            ),
            (
                r#"{"detail": {"c-count": [{"numeric": [">", 0, ">", 0]}]}}"#,
                "Bad numeric range operator: >",
                49,
            ),
            (
                r#"{"detail": {"c-count": [{"numeric": [">", 0, "<"]}]}}"#,
                "Value of < must be numeric",
                50,
            ),
            (
                r#"{"detail": {"c-count": [{"numeric": 10}]}}"#,
                "Value of numeric must be an array.",
                39,
            ),
            (
                r#"{"EventBusArn": [{"wildcard": 123}]}"#,
                "wildcard match pattern must be a string",
                34,
            ),
            (
                r#"{"EventBusArn": [{"wildcard": "arn:aws:events:us-east-1:**:event-bus/*"}]}"#,
                "Consecutive wildcard characters at pos 26",
                72,
            ),
            (
                r#"{"time": [{"prefix": ["2022-07-13"]}]}"#,
                "prefix match pattern must be a string",
                23,
            ),
            (
                r#"{"detail": {"FileName": [{"anything-but": {"prefix": ""}}]}}"#,
                "Null prefix/suffix not allowed",
                56,
            ),
            (
                r#"{"detail": {"state": [{"anything-but": null}]}}"#,
                "Value of anything-but must be an array or single string/number value.",
                44,
            ),
            (r#"["not", "a", "dict"]"#, "Filter is not an object", 2),
            (
                r#"{'bad': 'quotation'}"#,
                "Unexpected character (''' (code 39)): was expecting double-quote to start field name",
                2,
            ),
            (
                r#"{"not": closed mark""#,
                "Unrecognized token 'closed': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')",
                15,
            ),
        ];
        for (text, reason, column) in cases {
            let error = EventPattern::parse(text).expect_err(text);
            assert_eq!(error.0, at(reason, text, column));
        }
        let text = r#"{"detail": {"state": [{"anything-but": {"prefix": [123, "test"]}}]}}"#;
        let error = EventPattern::parse(text).expect_err(text);
        let once = at("", text, 55);
        assert_eq!(
            error.0,
            format!("prefix/suffix match pattern must be a string{once}{once}")
        );
        let text = r#"{"a": [{"cidr": "bad-filter"}]}"#;
        let error = EventPattern::parse(text).expect_err(text);
        assert_eq!(error.0, "Malformed CIDR, one '/' required");
    }

    #[test]
    fn of_a_field_named_twice_the_last_counts() {
        let pattern = EventPattern::parse(r#"{"a": ["x"], "a": [{"anything-but": "z"}]}"#);
        let pattern = pattern.expect("a pattern");
        assert!(pattern.matches(&json!({"a": "y"})));
        assert!(!pattern.matches(&json!({"a": "z"})));
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
            "{\"a\": [1]",
            "{\"a\": [1]} x",
            "{\"a\": [\"x]}",
            "{\"a\": [{\"wildcard\": \"**\"}]}",
            "{\"a\": [{\"anything-but\": [1, \"x\"]}]}",
            "{\"a\": [{\"cidr\": \"10.0.0.0/33\"}]}",
            &deep,
        ] {
            assert!(EventPattern::parse(text).is_err(), "{text}");
        }
    }
}
