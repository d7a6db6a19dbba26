use std::collections::BTreeMap;

use proptest::prelude::*;

use super::condition::{Comparator, Condition, Operand};
use super::*;
use crate::number::Number;
use crate::value::{Attributes, Value};

fn n(value: i64) -> Value {
    Value::N(Number::parse(&value.to_string()).unwrap())
}

fn s(text: &str) -> Value {
    Value::S(text.into())
}

fn placeholders(values: &[(&str, Value)]) -> Placeholders {
    let values: Attributes = values
        .iter()
        .map(|(k, v)| ((*k).to_owned(), v.clone()))
        .collect();
    let names = BTreeMap::from([("#n".to_owned(), "name".to_owned())]);
    let values = (!values.is_empty()).then_some(values);
    Placeholders::new(Some(names), values, true, None).unwrap()
}

fn condition(text: &str, values: &[(&str, Value)]) -> Result<Condition, String> {
    Condition::parse("ConditionExpression", text, &mut placeholders(values))
        .map_err(|fault| fault.message.to_string())
}

fn update(text: &str, values: &[(&str, Value)], item: &Attributes) -> Result<Attributes, String> {
    Update::parse(text, &mut placeholders(values))
        .and_then(|update| update.apply(item))
        .map_err(|fault| fault.message.to_string())
}

fn item() -> Attributes {
    Attributes::from([
        ("a".to_owned(), n(5)),
        ("name".to_owned(), s("dog")),
        ("l".to_owned(), Value::L(vec![n(1), n(2), n(3)])),
        (
            "m".to_owned(),
            Value::M(Attributes::from([("x".to_owned(), n(7))])),
        ),
        ("t".to_owned(), Value::SS(vec!["u".into(), "v".into()])),
    ])
}

#[test]
fn conditions_hold_as_they_are_read() {
    let values = [
        (":five", n(5)),
        (":d", s("d")),
        (":u", s("u")),
        (":t", s("N")),
    ];
    for (text, holds) in [
        ("a = :five", true),
        ("NOT a = :five", false),
        ("a = :five AND (#n = :d OR begins_with(#n, :d))", true),
        ("a BETWEEN :five AND :five", true),
        ("a IN (:d, :five)", true),
        ("attribute_exists(m.x) and attribute_not_exists(m.y)", true),
        ("attribute_type(a, :t)", true),
        ("contains(t, :u)", true),
        ("size(l) < :five", true),
        ("l[2] <> :five", true),
        ("q <> :five", true),
        ("q < :five", false),
        (":five > m.x OR :five < m.x", true),
    ] {
        assert_eq!(
            condition(text, &values).unwrap().holds(&item()),
            holds,
            "{text}"
        );
    }
}

#[test]
fn errors_of_conditions_are_dynamodbs() {
    let values = [(":v", n(5)), (":l", Value::L(vec![])), (":w", n(3))];
    for (text, message) in [
        ("", "The expression can not be empty;"),
        ("a ! :v", "Syntax error; token: \"!\", near: \"a ! :v\""),
        (
            "name = :v",
            "Attribute name is a reserved keyword; reserved keyword: name",
        ),
        (
            "#q = :v",
            "An expression attribute name used in the document path is not defined; attribute name: #q",
        ),
        (
            "a = :q",
            "An expression attribute value used in expression is not defined; attribute value: :q",
        ),
        (
            "a < :l",
            "Incorrect operand type for operator or function; operator or function: <, operand type: L",
        ),
        ("dog(a)", "Invalid function name; function: dog"),
        (
            "attribute_exists(a, :v)",
            "Incorrect number of operands for operator or function; operator or function: attribute_exists, number of operands: 2",
        ),
        (
            "attribute_exists(:v)",
            "Operator or function requires a document path; operator or function: attribute_exists",
        ),
        (
            "a BETWEEN :v AND :w",
            "The BETWEEN operator requires upper bound to be greater than or equal to lower bound; lower bound operand: AttributeValue: {N:5}, upper bound operand: AttributeValue: {N:3}",
        ),
        ("((a = :v))", "The expression has redundant parentheses;"),
        (
            "a = a",
            "The first operand must be distinct from the remaining operands for this operator or function; operator: =, first operand: [a]",
        ),
    ] {
        let found = condition(text, &values).unwrap_err();
        assert_eq!(
            found,
            format!("Invalid ConditionExpression: {message}"),
            "{text}"
        );
    }
}

#[test]
fn updates_read_the_item_as_it_was() {
    let values = [(":one", n(1)), (":set", Value::SS(vec!["w".into()]))];
    let new = update(
        "SET a = a + :one, b = a, l[9] = :one, m.y = if_not_exists(m.z, :one) REMOVE l[0], #n ADD c :one, t :set",
        &values,
        &item(),
    )
    .unwrap();
    let expected = Attributes::from([
        ("a".to_owned(), n(6)),
        ("b".to_owned(), n(5)),
        ("c".to_owned(), n(1)),
        ("l".to_owned(), Value::L(vec![n(2), n(3), n(1)])),
        (
            "m".to_owned(),
            Value::M(Attributes::from([
                ("x".to_owned(), n(7)),
                ("y".to_owned(), n(1)),
            ])),
        ),
        (
            "t".to_owned(),
            Value::SS(vec!["u".into(), "v".into(), "w".into()]),
        ),
    ]);
    assert_eq!(new, expected);
}

