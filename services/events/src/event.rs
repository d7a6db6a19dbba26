//! An event as it is on a bus: text in the order in which AWS writes it.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// An event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) id: String,
    /// The whole of it, without blanks.
    pub(crate) text: String,
    /// The same, to be matched.
    pub(crate) value: Value,
    /// The trace that it is part of: beside the event, not in it.
    pub(crate) trace: Option<String>,
}

/// What an event is made of.
pub(crate) struct Parts<'a> {
    pub(crate) id: &'a str,
    pub(crate) detail_type: &'a str,
    pub(crate) source: &'a str,
    pub(crate) account: &'a str,
    pub(crate) time: &'a str,
    pub(crate) region: &'a str,
    pub(crate) replay: Option<&'a str>,
    pub(crate) resources: &'a [String],
    /// JSON, without blanks.
    pub(crate) detail: &'a str,
}

/// An event that a service or another bus sends.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sent<'a> {
    #[serde(default)]
    id: String,
    detail_type: String,
    source: String,
    account: String,
    time: String,
    region: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(borrow)]
    detail: &'a RawValue,
    replay_name: Option<String>,
}

impl Event {
    pub(crate) fn new(parts: &Parts<'_>) -> Result<Event, serde_json::Error> {
        let mut text = String::with_capacity(parts.detail.len() + 256);
        let mut field = |name: &str, value: &str| -> Result<(), serde_json::Error> {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push('"');
            text.push_str(name);
            text.push_str("\":");
            text.push_str(value);
            Ok(())
        };
        let quoted = |value: &str| serde_json::to_string(value);
        field("version", "\"0\"")?;
        field("id", &quoted(parts.id)?)?;
        field("detail-type", &quoted(parts.detail_type)?)?;
        field("source", &quoted(parts.source)?)?;
        field("account", &quoted(parts.account)?)?;
        field("time", &quoted(parts.time)?)?;
        field("region", &quoted(parts.region)?)?;
        if let Some(replay) = parts.replay {
            field("replay-name", &quoted(replay)?)?;
        }
        field("resources", &serde_json::to_string(parts.resources)?)?;
        field("detail", parts.detail)?;
        text.push('}');
        let value = serde_json::from_str(&text)?;
        Ok(Event {
            id: parts.id.to_owned(),
            text,
            value,
            trace: None,
        })
    }

    /// Reads an event that is one already.
    pub(crate) fn read(text: &str) -> Result<Event, serde_json::Error> {
        Event::read_for(text, None)
    }

    /// Reads an event that comes from another region: it is told apart from the one there.
    pub(crate) fn read_anew(text: &str) -> Result<Event, serde_json::Error> {
        let mut sent: Sent<'_> = serde_json::from_str(text)?;
        sent.id.clear();
        Event::of(sent, None)
    }

    /// Reads an event and gives it the name of a replay.
    pub(crate) fn read_for(text: &str, replay: Option<&str>) -> Result<Event, serde_json::Error> {
        Event::of(serde_json::from_str(text)?, replay)
    }

    fn of(sent: Sent<'_>, replay: Option<&str>) -> Result<Event, serde_json::Error> {
        let id = match sent.id.is_empty() {
            true => cloud::ids::uuid(),
            false => sent.id,
        };
        Event::new(&Parts {
            id: &id,
            detail_type: &sent.detail_type,
            source: &sent.source,
            account: &sent.account,
            time: &sent.time,
            region: &sent.region,
            replay: replay.or(sent.replay_name.as_deref()),
            resources: &sent.resources,
            detail: &compact(sent.detail.get()),
        })
    }

    /// A text at the top of it.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// JSON without the blanks between its parts; everything else stays as it was written.
pub(crate) fn compact(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let (mut is_inside, mut is_escaped) = (false, false);
    for c in json.chars() {
        if is_inside {
            out.push(c);
            match c {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = true,
                '"' => is_inside = false,
                _ => {}
            }
        } else if !matches!(c, ' ' | '\t' | '\n' | '\r') {
            is_inside = c == '"';
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_written_in_its_order_and_without_blanks() {
        let text = "{\"detail\": {\"b\": \" x \\\" }\", \"a\": [1.0, 2]}, \"source\": \"s\", \"account\": \"1\", \"region\": \"r\", \
             \"time\": \"t\", \"detail-type\": \"d\", \"id\": \"i\"}";
        let event = Event::read(text).expect("an event");
        assert_eq!(
            event.text,
            "{\"version\":\"0\",\"id\":\"i\",\"detail-type\":\"d\",\"source\":\"s\",\"account\":\"1\",\"time\":\"t\",\
             \"region\":\"r\",\"resources\":[],\"detail\":{\"b\":\" x \\\" }\",\"a\":[1.0,2]}}"
        );
        let again = Event::read_for(&event.text, Some("again")).expect("an event");
        assert!(
            again
                .text
                .contains("\"region\":\"r\",\"replay-name\":\"again\",\"resources\"")
        );
        assert!(Event::read("{}").is_err() && Event::read("[]").is_err());
    }
}
