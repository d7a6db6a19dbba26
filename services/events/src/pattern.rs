//! Event patterns in the API, and their test.

use cloud::{Context, EventPattern};
use serde_json::Value;
use wire::Fault;

use crate::api::{TestEventPatternInput, TestEventPatternOutput};
use crate::errors::*;
use crate::place::invalid;
use crate::service::Events;

/// Reads a pattern.
pub(crate) fn parse(text: &str) -> Result<EventPattern, Fault> {
    EventPattern::parse(text).map_err(|bad| {
        invalid_event_pattern_exception(format!("Event pattern is not valid. Reason: {bad}"))
    })
}

/// What every event has.
const REQUIRED: [&str; 6] = ["id", "account", "source", "time", "region", "detail-type"];

impl Events {
    pub(crate) async fn test_event_pattern(
        &self,
        _: &Context,
        input: TestEventPatternInput,
    ) -> Result<TestEventPatternOutput, Fault> {
        let pattern = parse(&input.event_pattern)?;
        let event = serde_json::from_str(&input.event).ok();
        let event = event.filter(Value::is_object);
        let event = event.ok_or_else(|| invalid("Parameter Event is not valid."))?;
        if REQUIRED.iter().any(|name| event.get(name).is_none()) {
            return Err(invalid("Parameter Event is not valid."));
        }
        Ok(TestEventPatternOutput {
            result: Some(pattern.matches(&event)),
        })
    }
}
