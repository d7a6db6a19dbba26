//! What every service is given: who calls, the time, durable jobs and facts, the road to other services.
//!
//! A service is built from a [`Cloud`] and hands back a [`Service`]. It touches neither the system clock, nor
//! randomness, nor another service: those are [`Clock`], [`ids`] and [`Targets`].

pub mod arn;
mod clock;
mod complaints;
pub mod consumer;
mod context;
mod event_pattern;
mod facts;
mod http_client;
pub mod ids;
pub mod json_tree;
mod metric;
pub mod paging;
pub mod poller;
pub mod ports;
mod region;
pub mod schedule;
mod scheduler;
mod service;
mod targets;

pub use arn::Arn;
pub use clock::Clock;
pub use context::{Context, Principal, PrincipalKind};
pub use event_pattern::{BadPattern, Comparison, EventPattern, Test, TextTest};
pub use facts::{Fact, Facts};
pub use http_client::{HttpAnswer, HttpCall, HttpClient, HttpError};
pub use metric::MetricData;
pub use ports::Ports;
pub use region::{Cloud, Config};
pub use scheduler::{Job, Scheduler};
pub use service::{Before, Call, Front, Handler, Manners, Service};
pub use targets::{
    Delivery, Ending, Receipt, Refusal, RetryPolicy, Source, Target, Targets, Witness,
};
