//! Update expressions.

use std::collections::BTreeSet;

use wire::Fault;

use super::parser::{Parser, Placeholders};
use super::path::{NoWay, Path};
use super::projection::refuse_clashes;
use crate::fault::validation;
use crate::value::{Attributes, Value};

/// What an update does to an item. All of it reads the item as it was before.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// Values to be set.
    pub set: Vec<(Path, Expression)>,
    /// What is to be removed.
    pub remove: Vec<Path>,
    /// Numbers and sets to be added to.
    pub add: Vec<(Path, Value)>,
    /// Sets to be taken from.
    pub delete: Vec<(Path, Value)>,
    /// It was given as `AttributeUpdates`, whose errors have other words.
    pub is_legacy: bool,
}

/// The right side of an assignment.
#[derive(Clone, Debug)]
pub enum Expression {
    /// What a path leads to.
    Path(Path),
    /// A value of the request.
    Value(Value),
    /// What a path leads to, or else something other.
    IfNotExists(Path, Box<Expression>),
    /// Two lists as one.
    ListAppend(Box<Expression>, Box<Expression>),
    /// A sum.
    Plus(Box<Expression>, Box<Expression>),
    /// A difference.
    Minus(Box<Expression>, Box<Expression>),
}

/// The names that AWS's messages about ADD and DELETE give to types.
fn long_type(value: &Value) -> &'static str {
    match value {
        Value::S(_) => "STRING",
        Value::N(_) => "NUMBER",
        Value::B(_) => "BINARY",
        Value::Bool(_) => "BOOLEAN",
        Value::Null | Value::Bad(_) => "NULL",
        Value::L(_) => "LIST",
        Value::M(_) => "MAP",
        Value::SS(_) => "STRING_SET",
        Value::NS(_) => "NUMBER_SET",
        Value::BS(_) => "BINARY_SET",
    }
}

fn is_set(value: &Value) -> bool {
    matches!(value, Value::SS(_) | Value::NS(_) | Value::BS(_))
}

impl Update {
    /// Reads an expression.
    pub fn parse(text: &str, placeholders: &mut Placeholders) -> Result<Update, Fault> {
        let mut parser = Parser::new("UpdateExpression", text, placeholders)?;
        let p = &mut parser;
        let mut update = Update::default();
        let mut seen: Vec<&str> = Vec::new();
        while let Some(token) = p.peek() {
            let sections = ["SET", "REMOVE", "ADD", "DELETE"];
            let Some(section) = sections.into_iter().find(|s| p.takes_keyword(s)) else {
                return Err(p.unexpected());
            };
            if seen.contains(&section) {
                return Err(p.error(format!(
                    "The \"{}\" section can only be used once in an update expression;",
                    token.text.to_ascii_uppercase()
                )));
            }
            seen.push(section);
            loop {
                match section {
                    "SET" => {
                        let path = p.path()?;
                        p.expect("=")?;
                        p.count()?;
                        update.set.push((path, sum(p)?));
                    }
                    "REMOVE" => update.remove.push(p.path()?),
                    _ => {
                        let path = p.path()?;
                        let value = p.value()?;
                        let is_add = section == "ADD";
                        if !(is_set(&value) || is_add && matches!(value, Value::N(_))) {
                            return Err(p.error(format!(
                                "Incorrect operand type for operator or function; operator: {section}, operand type: {}, typeSet: ALLOWED_FOR_{section}_OPERAND",
                                long_type(&value)
                            )));
                        }
                        p.count()?;
                        match is_add {
                            true => update.add.push((path, value)),
                            false => update.delete.push((path, value)),
                        }
                    }
                }
                if !p.takes(",") {
                    break;
                }
            }
        }
        let paths: Vec<Path> = update.targets().cloned().collect();
        refuse_clashes("UpdateExpression", &paths)?;
        Ok(update)
    }

    /// The paths that it writes to.
    pub fn targets(&self) -> impl Iterator<Item = &Path> {
        let set = self.set.iter().map(|(path, _)| path);
        let add = self.add.iter().map(|(path, _)| path);
        let delete = self.delete.iter().map(|(path, _)| path);
        set.chain(self.remove.iter()).chain(add).chain(delete)
    }

