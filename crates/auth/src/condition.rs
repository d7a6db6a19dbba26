//! The conditions of a statement.

use std::net::IpAddr;

use crate::date;
use crate::pattern::{Context, Pattern};

/// What an operator compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `StringEquals`.
    StringEquals,
    /// `StringEqualsIgnoreCase`.
    StringEqualsIgnoreCase,
    /// `StringLike`.
    StringLike,
    /// `NumericEquals`.
    NumericEquals,
    /// `NumericLessThan`.
    NumericLessThan,
    /// `NumericLessThanEquals`.
    NumericLessThanEquals,
    /// `NumericGreaterThan`.
    NumericGreaterThan,
    /// `NumericGreaterThanEquals`.
    NumericGreaterThanEquals,
    /// `DateEquals`.
    DateEquals,
    /// `DateLessThan`.
    DateLessThan,
    /// `DateLessThanEquals`.
    DateLessThanEquals,
    /// `DateGreaterThan`.
    DateGreaterThan,
    /// `DateGreaterThanEquals`.
    DateGreaterThanEquals,
    /// `Bool`.
    Bool,
    /// `BinaryEquals`.
    BinaryEquals,
    /// `IpAddress`.
    IpAddress,
    /// `ArnEquals` and `ArnLike`, which behave identically.
    ArnLike,
    /// `Null`.
    Null,
}

/// How an operator treats a key of many values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantifier {
    /// No prefix.
    Single,
    /// `ForAnyValue:`
    AnyValue,
    /// `ForAllValues:`
    AllValues,
}

/// A condition operator with its prefix and suffix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operator {
    /// What is compared.
    pub comparison: Comparison,
    /// Whether the operator is the `Not` form.
    pub is_negated: bool,
    /// `ForAnyValue:`, `ForAllValues:` or neither.
    pub quantifier: Quantifier,
    /// Whether `IfExists` is appended.
    pub if_exists: bool,
}

impl Operator {
    /// Reads an operator's name.
    pub fn parse(name: &str) -> Option<Self> {
        use Comparison as C;
        let (quantifier, name) = if let Some(rest) = name.strip_prefix("ForAnyValue:") {
            (Quantifier::AnyValue, rest)
        } else if let Some(rest) = name.strip_prefix("ForAllValues:") {
            (Quantifier::AllValues, rest)
        } else {
            (Quantifier::Single, name)
        };
        let (if_exists, name) = match name.strip_suffix("IfExists") {
            Some(rest) => (true, rest),
            None => (false, name),
        };
        let (comparison, is_negated) = match name {
            "StringEquals" => (C::StringEquals, false),
            "StringNotEquals" => (C::StringEquals, true),
            "StringEqualsIgnoreCase" => (C::StringEqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (C::StringEqualsIgnoreCase, true),
            "StringLike" => (C::StringLike, false),
            "StringNotLike" => (C::StringLike, true),
            "NumericEquals" => (C::NumericEquals, false),
            "NumericNotEquals" => (C::NumericEquals, true),
            "NumericLessThan" => (C::NumericLessThan, false),
            "NumericLessThanEquals" => (C::NumericLessThanEquals, false),
            "NumericGreaterThan" => (C::NumericGreaterThan, false),
            "NumericGreaterThanEquals" => (C::NumericGreaterThanEquals, false),
            "DateEquals" => (C::DateEquals, false),
            "DateNotEquals" => (C::DateEquals, true),
            "DateLessThan" => (C::DateLessThan, false),
            "DateLessThanEquals" => (C::DateLessThanEquals, false),
            "DateGreaterThan" => (C::DateGreaterThan, false),
            "DateGreaterThanEquals" => (C::DateGreaterThanEquals, false),
            "Bool" => (C::Bool, false),
            "BinaryEquals" => (C::BinaryEquals, false),
            "IpAddress" => (C::IpAddress, false),
            "NotIpAddress" => (C::IpAddress, true),
            "ArnEquals" | "ArnLike" => (C::ArnLike, false),
            "ArnNotEquals" | "ArnNotLike" => (C::ArnLike, true),
            "Null" if !if_exists => (C::Null, false),
            _ => return None,
        };
        Some(Operator {
            comparison,
            is_negated,
            quantifier,
            if_exists,
        })
    }

    /// Whether the operator compares dates, whose values must be dates.
    pub fn is_date(&self) -> bool {
        use Comparison as C;
        matches!(
            self.comparison,
            C::DateEquals
                | C::DateLessThan
                | C::DateLessThanEquals
                | C::DateGreaterThan
                | C::DateGreaterThanEquals
        )
    }
}

/// One operator over one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The operator.
    pub operator: Operator,
    /// The key as it was written.
    pub key: String,
    /// The values of which one must match.
    pub values: Vec<Pattern>,
    lower_key: String,
}

