//! What of an event a target gets: all of it, a part, a constant, or a template filled from it.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::RawValue;
use wire::{Fault, Timestamp};

use crate::api::{InputTransformer, Target};
use crate::event::{Event, compact};
use crate::place::invalid;

/// What a template may say besides the event.
pub(crate) struct About<'a> {
    pub(crate) rule_arn: &'a str,
    pub(crate) rule_name: &'a str,
    pub(crate) ingestion: Timestamp,
}

enum Step<'a> {
    Field(&'a str),
    Item(usize),
}

/// The steps of a path such as `$.detail.items[0].id`.
fn steps(path: &str) -> Option<Vec<Step<'_>>> {
    let mut rest = path.strip_prefix('$')?;
    let mut all = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            if name.is_empty() {
                return None;
            }
            all.push(Step::Field(name));
            rest = next;
        } else {
            let (inner, next) = rest.strip_prefix('[')?.split_once(']')?;
            let quoted = inner
                .strip_prefix('\'')
                .and_then(|i| i.strip_suffix('\''))
                .or_else(|| inner.strip_prefix('"').and_then(|i| i.strip_suffix('"')));
            all.push(match quoted {
                Some(name) => Step::Field(name),
                None => Step::Item(inner.parse().ok()?),
            });
            rest = next;
        }
    }
    Some(all)
}

/// Whether a text is a path.
pub(crate) fn is_path(text: &str) -> bool {
    steps(text).is_some()
}

/// The JSON at a path of a JSON text, as it is written there.
fn raw_at(json: &str, path: &str) -> Option<String> {
    let mut at: Cow<'_, str> = Cow::Borrowed(json);
    for step in steps(path)? {
        let next = match step {
            Step::Field(name) => {
                let fields: HashMap<String, &RawValue> = serde_json::from_str(&at).ok()?;
                fields.get(name)?.get().to_owned()
            }
            Step::Item(index) => {
                let items: Vec<&RawValue> = serde_json::from_str(&at).ok()?;
                items.get(index)?.get().to_owned()
            }
        };
        at = Cow::Owned(next);
    }
    Some(at.into_owned())
}

/// The text at a path; what is no text as its JSON.
pub(crate) fn text_at(json: &str, path: &str) -> Option<String> {
    let raw = raw_at(json, path)?;
    Some(serde_json::from_str::<String>(&raw).unwrap_or(raw))
}

/// What the target gets of an event; `None` where its template makes no JSON of it.
pub(crate) fn payload(target: &Target, event: &Event, about: &About<'_>) -> Option<String> {
    if let Some(input) = &target.input {
        return Some(input.clone());
    }
    if let Some(path) = target.input_path.as_ref().filter(|p| !p.is_empty()) {
        return Some(raw_at(&event.text, path).unwrap_or_else(|| "null".into()));
    }
    match &target.input_transformer {
        Some(transformer) => fill(transformer, event, about),
        None => Some(event.text.clone()),
    }
}

const RESERVED: [&str; 5] = [
    "aws.events.rule-arn",
    "aws.events.rule-name",
    "aws.events.event.ingestion-time",
    "aws.events.event",
    "aws.events.event.json",
];

/// A reserved variable's JSON.
fn reserved(name: &str, event: &Event, about: &About<'_>) -> Option<String> {
    Some(match name {
        "aws.events.rule-arn" => json!(about.rule_arn).to_string(),
        "aws.events.rule-name" => json!(about.rule_name).to_string(),
        "aws.events.event.ingestion-time" => json!(about.ingestion.iso8601_secs()).to_string(),
        "aws.events.event.json" => event.text.clone(),
        // Without its detail, and with names of another style.
        "aws.events.event" => {
            let fields = [
                ("id", "id"),
                ("account", "account"),
                ("detailType", "detail-type"),
                ("time", "time"),
                ("source", "source"),
                ("region", "region"),
                ("resources", "resources"),
                ("version", "version"),
            ];
            let fields = fields.map(|(shown, name)| {
                let value = event.value.get(name).cloned().unwrap_or_default();
                format!("\"{shown}\":{value}")
            });
            format!("{{{}}}", fields.join(","))
        }
        _ => return None,
    })
}

/// The name of the placeholder that a text begins with.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!name.is_empty() && name.chars().all(is_name)).then_some(name)
}

/// Whether all placeholders of a template are known, and its paths are paths.
pub(crate) fn check(transformer: &InputTransformer, target: &str) -> Result<(), Fault> {
    let paths = transformer.input_paths_map.as_ref();
    if let Some((name, _)) = paths
        .into_iter()
        .flatten()
        .find(|(name, path)| !is_path(path) || name.to_ascii_lowercase().starts_with("aws."))
    {
        return Err(invalid(format!(
            "InputPathsMap for target {target} contains invalid path for key {name}."
        )));
    }
    let template = &transformer.input_template;
    for (at, _) in template.match_indices('<') {
        let Some(name) = template.get(at..).and_then(placeholder) else {
            continue;
        };
        let is_known = RESERVED.contains(&name) || paths.is_some_and(|p| p.contains_key(name));
        if !is_known {
            return Err(invalid(format!(
                "InputTemplate for target {target} contains invalid placeholder {name}."
            )));
        }
    }
    Ok(())
}

