//! The keys of the objects that a channel writes.
//!
//! <https://docs.aws.amazon.com/streams/latest/dev/data-delivery-s3-key-template.html>

use wire::{Fault, Timestamp};

use crate::errors::validation_exception;

/// What keys are made of where nobody says.
const DEFAULT: &str = "kinesis-channel/!{channel-name}/!{channel-id}/!{yyyy}/!{MM}/!{dd}/!{HH}/!{channel-name}-!{channel-id}-!{yyyy}-!{MM}-!{dd}-!{HH}-!{mm}!{extension}";
const MOST: usize = 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Variable {
    Name,
    Id,
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Extension,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Variable(Variable),
}

/// A template, read.
#[derive(Debug)]
pub(crate) struct Template<'t>(Vec<Piece<'t>>);

/// What the variables stand for.
pub(crate) struct Values<'v> {
    pub(crate) name: &'v str,
    pub(crate) id: &'v str,
    pub(crate) time: Timestamp,
    pub(crate) extension: &'v str,
}

fn variable(name: &str) -> Option<Variable> {
    Some(match name {
        "channel-name" => Variable::Name,
        "channel-id" => Variable::Id,
        "yyyy" => Variable::Year,
        "MM" => Variable::Month,
        "dd" => Variable::Day,
        "HH" => Variable::Hour,
        "mm" => Variable::Minute,
        "extension" => Variable::Extension,
        _ => return None,
    })
}

impl<'t> Template<'t> {
    /// Reads a template, or says what is wrong with it.
    pub(crate) fn parse(text: &'t str) -> Result<Template<'t>, Fault> {
        let invalid =
            |what: &str| validation_exception(format!("OutputKeyTemplate is invalid: {what}."));
        if text.starts_with('/') || text.ends_with('/') {
            return Err(invalid("it must neither begin nor end with a slash"));
        }
        if text.contains("..") || text.contains("./") {
            return Err(invalid("it must not contain .. or ./"));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once("!{") {
            let Some((name, after)) = behind.split_once('}') else {
                return Err(invalid("a variable has no end"));
            };
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            let known = variable(name);
            let known = known.ok_or_else(|| invalid(&format!("there is no variable {name}")))?;
            pieces.push(Piece::Variable(known));
            rest = after;
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest));
        }
        Ok(Template(pieces))
    }

    /// The template of a channel that was given none.
    pub(crate) fn default_text() -> &'static str {
        DEFAULT
    }

    /// The key of one object. What makes it the only one of its name stands behind all but the extension.
    pub(crate) fn key(&self, values: &Values<'_>, unique: &str) -> String {
        let time = values.time.date_time();
        let mut key = String::new();
        let mut has_suffix = false;
        for (at, piece) in self.0.iter().enumerate() {
            let is_last = at + 1 == self.0.len();
            match piece {
                Piece::Text(text) => key.push_str(text),
                Piece::Variable(Variable::Extension) => {
                    if is_last {
                        key.push('-');
                        key.push_str(unique);
                        has_suffix = true;
                    }
                    key.push_str(values.extension);
                }
                Piece::Variable(variable) => key.push_str(&match variable {
                    Variable::Name => values.name.to_owned(),
                    Variable::Id => values.id.to_owned(),
                    Variable::Year => format!("{:04}", time.year()),
                    Variable::Month => format!("{:02}", u8::from(time.month())),
                    Variable::Day => format!("{:02}", time.day()),
                    Variable::Hour => format!("{:02}", time.hour()),
                    _ => format!("{:02}", time.minute()),
                }),
            }
        }
        if !has_suffix {
            key.push('-');
            key.push_str(unique);
        }
        let most = (0..=MOST).rev().find(|at| key.is_char_boundary(*at));
        key.truncate(most.unwrap_or(0).min(key.len()));
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'_> = Values {
        name: "c",
        id: "1f",
        // 2024-02-29T23:05:00Z
        time: Timestamp(1_709_247_900_000),
        extension: ".json.gz",
    };

    #[test]
    fn variables_are_put_in_and_the_suffix_stands_before_the_extension() {
        let key = |text: &str| Template::parse(text).unwrap().key(&VALUES, "u");
        assert_eq!(
            key(DEFAULT),
            "kinesis-channel/c/1f/2024/02/29/23/c-1f-2024-02-29-23-05-u.json.gz"
        );
        assert_eq!(key("plain"), "plain-u");
        assert_eq!(key("a!{extension}/b!{mm}"), "a.json.gz/b05-u");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for text in ["/a", "a/", "a/../b", "!{yyyy", "!{unknown}", "!{}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
