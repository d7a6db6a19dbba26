//! Delivery policies: how often an HTTP(S) endpoint is tried, how fast, and what its messages are said to be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// When an endpoint that failed is tried again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Retries {
    min: i64,
    max: i64,
    total: u32,
    without_delay: u32,
    at_min: u32,
    at_max: u32,
    function: String,
}

/// How an HTTP(S) subscription's messages are delivered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Effective {
    pub(crate) retries: Retries,
    /// How many a second.
    pub(crate) throttle: Option<f64>,
    pub(crate) content_type: String,
}

const FUNCTIONS: [&str; 4] = ["arithmetic", "exponential", "geometric", "linear"];
const CONTENT_TYPES: [&str; 12] = [
    "application/atom+xml",
    "application/json",
    "application/octet-stream",
    "application/soap+xml",
    "application/x-www-form-urlencoded",
    "application/xhtml+xml",
    "application/xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/plain",
    "text/xml",
];
/// Seconds: no delay is longer, nor all of them together.
const LONGEST: i64 = 3_600;
const MOST_RETRIES: i64 = 100;
const PLAIN: &str = "text/plain; charset=UTF-8";

fn default_retries() -> Value {
    json!({
        "minDelayTarget": 20,
        "maxDelayTarget": 20,
        "numRetries": 3,
        "numMaxDelayRetries": 0,
        "numNoDelayRetries": 0,
        "numMinDelayRetries": 0,
        "backoffFunction": "linear",
    })
}

/// Members that a policy leaves out, as they are by default.
fn filled(policy: &Value, default: Value) -> Value {
    let mut all = default;
    if let (Some(all), Some(own)) = (all.as_object_mut(), policy.as_object()) {
        for (name, value) in own.iter().filter(|(_, v)| !v.is_null()) {
            all.insert(name.clone(), value.clone());
        }
    }
    all
}

impl Retries {
    fn read(policy: &Value) -> Retries {
        let policy = filled(policy, default_retries());
        let number = |name: &str| policy[name].as_i64().unwrap_or_default();
        let count = |name: &str| u32::try_from(number(name)).unwrap_or_default();
        Retries {
            min: number("minDelayTarget"),
            max: number("maxDelayTarget"),
            total: count("numRetries"),
            without_delay: count("numNoDelayRetries"),
            at_min: count("numMinDelayRetries"),
            at_max: count("numMaxDelayRetries"),
            function: policy["backoffFunction"]
                .as_str()
                .unwrap_or("linear")
                .into(),
        }
    }

    /// Milliseconds before the retry of that number, the first being 1; none where there is no such retry.
    pub(crate) fn delay(&self, retry: u32) -> Option<i64> {
        if retry > self.total {
            return None;
        }
        let before = self.without_delay.saturating_add(self.at_min);
        let growing = self
            .total
            .saturating_sub(before)
            .saturating_sub(self.at_max);
        let delay = if retry <= self.without_delay {
            0.0
        } else if retry <= before {
            self.min as f64
        } else if retry > before.saturating_add(growing) {
            self.max as f64
        } else {
            let (step, steps) = (retry - before - 1, growing.saturating_sub(1));
            let share = match steps {
                0 => 0.0,
                steps => f64::from(step) / f64::from(steps),
            };
            let (min, span) = (self.min as f64, (self.max - self.min) as f64);
            match self.function.as_str() {
                "arithmetic" => min + span * share * (share + 1.0) / 2.0,
                "geometric" => min + span * share * share,
                "exponential" => min.max(1.0) * (self.max as f64 / min.max(1.0)).powf(share),
                _ => min + span * share,
            }
        };
        Some((delay * 1000.0).round() as i64)
    }

    fn check(policy: &Value, path: &str) -> Result<(), String> {
        let Some(members) = policy.as_object() else {
            return match policy {
                Value::Null => Ok(()),
                _ => Err(format!("{path} must be an object")),
            };
        };
        for (name, value) in members {
            let (least, most) = match name.as_str() {
                "minDelayTarget" | "maxDelayTarget" => (1, LONGEST),
                "numRetries" | "numMaxDelayRetries" | "numNoDelayRetries"
                | "numMinDelayRetries" => (0, MOST_RETRIES),
                "backoffFunction" => {
                    let known = value.as_str().is_some_and(|f| FUNCTIONS.contains(&f));
                    if !known && !value.is_null() {
                        return Err(format!(
                            "{path}.backoffFunction must be one of: {}",
                            FUNCTIONS.join(", ")
                        ));
                    }
                    continue;
                }
                _ => return Err(format!("Unexpected JSON member: {path}.{name}")),
            };
            if value.is_null() {
                continue;
            }
            match value.as_i64() {
                Some(n) if n < least => {
                    return Err(format!(
                        "{path}.{name} must be greater than or equal to {least}"
                    ));
                }
                Some(n) if n > most => {
                    return Err(format!(
                        "{path}.{name} must be less than or equal to {most}"
                    ));
                }
                Some(_) => {}
                None => return Err(format!("{path}.{name} must be an integer")),
            }
        }
        let read = Retries::read(policy);
        if read.min > read.max {
            return Err(format!(
                "{path}.maxDelayTarget must be greater than or equal to minDelayTarget"
            ));
        }
        if read.without_delay + read.at_min + read.at_max > read.total {
            return Err(format!(
                "{path}.numRetries must be greater than or equal to total of numMinDelayRetries, numNoDelayRetries and numMaxDelayRetries"
            ));
        }
        let all: i64 = (1..=read.total).filter_map(|n| read.delay(n)).sum();
        if all > LONGEST * 1000 {
            return Err(format!(
                "{path}: the total retry time must be less than or equal to {LONGEST} seconds"
            ));
        }
        Ok(())
    }
}

