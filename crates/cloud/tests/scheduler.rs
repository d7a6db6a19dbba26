//! Planned jobs: what waits for what.
#![allow(clippy::disallowed_methods, reason = "a test waits")]

use std::sync::Arc;
use std::time::Duration;

use cloud::Cloud;
use parking_lot::Mutex;
use serde_json::Value;
use store::Scope;
use tokio::sync::Notify;
use wire::Fault;

/// What jobs did, in their order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>, Arc<Notify>);

impl Log {
    fn add(&self, text: &str) {
        self.0.lock().push(text.to_owned());
        self.1.notify_one();
    }
    async fn is(&self, expected: &[&str]) {
        let all = async {
            while *self.0.lock() != expected {
                self.1.notified().await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), all)
            .await
            .is_err()
        {
            panic!("{:?} is not {expected:?}", self.0.lock());
        }
    }
}

async fn plan(cloud: &Cloud, kind: &'static str, key: &str, seconds: i64) {
    let when = cloud.clock.now().plus_secs(seconds);
    cloud
        .store
        .transact(Scope::new(&["test"]), |tx| {
            cloud.scheduler.at(tx, when, kind, key, Value::Null)
        })
        .await
        .expect("planned");
}

/// A region where jobs of the kind `long` wait to be let go.
fn region() -> (Cloud, Log, Arc<Notify>) {
    let cloud = Cloud::open(store::Options::default(), cloud::Config::default()).expect("a region");
    let (log, gate) = (Log::default(), Arc::new(Notify::new()));
    for kind in ["long", "short"] {
        let (log, gate) = (log.clone(), gate.clone());
        cloud.scheduler.register(kind, move |job| {
            let (log, gate) = (log.clone(), gate.clone());
            Box::pin(async move {
                if job.kind == "long" {
                    log.add(&format!("{} begins", job.key));
                    gate.notified().await;
                }
                if job.key == "bad" && !log.0.lock().iter().any(|text| text == "bad panics") {
                    log.add("bad panics");
                    panic!("as a mistake in a handler would");
                }
                log.add(&job.key);
                Ok::<_, Fault>(())
            })
        });
    }
    (cloud, log, gate)
}

#[tokio::test]
async fn a_long_job_keeps_those_of_its_kind_waiting_and_no_others() {
    let (cloud, log, gate) = region();
    plan(&cloud, "long", "l1", 0).await;
    plan(&cloud, "long", "l2", 0).await;
    cloud.start();
    log.is(&["l1 begins"]).await;
    plan(&cloud, "short", "s1", 0).await;
    log.is(&["l1 begins", "s1"]).await;
    gate.notify_one();
    log.is(&["l1 begins", "s1", "l1", "l2 begins"]).await;
    // The clock is not moved while a job runs, and a job is run once.
    let later = cloud.clock.now().plus_secs(3600);
    let moved = tokio::spawn({
        let cloud = cloud.clone();
        async move { cloud.scheduler.advance_to(later).await }
    });
    tokio::task::yield_now().await;
    assert!(cloud.clock.now() < later);
    gate.notify_one();
    moved.await.expect("no panic").expect("moved");
    assert!(cloud.clock.now() >= later);
    let all = ["l1 begins", "s1", "l1", "l2 begins", "l2"];
    log.is(&all).await;
    let later = later.plus_secs(60);
    cloud.scheduler.advance_to(later).await.expect("moved");
    log.is(&all).await;
}

#[tokio::test]
async fn a_job_that_panics_is_tried_again_and_stops_nothing() {
    let (cloud, log, _) = region();
    plan(&cloud, "short", "bad", 0).await;
    plan(&cloud, "short", "good", 0).await;
    cloud.start();
    log.is(&["bad panics", "good"]).await;
    plan(&cloud, "short", "better", 0).await;
    log.is(&["bad panics", "good", "better"]).await;
    let later = cloud.clock.now().plus_secs(60);
    cloud.scheduler.advance_to(later).await.expect("moved");
    log.is(&["bad panics", "good", "better", "bad"]).await;
}
