//! Reading queries.

use regex::Regex;

use super::expression::{Binary, Expression, Function};
use super::stats::Aggregate;
use super::{Command, Query};

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Number(f64),
    Text(String),
    Regex(String),
    Sign(&'static str),
}

/// A token with where it lies in the text.
struct Placed {
    token: Token,
    start: usize,
    end: usize,
}

const SIGNS: [&str; 22] = [
    "!=", "<=", ">=", "=~", "==", "=", "<", ">", "(", ")", "[", "]", ",", "|", "+", "-", "*", "/",
    "%", "^", "&&", "||",
];
/// Parentheses within parentheses; the bound keeps a hostile query off the stack's end.
const DEPTH: usize = 40;

fn tokens(text: &str) -> Result<Vec<Placed>, String> {
    let mut out: Vec<Placed> = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let start = at;
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if c == '#' {
            at += text[at..].find('\n').unwrap_or(text.len() - at);
            continue;
        }
        // After a value a slash divides; else it begins a regular expression.
        let after_value = out.last().is_some_and(|p| match &p.token {
            Token::Name(name) => !is_word(name),
            Token::Number(_) | Token::Text(_) => true,
            Token::Sign(sign) => matches!(*sign, ")" | "]"),
            Token::Regex(_) => false,
        });
        let after_parse = out.len() >= 2
            && matches!(&out[out.len() - 2].token, Token::Name(name) if name.eq_ignore_ascii_case("parse"));
        let after_value = after_value && !after_parse;
        let token = if matches!(c, '"' | '\'' | '`') || (c == '/' && !after_value) {
            let (inner, len) = quoted(&text[at + 1..], c).ok_or_else(|| format!("unclosed {c}"))?;
            at += 1 + len;
            match c {
                '`' => Token::Name(inner),
                '/' => Token::Regex(inner),
                _ => Token::Text(inner),
            }
        } else if c.is_ascii_digit() {
            let len = text[at..]
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .unwrap_or(text.len() - at);
            let number: f64 = text[at..at + len]
                .parse()
                .map_err(|_| format!("bad number {}", &text[at..at + len]))?;
            at += len;
            let unit = text[at..]
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(text.len() - at);
            let scale = period(&text[at..at + unit])?;
            at += unit;
            Token::Number(number * scale)
        } else if c.is_alphabetic() || matches!(c, '@' | '_' | '$') {
            let is_part = |c: char| c.is_alphanumeric() || matches!(c, '@' | '_' | '.' | '$' | ':');
            let len = text[at..]
                .find(|c: char| !is_part(c))
                .unwrap_or(text.len() - at);
            at += len;
            Token::Name(text[start..at].to_owned())
        } else {
            let sign = SIGNS
                .iter()
                .find(|s| text[at..].starts_with(**s))
                .ok_or_else(|| format!("unexpected symbol {c}"))?;
            at += sign.len();
            Token::Sign(sign)
        };
        out.push(Placed {
            token,
            start,
            end: at,
        });
    }
    Ok(out)
}

fn is_word(name: &str) -> bool {
    const WORDS: [&str; 10] = [
        "like", "and", "or", "not", "in", "parse", "filter", "by", "as", "fields",
    ];
    WORDS.iter().any(|w| name.eq_ignore_ascii_case(w))
}

/// Milliseconds of a period's unit; no unit is a plain number.
fn period(unit: &str) -> Result<f64, String> {
    Ok(match unit {
        "" | "ms" | "msec" => 1.0,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e3,
        "m" | "min" | "mins" | "minute" | "minutes" => 6e4,
        "h" | "hr" | "hour" | "hours" => 3.6e6,
        "d" | "day" | "days" => 8.64e7,
        "w" | "week" | "weeks" => 6.048e8,
        "mo" | "mon" | "month" | "months" => 2.592e9,
        "q" | "qtr" | "quarter" => 7.776e9,
        "y" | "yr" | "year" | "years" => 3.1536e10,
        _ => return Err(format!("unknown unit {unit}")),
    })
}

fn quoted(text: &str, mark: char) -> Option<(String, usize)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == mark {
            return Some((out, at + c.len_utf8()));
        }
        if c == '\\' {
            match chars.next()?.1 {
                escaped if escaped == mark => out.push(escaped),
                '\\' if mark != '/' => out.push('\\'),
                other => out.extend(['\\', other]),
            }
        } else {
            out.push(c);
        }
    }
    None
}

fn regex(text: &str) -> Result<Regex, String> {
    regex::RegexBuilder::new(text)
        .size_limit(1 << 20)
        .build()
        .map_err(|_| format!("invalid regular expression /{text}/"))
}

struct Parser<'a> {
    text: &'a str,
    tokens: &'a [Placed],
    at: usize,
}

