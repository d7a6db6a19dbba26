//! Consumers of streams, over a stream and a sink made of lists.
#![allow(clippy::disallowed_methods, reason = "a test waits")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::consumer::{Batch, Consumers, Item, Lost, Outcome, Owner, Plan, Sink, Start, Stream};
use cloud::ports::{DataRecord, DataRecords, DataShard, DataStart, DataStreams};
use cloud::{Arn, Cloud, Delivery};
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use wire::{Fault, Timestamp};

const ARN: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/s";

#[derive(Default)]
struct Shard {
    parents: Vec<String>,
    records: Vec<DataRecord>,
    is_closed: bool,
    changed: Arc<Notify>,
}

/// Shards whose sequence numbers are places.
#[derive(Default)]
struct Lists(Mutex<Vec<(String, Shard)>>);

impl Lists {
    fn open(&self, id: &str, parents: &[&str]) {
        let shard = Shard {
            parents: parents.iter().map(|p| (*p).to_owned()).collect(),
            ..Shard::default()
        };
        self.0.lock().push((id.to_owned(), shard));
    }
    fn with<R>(&self, id: &str, f: impl FnOnce(&mut Shard) -> R) -> R {
        let mut all = self.0.lock();
        let (_, shard) = all
            .iter_mut()
            .find(|(known, _)| known == id)
            .expect("a shard");
        f(shard)
    }
    fn put(&self, id: &str, key: &str, text: &str) {
        self.with(id, |shard| {
            let number = shard.records.len() + 1;
            shard.records.push(DataRecord {
                sequence_number: format!("{number:05}"),
                partition_key: Some(key.to_owned()),
                data: text.to_owned().into(),
                arrived: Timestamp(1_000_000_000_000 + number as i64),
            });
            shard.changed.notify_waiters();
        });
    }
    fn close(&self, id: &str) {
        self.with(id, |shard| {
            shard.is_closed = true;
            shard.changed.notify_waiters();
        });
    }
}

impl DataStreams for Lists {
    fn shards(&self, _: &Arn) -> Result<Vec<DataShard>, Fault> {
        let all = self.0.lock();
        let shown = all.iter().map(|(id, shard)| DataShard {
            id: id.clone(),
            parents: shard.parents.clone(),
            is_closed: shard.is_closed,
        });
        Ok(shown.collect())
    }
    fn position(&self, _: &Arn, shard: &str, start: DataStart<'_>) -> Result<u64, Fault> {
        let count = self.with(shard, |shard| shard.records.len());
        Ok(match start {
            DataStart::Oldest | DataStart::Since(_) => 1,
            DataStart::Newest => count as u64 + 1,
            DataStart::After(text) => text.parse::<u64>().expect("a number") + 1,
        })
    }
    fn read(&self, _: &Arn, shard: &str, from: u64, limit: usize) -> Result<DataRecords, Fault> {
        self.with(shard, |shard| {
            let rest = shard.records.iter().skip(from as usize - 1);
            let records: Vec<_> = rest.take(limit).cloned().collect();
            let next = from + records.len() as u64;
            Ok(DataRecords {
                is_end: shard.is_closed && next > shard.records.len() as u64,
                next,
                records,
            })
        })
    }
    fn changed(&self, _: &Arn, shard: &str) -> Result<Arc<Notify>, Fault> {
        Ok(self.with(shard, |shard| shard.changed.clone()))
    }
}

type Answer = Box<dyn Fn(&[String], Option<&Value>) -> Outcome + Send + Sync>;

/// Notes batches and answers as it is told.
struct Notes {
    batches: Mutex<Vec<(String, Vec<String>)>>,
    lost: Mutex<Vec<(Vec<String>, bool, u32)>>,
    answer: Answer,
}

fn texts(items: &[Item]) -> Vec<String> {
    let text = |item: &Item| {
        let data = item.record["data"].as_str().expect("data");
        String::from_utf8(STANDARD.decode(data).expect("base64")).expect("text")
    };
    items.iter().map(text).collect()
}

