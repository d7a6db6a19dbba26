//! Filter policies: which messages a subscription wants.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;

use cloud::{Comparison, Test, TextTest};
use serde_json::{Map, Value};

/// What is known of a message to filters: attributes, each with its values, or the body.
pub(crate) enum Subject<'a> {
    Attributes(&'a BTreeMap<String, Vec<Value>>),
    Body(Option<&'a Value>),
}

/// A filter policy, read.
#[derive(Debug)]
pub(crate) struct Filter {
    /// All of these hold.
    all: Vec<(String, Node)>,
    /// And one of each of these groups.
    any: Vec<Vec<Filter>>,
}

#[derive(Debug)]
enum Node {
    Rules(Vec<Rule>),
    Object(Filter),
}

#[derive(Debug)]
enum Rule {
    Exists(bool),
    Is(Test),
    /// A text that has none of these forms; what is no text does not pass.
    ButText(Test),
}

/// The most keys of a policy, and the most combinations of its values.
const MOST_KEYS: usize = 5;
const MOST_COMBINATIONS: usize = 150;
const DEEPEST: usize = 32;

impl Filter {
    /// Reads a policy; the error is AWS's text behind `FilterPolicy: `.
    pub(crate) fn parse(policy: &str, on_body: bool) -> Result<Filter, String> {
        let value: Value =
            serde_json::from_str(policy).map_err(|_| "failed to parse JSON.".to_owned())?;
        let Value::Object(object) = value else {
            return Err("failed to parse JSON.".into());
        };
        let mut limits = Limits { on_body, keys: 0 };
        let (filter, combinations) = limits.filter(&object, 1)?;
        if limits.keys > MOST_KEYS {
            return Err("Filter policy can not have more than 5 keys".into());
        }
        if combinations > MOST_COMBINATIONS {
            return Err("Filter policy is too complex".into());
        }
        Ok(filter)
    }

    /// Whether the message passes.
    pub(crate) fn passes(&self, subject: &Subject<'_>) -> bool {
        match subject {
            Subject::Attributes(attributes) => self.holds(&|key: &str| match attributes.get(key) {
                Some(values) => values.iter().collect(),
                None => Vec::new(),
            }),
            Subject::Body(Some(Value::Object(body))) => self.holds_in(body),
            Subject::Body(_) => false,
        }
    }

    fn holds_in(&self, object: &Map<String, Value>) -> bool {
        self.holds(&|key: &str| at(object, key))
    }

    fn holds<'v>(&self, values: &dyn Fn(&str) -> Vec<&'v Value>) -> bool {
        let all = self.all.iter().all(|(key, node)| node.holds(&values(key)));
        all && self
            .any
            .iter()
            .all(|group| group.iter().any(|filter| filter.holds(values)))
    }
}

impl Node {
    fn holds(&self, values: &[&Value]) -> bool {
        match self {
            Node::Rules(rules) => {
                let leaves = leaves(values);
                rules.iter().any(|rule| rule.holds(&leaves))
            }
            Node::Object(filter) => {
                let absent = Map::new();
                let objects: Vec<_> = elements(values)
                    .into_iter()
                    .filter_map(Value::as_object)
                    .collect();
                match objects.as_slice() {
                    [] => filter.holds_in(&absent),
                    objects => objects.iter().any(|object| filter.holds_in(object)),
                }
            }
        }
    }
}

/// What an object has under a key, in which points may also lead into the objects within it: `a.b` is `a.b`, or `b` of `a`.
fn at<'v>(object: &'v Map<String, Value>, key: &str) -> Vec<&'v Value> {
    let mut found: Vec<_> = object.get(key).into_iter().collect();
    for (point, _) in key.match_indices('.') {
        let (outer, inner) = (&key[..point], &key[point + 1..]);
        for value in elements(&object.get(outer).into_iter().collect::<Vec<_>>()) {
            if let Value::Object(within) = value {
                found.extend(at(within, inner));
            }
        }
    }
    found
}

/// Arrays stand for their elements.
fn elements<'v>(values: &[&'v Value]) -> Vec<&'v Value> {
    let mut found = Vec::new();
    for value in values {
        match value {
            Value::Array(inner) => found.extend(elements(&inner.iter().collect::<Vec<_>>())),
            value => found.push(*value),
        }
    }
    found
}

