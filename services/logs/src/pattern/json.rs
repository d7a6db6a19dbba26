//! JSON messages: `{ ($.a.b = "x*" && $.n > 3) || $.z NOT EXISTS }`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Invalid;
use super::value::{Operand, Operator, take_quoted, take_regex};

#[derive(Debug)]
enum Step {
    Key(String),
    Index(usize),
    Every,
}

/// A path into a document, with its text.
#[derive(Debug)]
pub(crate) struct Selector {
    text: String,
    steps: Vec<Step>,
}

/// A condition on a document.
#[derive(Debug)]
pub(crate) enum Expression {
    Any(Vec<Expression>),
    All(Vec<Expression>),
    Compare(Selector, Operator, Operand),
    IsTrue(Selector),
    IsFalse(Selector),
    IsNull(Selector),
    Exists(Selector),
    NotExists(Selector),
}

/// The message as a document; only objects and arrays are.
pub(crate) fn document(message: &str) -> Option<Value> {
    let message = message.trim_start();
    if !message.starts_with(['{', '[']) {
        return None;
    }
    serde_json::from_str(message).ok()
}

/// The text of what a selector finds.
pub(crate) fn select(document: &Value, selector: &str) -> Option<String> {
    let (selector, rest) = take_selector(selector).ok()?;
    if !rest.trim().is_empty() {
        return None;
    }
    selector.find(document).first().map(|v| text(v))
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Selector {
    fn find<'a>(&self, document: &'a Value) -> Vec<&'a Value> {
        let mut found = vec![document];
        for step in &self.steps {
            found = found
                .into_iter()
                .flat_map(|value: &'a Value| -> Vec<&'a Value> {
                    match step {
                        Step::Key(key) => value.get(key.as_str()).into_iter().collect(),
                        Step::Index(index) => value.get(*index).into_iter().collect(),
                        Step::Every => value
                            .as_array()
                            .map(|a| a.iter().collect())
                            .unwrap_or_default(),
                    }
                })
                .collect();
        }
        found
    }
}

impl Expression {
    pub(crate) fn holds(&self, document: &Value) -> bool {
        match self {
            Expression::Any(any) => any.iter().any(|e| e.holds(document)),
            Expression::All(all) => all.iter().all(|e| e.holds(document)),
            Expression::Compare(selector, operator, operand) => {
                selector.find(document).iter().any(|value| match value {
                    Value::Null | Value::Object(_) | Value::Array(_) => false,
                    value => operand.holds(*operator, &text(value)),
                })
            }
            Expression::IsTrue(s) => s.find(document).iter().any(|v| **v == Value::Bool(true)),
            Expression::IsFalse(s) => s.find(document).iter().any(|v| **v == Value::Bool(false)),
            Expression::IsNull(s) => s.find(document).iter().any(|v| v.is_null()),
            Expression::Exists(s) => !s.find(document).is_empty(),
            Expression::NotExists(s) => s.find(document).is_empty(),
        }
    }

    /// The values of all its selectors.
    pub(crate) fn values(&self, document: &Value) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        self.collect(document, &mut values);
        values
    }

    fn collect(&self, document: &Value, values: &mut BTreeMap<String, String>) {
        match self {
            Expression::Any(list) | Expression::All(list) => {
                list.iter().for_each(|e| e.collect(document, values))
            }
            Expression::Compare(s, _, _)
            | Expression::IsTrue(s)
            | Expression::IsFalse(s)
            | Expression::IsNull(s)
            | Expression::Exists(s)
            | Expression::NotExists(s) => {
                if let Some(found) = s.find(document).first() {
                    values.insert(s.text.clone(), text(found));
                }
            }
        }
    }
}

/// Parentheses within parentheses; the bound keeps a hostile pattern off the stack's end.
const DEPTH: usize = 32;

pub(crate) fn parse(text: &str) -> Result<Expression, Invalid> {
    let (expression, rest) = any(text, 0)?;
    if rest.trim().is_empty() {
        Ok(expression)
    } else {
        Err(Invalid)
    }
}

fn any(text: &str, depth: usize) -> Result<(Expression, &str), Invalid> {
    let (first, mut rest) = all(text, depth)?;
    let mut list = vec![first];
    while let Some(after) = rest.trim_start().strip_prefix("||") {
        let (next, after) = all(after, depth)?;
        list.push(next);
        rest = after;
    }
    Ok((
        if list.len() == 1 {
            list.remove(0)
        } else {
            Expression::Any(list)
        },
        rest,
    ))
}