fn check_request(policy: &Value, path: &str) -> Result<(), String> {
    let kind = &policy["headerContentType"];
    let is_known = kind.as_str().is_some_and(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        CONTENT_TYPES.contains(&kind)
    });
    match is_known || kind.is_null() {
        true => Ok(()),
        false => Err(format!("{path}.headerContentType is not supported")),
    }
}

fn check_throttle(policy: &Value, path: &str) -> Result<(), String> {
    let rate = &policy["maxReceivesPerSecond"];
    match rate.is_null() || rate.as_f64().is_some_and(|rate| rate >= 1.0) {
        true => Ok(()),
        false => Err(format!(
            "{path}.maxReceivesPerSecond must be greater than or equal to 1"
        )),
    }
}

fn object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        _ => Err("failed to parse JSON.".into()),
    }
}

/// Checks a topic's policy; the error is AWS's text behind `DeliveryPolicy: `.
pub(crate) fn check_of_topic(text: &str) -> Result<(), String> {
    let all = object(text)?;
    if let Some(other) = all.keys().find(|name| {
        !matches!(
            name.as_str(),
            "http" | "sqs" | "lambda" | "firehose" | "application"
        )
    }) {
        return Err(format!("Unexpected JSON member: {other}"));
    }
    let Some(http) = all.get("http") else {
        return Ok(());
    };
    let members = http.as_object().ok_or("http must be an object")?;
    for (name, value) in members {
        let path = format!("http.{name}");
        match name.as_str() {
            "defaultHealthyRetryPolicy" | "defaultSicklyRetryPolicy" => {
                Retries::check(value, &path)?;
            }
            "defaultThrottlePolicy" => check_throttle(value, &path)?,
            "defaultRequestPolicy" => check_request(value, &path)?,
            "disableSubscriptionOverrides" if value.is_boolean() || value.is_null() => {}
            "disableSubscriptionOverrides" => return Err(format!("{path} must be a boolean")),
            _ => return Err(format!("Unexpected JSON member: {path}")),
        }
    }
    Ok(())
}

/// Checks a subscription's policy likewise.
pub(crate) fn check_of_subscription(text: &str) -> Result<(), String> {
    for (name, value) in &object(text)? {
        match name.as_str() {
            "healthyRetryPolicy" | "sicklyRetryPolicy" => Retries::check(value, name)?,
            "throttlePolicy" => check_throttle(value, name)?,
            "requestPolicy" => check_request(value, name)?,
            "guaranteed" if value.is_boolean() || value.is_null() => {}
            "guaranteed" => return Err("guaranteed must be a boolean".into()),
            _ => return Err(format!("Unexpected JSON member: {name}")),
        }
    }
    Ok(())
}

/// A topic's policy as AWS shows it: without what is null, with whether subscriptions may differ.
pub(crate) fn shown_of_topic(text: &str) -> String {
    let mut policy: Value = serde_json::from_str(text).unwrap_or_default();
    if let Some(http) = policy["http"].as_object_mut() {
        http.retain(|_, value| !value.is_null());
        http.entry("disableSubscriptionOverrides")
            .or_insert(false.into());
    }
    policy.to_string()
}

/// What holds for a topic.
pub(crate) fn effective_of_topic(own: Option<&str>) -> Value {
    let own: Value = own
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let http = &own["http"];
    let mut all = filled(
        http,
        json!({
            "disableSubscriptionOverrides": false,
            "defaultRequestPolicy": { "headerContentType": PLAIN },
        }),
    );
    all["defaultHealthyRetryPolicy"] =
        filled(&http["defaultHealthyRetryPolicy"], default_retries());
    json!({ "http": all })
}

