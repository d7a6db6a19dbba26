//! The wildcards and variables of the policy language.

use std::collections::HashMap;

/// The values of a request's condition keys. Keys are compared without regard to case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(HashMap<String, Vec<String>>);

impl Context {
    /// An empty context.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a single-valued key.
    pub fn set(&mut self, key: &str, value: impl Into<String>) -> &mut Self {
        self.set_all(key, vec![value.into()])
    }

    /// Sets all values of a key.
    pub fn set_all(&mut self, key: &str, values: Vec<String>) -> &mut Self {
        self.0.insert(key.to_ascii_lowercase(), values);
        self
    }

    /// The values of a key, whose name is in lower case.
    pub fn get(&self, key: &str) -> Option<&[String]> {
        self.0.get(key).map(Vec::as_slice)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
    Variable {
        key: String,
        default: Option<String>,
    },
}

/// A text with wildcards, and variables where the policy's version has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    tokens: Vec<Token>,
    has_variables: bool,
}

impl Pattern {
    /// Reads a pattern. Without `variables`, `${` is just text.
    pub fn new(text: &str, variables: bool) -> Self {
        let mut tokens = Vec::with_capacity(text.len());
        let mut has_variables = false;
        let mut rest = text;
        while let Some(byte) = rest.bytes().next() {
            if variables
                && let Some(inner) = rest.strip_prefix("${")
                && let Some(end) = inner.find('}')
            {
                let name = inner.get(..end).unwrap_or_default().trim();
                let token = variable(name);
                has_variables |= matches!(token, Token::Variable { .. });
                tokens.push(token);
                rest = inner.get(end + 1..).unwrap_or_default();
                continue;
            }
            let length = rest.chars().next().map_or(1, char::len_utf8);
            let (head, tail) = rest.split_at(length);
            match byte {
                b'*' => tokens.push(Token::Many),
                b'?' => tokens.push(Token::One),
                _ => tokens.extend(head.bytes().map(Token::Byte)),
            }
            rest = tail;
        }
        Pattern {
            text: text.to_owned(),
            tokens,
            has_variables,
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the pattern, its variables replaced, matches the whole text. A variable without a value matches nothing.
    pub fn matches(&self, text: &str, context: &Context) -> bool {
        self.with_tokens(context, |tokens| glob(tokens, text.as_bytes(), false))
    }

    /// As [`Pattern::matches`], without regard to the case of ASCII letters.
    pub fn matches_ignoring_case(&self, text: &str, context: &Context) -> bool {
        self.with_tokens(context, |tokens| glob(tokens, text.as_bytes(), true))
    }

    /// Whether a resource ARN matches: segment by segment, except that a `*` that ends a segment reaches beyond it.
    pub fn matches_resource(&self, arn: &str, context: &Context) -> bool {
        self.with_tokens(context, |tokens| {
            by_segments(tokens, arn).unwrap_or(false)
                || (crosses_segments(tokens) && glob(tokens, arn.as_bytes(), false))
        })
    }

    /// Whether an ARN matches as `ArnLike` has it: each of the six segments by itself.
    pub fn matches_arn(&self, arn: &str, context: &Context) -> bool {
        self.with_tokens(context, |tokens| {
            by_segments(tokens, arn).unwrap_or_else(|| glob(tokens, arn.as_bytes(), false))
        })
    }

    /// The text with its variables replaced and its wildcards as they stand; `None` if a variable has no value.
    pub fn resolve(&self, context: &Context) -> Option<String> {
        if !self.has_variables && !self.text.contains("${") {
            return Some(self.text.clone());
        }
        let bytes: Vec<u8> = self
            .resolved_tokens(context)?
            .into_iter()
            .map(|token| match token {
                Token::Byte(byte) => byte,
                Token::One => b'?',
                Token::Many | Token::Variable { .. } => b'*',
            })
            .collect();
        String::from_utf8(bytes).ok()
    }

    fn with_tokens(&self, context: &Context, test: impl Fn(&[Token]) -> bool) -> bool {
        if !self.has_variables {
            return test(&self.tokens);
        }
        self.resolved_tokens(context)
            .is_some_and(|tokens| test(&tokens))
    }

    // A value's own asterisks are text: whoever chooses a user name must not widen the policy.
    fn resolved_tokens(&self, context: &Context) -> Option<Vec<Token>> {
        let mut tokens = Vec::with_capacity(self.tokens.len() + 32);
        for token in &self.tokens {
            match token {
                Token::Variable { key, default } => {
                    let value = match context.get(key) {
                        Some([value]) => value,
                        _ => default.as_ref()?,
                    };
                    tokens.extend(value.bytes().map(Token::Byte));
                }
                other => tokens.push(other.clone()),
            }
        }
        Some(tokens)
    }
}

fn variable(name: &str) -> Token {
    match name {
        "*" => return Token::Byte(b'*'),
        "?" => return Token::Byte(b'?'),
        "$" => return Token::Byte(b'$'),
        _ => {}
    }
    let (key, default) = match name.split_once(',') {
        Some((key, default)) => {
            let default = default.trim();
            let unquoted = default
                .strip_prefix('\'')
                .and_then(|default| default.strip_suffix('\''));
            (key, unquoted.map(str::to_owned))
        }
        None => (name, None),
    };
    Token::Variable {
        key: key.trim().to_ascii_lowercase(),
        default,
    }
}

// None when either side has not six segments.
fn by_segments(tokens: &[Token], arn: &str) -> Option<bool> {
    let arn: Vec<&str> = arn.splitn(6, ':').collect();
    let pattern: Vec<&[Token]> = tokens
        .splitn(6, |token| *token == Token::Byte(b':'))
        .collect();
    if arn.len() != 6 || pattern.len() != 6 {
        return None;
    }
    Some(
        pattern
            .iter()
            .zip(arn)
            .all(|(tokens, segment)| glob(tokens, segment.as_bytes(), false)),
    )
}

fn crosses_segments(tokens: &[Token]) -> bool {
    let segments: Vec<&[Token]> = tokens
        .splitn(6, |token| *token == Token::Byte(b':'))
        .collect();
    segments.len() < 6
        || segments
            .iter()
            .take(5)
            .any(|segment| segment.last() == Some(&Token::Many))
}

// The greedy match that returns to the last asterisk only: at most pattern times text steps.
fn glob(tokens: &[Token], text: &[u8], ignore_case: bool) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while position < text.len() {
        match tokens.get(at) {
            Some(Token::Many) => {
                star = Some((at, position));
                at += 1;
                continue;
            }
            Some(Token::One) => {
                at += 1;
                position += character_length(text, position);
                continue;
            }
            Some(Token::Byte(byte))
                if *byte == text[position]
                    || (ignore_case && byte.eq_ignore_ascii_case(&text[position])) =>
            {
                at += 1;
                position += 1;
                continue;
            }
            _ => {}
        }
        let Some((star_at, star_position)) = star else {
            return false;
        };
        let next = star_position + character_length(text, star_position);
        star = Some((star_at, next));
        at = star_at + 1;
        position = next;
    }
    tokens
        .get(at..)
        .is_some_and(|rest| rest.iter().all(|token| *token == Token::Many))
}

fn character_length(text: &[u8], position: usize) -> usize {
    let continuation = text
        .get(position + 1..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| **byte & 0xC0 == 0x80)
        .count();
    1 + continuation
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::new(pattern, true).matches_resource(text, &Context::new())
    }

