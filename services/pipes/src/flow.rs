//! What becomes of events: enriched by a function, made anew by templates, and sent to the target.

use std::collections::BTreeMap;

use bytes::Bytes;
use cloud::ports::FunctionAnswer;
use cloud::{Cloud, Delivery, EventPattern, Refusal, Source};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use wire::Fault;
use wire::json::restored;

use crate::api::{
    PipeEnrichmentParameters, PipeSourceParameters, PipeTargetParameters,
    pipe_target_invocation_type,
};
use crate::pipe::{Pipe, Place, service_of};
use crate::template::{self, About};

/// A pipe that runs.
pub(crate) struct Flow {
    pub(crate) cloud: Cloud,
    pub(crate) place: Place,
    pub(crate) pipe: Pipe,
    pub(crate) of_source: PipeSourceParameters,
    pub(crate) filters: Vec<EventPattern>,
    of_enrichment: PipeEnrichmentParameters,
    of_target: PipeTargetParameters,
}

/// The events that were not taken, by their places; all others were.
pub(crate) type Failed = Vec<usize>;

/// An event and what the target gets of it.
struct Sent {
    event: Value,
    text: String,
}

fn answered(answer: FunctionAnswer) -> Result<Value, Fault> {
    match answer.has_failed {
        true => Err(Fault::sender(
            400,
            "FunctionError",
            String::from_utf8_lossy(&answer.payload).into_owned(),
        )),
        false => Ok(serde_json::from_slice(&answer.payload).unwrap_or_default()),
    }
}

/// JSON as it is, any other text as a JSON text.
fn as_json(text: &str) -> String {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(_) => text.to_owned(),
        Err(_) => Value::from(text).to_string(),
    }
}

impl Flow {
    pub(crate) fn new(cloud: &Cloud, place: &Place, pipe: &Pipe) -> Result<Flow, Fault> {
        let of_source: PipeSourceParameters = restored(&pipe.of_source)?;
        let filters = of_source.filter_criteria.iter().flat_map(|c| &c.filters);
        let filters = filters.flatten().filter_map(|f| f.pattern.as_ref());
        let filters = filters
            .filter_map(|p| EventPattern::parse(p).ok())
            .collect();
        let of_enrichment = pipe.of_enrichment.as_deref().map(restored);
        let of_target = pipe.of_target.as_deref().map(restored);
        Ok(Flow {
            cloud: cloud.clone(),
            place: place.clone(),
            filters,
            of_source,
            of_enrichment: of_enrichment.transpose()?.unwrap_or_default(),
            of_target: of_target.transpose()?.unwrap_or_default(),
            pipe: pipe.clone(),
        })
    }

    /// Whether anything is made anew by a template.
    pub(crate) fn has_template(&self) -> bool {
        let of = [
            &self.of_enrichment.input_template,
            &self.of_target.input_template,
        ];
        of.into_iter().flatten().any(|t| !t.is_empty())
    }

    pub(crate) fn source(&self) -> Source {
        Source {
            service: "pipes.amazonaws.com".into(),
            arn: self.place.arn(),
            account: self.place.account.clone(),
            role: Some(self.pipe.role.clone()),
        }
    }

    fn fill(&self, template: Option<&String>, event: &Value) -> String {
        let Some(template) = template.filter(|t| !t.is_empty()) else {
            return event.to_string();
        };
        let about = About {
            pipe_arn: &self.place.arn(),
            pipe_name: &self.place.name,
            source: &self.pipe.source,
            enrichment: self.pipe.enrichment.as_deref().unwrap_or_default(),
            target: &self.pipe.target,
            ingestion: self.cloud.clock.now(),
        };
        template::fill(template, event, &about)
    }

    async fn call(&self, function: &str, texts: &[String]) -> Result<Value, Fault> {
        let functions = self.cloud.ports.functions();
        let functions = functions.ok_or_else(|| Fault::internal("there are no functions here"))?;
        let all: Vec<String> = texts.iter().map(|t| as_json(t)).collect();
        let payload = Bytes::from(format!("[{}]", all.join(",")));
        answered(functions.invoke(function, payload, &self.source()).await?)
    }

    /// Takes events through the pipe; those that failed, by their places.
    pub(crate) async fn pass(&self, events: Vec<Value>) -> Result<Failed, Fault> {
        let count = events.len();
        let events = match &self.pipe.enrichment {
            Some(function) => {
                let template = self.of_enrichment.input_template.as_ref();
                let texts: Vec<String> = events.iter().map(|e| self.fill(template, e)).collect();
                match self.call(function, &texts).await? {
                    Value::Array(list) => list,
                    Value::Null => Vec::new(),
                    one => vec![one],
                }
            }
            None => events,
        };
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let template = self.of_target.input_template.as_ref();
        let sent: Vec<Sent> = events
            .into_iter()
            .map(|event| Sent {
                text: self.fill(template, &event),
                event,
            })
            .collect();
        let failed = self.send(&sent).await?;
        // What a function made of the events has no place among them.
        match self.pipe.enrichment.is_some() && !failed.is_empty() {
            true => Ok((0..count).collect()),
            false => Ok(failed),
        }
    }