fn leaves<'v>(values: &[&'v Value]) -> Vec<&'v Value> {
    let mut found = elements(values);
    found.retain(|value| !value.is_object());
    found
}

/// A number as filters see it: with five digits behind the point.
fn settled(value: &Value) -> Cow<'_, Value> {
    match value.as_f64() {
        Some(number) if value.is_f64() => Cow::Owned(Value::from(rounded(number))),
        _ => Cow::Borrowed(value),
    }
}

fn rounded(number: f64) -> f64 {
    (number * 1e5).round() / 1e5
}

impl Rule {
    fn holds(&self, values: &[&Value]) -> bool {
        match self {
            Rule::Exists(wanted) => values.is_empty() != *wanted,
            Rule::Is(test) => values.iter().any(|v| test.matches_value(&settled(v))),
            Rule::ButText(test) => values
                .iter()
                .any(|v| v.is_string() && test.matches_value(v)),
        }
    }
}

struct Limits {
    on_body: bool,
    keys: usize,
}

impl Limits {
    /// Reads an object at that depth, and counts the combinations of its values: those of its keys multiply, and each
    /// value of a key counts as often as the key is deep; those of alternatives add up.
    fn filter(
        &mut self,
        object: &Map<String, Value>,
        depth: usize,
    ) -> Result<(Filter, usize), String> {
        if depth > DEEPEST {
            return Err("Filter policy is too complex".into());
        }
        let mut filter = Filter {
            all: Vec::new(),
            any: Vec::new(),
        };
        let mut combinations = 1usize;
        for (key, value) in object {
            let more = match value {
                Value::Array(alternatives) if is_or(key, alternatives) => {
                    let (mut group, mut sum) = (Vec::new(), 0usize);
                    for alternative in alternatives.iter().filter_map(Value::as_object) {
                        let (alternative, more) = self.filter(alternative, depth)?;
                        group.push(alternative);
                        sum = sum.saturating_add(more);
                    }
                    filter.any.push(group);
                    sum
                }
                Value::Array(rules) => {
                    self.keys += 1;
                    if rules.is_empty() {
                        return Err("Empty arrays are not allowed".into());
                    }
                    let more = rules.len().saturating_mul(depth);
                    let rules = rules.iter().map(rule).collect::<Result<_, _>>()?;
                    filter.all.push((key.clone(), Node::Rules(rules)));
                    more
                }
                Value::Object(inner) => {
                    if inner.is_empty() {
                        return Err("Empty objects are not allowed".into());
                    }
                    // What is wrong inside is told before that it should not be there.
                    let (inner, more) = self.filter(inner, depth + 1)?;
                    if !self.on_body {
                        return Err("Filter policy scope MessageAttributes does not support nested filter policy".into());
                    }
                    filter.all.push((key.clone(), Node::Object(inner)));
                    more
                }
                _ => return Err(format!("\"{key}\" must be an object or an array")),
            };
            combinations = combinations.saturating_mul(more);
        }
        Ok((filter, combinations))
    }
}

/// `$or` means alternatives where there are at least two and none is a match of its own.
fn is_or(key: &str, alternatives: &[Value]) -> bool {
    key == "$or"
        && alternatives.len() > 1
        && alternatives.iter().all(|a| {
            a.as_object()
                .is_some_and(|a| !a.is_empty() && !a.keys().any(|k| MATCHES.contains(&k.as_str())))
        })
}

const MATCHES: [&str; 8] = [
    "prefix",
    "suffix",
    "equals-ignore-case",
    "wildcard",
    "anything-but",
    "numeric",
    "exists",
    "cidr",
];