impl Condition {
    /// Makes a condition.
    pub fn new(operator: Operator, key: &str, values: Vec<Pattern>) -> Self {
        Condition {
            operator,
            key: key.to_owned(),
            values,
            lower_key: key.to_ascii_lowercase(),
        }
    }

    /// Whether the request lacks the key.
    pub fn is_missing_from(&self, context: &Context) -> bool {
        context.get(&self.lower_key).is_none()
    }

    /// Whether the condition holds for a request.
    pub fn holds(&self, context: &Context) -> bool {
        let operator = &self.operator;
        let actual = context.get(&self.lower_key);
        if operator.comparison == Comparison::Null {
            let is_null = actual.is_none_or(<[String]>::is_empty);
            return self.values.iter().any(|value| {
                value
                    .resolve(context)
                    .is_some_and(|value| value.eq_ignore_ascii_case(bool_text(is_null)))
            });
        }
        let Some(actual) = actual.filter(|actual| !actual.is_empty()) else {
            return match operator.quantifier {
                _ if operator.if_exists => true,
                Quantifier::AllValues => true,
                Quantifier::AnyValue => false,
                Quantifier::Single => operator.is_negated,
            };
        };
        let matches_some = |actual: &String| {
            self.values
                .iter()
                .any(|expected| compare(operator.comparison, expected, actual, context))
        };
        let holds_for = |actual: &String| matches_some(actual) != operator.is_negated;
        match operator.quantifier {
            Quantifier::AnyValue => actual.iter().any(holds_for),
            Quantifier::AllValues => actual.iter().all(holds_for),
            // A key of many values without a quantifier: a match anywhere counts, for and against.
            Quantifier::Single => actual.iter().any(matches_some) != operator.is_negated,
        }
    }
}

