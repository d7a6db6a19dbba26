//! A measured value on its way to whoever keeps metrics.

use serde::{Deserialize, Serialize};
use wire::Timestamp;

use crate::Fact;

/// One value of a metric. Emitted by services that measure; subscribed to by the service that keeps metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricData {
    /// The account.
    pub account: String,
    /// The region.
    pub region: String,
    /// `AWS/Lambda`, or the user's own.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// Names and values.
    pub dimensions: Vec<(String, String)>,
    /// The value.
    pub value: f64,
    /// `Count`, `Milliseconds`, …; `None` as the metric's own.
    pub unit: Option<String>,
    /// When it was measured.
    pub time: Timestamp,
}

impl Fact for MetricData {
    const NAME: &'static str = "cloud.MetricData";
}