fn rule(value: &Value) -> Result<Rule, String> {
    let object = match value {
        Value::Object(object) => object,
        Value::Array(_) => {
            return Err("Match value must be String, number, true, false, or null".into());
        }
        scalar => return Ok(Rule::Is(Test::Equals(settled(scalar).into_owned()))),
    };
    let mut entries = object.iter();
    let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
        return Err("Only one key allowed in match expression".into());
    };
    match kind.as_str() {
        "exists" => value
            .as_bool()
            .map(Rule::Exists)
            .ok_or_else(|| "exists match pattern must be either true or false.".into()),
        "numeric" => numeric(value).map(|bounds| Rule::Is(Test::Numeric(bounds))),
        "cidr" => cidr(value).map(Rule::Is),
        "anything-but" => but(value),
        kind => text(kind, value).map(|form| Rule::Is(Test::Text(form))),
    }
}

fn text(kind: &str, value: &Value) -> Result<TextTest, String> {
    let make = match kind {
        "prefix" => TextTest::Prefix,
        "suffix" => TextTest::Suffix,
        "equals-ignore-case" => |text: String| TextTest::EqualsIgnoringCase(text.to_lowercase()),
        "wildcard" => TextTest::Wildcard,
        _ => return Err(format!("Unrecognized match type {kind}")),
    };
    let text = value
        .as_str()
        .ok_or_else(|| format!("{kind} match pattern must be a string"))?;
    if kind == "wildcard" && text.contains("**") {
        return Err("Consecutive wildcard characters".into());
    }
    Ok(make(text.to_owned()))
}

fn but(value: &Value) -> Result<Rule, String> {
    match value {
        Value::Object(object) => {
            let mut entries = object.iter();
            let (Some((kind, value)), None) = (entries.next(), entries.next()) else {
                return Err("Only one key allowed in match expression".into());
            };
            if kind != "prefix" {
                return Err(format!("Unsupported anything-but pattern: {kind}"));
            }
            let texts = match value {
                Value::Array(all) => all
                    .iter()
                    .map(|v| text(kind, v))
                    .collect::<Result<_, _>>()?,
                one => vec![text(kind, one)?],
            };
            Ok(Rule::ButText(Test::NotText(texts)))
        }
        Value::Array(all)
            if all.iter().all(|v| v.is_string() || v.is_number()) && !all.is_empty() =>
        {
            Ok(Rule::Is(Test::Not(
                all.iter().map(|v| settled(v).into_owned()).collect(),
            )))
        }
        Value::String(_) | Value::Number(_) => {
            Ok(Rule::Is(Test::Not(vec![settled(value).into_owned()])))
        }
        _ => Err("Inside anything-but list, values must be strings or numbers".into()),
    }
}

/// Reads one comparison, or a lower and an upper bound; the texts are AWS's.
fn numeric(value: &Value) -> Result<Vec<(Comparison, f64)>, String> {
    let parts = value
        .as_array()
        .ok_or("Value of numeric must be an array.")?;
    let mut parts = parts.iter();
    let first = parts.next().ok_or("Invalid member in numeric match: ]")?;
    let operator = first
        .as_str()
        .ok_or_else(|| format!("Invalid member in numeric match: {first}"))?;
    let comparison = comparison(operator)
        .ok_or_else(|| format!("Unrecognized numeric range operator: {operator}"))?;
    let bound = |operator: &str, value: Option<&Value>| {
        let operator = if operator == "=" { "equals" } else { operator };
        value
            .and_then(Value::as_f64)
            .map(rounded)
            .ok_or_else(|| format!("Value of {operator} must be numeric"))
    };
    let from = bound(operator, parts.next())?;
    let mut bounds = vec![(comparison, from)];
    let Some(second) = parts.next() else {
        return Ok(bounds);
    };
    if !matches!(comparison, Comparison::Greater | Comparison::GreaterOrEqual) {
        return Err("Too many elements in numeric expression".into());
    }
    let operator = second
        .as_str()
        .ok_or_else(|| format!("Bad value in numeric range: {second}"))?;
    let comparison = match self::comparison(operator) {
        Some(upper @ (Comparison::Less | Comparison::LessOrEqual)) => upper,
        _ => return Err(format!("Bad numeric range operator: {operator}")),
    };
    let to = bound(operator, parts.next())?;
    if from >= to {
        return Err("Bottom must be less than top".into());
    }
    if parts.next().is_some() {
        return Err("Too many terms in numeric range expression".into());
    }
    bounds.push((comparison, to));
    Ok(bounds)
}

