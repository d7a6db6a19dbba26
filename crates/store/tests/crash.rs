//! What was acknowledged survives `kill -9`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};
use store::{Error, Options, Range, Read, Record, Scope, Store};

#[derive(Serialize, Deserialize)]
struct Item {
    #[serde(with = "serde_bytes")]
    body: Vec<u8>,
}

impl Record for Item {}

/// Where the writing half of the test finds its orders.
const ORDERS: &str = "STORE_CRASH_TEST";

/// Not a test of its own: writes without end and says on standard output what has been
/// acknowledged, until it is killed.
#[test]
#[ignore = "the other half of the tests below, which start it"]
fn writes_until_killed() {
    let Ok(orders) = std::env::var(ORDERS) else {
        return;
    };
    let (durability, dir) = orders.split_once(':').unwrap();
    let durability = durability.parse().unwrap();
    let store = Store::open(Options {
        dir: Some(dir.into()),
        durability,
        map: None,
        map_for_writing: None,
    })
    .unwrap();
    let items = store.table::<(u64, u64, u64), Item>("test.items");
    let run = u64::from(std::process::id());
    std::thread::scope(|scope| {
        for writer in 0..4u64 {
            let store = store.clone();
            scope.spawn(move || {
                for number in 0.. {
                    let body = vec![number as u8; 100 + (number % 50) as usize * 40];
                    let item = Item { body };
                    // Two rows, of which never one may be without the other.
                    store
                        .transact_now::<_, Error>(
                            Scope::new(&["test", &writer.to_string()]),
                            |tx| {
                                tx.put(&items, &(run, writer, number * 2), &item)?;
                                tx.put(&items, &(run, writer, number * 2 + 1), &item)
                            },
                        )
                        .unwrap();
                    let line = format!("ack {run} {writer} {number}\n");
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            });
        }
    });
}

fn survives(durability: &str, rounds: usize, lines: usize) {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u64, u64)> = Vec::new();
    for round in 1..=rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "writes_until_killed", "--ignored", "--nocapture"])
            .env(ORDERS, format!("{durability}:{}", dir.path().display()))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        // A different moment in each round.
        let mut left = lines * round;
        while output.read_line(&mut line).unwrap() > 0 {
            // The last line may be cut by the kill.
            let whole = line
                .strip_suffix('\n')
                .and_then(|line| line.strip_prefix("ack "));
            if let Some(whole) = whole {
                let numbers: Vec<u64> = whole
                    .split(' ')
                    .map(|number| number.parse().unwrap())
                    .collect();
                acknowledged.push((numbers[0], numbers[1], numbers[2]));
            }
            line.clear();
            left = left.saturating_sub(1);
            if left == 0 {
                // What is in the pipe was acknowledged as well, so reading goes on to the end.
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        let store = Store::open(Options {
            dir: Some(dir.path().into()),
            ..Options::default()
        })
        .unwrap();
        let items = store.table::<(u64, u64, u64), Item>("test.items");
        let view = store.read();
        assert!(acknowledged.len() + 10 >= lines * round);
        for (run, writer, number) in &acknowledged {
            for row in [number * 2, number * 2 + 1] {
                let item = view.get(&items, &(*run, *writer, row)).unwrap();
                let item = item.unwrap_or_else(|| panic!("lost {run} {writer} {row}"));
                assert!(item.body.iter().all(|&byte| byte == *number as u8));
            }
        }
        let mut rows = view.range(&items, Range::all());
        let mut count = 0;
        while rows.next_key().unwrap().is_some() {
            count += 1;
        }
        assert_eq!(count % 2, 0, "half a transaction is there");
    }
}

#[test]
fn with_process_durability_nothing_acknowledged_is_lost() {
    survives("process", 5, 1500);
}

#[test]
fn with_disk_durability_nothing_acknowledged_is_lost() {
    survives("disk", 3, 300);
}
