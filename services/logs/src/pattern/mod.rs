//! The filter pattern language: words, space-delimited columns, and JSON selectors.

mod columns;
mod json;
mod value;
mod words;

use std::collections::BTreeMap;

use wire::Fault;

use crate::errors::invalid_parameter_exception;

/// A parsed filter pattern.
#[derive(Debug)]
pub(crate) enum Pattern {
    /// Every event.
    All,
    /// Words and phrases.
    Words(words::Words),
    /// `[a, b=4*, ...]`
    Columns(columns::Columns),
    /// `{ $.a = 1 }`
    Json(json::Expression),
}

/// Why a text is no pattern; AWS answers all reasons alike.
#[derive(Debug, PartialEq)]
pub(crate) struct Invalid;

impl Pattern {
    /// Reads a pattern.
    pub(crate) fn parse(text: &str) -> Result<Pattern, Fault> {
        let invalid = |_: Invalid| invalid_parameter_exception("Invalid filter pattern");
        let text = text.trim();
        if text.is_empty() {
            return Ok(Pattern::All);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or(Invalid).map_err(invalid)?;
            return columns::parse(inner).map(Pattern::Columns).map_err(invalid);
        }
        if let Some(inner) = text.strip_prefix('{') {
            let inner = inner.strip_suffix('}').ok_or(Invalid).map_err(invalid)?;
            return json::parse(inner).map(Pattern::Json).map_err(invalid);
        }
        words::parse(text).map(Pattern::Words).map_err(invalid)
    }

    /// Whether a message matches.
    pub(crate) fn matches(&self, message: &str) -> bool {
        match self {
            Pattern::All => true,
            Pattern::Words(words) => words.matches(message),
            Pattern::Columns(columns) => columns.extract(message).is_some(),
            Pattern::Json(expression) => {
                json::document(message).is_some_and(|d| expression.holds(&d))
            }
        }
    }

    /// The values that a matching message gives to the pattern's names, `None` where it does not match.
    pub(crate) fn extract(&self, message: &str) -> Option<BTreeMap<String, String>> {
        match self {
            Pattern::All | Pattern::Words(_) => self.matches(message).then(BTreeMap::new),
            Pattern::Columns(columns) => columns.extract(message),
            Pattern::Json(expression) => {
                let document = json::document(message)?;
                expression
                    .holds(&document)
                    .then(|| expression.values(&document))
            }
        }
    }
}

