//! One suite over every engine: in memory, and durable with rows recent, at rest, and in between.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use store::{Durability, Error, Options, Range, Read, Record, Scope, Store, Table};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Item(u64);

impl Record for Item {}

type Items = Table<(String, String), Item>;

const SCOPE: &[&str] = &["test"];

/// A store and what keeps its directory.
struct Subject {
    store: Store,
    items: Items,
    is_flushing: bool,
    dir: Option<tempfile::TempDir>,
}

impl Subject {
    fn new(dir: Option<tempfile::TempDir>, durability: Durability, is_flushing: bool) -> Subject {
        let path = dir.as_ref().map(|dir| dir.path().to_path_buf());
        let store = Store::open(Options {
            dir: path,
            durability,
            map: None,
            map_for_writing: None,
        })
        .unwrap();
        let items = store.table("test.items");
        Subject {
            store,
            items,
            is_flushing,
            dir,
        }
    }

    fn put(&self, account: &str, key: &str, value: u64) {
        self.store
            .transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                tx.put(&self.items, &(account, key), &Item(value))
            })
            .unwrap();
        self.settle();
    }

    fn delete(&self, account: &str, key: &str) {
        self.store
            .transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                tx.delete(&self.items, &(account, key));
                Ok(())
            })
            .unwrap();
        self.settle();
    }

    fn settle(&self) {
        if self.is_flushing {
            self.store.flush().unwrap();
        }
    }

    fn keys(&self, range: Range<(String, String)>) -> Vec<String> {
        let view = self.store.read();
        view.range(&self.items, range)
            .map(|row| row.unwrap().0.1)
            .collect()
    }
}

/// Runs `test` over each engine.
fn on_each(test: impl Fn(Subject)) {
    let dir = || Some(tempfile::tempdir().unwrap());
    test(Subject::new(None, Durability::None, false));
    test(Subject::new(dir(), Durability::None, false));
    test(Subject::new(dir(), Durability::Process, false));
    test(Subject::new(dir(), Durability::Process, true));
    test(Subject::new(dir(), Durability::Disk, false));
}

#[test]
fn a_record_is_there_until_it_is_deleted() {
    on_each(|subject| {
        subject.put("a", "k", 1);
        subject.put("a", "k", 2);
        let view = subject.store.read();
        assert_eq!(
            view.get(&subject.items, &("a", "k")).unwrap(),
            Some(Item(2))
        );
        assert!(view.contains(&subject.items, &("a", "k")).unwrap());
        subject.delete("a", "k");
        assert_eq!(view.get(&subject.items, &("a", "k")).unwrap(), None);
        assert!(subject.keys(Range::all()).is_empty());
    });
}

#[test]
fn a_failed_transaction_changes_nothing() {
    on_each(|subject| {
        subject.put("a", "k", 1);
        let result = subject.store.transact_now(Scope::new(SCOPE), |tx| {
            tx.put(&subject.items, &("a", "k"), &Item(2))?;
            tx.put(&subject.items, &("a", "new"), &Item(2))?;
            Err::<(), Error>(Error::Corrupt("changed my mind".into()))
        });
        assert!(result.is_err());
        assert_eq!(subject.keys(Range::all()), ["k"]);
        let view = subject.store.read();
        assert_eq!(
            view.get(&subject.items, &("a", "k")).unwrap(),
            Some(Item(1))
        );
    });
}