    async fn send(&self, sent: &[Sent]) -> Result<Failed, Fault> {
        let service = service_of(&self.pipe.target);
        if service == "lambda" {
            return self.send_to_function(sent).await;
        }
        let mut failed = Vec::new();
        for (place, one) in sent.iter().enumerate() {
            let delivery = self.delivery(&service, one);
            if let Err(Refusal::Later(fault) | Refusal::Never(fault)) =
                self.cloud.targets.deliver(&delivery).await
            {
                tracing::warn!(pipe = self.place.arn(), target_arn = self.pipe.target, %fault, "an event was refused");
                failed.push(place);
            }
        }
        Ok(failed)
    }

    async fn send_to_function(&self, sent: &[Sent]) -> Result<Failed, Fault> {
        let texts: Vec<String> = sent.iter().map(|s| s.text.clone()).collect();
        let parameters = self.of_target.lambda_function_parameters.as_ref();
        let kind = parameters.and_then(|p| p.invocation_type.as_deref());
        if kind == Some(pipe_target_invocation_type::FIRE_AND_FORGET) {
            let all: Vec<String> = texts.iter().map(|t| as_json(t)).collect();
            let mut delivery = self.bare(BTreeMap::new());
            delivery.payload = format!("[{}]", all.join(","));
            return match self.cloud.targets.deliver(&delivery).await {
                Ok(_) => Ok(Vec::new()),
                Err(Refusal::Later(fault) | Refusal::Never(fault)) => Err(fault),
            };
        }
        let answer = self.call(&self.pipe.target, &texts).await?;
        let reported = answer.get("batchItemFailures").and_then(Value::as_array);
        let mut failed = Vec::new();
        for item in reported.into_iter().flatten() {
            let id = item.get("itemIdentifier").and_then(Value::as_str);
            match sent
                .iter()
                .position(|s| id.is_some() && identifier(&s.event) == id)
            {
                Some(place) => failed.push(place),
                // A report that cannot be understood saves nothing.
                None => return Ok((0..sent.len()).collect()),
            }
        }
        Ok(failed)
    }

    fn bare(&self, parameters: BTreeMap<String, String>) -> Delivery {
        Delivery {
            target: self.pipe.target.clone(),
            source: self.source(),
            parameters,
            ..Delivery::default()
        }
    }

    fn delivery(&self, service: &str, sent: &Sent) -> Delivery {
        let of = &self.of_target;
        let text = |given: &String| template::text(&sent.event, given);
        let mut parameters = BTreeMap::new();
        let mut keep = |name: &str, value: Option<&String>| {
            if let Some(value) = value {
                parameters.insert(name.to_owned(), text(value));
            }
        };
        if let Some(queue) = &of.sqs_queue_parameters {
            keep("MessageGroupId", queue.message_group_id.as_ref());
            keep(
                "MessageDeduplicationId",
                queue.message_deduplication_id.as_ref(),
            );
        }
        if let Some(stream) = &of.kinesis_stream_parameters {
            keep("partition_key", Some(&stream.partition_key));
        }
        if let Some(logs) = &of.cloud_watch_logs_parameters {
            keep("LogStreamName", logs.log_stream_name.as_ref());
        }
        if let Some(http) = &of.http_parameters {
            let values = |map: &Option<BTreeMap<String, String>>| {
                let map = map.iter().flatten();
                map.map(|(k, v)| (k.clone(), text(v)))
                    .collect::<BTreeMap<_, _>>()
            };
            let path = http.path_parameter_values.iter().flatten();
            let http = json!({
                "path": path.map(text).collect::<Vec<_>>(),
                "headers": values(&http.header_parameters),
                "query": values(&http.query_string_parameters),
            });
            parameters.insert("HttpParameters".to_owned(), http.to_string());
        }
        let mut delivery = self.bare(parameters);
        delivery.payload = match service {
            "events" if self.pipe.target.contains(":event-bus/") => self.bus_event(sent),
            _ => sent.text.clone(),
        };
        delivery
    }

    /// The event of a bus.
    fn bus_event(&self, sent: &Sent) -> String {
        let of = self.of_target.event_bridge_event_bus_parameters.as_ref();
        let text = |given: Option<&String>| given.map(|g| template::text(&sent.event, g));
        let kind = format!("Event from aws:{}", service_of(&self.pipe.source));
        let resources = of.and_then(|o| o.resources.as_ref()).into_iter().flatten();
        let resources: Vec<_> = resources.filter_map(|r| text(Some(r))).collect();
        let now = self.cloud.clock.now().iso8601_secs();
        let event = json!({
            "version": "0",
            "id": cloud::ids::uuid(),
            "detail-type": text(of.and_then(|o| o.detail_type.as_ref())).unwrap_or(kind),
            "source": text(of.and_then(|o| o.source.as_ref()))
                .unwrap_or_else(|| format!("Pipe {}", self.place.name)),
            "account": self.place.account,
            "time": text(of.and_then(|o| o.time.as_ref())).unwrap_or(now),
            "region": self.place.region,
            "resources": resources,
        });
        let mut shown = event.to_string();
        shown.pop();
        format!("{shown},\"detail\":{}}}", as_json(&sent.text))
    }
}

/// What a function's report calls an event.
fn identifier(event: &Value) -> Option<&str> {
    let own = event
        .get("messageId")
        .or_else(|| event.get("sequenceNumber"));
    let of_table = || event.get("dynamodb").and_then(|d| d.get("SequenceNumber"));
    own.or_else(of_table).and_then(Value::as_str)
}