pub(super) fn query(text: &str) -> Result<Query, String> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        text,
        tokens: &tokens,
        at: 0,
    };
    let mut commands = Vec::new();
    loop {
        commands.push(parser.command()?);
        if parser.at >= parser.tokens.len() {
            return Ok(Query { commands });
        }
        parser.expect("|")?;
    }
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|p| &p.token)
    }
    fn take(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(found);
        found
    }
    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.take(sign) {
            Ok(())
        } else {
            Err(format!("{sign} expected {}", self.place()))
        }
    }
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(n)) if n.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }
    fn name(&mut self) -> Result<String, String> {
        match self.peek() {
            Some(Token::Name(name)) => {
                let name = name.clone();
                self.at += 1;
                Ok(name)
            }
            _ => Err(format!("a name expected {}", self.place())),
        }
    }
    fn place(&self) -> String {
        match self.tokens.get(self.at) {
            Some(p) => format!("at character {}", p.start),
            None => "at the end".into(),
        }
    }
    /// The text from one token to the last one read.
    fn text_from(&self, from: usize) -> String {
        match (
            self.tokens.get(from),
            self.at.checked_sub(1).and_then(|i| self.tokens.get(i)),
        ) {
            (Some(a), Some(b)) => self.text.get(a.start..b.end).unwrap_or_default().to_owned(),
            _ => String::new(),
        }
    }

    fn command(&mut self) -> Result<Command, String> {
        let name = self.name()?;
        Ok(match name.to_ascii_lowercase().as_str() {
            "fields" => Command::Fields(self.named_list()?),
            "display" => Command::Display(self.named_list()?),
            "filter" | "where" => Command::Filter(self.or(0)?),
            "stats" => self.stats()?,
            "sort" | "order" => self.sort()?,
            "limit" | "head" | "tail" => match self.peek() {
                Some(Token::Number(n)) if *n >= 1.0 => {
                    let n = *n as usize;
                    self.at += 1;
                    Command::Limit(n)
                }
                _ => return Err(format!("a number expected {}", self.place())),
            },
            "parse" => self.parse()?,
            "dedup" => {
                let mut keys = vec![self.or(0)?];
                while self.take(",") {
                    keys.push(self.or(0)?);
                }
                Command::Dedup(keys)
            }
            other => return Err(format!("unknown command {other}")),
        })
    }

    fn named_list(&mut self) -> Result<Vec<(String, Expression)>, String> {
        let mut list = Vec::new();
        loop {
            let from = self.at;
            let expression = self.or(0)?;
            let text = match &expression {
                Expression::Field(name) => name.clone(),
                _ => self.text_from(from),
            };
            let name = if self.word("as") { self.name()? } else { text };
            list.push((name, expression));
            if !self.take(",") {
                return Ok(list);
            }
        }
    }

    fn stats(&mut self) -> Result<Command, String> {
        let mut aggregates = Vec::new();
        loop {
            let from = self.at;
            let function = self.name()?;
            self.expect("(")?;
            let mut arguments = Vec::new();
            if self.take("*") {
                self.expect(")")?;
            } else if !self.take(")") {
                arguments = self.arguments(0)?;
            }
            let aggregate = Aggregate::new(&function, arguments)?;
            let text = self.text_from(from);
            let name = if self.word("as") { self.name()? } else { text };
            aggregates.push((name, aggregate));
            if !self.take(",") {
                break;
            }
        }
        let by = if self.word("by") {
            self.named_list()?
        } else {
            Vec::new()
        };
        Ok(Command::Stats { aggregates, by })
    }

    fn sort(&mut self) -> Result<Command, String> {
        self.word("by");
        let mut keys = Vec::new();
        loop {
            let from = self.at;
            let mut expression = self.or(0)?;
            // A computed column is sorted by under the name it was given.
            if !matches!(expression, Expression::Field(_)) {
                expression = Expression::Field(self.text_from(from));
            }
            let descending = self.word("desc");
            if !descending {
                self.word("asc");
            }
            keys.push((expression, descending));
            if !self.take(",") {
                return Ok(Command::Sort(keys));
            }
        }
    }

    fn parse(&mut self) -> Result<Command, String> {
        let of = match self.peek() {
            Some(Token::Name(_)) => Expression::Field(self.name()?),
            _ => Expression::Field("@message".into()),
        };
        let token = self.peek().cloned();
        self.at += 1;
        let (regex, mut names) = match token {
            Some(Token::Text(glob)) => {
                // The last `*` takes what is left, the others as little as they can.
                let parts: Vec<String> = glob.split('*').map(regex::escape).collect();
                let last = parts.len() - 1;
                let mut pattern = String::from("(?s)");
                for (i, part) in parts.iter().enumerate() {
                    pattern.push_str(part);
                    if i < last {
                        pattern.push_str(if i + 1 == last && parts[last].is_empty() {
                            "(.*)"
                        } else {
                            "(.*?)"
                        });
                    }
                }
                (regex(&pattern)?, Vec::new())
            }
            Some(Token::Regex(text)) => {
                let regex = regex(&text)?;
                let names = regex
                    .capture_names()
                    .skip(1)
                    .map(|n| n.unwrap_or_default().to_owned())
                    .collect();
                (regex, names)
            }
            _ => return Err("parse needs a pattern".into()),
        };
        if self.word("as") {
            names = vec![self.name()?];
            while self.take(",") {
                names.push(self.name()?);
            }
        }
        if names.len() + 1 != regex.captures_len() {
            return Err("parse has another number of names than of parts".into());
        }
        Ok(Command::Parse { of, regex, names })
    }

    fn arguments(&mut self, depth: usize) -> Result<Vec<Expression>, String> {
        let mut list = vec![self.or(depth + 1)?];
        while self.take(",") {
            list.push(self.or(depth + 1)?);
        }
        self.expect(")")?;
        Ok(list)
    }

    fn or(&mut self, depth: usize) -> Result<Expression, String> {
        if depth > DEPTH {
            return Err("the expression is nested too deeply".into());
        }
        let mut left = self.and(depth)?;
        while self.word("or") || self.take("||") {
            left = Expression::Binary(Binary::Or, Box::new(left), Box::new(self.and(depth)?));
        }
        Ok(left)
    }

    fn and(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.not(depth)?;
        while self.word("and") || self.take("&&") {
            left = Expression::Binary(Binary::And, Box::new(left), Box::new(self.not(depth)?));
        }
        Ok(left)
    }

    fn not(&mut self, depth: usize) -> Result<Expression, String> {
        if self.word("not") {
            if depth > DEPTH {
                return Err("the expression is nested too deeply".into());
            }
            return Ok(Expression::Not(Box::new(self.not(depth + 1)?)));
        }
        self.comparison(depth)
    }

    fn comparison(&mut self, depth: usize) -> Result<Expression, String> {
        let left = self.sum(depth)?;
        let negated = self.word("not");
        let found = if self.word("like") || self.take("=~") {
            let token = self.peek().cloned();
            match token {
                Some(Token::Regex(text)) => {
                    self.at += 1;
                    Expression::Like(Box::new(left), regex(&text)?)
                }
                _ => Expression::Contains(Box::new(left), Box::new(self.sum(depth)?)),
            }
        } else if self.word("in") {
            self.expect("[")?;
            let mut list = vec![self.or(depth + 1)?];
            while self.take(",") {
                list.push(self.or(depth + 1)?);
            }
            self.expect("]")?;
            Expression::In(Box::new(left), list)
        } else if negated {
            return Err(format!("like or in expected {}", self.place()));
        } else {
            const ALL: [(&str, Binary); 7] = [
                ("=", Binary::Equal),
                ("==", Binary::Equal),
                ("!=", Binary::Unequal),
                ("<=", Binary::LessOrEqual),
                (">=", Binary::GreaterOrEqual),
                ("<", Binary::Less),
                (">", Binary::Greater),
            ];
            return match ALL.iter().find(|(sign, _)| self.take(sign)) {
                Some((_, operator)) => Ok(Expression::Binary(
                    *operator,
                    Box::new(left),
                    Box::new(self.sum(depth)?),
                )),
                None => Ok(left),
            };
        };
        Ok(if negated {
            Expression::Not(Box::new(found))
        } else {
            found
        })
    }

    fn sum(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.product(depth)?;
        loop {
            let operator = match () {
                () if self.take("+") => Binary::Add,
                () if self.take("-") => Binary::Subtract,
                () => return Ok(left),
            };
            left = Expression::Binary(operator, Box::new(left), Box::new(self.product(depth)?));
        }
    }

    fn product(&mut self, depth: usize) -> Result<Expression, String> {
        let mut left = self.atom(depth)?;
        loop {
            let operator = match () {
                () if self.take("*") => Binary::Multiply,
                () if self.take("/") => Binary::Divide,
                () if self.take("%") => Binary::Remainder,
                () if self.take("^") => Binary::Power,
                () => return Ok(left),
            };
            left = Expression::Binary(operator, Box::new(left), Box::new(self.atom(depth)?));
        }
    }

    fn atom(&mut self, depth: usize) -> Result<Expression, String> {
        if self.take("(") {
            let inner = self.or(depth + 1)?;
            self.expect(")")?;
            return Ok(inner);
        }
        if self.take("-") {
            if depth > DEPTH {
                return Err("the expression is nested too deeply".into());
            }
            return Ok(Expression::Negative(Box::new(self.atom(depth + 1)?)));
        }
        let token = self.peek().cloned().ok_or("the query ends early")?;
        self.at += 1;
        match token {
            Token::Number(n) => Ok(Expression::Number(n)),
            Token::Text(text) => Ok(Expression::Text(text)),
            Token::Name(name) if self.take("(") => {
                let arguments = if self.take(")") {
                    Vec::new()
                } else {
                    self.arguments(depth)?
                };
                Ok(Expression::Call(
                    Function::find(&name, arguments.len())?,
                    arguments,
                ))
            }
            Token::Name(name) => Ok(Expression::Field(name)),
            Token::Regex(_) | Token::Sign(_) => {
                self.at -= 1;
                Err(format!("a value expected {}", self.place()))
            }
        }
    }
}