impl Notes {
    fn new(
        answer: impl Fn(&[String], Option<&Value>) -> Outcome + Send + Sync + 'static,
    ) -> Arc<Notes> {
        Arc::new(Notes {
            batches: Mutex::default(),
            lost: Mutex::default(),
            answer: Box::new(answer),
        })
    }
    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().iter().map(|(_, b)| b.clone()).collect()
    }
    fn texts(&self) -> Vec<String> {
        self.batches().concat()
    }
    /// Waits until that holds.
    async fn until(&self, what: impl Fn(&Notes) -> bool) {
        for _ in 0..2_000 {
            if what(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!(
            "it never came: {:?}, {:?}",
            self.batches(),
            self.lost.lock()
        );
    }
}

impl Sink for Notes {
    fn take<'a>(&'a self, batch: Batch<'a>) -> BoxFuture<'a, Outcome> {
        let texts = texts(batch.items);
        let noted = (batch.shard.to_owned(), texts.clone());
        self.batches.lock().push(noted);
        let outcome = (self.answer)(&texts, batch.window.map(|w| &w.state));
        Box::pin(async move {
            tokio::task::yield_now().await;
            outcome
        })
    }
    fn lose<'a>(&'a self, lost: Lost<'a>) -> BoxFuture<'a, Result<Vec<Delivery>, Fault>> {
        let noted = (texts(lost.items), lost.is_old, lost.attempts);
        self.lost.lock().push(noted);
        Box::pin(async { Ok(Vec::new()) })
    }
}

fn fine() -> Outcome {
    Outcome::Done(None)
}

fn failed(first: usize, is_reported: bool) -> Outcome {
    Outcome::Failed {
        first,
        is_reported,
        detail: Value::Null,
    }
}

struct Region {
    cloud: Cloud,
    lists: Arc<Lists>,
    consumers: Consumers,
    owner: Owner,
}

impl Region {
    fn new() -> Region {
        let cloud = Cloud::ephemeral();
        let lists = Arc::new(Lists::default());
        cloud.ports.set_data_streams(lists.clone());
        lists.open("a", &[]);
        let consumers = Consumers::new(&cloud, "test.positions");
        let owner = Owner {
            account: "1".into(),
            name: "c".into(),
        };
        cloud.start();
        Region {
            cloud,
            lists,
            consumers,
            owner,
        }
    }
    fn put(&self, texts: &[&str]) {
        for text in texts {
            self.lists.put("a", "k", text);
        }
    }
    fn stream(&self) -> Stream {
        Stream::of(&self.cloud.ports, ARN).expect("a stream")
    }
    fn start(&self, plan: Plan, start: Start, sink: &Arc<Notes>) {
        self.consumers
            .start(&self.owner, self.stream(), plan, start, sink.clone());
    }
}

#[tokio::test]
async fn a_failed_batch_is_halved_until_only_the_bad_record_is_lost() {
    let region = Region::new();
    region.put(&["1", "2", "bad", "4"]);
    let notes = Notes::new(|texts, _| match texts.iter().any(|t| t == "bad") {
        true => failed(0, false),
        false => fine(),
    });
    let plan = Plan {
        bisects: true,
        retries: Some(0),
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    notes
        .until(|n| n.batches().last().is_some_and(|b| b == &["4"]))
        .await;
    let lost = notes.lost.lock().clone();
    assert_eq!(lost, [(vec!["bad".to_owned()], false, 3)]);
}

#[tokio::test]
async fn a_report_moves_the_position_and_is_not_halved() {
    let region = Region::new();
    region.put(&["1", "bad", "3"]);
    let notes = Notes::new(|texts, _| match texts.iter().position(|t| t == "bad") {
        Some(first) => failed(first, true),
        None => fine(),
    });
    let plan = Plan {
        bisects: true,
        retries: Some(1),
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    notes.until(|n| !n.lost.lock().is_empty()).await;
    assert_eq!(notes.batches(), [vec!["1", "bad", "3"], vec!["bad", "3"]]);
    let lost = notes.lost.lock().clone();
    assert_eq!(lost, [(vec!["bad".to_owned(), "3".to_owned()], false, 2)]);
}

#[tokio::test]
async fn a_successor_goes_on_behind_what_was_taken() {
    let region = Region::new();
    region.put(&["before"]);
    let first = Notes::new(|_, _| fine());
    region
        .consumers
        .begin(&region.owner, &region.stream(), Start::Newest)
        .await
        .expect("a beginning");
    region.put(&["1"]);
    region.start(Plan::default(), Start::Newest, &first);
    first.until(|n| n.texts() == ["1"]).await;
    region.consumers.stop(&region.owner);
    for n in 2..=9 {
        region.lists.put("a", &n.to_string(), &n.to_string());
    }
    // In another number of lanes, what the first one had is not handed over again.
    let second = Notes::new(|_, _| fine());
    let plan = Plan {
        parallel: 4,
        ..Plan::default()
    };
    region.start(plan, Start::Newest, &second);
    second.until(|n| n.texts().len() >= 8).await;
    let mut found = second.texts();
    found.sort();
    assert_eq!(found, (2..=9).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(first.texts(), ["1"]);
    region
        .consumers
        .forget(&region.owner)
        .await
        .expect("an end");
    let third = Notes::new(|_, _| fine());
    region.start(Plan::default(), Start::Oldest, &third);
    third.until(|n| n.texts().len() == 10).await;
}

#[tokio::test]
async fn parents_are_taken_before_their_children_and_keys_stay_in_order() {
    let region = Region::new();
    region.lists.open("b", &["a"]);
    for n in 0..60 {
        let key = format!("k{}", n % 6);
        region.lists.put("a", &key, &format!("{key}-{n:03}"));
        region
            .lists
            .put("b", &key, &format!("{key}-{:03}", n + 100));
    }
    let notes = Notes::new(|_, _| fine());
    let plan = Plan {
        parallel: 3,
        batch_size: 4,
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    notes.until(|n| n.texts().len() == 60).await;
    assert!(notes.batches.lock().iter().all(|(shard, _)| shard == "a"));
    region.lists.close("a");
    notes.until(|n| n.texts().len() == 120).await;
    let all = notes.texts();
    for key in 0..6 {
        let key = format!("k{key}-");
        let own: Vec<_> = all.iter().filter(|t| t.starts_with(&key)).collect();
        assert!(own.is_sorted(), "{own:?}");
    }
}

#[tokio::test]
async fn only_wanted_records_come_and_old_ones_are_lost() {
    let region = Region::new();
    let wanted = json!({ "kind": "b" }).to_string();
    region.put(&["{\"kind\": \"a\"}", "no json", &wanted]);
    let notes = Notes::new(|_, _| fine());
    let pattern = json!({ "data": { "kind": ["b"] } }).to_string();
    let plan = Plan {
        filters: vec![cloud::EventPattern::parse(&pattern).expect("a pattern")],
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    notes.until(|n| n.texts() == [wanted.as_str()]).await;
    region
        .consumers
        .forget(&region.owner)
        .await
        .expect("an end");
    let old = Notes::new(|_, _| fine());
    let plan = Plan {
        max_age: Some(60_000),
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &old);
    old.until(|n| n.lost.lock().len() == 1).await;
    assert!(old.batches().is_empty() && old.lost.lock().iter().all(|(_, is_old, _)| *is_old));
}

#[tokio::test]
async fn a_window_gathers_a_state_and_ends_with_its_time() {
    let region = Region::new();
    region.put(&["1", "2"]);
    let states = Arc::new(Mutex::new(Vec::new()));
    let seen = states.clone();
    let notes = Notes::new(move |texts, state| {
        let so_far = state.and_then(|s| s["n"].as_u64()).unwrap_or(0);
        seen.lock().push(so_far);
        Outcome::Done(Some(json!({ "n": so_far + texts.len() as u64 })))
    });
    let plan = Plan {
        batch_size: 1,
        tumbling: Some(60_000),
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    // The records are of 2001: their window has ended and closes once they are taken.
    notes.until(|n| n.batches().len() == 3).await;
    assert_eq!(
        notes.batches(),
        [vec!["1".to_owned()], vec!["2".to_owned()], vec![]]
    );
    assert_eq!(*states.lock(), [0, 1, 2]);
}

#[tokio::test]
async fn a_sink_that_cannot_take_now_is_asked_again_and_that_does_not_count() {
    let region = Region::new();
    region.put(&["1"]);
    let times = AtomicUsize::new(0);
    let notes = Notes::new(move |_, _| match times.fetch_add(1, Ordering::Relaxed) {
        0 => Outcome::Later,
        1 => failed(0, false),
        _ => fine(),
    });
    let plan = Plan {
        retries: Some(1),
        ..Plan::default()
    };
    region.start(plan, Start::Oldest, &notes);
    notes.until(|n| n.batches().len() == 3).await;
    region.put(&["2"]);
    notes
        .until(|n| n.texts().last().is_some_and(|t| t == "2"))
        .await;
    assert!(notes.lost.lock().is_empty());
}