/// A subscription's policy as AWS shows it: with all members.
pub(crate) fn shown_of_subscription(text: &str) -> String {
    let own: Value = serde_json::from_str(text).unwrap_or_default();
    let mut all = filled(
        &own,
        json!({
            "healthyRetryPolicy": null,
            "sicklyRetryPolicy": null,
            "throttlePolicy": null,
            "requestPolicy": null,
            "guaranteed": false,
        }),
    );
    if all["healthyRetryPolicy"].is_object() {
        all["healthyRetryPolicy"] = filled(&own["healthyRetryPolicy"], default_retries());
    }
    all.to_string()
}

/// What holds for a subscription: its own policy where the topic lets it differ, else the topic's.
pub(crate) fn effective_of_subscription(topic: Option<&str>, own: Option<&str>) -> Value {
    let topic = effective_of_topic(topic);
    let topic = &topic["http"];
    let mut all = json!({
        "healthyRetryPolicy": topic["defaultHealthyRetryPolicy"],
        "sicklyRetryPolicy": topic.get("defaultSicklyRetryPolicy"),
        "throttlePolicy": topic.get("defaultThrottlePolicy"),
        "requestPolicy": topic["defaultRequestPolicy"],
        "guaranteed": false,
    });
    let own: Value = own
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    if topic["disableSubscriptionOverrides"] != true {
        all = filled(&own, all);
        if own["healthyRetryPolicy"].is_object() {
            all["healthyRetryPolicy"] = filled(&own["healthyRetryPolicy"], default_retries());
        }
    }
    all
}

impl Effective {
    pub(crate) fn of(topic: Option<&str>, own: Option<&str>) -> Effective {
        let all = effective_of_subscription(topic, own);
        let content_type = all["requestPolicy"]["headerContentType"].as_str();
        Effective {
            retries: Retries::read(&all["healthyRetryPolicy"]),
            throttle: all["throttlePolicy"]["maxReceivesPerSecond"].as_f64(),
            content_type: content_type.unwrap_or(PLAIN).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delays(policy: Value) -> Vec<i64> {
        let read = Retries::read(&policy);
        (1..)
            .map_while(|n| read.delay(n))
            .map(|ms| ms / 1000)
            .collect()
    }

    #[test]
    fn retries_go_through_their_phases() {
        assert_eq!(delays(json!({})), [20, 20, 20]);
        let phases = json!({
            "minDelayTarget": 1, "maxDelayTarget": 60, "numRetries": 10,
            "numNoDelayRetries": 2, "numMinDelayRetries": 2, "numMaxDelayRetries": 2,
        });
        assert_eq!(delays(phases.clone()), [0, 0, 1, 1, 1, 20, 40, 60, 60, 60]);
        for function in FUNCTIONS {
            let mut policy = phases.clone();
            policy["backoffFunction"] = function.into();
            let all = delays(policy);
            assert!(
                all.is_sorted() && all[4] == 1 && all[7] >= 59,
                "{function} {all:?}"
            );
        }
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for bad in [
            json!({ "healthyRetryPolicy": { "numRetries": 101 } }),
            json!({ "healthyRetryPolicy": { "minDelayTarget": 0 } }),
            json!({ "healthyRetryPolicy": { "minDelayTarget": 30 } }),
            json!({ "healthyRetryPolicy": { "numNoDelayRetries": 4 } }),
            json!({ "healthyRetryPolicy": { "backoffFunction": "none" } }),
            json!({ "healthyRetryPolicy": { "numRetries": 100, "maxDelayTarget": 3600 } }),
            json!({ "throttlePolicy": { "maxReceivesPerSecond": 0 } }),
            json!({ "requestPolicy": { "headerContentType": "image/png" } }),
            json!({ "more": 1 }),
            json!([]),
        ] {
            assert!(check_of_subscription(&bad.to_string()).is_err(), "{bad}");
        }
        let fine = json!({ "healthyRetryPolicy": null, "requestPolicy": { "headerContentType": "text/csv" } });
        assert_eq!(check_of_subscription(&fine.to_string()), Ok(()));
    }

    #[test]
    fn a_subscription_differs_where_the_topic_lets_it() {
        let own = json!({ "requestPolicy": { "headerContentType": "text/csv" } }).to_string();
        let topic = |no: bool| {
            let request = json!({ "headerContentType": "text/html" });
            json!({ "http": { "disableSubscriptionOverrides": no, "defaultRequestPolicy": request } })
                .to_string()
        };
        let kind = |t: Option<&str>, s| Effective::of(t, s).content_type;
        assert_eq!(kind(None, None), PLAIN);
        assert_eq!(kind(Some(&topic(false)), None), "text/html");
        assert_eq!(kind(Some(&topic(false)), Some(&own)), "text/csv");
        assert_eq!(kind(Some(&topic(true)), Some(&own)), "text/html");
    }
}
