//! The model's constraints, checked while an input is read, with AWS's validation messages.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::sync::{LazyLock, RwLock};

use regex::Regex;

use crate::reader::DecodeError;
use crate::schema::{Kind, Location, Member, Schema};

/// One broken constraint.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The value's path, as AWS writes it: `tags.1.member.key`.
    pub path: String,
    /// AWS's sentence: `Value 'x' at 'y' failed to satisfy constraint: …`.
    pub message: String,
    /// The top-level member under which it happened.
    pub member: &'static str,
    /// Where that member travels.
    pub location: Location,
    /// A required member that was absent.
    pub missing: bool,
}

/// Collects violations while an input is decoded.
#[derive(Default)]
pub struct Audit {
    path: Vec<Step>,
    /// What was broken, in the order found.
    pub violations: Vec<Violation>,
}

enum Step {
    Member(&'static Member),
    Element(usize),
    Key(String),
}

/// AWS stops listing at some point; a bound keeps a hostile request cheap.
const MAX_VIOLATIONS: usize = 50;

impl Audit {
    /// Runs `f` one level deeper, inside a member.
    pub fn within<R>(&mut self, member: &'static Member, f: impl FnOnce(&mut Audit) -> R) -> R {
        self.path.push(Step::Member(member));
        let r = f(self);
        self.path.pop();
        r
    }
    /// Runs `f` inside the element with that index, counted from 0.
    pub fn element<R>(&mut self, index: usize, f: impl FnOnce(&mut Audit) -> R) -> R {
        self.path.push(Step::Element(index));
        let r = f(self);
        self.path.pop();
        r
    }
    /// Runs `f` inside a map's entry.
    pub fn entry<R>(&mut self, key: &str, f: impl FnOnce(&mut Audit) -> R) -> R {
        self.path.push(Step::Key(key.to_owned()));
        let r = f(self);
        self.path.pop();
        r
    }
    /// Checks text against its shape.
    pub fn text(&mut self, schema: &'static Schema, value: &str) {
        if !schema.is_constrained() {
            return;
        }
        if !schema.values.is_empty() {
            if !schema.values.contains(&value) {
                if schema.sensitive {
                    self.broken(value, format_args!("Member must satisfy enum value set"));
                    return;
                }
                self.broken(
                    value,
                    format_args!(
                        "Member must satisfy enum value set: [{}]",
                        schema.values.join(", ")
                    ),
                );
            }
            return;
        }
        self.length(schema, value.chars().count(), value);
        if let Some(pattern) = schema.pattern
            && !matches(pattern, value)
        {
            self.broken(
                value,
                format_args!("Member must satisfy regular expression pattern: {pattern}"),
            );
        }
    }
    /// Checks a length against the shape's bounds; `shown` is how the value reads in the message.
    pub fn length(&mut self, schema: &'static Schema, len: usize, shown: &str) {
        if let Some(min) = schema.min
            && (len as i64) < min
        {
            self.broken(
                shown,
                format_args!("Member must have length greater than or equal to {min}"),
            );
        }
        if let Some(max) = schema.max
            && (len as i64) > max
        {
            self.broken(
                shown,
                format_args!("Member must have length less than or equal to {max}"),
            );
        }
    }
    /// Checks a number against its shape.
    pub fn number(&mut self, schema: &'static Schema, value: f64, shown: &str) {
        if let Some(min) = schema.min
            && value < min as f64
        {
            let min = bound(schema, min);
            self.broken(
                shown,
                format_args!("Member must have value greater than or equal to {min}"),
            );
        }
        if let Some(max) = schema.max
            && value > max as f64
        {
            let max = bound(schema, max);
            self.broken(
                shown,
                format_args!("Member must have value less than or equal to {max}"),
            );
        }
    }
    /// Runs `f` over the elements of a list or map; whether one of them, a text or number, broke its shape. AWS then
    /// speaks of the whole, so what was found is left out.
    pub(crate) fn scalars<R>(
        &mut self,
        schema: &'static Schema,
        f: impl FnOnce(&mut Audit) -> R,
    ) -> (R, bool) {
        let before = self.violations.len();
        let r = f(self);
        let is_broken = schema.is_scalar() && self.violations.len() > before;
        if is_broken {
            self.violations.truncate(before);
        }
        (r, is_broken)
    }
    /// Says what all elements of a list, or `what` of a map, must be.
    pub(crate) fn elements(&mut self, what: &str, schema: &'static Schema, shown: &str) {
        let mut all = constraints(schema);
        if what != "Map keys" {
            all.push("Member must not be null".into());
        }
        let all = all.join(", ");
        self.broken(
            shown,
            format_args!("{what} must satisfy constraint: [{all}]"),
        );
    }
    /// Records a required member that is absent.
    pub fn missing(&mut self, member: &'static Member) {
        self.path.push(Step::Member(member));
        let path = self.where_now();
        let message =
            format!("Value null at '{path}' failed to satisfy constraint: Member must not be null");
        self.push(path, message, true);
        self.path.pop();
    }
    /// Ends a decode: all violations, or none.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.violations.is_empty() {
            Ok(())
        } else {
            Err(DecodeError::Rejected)
        }
    }
    /// AWS's message over all violations.
    pub fn message(&self) -> String {
        let n = self.violations.len();
        let mut text = format!(
            "{n} validation error{} detected: ",
            if n == 1 { "" } else { "s" }
        );
        for (i, v) in self.violations.iter().enumerate() {
            if i > 0 {
                text.push_str("; ");
            }
            text.push_str(&v.message);
        }
        text
    }
    fn broken(&mut self, shown: &str, constraint: std::fmt::Arguments<'_>) {
        let path = self.where_now();
        let sensitive = self
            .path
            .iter()
            .any(|s| matches!(s, Step::Member(m) if m.target.sensitive));
        let message = if sensitive {
            format!("Value at '{path}' failed to satisfy constraint: {constraint}")
        } else {
            format!("Value '{shown}' at '{path}' failed to satisfy constraint: {constraint}")
        };
        self.push(path, message, false);
    }
    fn push(&mut self, path: String, message: String, missing: bool) {
        if self.violations.len() >= MAX_VIOLATIONS {
            return;
        }
        let top = self.path.iter().find_map(|s| match s {
            Step::Member(m) => Some((m.name, m.location)),
            _ => None,
        });
        let (member, location) = top.unwrap_or(("", Location::Body));
        self.violations.push(Violation {
            path,
            message,
            member,
            location,
            missing,
        });
    }
    fn where_now(&self) -> String {
        let mut path = String::new();
        let mut in_map = false;
        for step in &self.path {
            let is_entry = std::mem::replace(&mut in_map, matches!(step, Step::Key(_)));
            match step {
                // A map's value is called as an element of a list is.
                Step::Member(_) if is_entry => path.push_str(".member"),
                Step::Member(m) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    let mut chars = m.name.chars();
                    if let Some(first) = chars.next() {
                        path.extend(first.to_lowercase());
                        path.push_str(chars.as_str());
                    }
                }
                Step::Element(i) => {
                    let _ = write!(path, ".{}", i + 1);
                }
                Step::Key(k) => {
                    let _ = write!(path, ".{k}");
                }
            }
        }
        path
    }
}

