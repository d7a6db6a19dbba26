//! Insights queries, metric filters, subscriptions, live tail.

mod region;

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use cloud::{Arn, Delivery, MetricData, Receipt, Refusal, Source, Target};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use region::Region;
use serde_json::{Value, json};
use wire::Fault;

const GROUP: &str = "/app/web";

async fn with_stream() -> Region {
    let region = Region::new();
    region
        .ok("CreateLogGroup", json!({ "logGroupName": GROUP }))
        .await;
    region
        .ok(
            "CreateLogStream",
            json!({ "logGroupName": GROUP, "logStreamName": "a" }),
        )
        .await;
    region
}

async fn put(region: &Region, messages: &[&str]) {
    let now = region.now();
    let events: Vec<Value> = messages
        .iter()
        .map(|m| json!({ "timestamp": now, "message": m }))
        .collect();
    region
        .ok(
            "PutLogEvents",
            json!({ "logGroupName": GROUP, "logStreamName": "a", "logEvents": events }),
        )
        .await;
}

/// Waits until `f` answers something; a bound keeps a mistake from waiting for ever.
async fn until<T>(mut f: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..10_000 {
        if let Some(found) = f().await {
            return found;
        }
        tokio::task::yield_now().await;
        std::thread::yield_now();
    }
    panic!("it never came");
}

#[tokio::test]
async fn a_query_runs_to_its_end_and_its_records_can_be_got() {
    let region = with_stream().await;
    put(
        &region,
        &[
            r#"{"level":"ERROR","ms":5}"#,
            r#"{"level":"INFO","ms":7}"#,
            "plain",
        ],
    )
    .await;
    let now = region.now() / 1000;
    let input = json!({
        "logGroupName": GROUP, "startTime": now - 60, "endTime": now + 60,
        "queryString": "fields @message, ms | filter level = 'ERROR' | sort @timestamp desc | limit 20",
    });
    let id = region.ok("StartQuery", input).await["queryId"].clone();
    let answer = until(async || {
        let answer = region.ok("GetQueryResults", json!({ "queryId": id })).await;
        (answer["status"] != "Running").then_some(answer)
    })
    .await;
    assert_eq!(answer["status"], "Complete");
    let fields = answer["results"][0].as_array().expect("a row");
    assert_eq!(fields[1], json!({ "field": "ms", "value": "5" }));
    assert_eq!((&fields[2]["field"], fields.len()), (&json!("@ptr"), 3));
    assert_eq!(answer["statistics"]["recordsMatched"], 1.0);
    assert_eq!(answer["statistics"]["recordsScanned"], 3.0);
    let record = region
        .ok(
            "GetLogRecord",
            json!({ "logRecordPointer": fields[2]["value"] }),
        )
        .await;
    assert_eq!(
        (
            &record["logRecord"]["level"],
            &record["logRecord"]["@logStream"]
        ),
        (&json!("ERROR"), &json!("a"))
    );
    let (code, _) = region.fails("StartQuery", json!({ "logGroupName": GROUP, "startTime": 0, "endTime": 1, "queryString": "nonsense" })).await;
    assert_eq!(code, "MalformedQueryException");
    let queries = region
        .ok("DescribeQueries", json!({ "logGroupName": GROUP }))
        .await;
    assert_eq!(queries["queries"][0]["queryId"], id);
    let fields = region
        .ok("GetLogGroupFields", json!({ "logGroupName": GROUP }))
        .await;
    assert!(
        fields["logGroupFields"]
            .as_array()
            .expect("a list")
            .contains(&json!({ "name": "level", "percent": 66 }))
    );
}