fn comparison(operator: &str) -> Option<Comparison> {
    Some(match operator {
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        "=" => Comparison::Equal,
        ">=" => Comparison::GreaterOrEqual,
        ">" => Comparison::Greater,
        _ => return None,
    })
}

fn cidr(value: &Value) -> Result<Test, String> {
    let text = value
        .as_str()
        .ok_or("prefix match pattern must be a string")?;
    let (net, bits) = text
        .split_once('/')
        .ok_or("Malformed CIDR, one '/' required")?;
    let bits: u8 = bits
        .parse()
        .map_err(|_| "Malformed CIDR, mask bits must be an integer")?;
    let address: IpAddr = net
        .parse()
        .map_err(|_| format!("Nonstandard IP address: {net}"))?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits <= most {
        true => Ok(Test::Cidr(address, bits)),
        false => Err(format!("Malformed CIDR, mask bits must not exceed {most}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn on_body(policy: Value, body: Value) -> bool {
        let filter = Filter::parse(&policy.to_string(), true).expect("a policy");
        filter.passes(&Subject::Body(Some(&body)))
    }

    fn on_attribute(policy: Value, value: Value) -> bool {
        let filter = Filter::parse(&policy.to_string(), false).expect("a policy");
        let values = match value {
            Value::Array(values) => values,
            one => vec![one],
        };
        filter.passes(&Subject::Attributes(&BTreeMap::from([(
            "k".to_owned(),
            values,
        )])))
    }

    #[test]
    fn each_match_does_what_it_says() {
        for (rules, value, wanted) in [
            (json!(["a", "b"]), json!("b"), true),
            (json!(["a"]), json!("ab"), false),
            (json!([1]), json!(1.0), true),
            (json!([{ "prefix": "ab" }]), json!("abc"), true),
            (json!([{ "suffix": "bc" }]), json!("abc"), true),
            (json!([{ "equals-ignore-case": "ABC" }]), json!("abc"), true),
            (json!([{ "wildcard": "a*c*" }]), json!("abcd"), true),
            (json!([{ "wildcard": "a*c" }]), json!("abcd"), false),
            (json!([{ "anything-but": ["a", "b"] }]), json!("c"), true),
            (json!([{ "anything-but": "a" }]), json!("a"), false),
            (
                json!([{ "anything-but": { "prefix": "a" } }]),
                json!("abc"),
                false,
            ),
            (json!([{ "anything-but": [1, 2] }]), json!(3), true),
            (json!([{ "numeric": [">", 0, "<=", 5] }]), json!(5), true),
            (json!([{ "numeric": ["=", 1.5] }]), json!(1.5), true),
            (json!([{ "numeric": ["<", 0] }]), json!("-1"), false),
            (json!([{ "cidr": "10.0.0.0/8" }]), json!("10.1.2.3"), true),
            (json!([{ "cidr": "10.0.0.0/8" }]), json!("11.1.2.3"), false),
            (json!([{ "exists": true }]), json!("x"), true),
            (json!([{ "exists": false }]), json!("x"), false),
            (json!(["b"]), json!(["a", "b"]), true),
            (json!([true]), json!(true), true),
        ] {
            assert_eq!(
                on_attribute(json!({ "k": rules }), value.clone()),
                wanted,
                "{rules} on {value}"
            );
        }
        assert!(on_attribute(
            json!({ "other": [{ "exists": false }] }),
            json!("x")
        ));
        assert!(!on_attribute(
            json!({ "other": [{ "anything-but": "a" }] }),
            json!("x")
        ));
    }

    #[test]
    fn points_in_keys_lead_into_bodies() {
        let policy = json!({ "a": { "b.c-d.e": { "f": ["x"] } } });
        assert!(on_body(
            policy.clone(),
            json!({ "a": { "b": { "c-d": [{ "e": { "f": "x" } }] } } })
        ));
        assert!(on_body(
            policy.clone(),
            json!({ "a": { "b.c-d": { "e": { "f": "x" } } } })
        ));
        assert!(on_body(
            policy.clone(),
            json!({ "a": { "b.c-d.e": { "f": "x" } } })
        ));
        assert!(!on_body(
            policy,
            json!({ "a": { "b": { "e": { "f": "x" } } } })
        ));
    }

    #[test]
    fn combinations_of_alternatives_add_up() {
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let flat = |sources| {
            let policy = json!({
                "source": names(sources),
                "$or": [
                    { "metricName": names(6) },
                    { "metricType": names(4), "$or": [{ "metricId": names(4) }, { "spaceId": names(4) }] },
                ],
            });
            Filter::parse(&policy.to_string(), false).map(drop)
        };
        let too_complex = Err("Filter policy is too complex".to_owned());
        // sources * (6 + 4 * (4 + 4))
        assert_eq!(flat(3), Ok(()));
        assert_eq!(flat(4), too_complex);
        let nested = |types| {
            let policy = json!({
                "$or": [{ "metricName": names(3) }, { "namespace": names(2) }],
                "detail": { "scope": names(2), "$or": [{ "source": names(1) }, { "type": names(types) }] },
            });
            Filter::parse(&policy.to_string(), true).map(drop)
        };
        // (3 + 2) * 2 * 2 * (1 * 2 + types * 2)
        assert_eq!(nested(2), Ok(()));
        assert_eq!(nested(3), too_complex);
        let scalar = Filter::parse(r#"{"k":{"suffix":"x"}}"#, false).map(drop);
        let message = "\"suffix\" must be an object or an array";
        assert_eq!(scalar, Err(message.to_owned()));
    }

    #[test]
    fn bodies_are_looked_into() {
        let body = json!({ "a": { "b": [1, { "c": "x" }] }, "d": [{ "e": 1 }, { "e": 2 }] });
        assert!(on_body(json!({ "a": { "b": [1] } }), body.clone()));
        assert!(on_body(
            json!({ "a": { "b": { "c": ["x"] } } }),
            body.clone()
        ));
        assert!(on_body(json!({ "d": { "e": [2] } }), body.clone()));
        assert!(!on_body(json!({ "d": { "e": [3] } }), body.clone()));
        assert!(on_body(
            json!({ "$or": [{ "z": ["1"] }, { "a": { "b": [1] } }] }),
            body.clone()
        ));
        assert!(on_body(json!({ "z": [{ "exists": false }] }), body));
        let filter = Filter::parse("{\"a\":[1]}", true).expect("a policy");
        assert!(!filter.passes(&Subject::Body(None)));
    }

    #[test]
    fn numbers_are_as_exact_as_five_digits() {
        let near = json!(100.1234567);
        assert!(on_attribute(json!({"k": [100.123456789]}), near.clone()));
        assert!(!on_attribute(json!({"k": [100.12347]}), near.clone()));
        let range = json!({"k": [{"numeric": [">=", 100.123461]}]});
        assert!(on_attribute(range, near));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for policy in [
            "[]",
            "x",
            r#"{"a":1}"#,
            r#"{"a":[]}"#,
            r#"{"a":[[1]]}"#,
            r#"{"a":[{"numeric":["<"]}]}"#,
            r#"{"a":[{"numeric":[">",5,"<",1]}]}"#,
            r#"{"a":[{"exists":"x"}]}"#,
            r#"{"a":[{"other":1}]}"#,
            r#"{"a":{"b":[1]}}"#,
            r#"{"a":[1],"b":[1],"c":[1],"d":[1],"e":[1],"f":[1]}"#,
        ] {
            assert!(Filter::parse(policy, false).is_err(), "{policy}");
        }
    }

    proptest! {
        #[test]
        fn wildcards_agree_with_a_naive_reading(pattern in "[ab*]{0,8}", text in "[ab]{0,10}") {
            fn naive(p: &[u8], t: &[u8]) -> bool {
                match p.split_first() {
                    None => t.is_empty(),
                    Some((b'*', rest)) => (0..=t.len()).any(|i| naive(rest, &t[i..])),
                    Some((c, rest)) => t.first() == Some(c) && naive(rest, &t[1..]),
                }
            }
            let form = Test::Text(TextTest::Wildcard(pattern.clone()));
            prop_assert_eq!(
                form.matches_value(&text.as_str().into()),
                naive(pattern.as_bytes(), text.as_bytes())
            );
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = Filter::parse(&text, true);
        }
    }
}