/// The value that `$.a.b` or `$name` has for a matching message.
pub(crate) fn value_of(
    selector: &str,
    message: &str,
    extracted: &BTreeMap<String, String>,
) -> Option<String> {
    if let Some(found) = extracted.get(selector) {
        return Some(found.clone());
    }
    if selector.starts_with("$.") {
        return json::select(&json::document(message)?, selector);
    }
    Some(selector.to_owned()).filter(|s| !s.starts_with('$'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matches(pattern: &str, message: &str) -> bool {
        Pattern::parse(pattern)
            .unwrap_or_else(|f| panic!("{pattern}: {f}"))
            .matches(message)
    }

    #[test]
    fn words_are_all_required_and_marked_ones_optional_or_excluded() {
        assert!(matches("", "anything"));
        assert!(matches("ERROR", "[ERROR 400] bad"));
        assert!(!matches("error", "[ERROR 400] bad"));
        assert!(matches("ERROR bad", "bad is the ERROR"));
        assert!(!matches("ERROR good", "bad is the ERROR"));
        assert!(matches("?ERROR ?WARN", "a WARN"));
        assert!(!matches("?ERROR ?WARN", "an INFO"));
        assert!(matches("ERROR -EXIT", "ERROR x"));
        assert!(!matches("ERROR -EXIT", "ERROR EXIT"));
        assert!(matches("-EXIT", "x"));
        assert!(matches(
            "\"INTERNAL SERVER ERROR\"",
            "an INTERNAL SERVER ERROR occurred"
        ));
        assert!(!matches("\"INTERNAL SERVER ERROR\"", "INTERNAL ERROR"));
        assert!(matches("%AUTHORI[SZ]ED%", "UNAUTHORIZED"));
        assert!(matches("-%\\d{3}%", "no digits"));
        assert!(matches("\"say \\\"hi\\\"\"", "to say \"hi\" now"));
    }

    #[test]
    fn columns_are_told_apart_by_spaces_quotes_and_brackets() {
        let line =
            r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;
        assert!(matches(
            "[ip, id, user, time, request, status, bytes]",
            line
        ));
        assert!(matches(
            "[ip, id, user, time, request=*.html*, status=4*, bytes>1000]",
            line
        ));
        assert!(!matches(
            "[ip, id, user, time, request, status=5*, bytes]",
            line
        ));
        assert!(matches(
            "[ip, id, user, time, request, status = 404 || status = 410, bytes]",
            line
        ));
        assert!(matches("[..., status=404, bytes]", line));
        assert!(matches("[ip, ..., bytes<=1534]", line));
        assert!(!matches("[ip, id]", line));
        assert!(matches("[ip=%127\\.0\\.0\\.[0-9]%, ...]", line));
        assert!(matches("[ip, id, user != bob, ...]", line));
        assert!(matches(
            "[ip, id, user, time, request, status>=400 && status<500, bytes]",
            line
        ));
        let values = Pattern::parse("[ip, ..., bytes]")
            .expect("a pattern")
            .extract(line)
            .expect("a match");
        assert_eq!(values["$bytes"], "1534");
    }

    #[test]
    fn selectors_compare_strings_numbers_and_presence() {
        let event = r#"{"a":{"b":"x y"},"n":12.5,"t":true,"z":null,"list":[{"k":"v1"},{"k":"v2"}],"a.b":1,"code":"4Unauthorized"}"#;
        for yes in [
            r#"{ $.a.b = "x y" }"#,
            r#"{ $.a.b = "x*" && $.n > 12 }"#,
            r#"{ ($.n >= 12.5) && ($.n <= 1.25e1) }"#,
            r#"{ $.t IS TRUE }"#,
            r#"{ $.z IS NULL }"#,
            r#"{ $.missing NOT EXISTS }"#,
            r#"{ $.list[1].k = "v2" }"#,
            r#"{ $.list[*].k = "v2" }"#,
            r#"{ $.['a.b'] = 1 }"#,
            r#"{ $.n = 13 || ($.t IS TRUE && $.a.b != "q") }"#,
            r#"{ $.code = %Unauth% }"#,
            r#"{ $.code = *Unauthorized }"#,
            r#"{$.n!=13}"#,
        ] {
            assert!(matches(yes, event), "{yes}");
        }
        for no in [
            r#"{ $.a.b = "y" }"#,
            r#"{ $.missing = "x" }"#,
            r#"{ $.missing IS NULL }"#,
            r#"{ $.n NOT EXISTS }"#,
            r#"{ $.t IS FALSE }"#,
            r#"{ $.n > 13 }"#,
        ] {
            assert!(!matches(no, event), "{no}");
        }
        assert!(!matches("{ $.a = 1 }", "not json"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for bad in [
            "{ $.a = }",
            "{ $.a",
            "[a, b",
            "\"open",
            "{ a = 1 }",
            "{ ($.a = 1 }",
            "%open",
            "%(%",
            "{ $.a = 1 && }",
        ] {
            let fault = Pattern::parse(bad).expect_err(bad);
            assert!(fault.is("InvalidParameterException"), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(pattern in ".{0,60}", message in ".{0,60}") {
            for text in [pattern.clone(), format!("{{{pattern}}}"), format!("[{pattern}]"), format!("{{$.{pattern}}}")] {
                if let Ok(p) = Pattern::parse(&text) {
                    p.matches(&message);
                    p.extract(&message);
                }
            }
        }
    }
}