/// A pattern that can be tried.
struct Compiled {
    /// What the value must not begin with: the negative look-ahead that some patterns begin with.
    not: Option<Regex>,
    is: Regex,
}

impl Compiled {
    fn is_match(&self, value: &str) -> bool {
        self.not.as_ref().is_none_or(|not| !not.is_match(value)) && self.is.is_match(value)
    }
}

/// Compiles a pattern; `None` for one that this regex engine has no means for.
fn compile(pattern: &str) -> Option<Compiled> {
    let text = in_ascii(pattern);
    // `((?!..)..)` is the same without the outer pair.
    let inner = text
        .strip_prefix("((?!")
        .and_then(|rest| rest.strip_suffix(')'));
    let ahead = inner.or_else(|| text.strip_prefix("(?!"));
    let (not, is) = match ahead {
        None => (None, text.as_str()),
        Some(ahead) => {
            let (not, is) = ahead.split_once(')')?;
            (Some(Regex::new(&format!("^(?s:{not})")).ok()?), is)
        }
    };
    let is = Regex::new(&format!("^(?s:{is})$")).ok()?;
    Some(Compiled { not, is })
}

/// Whether the whole value matches a model's pattern. A pattern that this regex engine cannot compile accepts all.
fn matches(pattern: &'static str, value: &str) -> bool {
    static COMPILED: LazyLock<RwLock<HashMap<&'static str, Option<Compiled>>>> =
        LazyLock::new(Default::default);
    if let Some(found) = COMPILED
        .read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .get(pattern)
    {
        return found.as_ref().is_none_or(|c| c.is_match(value));
    }
    let compiled = compile(pattern);
    let ok = compiled.as_ref().is_none_or(|c| c.is_match(value));
    COMPILED
        .write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .insert(pattern, compiled);
    ok
}