fn all(text: &str, depth: usize) -> Result<(Expression, &str), Invalid> {
    let (first, mut rest) = one(text, depth)?;
    let mut list = vec![first];
    while let Some(after) = rest.trim_start().strip_prefix("&&") {
        let (next, after) = one(after, depth)?;
        list.push(next);
        rest = after;
    }
    Ok((
        if list.len() == 1 {
            list.remove(0)
        } else {
            Expression::All(list)
        },
        rest,
    ))
}

fn one(text: &str, depth: usize) -> Result<(Expression, &str), Invalid> {
    let text = text.trim_start();
    if let Some(inner) = text.strip_prefix('(') {
        if depth >= DEPTH {
            return Err(Invalid);
        }
        let (expression, rest) = any(inner, depth + 1)?;
        return Ok((
            expression,
            rest.trim_start().strip_prefix(')').ok_or(Invalid)?,
        ));
    }
    let (selector, rest) = take_selector(text)?;
    let rest = rest.trim_start();
    if let Some((operator, rest)) = Operator::take(rest) {
        let (operand, rest) = take_operand(rest.trim_start())?;
        return Ok((Expression::Compare(selector, operator, operand), rest));
    }
    let (first, rest) = take_word(rest);
    let (second, after) = take_word(rest.trim_start());
    let make: fn(Selector) -> Expression = match (
        first.to_ascii_uppercase().as_str(),
        second.to_ascii_uppercase().as_str(),
    ) {
        ("IS", "TRUE") => Expression::IsTrue,
        ("IS", "FALSE") => Expression::IsFalse,
        ("IS", "NULL") => Expression::IsNull,
        ("NOT", "EXISTS") => Expression::NotExists,
        ("EXISTS", _) => return Ok((Expression::Exists(selector), rest)),
        _ => return Err(Invalid),
    };
    Ok((make(selector), after))
}

fn take_word(text: &str) -> (&str, &str) {
    text.split_at(
        text.find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(text.len()),
    )
}

fn take_operand(text: &str) -> Result<(Operand, &str), Invalid> {
    match text.chars().next() {
        Some('"') => take_quoted(text).map(|(text, rest)| (Operand::text(&text), rest)),
        Some('%') => take_regex(text).map(|(regex, rest)| (Operand::Regex(regex), rest)),
        Some(_) => {
            let end = text
                .find(|c: char| c.is_whitespace() || "()&|".contains(c))
                .unwrap_or(text.len());
            if end == 0 {
                return Err(Invalid);
            }
            Ok((Operand::bare(&text[..end])?, &text[end..]))
        }
        None => Err(Invalid),
    }
}

fn take_selector(text: &str) -> Result<(Selector, &str), Invalid> {
    let mut rest = text.strip_prefix('$').ok_or(Invalid)?;
    let mut steps = Vec::new();
    loop {
        if let Some(inner) = rest.strip_prefix(".[").or_else(|| rest.strip_prefix('[')) {
            let end = inner.find(']').ok_or(Invalid)?;
            let key = inner[..end].trim();
            let quoted = ['\'', '"']
                .iter()
                .find_map(|q| key.strip_prefix(*q)?.strip_suffix(*q));
            steps.push(match (quoted, key) {
                (Some(key), _) => Step::Key(key.to_owned()),
                (None, "*") => Step::Every,
                (None, index) => Step::Index(index.parse().map_err(|_| Invalid)?),
            });
            rest = &inner[end + 1..];
        } else if let Some(inner) = rest.strip_prefix('.') {
            let end = inner
                .find(|c: char| c.is_whitespace() || ".[]()=!<>&|\"%".contains(c))
                .unwrap_or(inner.len());
            if end == 0 {
                return Err(Invalid);
            }
            steps.push(if &inner[..end] == "*" {
                Step::Every
            } else {
                Step::Key(inner[..end].to_owned())
            });
            rest = &inner[end..];
        } else {
            break;
        }
    }
    if steps.is_empty() {
        return Err(Invalid);
    }
    Ok((
        Selector {
            text: text[..text.len() - rest.len()].to_owned(),
            steps,
        },
        rest,
    ))
}