fn bool_text(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

fn compare(comparison: Comparison, expected: &Pattern, actual: &str, context: &Context) -> bool {
    use Comparison as C;
    match comparison {
        C::StringLike => return expected.matches(actual, context),
        C::ArnLike => return expected.matches_arn(actual, context),
        _ => {}
    }
    let Some(expected) = expected.resolve(context) else {
        return false;
    };
    let numbers = || Some((number(actual)?, number(&expected)?));
    let dates = || {
        Some((
            date::parse_policy_date(actual)?,
            date::parse_policy_date(&expected)?,
        ))
    };
    match comparison {
        C::StringEquals | C::BinaryEquals => actual == expected,
        C::StringEqualsIgnoreCase => actual.to_lowercase() == expected.to_lowercase(),
        C::Bool => actual.eq_ignore_ascii_case(&expected),
        C::NumericEquals => numbers().is_some_and(|(left, right)| left == right),
        C::NumericLessThan => numbers().is_some_and(|(left, right)| left < right),
        C::NumericLessThanEquals => numbers().is_some_and(|(left, right)| left <= right),
        C::NumericGreaterThan => numbers().is_some_and(|(left, right)| left > right),
        C::NumericGreaterThanEquals => numbers().is_some_and(|(left, right)| left >= right),
        C::DateEquals => dates().is_some_and(|(left, right)| left == right),
        C::DateLessThan => dates().is_some_and(|(left, right)| left < right),
        C::DateLessThanEquals => dates().is_some_and(|(left, right)| left <= right),
        C::DateGreaterThan => dates().is_some_and(|(left, right)| left > right),
        C::DateGreaterThanEquals => dates().is_some_and(|(left, right)| left >= right),
        C::IpAddress => is_in_network(actual, &expected),
        C::StringLike | C::ArnLike | C::Null => false,
    }
}

fn number(text: &str) -> Option<f64> {
    text.trim()
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
}

fn is_in_network(address: &str, network: &str) -> bool {
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => match length.parse::<u32>() {
            Ok(length) => (base, Some(length)),
            Err(_) => return false,
        },
        None => (network, None),
    };
    let Ok(base) = base.parse::<IpAddr>() else {
        return false;
    };
    let (left, right, width) = match (address.to_canonical(), base) {
        (IpAddr::V4(left), IpAddr::V4(right)) => {
            (u128::from(left.to_bits()), u128::from(right.to_bits()), 32)
        }
        (IpAddr::V6(left), IpAddr::V6(right)) => (left.to_bits(), right.to_bits(), 128),
        _ => return false,
    };
    let length = length.unwrap_or(width);
    if length > width {
        return false;
    }
    // A shift by the whole width would overflow: a network of length zero holds every address.
    length == 0 || (left ^ right) >> (width - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(operator: &str, values: &[&str], actual: Option<&[&str]>) -> bool {
        let mut context = Context::new();
        if let Some(actual) = actual {
            context.set_all(
                "K",
                actual.iter().map(|value| (*value).to_owned()).collect(),
            );
        }
        let values = values
            .iter()
            .map(|value| Pattern::new(value, true))
            .collect();
        let operator = Operator::parse(operator).expect("an operator");
        Condition::new(operator, "k", values).holds(&context)
    }

    #[test]
    fn each_operator_compares_as_its_name_says() {
        for (operator, expected, actual, result) in [
            ("StringEquals", "a", "a", true),
            ("StringEquals", "a*", "ab", false),
            ("StringNotEquals", "a", "b", true),
            ("StringEqualsIgnoreCase", "ABC", "abc", true),
            ("StringNotEqualsIgnoreCase", "ABC", "abc", false),
            ("StringLike", "a*c?", "abbcd", true),
            ("StringNotLike", "a*", "abc", false),
            ("NumericEquals", "10", "10.0", true),
            ("NumericNotEquals", "10", "11", true),
            ("NumericLessThan", "10", "9", true),
            ("NumericLessThanEquals", "10", "10", true),
            ("NumericGreaterThan", "10", "9", false),
            ("NumericGreaterThanEquals", "10", "ten", false),
            ("DateEquals", "2020-01-01T00:00:00Z", "2020-01-01", true),
            ("DateNotEquals", "2020-01-01", "2020-01-02", true),
            ("DateLessThan", "2020-01-02", "2020-01-01T23:59:59Z", true),
            (
                "DateGreaterThan",
                "1577836800",
                "2020-01-01T00:00:01Z",
                true,
            ),
            ("Bool", "true", "True", true),
            ("Bool", "true", "false", false),
            ("BinaryEquals", "QmluYXJ5", "QmluYXJ5", true),
            ("IpAddress", "203.0.113.0/24", "203.0.113.9", true),
            ("IpAddress", "203.0.113.0/24", "203.0.114.9", false),
            ("IpAddress", "0.0.0.0/0", "9.9.9.9", true),
            (
                "IpAddress",
                "2001:DB8:1234:5678::/64",
                "2001:db8:1234:5678::1",
                true,
            ),
            ("IpAddress", "2001:db8::/32", "1.2.3.4", false),
            ("NotIpAddress", "203.0.113.7", "203.0.113.7", false),
            (
                "ArnLike",
                "arn:aws:sns:*:123456789012:t*",
                "arn:aws:sns:us-east-1:123456789012:topic",
                true,
            ),
            (
                "ArnEquals",
                "arn:aws:sns:*:1:t",
                "arn:aws:sns:a:b:1:t",
                false,
            ),
            (
                "ArnNotLike",
                "arn:aws:sns:*:1:*",
                "arn:aws:sns:r:1:t",
                false,
            ),
        ] {
            assert_eq!(
                holds(operator, &[expected], Some(&[actual])),
                result,
                "{operator} {expected} {actual}"
            );
        }
    }

    #[test]
    fn a_missing_key_fails_a_condition_unless_negated_or_if_exists() {
        assert!(!holds("StringEquals", &["a"], None));
        assert!(holds("StringNotEquals", &["a"], None));
        assert!(holds("StringEqualsIfExists", &["a"], None));
        assert!(!holds("StringEqualsIfExists", &["a"], Some(&["b"])));
        assert!(holds("ForAllValues:StringEquals", &["a"], None));
        assert!(holds("ForAllValues:StringEquals", &["a"], Some(&[])));
        assert!(!holds("ForAnyValue:StringEquals", &["a"], None));
        assert!(!holds("ForAnyValue:StringNotEquals", &["a"], None));
        assert!(holds("Null", &["true"], None));
        assert!(holds("Null", &["false"], Some(&["x"])));
        assert!(!holds("Null", &["true"], Some(&["x"])));
        assert!(Operator::parse("NullIfExists").is_none());
    }

    #[test]
    fn quantifiers_range_over_the_values_of_the_request() {
        assert!(holds(
            "ForAllValues:StringEquals",
            &["a", "b"],
            Some(&["a", "b"])
        ));
        assert!(!holds(
            "ForAllValues:StringEquals",
            &["a", "b"],
            Some(&["a", "c"])
        ));
        assert!(holds(
            "ForAnyValue:StringEquals",
            &["a", "b"],
            Some(&["c", "b"])
        ));
        assert!(!holds("ForAnyValue:StringEquals", &["a"], Some(&["c"])));
        assert!(holds(
            "ForAnyValue:StringNotEquals",
            &["a"],
            Some(&["a", "c"])
        ));
        assert!(!holds(
            "ForAllValues:StringNotLike",
            &["a*"],
            Some(&["ab", "c"])
        ));
        assert!(!holds("StringNotEquals", &["a", "b"], Some(&["b"])));
    }
}