#[test]
fn a_transaction_sees_its_own_writes() {
    on_each(|subject| {
        for key in ["b", "d", "f"] {
            subject.put("a", key, 0);
        }
        subject
            .store
            .transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                tx.put(&subject.items, &("a", "c"), &Item(1))?;
                tx.put(&subject.items, &("a", "g"), &Item(1))?;
                tx.delete(&subject.items, &("a", "d"));
                let keys = |range: Range<(String, String)>| -> Vec<String> {
                    tx.range(&subject.items, range)
                        .map(|row| row.unwrap().0.1)
                        .collect()
                };
                assert_eq!(keys(Range::all()), ["b", "c", "f", "g"]);
                assert_eq!(keys(Range::all().reverse()), ["g", "f", "c", "b"]);
                assert_eq!(keys(Range::all().limit(2)), ["b", "c"]);
                assert_eq!(tx.get(&subject.items, &("a", "d"))?, None);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn ranges_are_bounded_by_prefix_and_position() {
    on_each(|subject| {
        for (account, key) in [
            ("a", "x"),
            ("b", "1"),
            ("b", "2/1"),
            ("b", "2/2"),
            ("b", "3"),
            ("ba", "9"),
        ] {
            subject.put(account, key, 0);
        }
        let b = || Range::prefix(&("b",));
        assert_eq!(subject.keys(b()), ["1", "2/1", "2/2", "3"]);
        assert_eq!(subject.keys(Range::text(&("b",), "2")), ["2/1", "2/2"]);
        assert_eq!(subject.keys(b().from(&("b", "2/2"))), ["2/2", "3"]);
        assert_eq!(subject.keys(b().after(&("b", "2/2"))), ["3"]);
        assert_eq!(subject.keys(b().after_text(&("b",), "2")), ["3"]);
        assert_eq!(subject.keys(b().until(&("b", "2/2"))), ["1", "2/1"]);
        assert_eq!(subject.keys(b().reverse().limit(2)), ["3", "2/2"]);
        assert!(subject.keys(b().from(&("c",))).is_empty());
    });
}

#[test]
fn a_listing_can_skip_a_common_prefix() {
    on_each(|subject| {
        for index in 0..40 {
            subject.put("a", &format!("d{}/{index:02}", index / 20), 0);
        }
        subject.put("a", "top", 0);
        let view = subject.store.read();
        for reverse in [false, true] {
            let mut range = Range::prefix(&("a",));
            if reverse {
                range = range.reverse();
            }
            let mut rows = view.range(&subject.items, range);
            let mut seen = Vec::new();
            while let Some(row) = rows.next() {
                let ((_, key), _) = row.unwrap();
                match key.split_once('/') {
                    Some((folder, _)) => {
                        rows.skip_text(&("a",), &format!("{folder}/"));
                        seen.push(folder.to_owned());
                    }
                    None => seen.push(key),
                }
            }
            if reverse {
                seen.reverse();
            }
            assert_eq!(seen, ["d0", "d1", "top"]);
        }
        let mut rows = view.range(&subject.items, Range::prefix(&("a",)));
        rows.seek(&("a", "d1/30"));
        assert_eq!(rows.next_key().unwrap().unwrap().1, "d1/30");
        rows.seek(&("a", "d0/00"));
        assert_eq!(rows.next_key().unwrap().unwrap().1, "d1/31");
    });
}

#[test]
fn transactions_of_one_scope_do_not_overlap() {
    on_each(|subject| {
        subject.put("a", "n", 0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        subject
                            .store
                            .transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                                let Item(n) = tx.get(&subject.items, &("a", "n"))?.unwrap();
                                tx.put(&subject.items, &("a", "n"), &Item(n + 1))
                            })
                            .unwrap();
                    }
                });
            }
        });
        let view = subject.store.read();
        assert_eq!(
            view.get(&subject.items, &("a", "n")).unwrap(),
            Some(Item(200))
        );
    });
}

#[test]
fn hooks_run_after_a_commit_and_only_then() {
    on_each(|subject| {
        let runs = Arc::new(AtomicUsize::new(0));
        let transact = |fails: bool| {
            let runs = runs.clone();
            subject.store.transact_now(Scope::new(SCOPE), |tx| {
                tx.put(&subject.items, &("a", "k"), &Item(1))?;
                tx.after_commit(Box::new(move || {
                    runs.fetch_add(1, Ordering::SeqCst);
                }));
                if fails {
                    Err(Error::Corrupt("no".into()))
                } else {
                    Ok(())
                }
            })
        };
        assert!(transact(true).is_err());
        assert_eq!(runs.load(Ordering::SeqCst), 0);
        transact(false).unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    });
}