fn fill(transformer: &InputTransformer, event: &Event, about: &About<'_>) -> Option<String> {
    let template = transformer.input_template.as_str();
    // A template of quoted lines is text, and stays what it becomes; any other must become JSON.
    let is_text = template.trim_start().starts_with('"');
    let mut out = String::with_capacity(template.len() + 64);
    let (mut is_inside, mut is_escaped) = (false, false);
    let mut skip_to = 0;
    for (at, c) in template.char_indices() {
        if at < skip_to {
            continue;
        }
        let name = match c {
            '<' => template.get(at..).and_then(placeholder),
            _ => None,
        };
        if let Some(name) = name {
            skip_to = at + name.len() + 2;
            let path = transformer
                .input_paths_map
                .as_ref()
                .and_then(|m| m.get(name));
            let raw = match path {
                Some(path) => raw_at(&event.text, path),
                None => reserved(name, event, about),
            };
            match raw {
                Some(raw) if is_inside => out.push_str(&within_quotes(&raw, is_text)),
                Some(raw) => out.push_str(&raw),
                None if is_inside => {}
                None => out.push_str("\"\""),
            }
            continue;
        }
        out.push(c);
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => is_inside = !is_inside,
            _ => {}
        }
    }
    if is_text {
        return Some(out);
    }
    serde_json::from_str::<IgnoredAny>(&out)
        .is_ok()
        .then(|| compact(&out))
}

/// A value between the quotes of a template: text without its own, and in a text anything else without any.
fn within_quotes(raw: &str, is_text: bool) -> String {
    match raw.strip_prefix('"').and_then(|r| r.strip_suffix('"')) {
        Some(inner) => inner.to_owned(),
        None if is_text => raw.replace('"', ""),
        None => raw.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Event {
        Event::read(
            r#"{"id":"i","detail-type":"d","source":"s","account":"1","time":"t","region":"r","resources":["x"],
                "detail":{"user":"u1","list":["A","B"],"payload":{"b":1,"a":"x"},"yes":true,"n":[{"id":"deep"}]}}"#,
        )
        .expect("an event")
    }

    fn filled(template: &str) -> Option<String> {
        let paths = [
            ("user", "$.detail.user"),
            ("list", "$.detail.list"),
            ("payload", "$.detail.payload"),
            ("yes", "$.detail.yes"),
            ("deep", "$.detail.n[0].id"),
            ("none", "$.detail.none"),
        ];
        let transformer = InputTransformer {
            input_paths_map: Some(paths.map(|(k, v)| (k.to_owned(), v.to_owned())).into()),
            input_template: template.to_owned(),
        };
        check(&transformer, "t").expect("a template");
        let about = About {
            rule_arn: "arn:rule",
            rule_name: "rule",
            ingestion: Timestamp(0),
        };
        fill(&transformer, &event(), &about)
    }

    #[test]
    fn a_template_is_filled_as_eventbridge_does() {
        let cases = [
            ("\"of <payload> by <user>\"", "\"of {b:1,a:x} by u1\""),
            (
                "\"<list> items\"\n\"<none> no\"",
                "\"[A,B] items\"\n\" no\"",
            ),
            ("\"Command is <yes>!\"", "\"Command is true!\""),
            ("{\"id\" : <user>}", "{\"id\":\"u1\"}"),
            ("{\"id\": \"<user>\"}", "{\"id\":\"u1\"}"),
            (
                "{\"p\": \"u/<user>/<user>\", \"b\": <payload>}",
                "{\"p\":\"u/u1/u1\",\"b\":{\"b\":1,\"a\":\"x\"}}",
            ),
            (
                "{\"l\": [<user>, \"x\"], \"d\": <deep>}",
                "{\"l\":[\"u1\",\"x\"],\"d\":\"deep\"}",
            ),
            ("{\"none\": <none>}", "{\"none\":\"\"}"),
            (
                "{\"r\": <aws.events.rule-arn>, \"n\": \"<aws.events.rule-name>\"}",
                "{\"r\":\"arn:rule\",\"n\":\"rule\"}",
            ),
            (
                "{\"at\": <aws.events.event.ingestion-time>}",
                "{\"at\":\"1970-01-01T00:00:00Z\"}",
            ),
            ("<list>", "[\"A\",\"B\"]"),
        ];
        for (template, expected) in cases {
            assert_eq!(filled(template).as_deref(), Some(expected), "{template}");
        }
        assert_eq!(
            filled("{\"e\": <aws.events.event>}").as_deref(),
            Some(
                "{\"e\":{\"id\":\"i\",\"account\":\"1\",\"detailType\":\"d\",\"time\":\"t\",\"source\":\"s\",\"region\":\"r\",\"resources\":[\"x\"],\"version\":\"0\"}}"
            )
        );
    }

    #[test]
    fn what_becomes_no_json_is_not_sent() {
        for template in [
            "{\"payload\": \"<payload>\"}",
            "{\"list\": \"<list>\"}",
            "<list> items",
        ] {
            assert_eq!(filled(template), None, "{template}");
        }
    }

    #[test]
    fn a_path_leads_to_what_is_written_there() {
        let event = event();
        let at = |path| raw_at(&event.text, path);
        assert_eq!(
            at("$.detail.payload").as_deref(),
            Some("{\"b\":1,\"a\":\"x\"}")
        );
        assert_eq!(at("$.detail['user']").as_deref(), Some("\"u1\""));
        assert_eq!(at("$.resources[0]").as_deref(), Some("\"x\""));
        assert_eq!(at("$.detail-type").as_deref(), Some("\"d\""));
        assert_eq!(at("$.detail.user.more"), None);
        assert_eq!(text_at(&event.text, "$.detail.user").as_deref(), Some("u1"));
        for bad in ["", "detail", "$detail", "$.", "$.a[", "$.a[x]"] {
            assert!(!is_path(bad), "{bad}");
        }
    }
}