    /// Whether it does anything where there is no item: one that only takes away does not.
    pub fn creates(&self) -> bool {
        !self.set.is_empty() || !self.add.is_empty() || self.targets().next().is_none()
    }

    /// Whether one of its paths goes into an attribute.
    pub fn is_nested(&self) -> bool {
        self.targets().any(|path| !path.steps.is_empty())
    }

    /// The item after it.
    pub fn apply(&self, old: &Attributes) -> Result<Attributes, Fault> {
        self.changed(old).map_err(
            |fault| match self.is_legacy && fault.message == WRONG_OPERAND {
                true => crate::fault::validation("Type mismatch for attribute to update"),
                false => fault,
            },
        )
    }

    fn changed(&self, old: &Attributes) -> Result<Attributes, Fault> {
        let mut new = old.clone();
        // An index behind the end appends, in the order of the indexes.
        let mut set: Vec<&(Path, Expression)> = self.set.iter().collect();
        set.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (path, expression) in set {
            let value = expression.value(old)?;
            path.parent(&mut new)?.put(value);
        }
        for (path, value) in &self.add {
            let sum = match path.find(old) {
                None => value.clone(),
                Some(old) => add(old, value)?,
            };
            path.parent(&mut new)?.put(sum);
        }
        for (path, value) in &self.delete {
            let Some(old) = path.find(old) else {
                // The way to it must exist all the same.
                path.parent(&mut new)?;
                continue;
            };
            let slot = path.parent(&mut new)?;
            match subtract(old, value)? {
                Some(rest) => slot.put(rest),
                None => slot.remove(),
            }
        }
        // From the end, so that an index means what it meant before.
        let mut remove: Vec<&Path> = self.remove.iter().collect();
        remove.sort_by(|a, b| b.cmp(a));
        for path in remove {
            path.parent(&mut new)?.remove();
        }
        Ok(new)
    }
}

impl From<NoWay> for Fault {
    fn from(_: NoWay) -> Fault {
        validation("The document path provided in the update expression is invalid for update")
    }
}

const WRONG_OPERAND: &str = "An operand in the update expression has an incorrect data type";

fn wrong_operand() -> Fault {
    validation(WRONG_OPERAND)
}

/// The sum of numbers or the union of sets.
pub fn add(old: &Value, more: &Value) -> Result<Value, Fault> {
    fn union<T: Ord + Clone>(a: &[T], b: &[T]) -> Vec<T> {
        let known: BTreeSet<&T> = a.iter().collect();
        let mut all = a.to_vec();
        all.extend(b.iter().filter(|v| !known.contains(v)).cloned());
        all
    }
    Ok(match (old, more) {
        (Value::N(a), Value::N(b)) => Value::N(a.add(*b).map_err(|e| validation(e.to_string()))?),
        (Value::SS(a), Value::SS(b)) => Value::SS(union(a, b)),
        (Value::NS(a), Value::NS(b)) => Value::NS(union(a, b)),
        (Value::BS(a), Value::BS(b)) => Value::BS(union(a, b)),
        _ => return Err(wrong_operand()),
    })
}

/// A set without the elements of another; `None` where nothing is left.
pub fn subtract(old: &Value, less: &Value) -> Result<Option<Value>, Fault> {
    fn rest<T: Ord + Clone>(a: &[T], b: &[T]) -> Option<Vec<T>> {
        let less: BTreeSet<&T> = b.iter().collect();
        let left: Vec<T> = a.iter().filter(|v| !less.contains(v)).cloned().collect();
        (!left.is_empty()).then_some(left)
    }
    Ok(match (old, less) {
        (Value::SS(a), Value::SS(b)) => rest(a, b).map(Value::SS),
        (Value::NS(a), Value::NS(b)) => rest(a, b).map(Value::NS),
        (Value::BS(a), Value::BS(b)) => rest(a, b).map(Value::BS),
        _ => return Err(wrong_operand()),
    })
}