#[test]
fn a_log_reads_the_same_wherever_its_entries_are() {
    on_each(|subject| {
        let log = subject.store.log::<(String,), Item>("test.places");
        let change = |f: &dyn Fn(&mut store::Tx<'_>) -> Result<(), Error>| {
            subject
                .store
                .transact_now::<_, Error>(Scope::new(SCOPE), |tx| f(tx))
                .unwrap();
        };
        // Entries at rest, then recent ones; the first are gone.
        for n in 1..=40 {
            change(&|tx| log.append(tx, &("a",), &Item(n)).map(drop));
            change(&|tx| log.append(tx, &("b",), &Item(n)).map(drop));
            if n == 20 {
                subject.store.flush().unwrap();
                change(&|tx| log.truncate(tx, &("a",), 5, 100).map(drop));
            }
        }
        let view = subject.store.read();
        for from in 0..45_u64 {
            for limit in [0, 1, 3, 100] {
                let found: Vec<u64> = log
                    .range(&view, &("a",), from, limit)
                    .map(|row| row.unwrap().0.1)
                    .collect();
                let wanted: Vec<u64> = (from.max(5)..=40).take(limit).collect();
                assert_eq!(found, wanted, "{limit} from {from}");
            }
        }
    });
}

#[test]
fn a_log_numbers_its_entries_without_gaps_even_when_truncated() {
    on_each(|subject| {
        let log = subject.store.log::<(String,), Item>("test.events");
        let append = |key: &str| {
            let number = subject
                .store
                .transact_now::<_, Error>(Scope::new(SCOPE), |tx| log.append(tx, &(key,), &Item(7)))
                .unwrap();
            subject.settle();
            number
        };
        assert_eq!(
            [append("x"), append("x"), append("y"), append("x")],
            [1, 2, 1, 3]
        );
        let view = subject.store.read();
        let numbers = |from, limit| -> Vec<u64> {
            log.range(&view, &("x",), from, limit)
                .map(|row| row.unwrap().0.1)
                .collect()
        };
        assert_eq!(numbers(2, 9), [2, 3]);
        assert_eq!(numbers(0, 2), [1, 2]);
        let truncated = subject
            .store
            .transact_now::<_, Error>(Scope::new(SCOPE), |tx| log.truncate(tx, &("x",), 9, 100));
        assert_eq!(truncated.unwrap(), 3);
        subject.settle();
        assert!(numbers(0, 9).is_empty());
        assert_eq!(append("x"), 4);
    });
}

/// What is done to a log.
#[derive(Clone, Copy, Debug)]
enum LogStep {
    /// Appends so many entries in one transaction.
    Append(u64),
    /// Appends, and then fails.
    Fail,
    /// Deletes the entries before so many from the last, at most so many.
    Truncate(u64, usize),
    /// Deletes all entries, and the numbering.
    Forget,
    Flush,
    Reopen,
}