#[tokio::test]
async fn a_metric_filter_turns_messages_into_values() {
    let region = with_stream().await;
    let seen: Arc<Mutex<Vec<MetricData>>> = Arc::default();
    let sink = seen.clone();
    region.cloud.facts.subscribe::<MetricData>(move |data| {
        sink.lock().push(data);
        Box::pin(async { Ok(()) })
    });
    let transformation = json!([{ "metricName": "latency", "metricNamespace": "app", "metricValue": "$.ms", "unit": "Milliseconds" }]);
    let filter = json!({ "logGroupName": GROUP, "filterName": "f", "filterPattern": "{ $.ms > 5 }", "metricTransformations": transformation });
    region.ok("PutMetricFilter", filter).await;
    assert_eq!(
        region.ok("DescribeLogGroups", json!({})).await["logGroups"][0]["metricFilterCount"],
        1
    );
    put(&region, &[r#"{"ms":7}"#, r#"{"ms":1}"#, "plain"]).await;
    let data = until(async || seen.lock().first().cloned()).await;
    assert_eq!(
        (data.namespace.as_str(), data.name.as_str(), data.value),
        ("app", "latency", 7.0)
    );
    assert_eq!(seen.lock().len(), 1);
    let filters = region
        .ok("DescribeMetricFilters", json!({ "metricNamespace": "app" }))
        .await;
    assert_eq!(filters["metricFilters"][0]["filterName"], "f");
    region
        .ok(
            "DeleteMetricFilter",
            json!({ "logGroupName": GROUP, "filterName": "f" }),
        )
        .await;
    assert_eq!(
        region.ok("DescribeLogGroups", json!({})).await["logGroups"][0]["metricFilterCount"],
        0
    );
    let tested = region
        .ok(
            "TestMetricFilter",
            json!({ "filterPattern": "[ip, code=5*]", "logEventMessages": ["x 500", "y 200"] }),
        )
        .await;
    assert_eq!(
        tested["matches"],
        json!([{ "eventNumber": 1, "eventMessage": "x 500", "extractedValues": { "$ip": "x", "$code": "500" } }])
    );
}

#[derive(Default)]
struct Function(Mutex<Vec<Delivery>>);

impl Target for Function {
    fn deliver<'a>(&'a self, delivery: &'a Delivery) -> BoxFuture<'a, Result<Receipt, Refusal>> {
        self.0.lock().push(delivery.clone());
        Box::pin(async { Ok(Receipt::default()) })
    }
    fn check(&self, target: &Arn, _: &Source) -> Result<(), Fault> {
        match target.resource.ends_with(":f") {
            true => Ok(()),
            false => Err(Fault::sender(
                404,
                "ResourceNotFoundException",
                "no such function",
            )),
        }
    }
}

#[tokio::test]
async fn a_subscription_delivers_matching_events_packed_as_aws_does() {
    let region = with_stream().await;
    let function = Arc::new(Function::default());
    region.cloud.targets.register("lambda", function.clone());
    let subscribe = |name: &str, function: &str| {
        json!({
            "logGroupName": GROUP, "filterName": name, "filterPattern": "ERROR",
            "destinationArn": format!("arn:aws:lambda:us-east-1:000000000000:function:{function}"),
        })
    };
    assert_eq!(
        region
            .fails("PutSubscriptionFilter", subscribe("s", "none"))
            .await
            .0,
        "InvalidParameterException"
    );
    region
        .ok("PutSubscriptionFilter", subscribe("s", "f"))
        .await;
    put(&region, &["ERROR 1", "INFO", "ERROR 2"]).await;
    let delivery = until(async || function.0.lock().first().cloned()).await;
    assert_eq!(delivery.source.service, "logs.amazonaws.com");
    let payload: Value = serde_json::from_str(&delivery.payload).expect("JSON");
    let data = base64::engine::general_purpose::STANDARD
        .decode(payload["awslogs"]["data"].as_str().expect("data"))
        .expect("base64");
    let mut text = String::new();
    flate2::read::GzDecoder::new(&data[..])
        .read_to_string(&mut text)
        .expect("gzip");
    let message: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(message["messageType"], "DATA_MESSAGE");
    assert_eq!(
        (&message["logGroup"], &message["subscriptionFilters"]),
        (&json!(GROUP), &json!(["s"]))
    );
    let sent: Vec<&Value> = message["logEvents"]
        .as_array()
        .expect("events")
        .iter()
        .map(|e| &e["message"])
        .collect();
    assert_eq!(sent, ["ERROR 1", "ERROR 2"]);
    region
        .ok("PutSubscriptionFilter", subscribe("t", "f"))
        .await;
    assert_eq!(
        region
            .fails("PutSubscriptionFilter", subscribe("u", "f"))
            .await
            .0,
        "LimitExceededException"
    );
}

#[tokio::test]
async fn policies_and_definitions_are_read_back() {
    let region = with_stream().await;
    let document = r#"{"Version":"2012-10-17","Statement":[]}"#;
    region
        .ok(
            "PutResourcePolicy",
            json!({ "policyName": "p", "policyDocument": document }),
        )
        .await;
    let policies = region.ok("DescribeResourcePolicies", json!({})).await;
    assert_eq!(policies["resourcePolicies"][0]["policyDocument"], document);
    region
        .ok("DeleteResourcePolicy", json!({ "policyName": "p" }))
        .await;
    assert_eq!(
        region
            .fails("DeleteResourcePolicy", json!({ "policyName": "p" }))
            .await
            .0,
        "ResourceNotFoundException"
    );
    let put = region
        .ok(
            "PutQueryDefinition",
            json!({ "name": "n", "queryString": "fields @message" }),
        )
        .await;
    let listed = region
        .ok(
            "DescribeQueryDefinitions",
            json!({ "queryDefinitionNamePrefix": "n" }),
        )
        .await;
    assert_eq!(
        listed["queryDefinitions"][0]["queryDefinitionId"],
        put["queryDefinitionId"]
    );
    let input =
        json!({ "taskName": "t", "logGroupName": GROUP, "from": 0, "to": 1, "destination": "b" });
    assert_eq!(
        region.call("CreateExportTask", input).await.0,
        501,
        "there is no S3 in this region"
    );
}

#[tokio::test]
async fn a_live_tail_shows_what_is_put_while_it_listens() {
    use futures_util::StreamExt;
    use wire::event_stream::Message;
    let region = with_stream().await;
    let input = json!({
        "logGroupIdentifiers": ["arn:aws:logs:us-east-1:000000000000:log-group:/app/web"],
        "logEventFilterPattern": "ERROR",
    });
    let (status, body) = region.stream("StartLiveTail", input).await;
    assert_eq!(status, 200);
    let mut frames = body.into_stream();
    let mut next = async || {
        let frame = frames.next().await.expect("a frame").expect("no error");
        let message = Message::parse(&mut bytes::BytesMut::from(&frame[..]))
            .expect("valid")
            .expect("whole");
        (
            message.header(":event-type").expect("a type").to_owned(),
            message.payload,
        )
    };
    assert_eq!(
        next().await.0,
        "initial-response",
        "clients of a JSON protocol wait for it"
    );
    assert_eq!(next().await.0, "sessionStart");
    put(&region, &["ERROR now", "INFO"]).await;
    let (kind, payload) = next().await;
    let update: Value = serde_json::from_slice(&payload).expect("JSON");
    assert_eq!(
        (
            kind.as_str(),
            update["sessionResults"].as_array().map(Vec::len)
        ),
        ("sessionUpdate", Some(1))
    );
    assert_eq!(update["sessionResults"][0]["message"], "ERROR now");
}