impl Expression {
    fn value(&self, item: &Attributes) -> Result<Value, Fault> {
        Ok(match self {
            Expression::Path(path) => path.find(item).cloned().ok_or_else(|| {
                validation(
                    "The provided expression refers to an attribute that does not exist in the item",
                )
            })?,
            Expression::Value(value) => value.clone(),
            Expression::IfNotExists(path, other) => match path.find(item) {
                Some(value) => value.clone(),
                None => other.value(item)?,
            },
            Expression::ListAppend(a, b) => match (a.value(item)?, b.value(item)?) {
                (Value::L(mut a), Value::L(b)) => {
                    a.extend(b);
                    Value::L(a)
                }
                _ => return Err(wrong_operand()),
            },
            Expression::Plus(a, b) | Expression::Minus(a, b) => {
                match (a.value(item)?, b.value(item)?) {
                    (Value::N(a), Value::N(b)) => {
                        let result = match self {
                            Expression::Plus(..) => a.add(b),
                            _ => a.subtract(b),
                        };
                        Value::N(result.map_err(|e| validation(e.to_string()))?)
                    }
                    _ => return Err(wrong_operand()),
                }
            }
        })
    }

    /// The type it certainly has.
    fn constant(&self) -> Option<&Value> {
        match self {
            Expression::Value(value) => Some(value),
            _ => None,
        }
    }
}

fn sum(p: &mut Parser<'_, '_>) -> Result<Expression, Fault> {
    let left = term(p)?;
    let symbol = match p.peek().map(|token| token.text) {
        Some("+") => "+",
        Some("-") => "-",
        _ => return Ok(left),
    };
    p.next();
    p.count()?;
    let right = term(p)?;
    for side in [&left, &right] {
        let is_list = matches!(side, Expression::ListAppend(..)).then_some("L");
        let kind = side
            .constant()
            .filter(|value| !matches!(value, Value::N(_)))
            .map(Value::type_name)
            .or(is_list);
        if let Some(kind) = kind {
            return Err(p.error(format!(
                "Incorrect operand type for operator or function; operator or function: {symbol}, operand type: {kind}"
            )));
        }
    }
    let (left, right) = (Box::new(left), Box::new(right));
    Ok(match symbol {
        "+" => Expression::Plus(left, right),
        _ => Expression::Minus(left, right),
    })
}

fn term(p: &mut Parser<'_, '_>) -> Result<Expression, Fault> {
    if let Some(name) = p.function() {
        return p.deeper(|p| call(p, name));
    }
    if p.takes("(") {
        let inner = p.deeper(sum)?;
        p.expect(")")?;
        return Ok(inner);
    }
    if p.is_value() {
        return Ok(Expression::Value(p.value()?));
    }
    Ok(Expression::Path(p.path()?))
}

fn call(p: &mut Parser<'_, '_>, name: &str) -> Result<Expression, Fault> {
    match name {
        "if_not_exists" | "list_append" => {}
        "attribute_exists"
        | "attribute_not_exists"
        | "attribute_type"
        | "begins_with"
        | "contains"
        | "size" => {
            return Err(p.error(format!(
                "The function is not allowed in an update expression; function: {name}"
            )));
        }
        _ => return Err(p.error(format!("Invalid function name; function: {name}"))),
    }
    p.count()?;
    p.next();
    p.expect("(")?;
    let mut arguments = Vec::new();
    if !p.takes(")") {
        loop {
            arguments.push(term(p)?);
            if !p.takes(",") {
                break;
            }
        }
        p.expect(")")?;
    }
    let count = arguments.len();
    let mut arguments = arguments.into_iter();
    let (Some(first), Some(second), None) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err(p.error(format!(
            "Incorrect number of operands for operator or function; operator or function: {name}, number of operands: {count}"
        )));
    };
    if name == "if_not_exists" {
        let Expression::Path(path) = first else {
            return Err(p.error(format!(
                "Operator or function requires a document path; operator or function: {name}"
            )));
        };
        return Ok(Expression::IfNotExists(path, Box::new(second)));
    }
    for side in [&first, &second] {
        if matches!(side, Expression::ListAppend(..)) {
            return Err(p.error(format!(
                "The function is not allowed to be used this way in an expression; function: {name}"
            )));
        }
        if let Some(value) = side.constant().filter(|v| !matches!(v, Value::L(_))) {
            return Err(p.error(format!(
                "Incorrect operand type for operator or function; operator or function: {name}, operand type: {}",
                value.type_name()
            )));
        }
    }
    Ok(Expression::ListAppend(Box::new(first), Box::new(second)))
}