fn log_step() -> impl Strategy<Value = LogStep> {
    prop_oneof![
        4 => (1u64..4).prop_map(LogStep::Append),
        1 => Just(LogStep::Fail),
        2 => (0u64..4, 1usize..6).prop_map(|(kept, most)| LogStep::Truncate(kept, most)),
        1 => Just(LogStep::Forget),
        1 => Just(LogStep::Flush),
        1 => Just(LogStep::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_log_never_gives_a_number_twice(steps in proptest::collection::vec((0..2usize, log_step()), 1..40)) {
        let dir = Some(tempfile::tempdir().unwrap());
        let mut subject = Subject::new(dir, Durability::Process, false);
        let mut log = subject.store.log::<(String,), Item>("test.steps");
        // Of each key: the last number, and the numbers that are there.
        let mut known: [(u64, Vec<u64>); 2] = Default::default();
        for (which, step) in steps {
            let key = [("a",), ("b",)][which];
            let (last, numbers) = &mut known[which];
            let transact = |f: &dyn Fn(&mut store::Tx<'_>) -> Result<(), Error>| {
                subject.store.transact_now::<_, Error>(Scope::new(SCOPE), |tx| f(tx))
            };
            match step {
                LogStep::Append(count) => {
                    let from = *last;
                    transact(&|tx| {
                        for n in 1..=count {
                            assert_eq!(log.append(tx, &key, &Item(n))?, from + n);
                            assert_eq!(log.last(tx, &key)?, from + n);
                        }
                        Ok(())
                    }).unwrap();
                    *last += count;
                    numbers.extend(from + 1..=*last);
                }
                LogStep::Fail => {
                    let failed = transact(&|tx| {
                        log.append(tx, &key, &Item(0))?;
                        Err(Error::Corrupt("changed my mind".into()))
                    });
                    prop_assert!(failed.is_err());
                }
                LogStep::Truncate(kept, most) => {
                    let before = (*last + 1).saturating_sub(kept);
                    transact(&|tx| log.truncate(tx, &key, before, most).map(drop)).unwrap();
                    let gone = numbers.iter().take(most).filter(|n| **n < before).count();
                    numbers.drain(..gone);
                }
                LogStep::Forget => {
                    transact(&|tx| {
                        log.truncate(tx, &key, u64::MAX, usize::MAX)?;
                        log.forget(tx, &key);
                        Ok(())
                    }).unwrap();
                    (*last, *numbers) = (0, Vec::new());
                }
                LogStep::Flush => subject.store.flush().unwrap(),
                LogStep::Reopen => {
                    let dir = subject.dir.take();
                    drop(subject);
                    subject = Subject::new(dir, Durability::Process, false);
                    log = subject.store.log("test.steps");
                }
            }
            for (key, (last, numbers)) in [("a",), ("b",)].iter().zip(&known) {
                prop_assert_eq!(log.last(&subject.store, key).unwrap(), *last);
                let view = subject.store.read();
                let found: Vec<u64> = log.range(&view, key, 0, 1000).map(|row| row.unwrap().0.1).collect();
                prop_assert_eq!(&found, numbers);
            }
        }
    }
}

#[test]
fn everything_is_there_after_reopening() {
    for (durability, is_flushing) in [
        (Durability::None, false),
        (Durability::Process, false),
        (Durability::Disk, true),
    ] {
        let mut subject = Subject::new(Some(tempfile::tempdir().unwrap()), durability, is_flushing);
        for round in 0..4 {
            subject.put("a", &format!("k{round}"), round);
            subject.put("a", "gone", round);
            subject.delete("a", "gone");
            let dir = subject.dir.take();
            drop(subject);
            subject = Subject::new(dir, durability, is_flushing && round % 2 == 0);
            let keys = subject.keys(Range::all());
            assert_eq!(
                keys,
                (0..=round).map(|n| format!("k{n}")).collect::<Vec<_>>()
            );
        }
    }
}

#[test]
fn a_directory_is_opened_once_at_a_time() {
    let subject = Subject::new(
        Some(tempfile::tempdir().unwrap()),
        Durability::Process,
        false,
    );
    let dir = subject.dir.as_ref().map(|dir| dir.path().to_path_buf());
    let again = Options {
        dir,
        ..Options::default()
    };
    assert!(matches!(Store::open(again.clone()), Err(Error::InUse(_))));
    drop(subject.store);
    assert!(Store::open(again).is_ok());
}

#[derive(Clone, Debug)]
enum Step {
    Put(u8, u64),
    Delete(u8),
    Flush,
    Check {
        from: u8,
        reverse: bool,
        limit: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any::<u8>(), any::<u64>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => any::<u8>().prop_map(Step::Delete),
        1 => Just(Step::Flush),
        2 => (any::<u8>(), any::<bool>(), 1..60usize)
            .prop_map(|(from, reverse, limit)| Step::Check { from, reverse, limit }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_durable_store_behaves_as_a_map(steps in proptest::collection::vec(step(), 1..150)) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { dir: Some(dir.path().into()), durability: Durability::Process, map: None, map_for_writing: None };
        let store = Store::open(options).unwrap();
        let table = store.table::<u8, Item>("test.bytes");
        let mut model = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(key, value) => {
                    model.insert(key, Item(value));
                    store.transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                        tx.put(&table, &key, &Item(value))
                    }).unwrap();
                }
                Step::Delete(key) => {
                    model.remove(&key);
                    store.transact_now::<_, Error>(Scope::new(SCOPE), |tx| {
                        tx.delete(&table, &key);
                        Ok(())
                    }).unwrap();
                }
                Step::Flush => store.flush().unwrap(),
                Step::Check { from, reverse, limit } => {
                    let range = Range::all().from(&from).limit(limit);
                    let expected = model.range(from..).map(|(key, item)| (*key, item.clone()));
                    let view = store.read();
                    let (found, expected): (Result<Vec<_>, _>, Vec<_>) = if reverse {
                        (view.range(&table, range.reverse()).collect(), expected.rev().take(limit).collect())
                    } else {
                        (view.range(&table, range).collect(), expected.take(limit).collect())
                    };
                    prop_assert_eq!(found.unwrap(), expected);
                }
            }
        }
    }
}