/// A pattern whose `\\w` and `\\d` are ASCII's, as they are in the language that AWS writes patterns for. That of all
/// languages would make long repetitions too large to compile.
fn in_ascii(pattern: &str) -> String {
    let mut written = String::with_capacity(pattern.len());
    let mut is_class = false;
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => {
                let class = match chars.next() {
                    Some('w') => "0-9A-Za-z_",
                    Some('d') => "0-9",
                    Some(other) => {
                        written.extend(['\\', other]);
                        continue;
                    }
                    None => {
                        written.push('\\');
                        break;
                    }
                };
                match is_class {
                    true => written.push_str(class),
                    false => written.extend(["[", class, "]"]),
                }
                continue;
            }
            '[' => is_class = true,
            ']' => is_class = false,
            _ => {}
        }
        written.push(c);
    }
    written
}

/// A bound of a number, as AWS writes numbers of that kind.
fn bound(schema: &Schema, bound: i64) -> String {
    match schema.kind {
        Kind::Float | Kind::Double => format!("{bound}.0"),
        _ => bound.to_string(),
    }
}

/// All constraints of a text or number, in AWS's order.
fn constraints(schema: &Schema) -> Vec<String> {
    if !schema.values.is_empty() {
        let values = schema.values.join(", ");
        return vec![format!("Member must satisfy enum value set: [{values}]")];
    }
    let what = match schema.kind {
        Kind::String => "length",
        _ => "value",
    };
    let mut all = Vec::new();
    if let Some(max) = schema.max {
        let max = bound(schema, max);
        all.push(format!(
            "Member must have {what} less than or equal to {max}"
        ));
    }
    if let Some(min) = schema.min {
        let min = bound(schema, min);
        all.push(format!(
            "Member must have {what} greater than or equal to {min}"
        ));
    }
    if let Some(pattern) = schema.pattern {
        all.push(format!(
            "Member must satisfy regular expression pattern: {pattern}"
        ));
    }
    all
}

/// How a text or number reads in a validation message; `None` for anything else.
fn scalar<T: Any>(value: &T) -> Option<String> {
    let value: &dyn Any = value;
    let texts = value.downcast_ref::<String>().cloned();
    texts
        .or_else(|| value.downcast_ref::<i32>().map(i32::to_string))
        .or_else(|| value.downcast_ref::<i64>().map(i64::to_string))
        .or_else(|| value.downcast_ref::<f32>().map(|n| format!("{n:?}")))
        .or_else(|| value.downcast_ref::<f64>().map(|n| format!("{n:?}")))
}

/// Longer lists and maps are only counted: a message must not become as long as what it refuses.
const MOST_SHOWN: usize = 100;

/// How a list reads in a validation message.
pub(crate) fn shown_list<T: Any>(items: &[T]) -> String {
    let shown = items.iter().take(MOST_SHOWN + 1).map(scalar);
    match shown.collect::<Option<Vec<_>>>() {
        Some(all) if all.len() <= MOST_SHOWN => format!("[{}]", all.join(", ")),
        _ => format!("[{} elements]", items.len()),
    }
}

/// How a map reads in a validation message.
pub(crate) fn shown_map<T: Any>(entries: &BTreeMap<String, T>) -> String {
    let entry = |(key, value): (&String, &T)| Some(format!("{key}={}", scalar(value)?));
    let shown = entries.iter().take(MOST_SHOWN + 1).map(entry);
    match shown.collect::<Option<Vec<_>>>() {
        Some(all) if all.len() <= MOST_SHOWN => format!("{{{}}}", all.join(", ")),
        _ => format!("{{{} entries}}", entries.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_s_value_is_a_member_of_its_key() {
        static TEXT: Schema = Schema::new("Text", Kind::String);
        static VALUE: Member = Member::new("value", &TEXT);
        static MAP: Member = Member::new("Attributes", &TEXT);
        let mut audit = Audit::default();
        let path = audit.within(&MAP, |a| {
            a.entry("Value", |a| {
                a.within(&VALUE, |a| a.within(&VALUE, |a| a.where_now()))
            })
        });
        assert_eq!(path, "attributes.Value.member.value");
    }

    #[test]
    fn long_repetitions_of_words_are_checked_and_words_are_ascii() {
        assert!(matches(r"[\w\.\-]{1,255}", "bucket-1"));
        assert!(!matches(r"[\w\.\-]{1,255}", "arn:aws:s3"));
        assert!(!matches(r"[\w\.\-]{1,255}", &"b".repeat(256)));
        assert!(matches(r"\d{12}", "123456789012"));
        assert!(!matches(r"\w+", "é"));
        for pattern in [
            r"(?!^[0-9]+$)([a-zA-Z0-9-_]+)",
            r"((?!^\d+$)^[0-9a-zA-Z-_]+$)",
        ] {
            assert!(matches(pattern, "v1"), "{pattern}");
            assert!(!matches(pattern, "2024"), "{pattern}");
            assert!(!matches(pattern, "a b"), "{pattern}");
        }
        assert_eq!(in_ascii(r"[\]\w]\\w\d"), r"[\]0-9A-Za-z_]\\w[0-9]");
    }
}
