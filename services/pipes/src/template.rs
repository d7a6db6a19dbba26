//! Input templates of pipes: JSON with `<$.path>` and `<aws.pipes.…>` in it, and paths alone.

use serde_json::Value;
use wire::Timestamp;

/// What a template may say besides the event.
pub(crate) struct About<'a> {
    pub(crate) pipe_arn: &'a str,
    pub(crate) pipe_name: &'a str,
    pub(crate) source: &'a str,
    pub(crate) enrichment: &'a str,
    pub(crate) target: &'a str,
    pub(crate) ingestion: Timestamp,
}

/// What is at a path of an event; `body` and `data` of JSON are looked into.
pub(crate) fn at(event: &Value, path: &str) -> Option<Value> {
    let mut at = event.clone();
    let mut rest = path.strip_prefix('$')?;
    while !rest.is_empty() {
        if let Value::String(text) = &at
            && let Ok(inner @ (Value::Object(_) | Value::Array(_))) = serde_json::from_str(text)
        {
            at = inner;
        }
        if let Some(after) = rest.strip_prefix('.') {
            let end = after.find(['.', '[']).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            at = at.get(name)?.clone();
            rest = next;
        } else {
            let (index, next) = rest.strip_prefix('[')?.split_once(']')?;
            at = at.get(index.parse::<usize>().ok()?)?.clone();
            rest = next;
        }
    }
    Some(at)
}

/// A text that may be a path into the event.
pub(crate) fn text(event: &Value, given: &str) -> String {
    if !given.starts_with("$.") {
        return given.to_owned();
    }
    at(event, given).map(shown).unwrap_or_default()
}

fn reserved(name: &str, event: &Value, about: &About<'_>) -> Option<Value> {
    Some(match name {
        "aws.pipes.pipe-arn" => about.pipe_arn.into(),
        "aws.pipes.pipe-name" => about.pipe_name.into(),
        "aws.pipes.source-arn" => about.source.into(),
        "aws.pipes.enrichment-arn" => about.enrichment.into(),
        "aws.pipes.target-arn" => about.target.into(),
        "aws.pipes.event.ingestion-time" => about.ingestion.iso8601_millis().into(),
        "aws.pipes.event" | "aws.pipes.event.json" => event.clone(),
        _ => return None,
    })
}

/// The name of the placeholder that a text begins with.
fn placeholder(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    let is_known = name.starts_with("$.") || name == "$" || name.starts_with("aws.pipes.");
    is_known.then_some(name)
}

fn shown(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// Fills a template from an event. What becomes no JSON is a text.
pub(crate) fn fill(template: &str, event: &Value, about: &About<'_>) -> String {
    let mut out = String::with_capacity(template.len() + 64);
    // What begins like no JSON is a text, and takes texts as they are.
    let is_text = !template.trim_start().starts_with(['{', '[', '"', '<']);
    let (mut is_inside, mut is_escaped) = (false, false);
    let mut skip_to = 0;
    for (place, c) in template.char_indices() {
        if place < skip_to {
            continue;
        }
        let name = match c {
            '<' => template.get(place..).and_then(placeholder),
            _ => None,
        };
        if let Some(name) = name {
            skip_to = place + name.len() + 2;
            let value = match name.starts_with('$') {
                true => at(event, name),
                false => reserved(name, event, about),
            };
            match value {
                Some(value) if is_text => out.push_str(&shown(value)),
                None if is_text => {}
                Some(value) if is_inside => {
                    let shown = shown(value);
                    let quoted = Value::String(shown).to_string();
                    out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
                }
                Some(value) => out.push_str(&value.to_string()),
                None if is_inside => {}
                None => out.push_str("null"),
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
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_template_reaches_into_bodies_and_says_whose_it_is() {
        let event =
            json!({ "messageId": "m", "body": "{\"a\": {\"b\": [1, \"x\"]}}", "plain": "p\"q" });
        let about = About {
            pipe_arn: "arn:pipe",
            pipe_name: "pipe",
            source: "arn:source",
            enrichment: "",
            target: "arn:target",
            ingestion: Timestamp(0),
        };
        let cases = [
            ("{\"id\": <$.messageId>}", json!({ "id": "m" })),
            (
                "{\"id\": \"<$.messageId>-<$.body.a.b[0]>\"}",
                json!({ "id": "m-1" }),
            ),
            ("{\"b\": <$.body.a>}", json!({ "b": { "b": [1, "x"] } })),
            ("{\"q\": \"<$.plain>\"}", json!({ "q": "p\"q" })),
            ("{\"none\": <$.none>}", json!({ "none": null })),
            (
                "{\"p\": \"<aws.pipes.pipe-name>\", \"s\": <aws.pipes.source-arn>}",
                json!({ "p": "pipe", "s": "arn:source" }),
            ),
            ("<$.body.a.b[1]>", json!("x")),
        ];
        for (template, expected) in cases {
            let filled = fill(template, &event, &about);
            let read: Value = serde_json::from_str(&filled).expect(&filled);
            assert_eq!(read, expected, "{template}");
        }
        assert_eq!(fill("text <$.messageId>", &event, &about), "text m");
        assert_eq!(text(&event, "$.body.a.b[1]"), "x");
        assert_eq!(text(&event, "fixed"), "fixed");
    }
}