#[test]
fn errors_of_updates_are_dynamodbs() {
    let values = [(":v", n(5)), (":s", s("x"))];
    for (text, message) in [
        (
            "SET a = :v SET b = :v",
            "Invalid UpdateExpression: The \"SET\" section can only be used once in an update expression;",
        ),
        (
            "SET a = :v REMOVE a",
            "Invalid UpdateExpression: Two document paths overlap with each other; must remove or rewrite one of these paths; path one: [a], path two: [a]",
        ),
        (
            "SET z.b = :v, z[1] = :v",
            "Invalid UpdateExpression: Two document paths conflict with each other; must remove or rewrite one of these paths; path one: [z, b], path two: [z, [1]]",
        ),
        (
            "SET b = q",
            "The provided expression refers to an attribute that does not exist in the item",
        ),
        (
            "SET q.b = :v",
            "The document path provided in the update expression is invalid for update",
        ),
        (
            "SET b = l + :v",
            "An operand in the update expression has an incorrect data type",
        ),
        (
            "ADD a :s",
            "Invalid UpdateExpression: Incorrect operand type for operator or function; operator: ADD, operand type: STRING, typeSet: ALLOWED_FOR_ADD_OPERAND",
        ),
        (
            "SET _b = :v",
            "Invalid UpdateExpression: Syntax error; token: \"_\", near: \"SET _b\"",
        ),
    ] {
        assert_eq!(
            update(text, &values, &item()).unwrap_err(),
            message,
            "{text}"
        );
    }
}

#[test]
fn unused_placeholders_are_refused() {
    let mut placeholders = placeholders(&[(":v", n(1)), (":w", n(2))]);
    Condition::parse("ConditionExpression", "#n = :v", &mut placeholders).unwrap();
    let fault = placeholders.finish().unwrap_err();
    assert_eq!(
        fault.message,
        "Value provided in ExpressionAttributeValues unused in expressions: keys: {:w}"
    );
}

/// A condition and what it says, as a plain tree of comparisons of numbers.
#[derive(Clone, Debug)]
enum Plain {
    Less(u8, u8),
    Equal(u8, u8),
    Not(Box<Plain>),
    And(Box<Plain>, Box<Plain>),
    Or(Box<Plain>, Box<Plain>),
}

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

impl Plain {
    fn text(&self) -> String {
        match self {
            Plain::Less(a, b) => format!("{} < :{b}", NAMES[usize::from(*a)]),
            Plain::Equal(a, b) => format!("{} = :{b}", NAMES[usize::from(*a)]),
            Plain::Not(inner) => match **inner {
                Plain::And(..) | Plain::Or(..) => format!("NOT ({})", inner.text()),
                _ => format!("NOT {}", inner.text()),
            },
            Plain::And(a, b) => {
                let side = |p: &Plain| match p {
                    Plain::Or(..) => format!("({})", p.text()),
                    _ => p.text(),
                };
                format!("{} AND {}", side(a), side(b))
            }
            Plain::Or(a, b) => format!("{} OR {}", a.text(), b.text()),
        }
    }

    fn holds(&self, item: &[Option<u8>; 4]) -> bool {
        let value = |a: &u8| item[usize::from(*a)];
        match self {
            Plain::Less(a, b) => value(a).is_some_and(|v| v < *b),
            Plain::Equal(a, b) => value(a) == Some(*b),
            Plain::Not(inner) => !inner.holds(item),
            Plain::And(a, b) => a.holds(item) && b.holds(item),
            Plain::Or(a, b) => a.holds(item) || b.holds(item),
        }
    }
}

fn plain() -> impl Strategy<Value = Plain> {
    let leaf = prop_oneof![
        (0..4u8, 0..4u8).prop_map(|(a, b)| Plain::Less(a, b)),
        (0..4u8, 0..4u8).prop_map(|(a, b)| Plain::Equal(a, b)),
    ];
    leaf.prop_recursive(4, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|p| Plain::Not(Box::new(p))),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| Plain::And(Box::new(a), Box::new(b))),
            (inner.clone(), inner).prop_map(|(a, b)| Plain::Or(Box::new(a), Box::new(b))),
        ]
    })
}

proptest! {
    #[test]
    fn conditions_say_what_a_naive_reading_says(
        plain in plain(),
        item in proptest::array::uniform4(proptest::option::of(0..4u8)),
    ) {
        let values: Vec<(String, Value)> =
            (0..4).map(|v| (format!(":{v}"), n(v))).collect();
        let values: Vec<(&str, Value)> =
            values.iter().map(|(k, v)| (k.as_str(), v.clone())).collect();
        let attributes: Attributes = NAMES
            .iter()
            .zip(item)
            .filter_map(|(name, value)| Some(((*name).to_owned(), n(i64::from(value?)))))
            .collect();
        let condition = condition(&plain.text(), &values).unwrap();
        prop_assert_eq!(condition.holds(&attributes), plain.holds(&item), "{}", plain.text());
    }

    #[test]
    fn any_text_is_read_or_refused(
        text in "[a-c#:.,()\\[\\]<>=+ 0-9]{0,40}|(SET|REMOVE|ADD|AND|OR|NOT|BETWEEN|IN|size|contains|a|:v|#n|\\(|\\)|,|=|<| ){0,20}",
    ) {
        let values = [(":v", n(1))];
        let _ = condition(&text, &values);
        let _ = update(&text, &values, &item());
        let _ = Projection::parse(&text, &mut placeholders(&values));
        let _ = KeyCondition::parse(&text, &mut placeholders(&values));
    }

    #[test]
    fn a_deep_expression_is_refused_without_harm(depth in 1usize..2000) {
        let text = format!("{}a = :v{}", "NOT (".repeat(depth), ")".repeat(depth));
        let _ = condition(&text, &[(":v", n(1))]);
    }
}

#[test]
fn operands_compare_by_type() {
    let c = Condition::Compare(Comparator::Lt, Operand::Value(n(1)), Operand::Value(s("2")));
    assert!(!c.holds(&Attributes::new()));
}
