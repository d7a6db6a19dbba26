//! Words, phrases and regular expressions in unstructured messages.

use regex::Regex;

use super::Invalid;
use super::value::{take_quoted, take_regex};

#[derive(Debug)]
enum Term {
    Text(String),
    Regex(Regex),
}

impl Term {
    fn is_in(&self, message: &str) -> bool {
        match self {
            Term::Text(text) => message.contains(text.as_str()),
            Term::Regex(regex) => regex.is_match(message),
        }
    }
}

/// Terms by what is asked of them.
#[derive(Debug, Default)]
pub(crate) struct Words {
    required: Vec<Term>,
    optional: Vec<Term>,
    excluded: Vec<Term>,
}

impl Words {
    pub(crate) fn matches(&self, message: &str) -> bool {
        let is_in = |term: &Term| term.is_in(message);
        // Beside required terms, optional ones say nothing.
        let any = !self.required.is_empty()
            || self.optional.is_empty()
            || self.optional.iter().any(is_in);
        any && self.required.iter().all(is_in) && !self.excluded.iter().any(is_in)
    }
}

pub(crate) fn parse(text: &str) -> Result<Words, Invalid> {
    let mut words = Words::default();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (list, body) = match rest.as_bytes()[0] {
            b'?' => (&mut words.optional, &rest[1..]),
            b'-' => (&mut words.excluded, &rest[1..]),
            _ => (&mut words.required, rest),
        };
        let (term, after) = match body.chars().next() {
            Some('"') => take_quoted(body).map(|(text, rest)| (Term::Text(text), rest))?,
            Some('%') => take_regex(body).map(|(regex, rest)| (Term::Regex(regex), rest))?,
            Some(_) => {
                let end = body.find(char::is_whitespace).unwrap_or(body.len());
                (Term::Text(body[..end].to_owned()), &body[end..])
            }
            None => return Err(Invalid),
        };
        list.push(term);
        rest = after.trim_start();
    }
    Ok(words)
}
