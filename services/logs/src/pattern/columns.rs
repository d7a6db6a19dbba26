//! Space-delimited messages: `[ip, user, ..., status=4*, bytes>100]`.

use std::collections::BTreeMap;

use super::Invalid;
use super::value::{Operand, Operator, take_quoted};

#[derive(Debug)]
enum Column {
    /// `...`: any number of columns.
    Rest,
    One {
        name: String,
        condition: Option<Condition>,
    },
}

#[derive(Debug)]
enum Condition {
    Compare(Operator, Operand),
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Condition {
    fn holds(&self, value: &str) -> bool {
        match self {
            Condition::Compare(operator, operand) => operand.holds(*operator, value),
            Condition::All(all) => all.iter().all(|c| c.holds(value)),
            Condition::Any(any) => any.iter().any(|c| c.holds(value)),
        }
    }
}

/// The columns of a pattern.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Column>);

impl Columns {
    /// Names and values of a matching message.
    pub(crate) fn extract(&self, message: &str) -> Option<BTreeMap<String, String>> {
        let fields = split(message);
        let rest = self.0.iter().position(|c| matches!(c, Column::Rest));
        let named = self.0.len() - usize::from(rest.is_some());
        let skipped = match rest {
            Some(_) => fields.len().checked_sub(named)?,
            None if fields.len() == named => 0,
            None => return None,
        };
        let mut values = BTreeMap::new();
        let mut at = 0;
        for (index, column) in self.0.iter().enumerate() {
            match column {
                Column::Rest => {
                    for field in fields.get(at..at + skipped)? {
                        at += 1;
                        values.insert(format!("${at}"), (*field).to_owned());
                    }
                }
                Column::One { name, condition } => {
                    let value = *fields.get(at)?;
                    at += 1;
                    if condition.as_ref().is_some_and(|c| !c.holds(value)) {
                        return None;
                    }
                    let name = if name.is_empty() {
                        format!("${at}")
                    } else {
                        format!("${name}")
                    };
                    values.insert(name, value.to_owned());
                }
            }
            let _ = index;
        }
        Some(values)
    }
}

/// A message's fields: words, and what stands in quotes or square brackets.
fn split(message: &str) -> Vec<&str> {
    let mut fields = Vec::new();
    let mut rest = message.trim_start();
    while let Some(first) = rest.chars().next() {
        let close = match first {
            '"' => Some('"'),
            '[' => Some(']'),
            _ => None,
        };
        let enclosed = close.and_then(|c| {
            rest[1..]
                .find(c)
                .map(|end| (&rest[1..=end], &rest[end + 2..]))
        });
        let (field, after) = enclosed
            .unwrap_or_else(|| rest.split_at(rest.find(char::is_whitespace).unwrap_or(rest.len())));
        fields.push(field);
        rest = after.trim_start();
    }
    fields
}

pub(crate) fn parse(text: &str) -> Result<Columns, Invalid> {
    let mut columns = Vec::new();
    for part in parts(text)? {
        let part = part.trim();
        if part == "..." {
            if columns.iter().any(|c| matches!(c, Column::Rest)) {
                return Err(Invalid);
            }
            columns.push(Column::Rest);
            continue;
        }
        let end = part
            .find(|c: char| "=!<>&|() ".contains(c))
            .unwrap_or(part.len());
        let name = part[..end].trim().trim_start_matches('$').to_owned();
        let condition = if part.contains(['=', '<', '>']) {
            Some(any(part)?)
        } else {
            None
        };
        if condition.is_none() && end < part.len() {
            return Err(Invalid);
        }
        columns.push(Column::One { name, condition });
    }
    Ok(Columns(columns))
}

/// Splits at commas outside quotes and regular expressions.
fn parts(text: &str) -> Result<Vec<&str>, Invalid> {
    cut(text, ",")
}

/// Splits at a separator outside quotes and regular expressions.
fn cut<'a>(text: &'a str, separator: &str) -> Result<Vec<&'a str>, Invalid> {
    let mut out = Vec::new();
    let (mut start, mut inside) = (0, None);
    for (at, c) in text.char_indices() {
        match inside {
            Some(mark) if c == mark => inside = None,
            Some(_) => {}
            None if c == '"' || c == '%' => inside = Some(c),
            None if at >= start && text[at..].starts_with(separator) => {
                out.push(&text[start..at]);
                start = at + separator.len();
            }
            None => {}
        }
    }
    if inside.is_some() {
        return Err(Invalid);
    }
    out.push(&text[start..]);
    Ok(out)
}

fn any(text: &str) -> Result<Condition, Invalid> {
    let mut any = Vec::new();
    for part in cut(text, "||")? {
        let all = cut(part, "&&")?
            .into_iter()
            .map(compare)
            .collect::<Result<Vec<_>, _>>()?;
        any.push(Condition::All(all));
    }
    Ok(Condition::Any(any))
}

/// `name op value`, perhaps in parentheses.
fn compare(text: &str) -> Result<Condition, Invalid> {
    let text = text
        .trim()
        .trim_start_matches('(')
        .trim_end_matches(')')
        .trim();
    let at = text.find(['=', '!', '<', '>']).ok_or(Invalid)?;
    let (operator, operand) = Operator::take(&text[at..]).ok_or(Invalid)?;
    let operand = operand.trim();
    let operand = match operand.chars().next() {
        Some('"') => match take_quoted(operand)? {
            (text, "") => Operand::text(&text),
            _ => return Err(Invalid),
        },
        Some(_) => Operand::bare(operand)?,
        None => return Err(Invalid),
    };
    Ok(Condition::Compare(operator, operand))
}