    #[test]
    fn an_asterisk_inside_a_segment_stays_in_it() {
        assert!(matches(
            "arn:aws:sqs:us-*-1:1:q",
            "arn:aws:sqs:us-east-1:1:q"
        ));
        assert!(!matches(
            "arn:aws:sqs:us-*1:1:q",
            "arn:aws:sqs:us-east-2:1:1:q"
        ));
        assert!(matches(
            "arn:aws:s3:::bucket/*",
            "arn:aws:s3:::bucket/a:b/c"
        ));
        assert!(matches("arn:aws:s3:::*", "arn:aws:s3:::bucket/a"));
        assert!(matches("arn:aws:sqs:*", "arn:aws:sqs:us-east-1:1:q"));
        assert!(matches("*", "anything"));
    }

    #[test]
    fn a_variable_is_replaced_and_its_value_is_only_text() {
        let mut context = Context::new();
        context
            .set("aws:username", "b*b")
            .set_all("aws:tagkeys", vec!["a".into(), "b".into()]);
        let matches =
            |pattern: &str, text: &str| Pattern::new(pattern, true).matches(text, &context);
        assert!(matches("home/${aws:UserName}/*", "home/b*b/x"));
        assert!(!matches("home/${aws:username}/*", "home/bob/x"));
        assert!(matches("${aws:PrincipalTag/team, 'none'}", "none"));
        assert!(!matches("${aws:PrincipalTag/team}", ""));
        assert!(!matches("${aws:TagKeys}", "a"));
        assert!(matches("${*}${?}${$}", "*?$"));
        assert!(!Pattern::new("${aws:username}", false).matches("b*b", &context));
    }

    proptest! {
        #[test]
        fn the_matcher_agrees_with_a_regular_expression(
            pattern in "[ab*?é:]{0,10}", text in "[abé:]{0,12}", ignore_case: bool,
        ) {
            let source: String = pattern.chars().map(|c| match c {
                '*' => ".*".to_owned(),
                '?' => ".".to_owned(),
                c => regex::escape(&c.to_string()),
            }).collect();
            let model = regex::Regex::new(&format!("^(?s:{source})$")).expect("a regex").is_match(&text);
            let tokens = Pattern::new(&pattern, true).tokens;
            prop_assert_eq!(glob(&tokens, text.as_bytes(), ignore_case), model);
        }

        #[test]
        fn any_pattern_is_read(pattern in "\\PC*", text in "\\PC*") {
            let pattern = Pattern::new(&pattern, true);
            let _ = pattern.matches_resource(&text, &Context::new());
            let _ = pattern.resolve(&Context::new());
        }
    }

    #[test]
    fn many_asterisks_do_not_take_long() {
        let pattern = "a*".repeat(1000) + "b";
        assert!(!Pattern::new(&pattern, true).matches(&"a".repeat(20_000), &Context::new()));
    }
}
