//! Measures embedded engines as the store would use them.
//!
//! `engines ENGINE RECORDS DIR [VALUE_BYTES]` fills DIR with random 16-byte keys, measures, kills
//! itself with SIGKILL in a child and times the reopening. ENGINE is one of the names in `open`.
//! All figures are wall time per operation; `cpu` is the process's CPU time per operation.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

mod engines;

use engines::{Engine, open};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let (name, records, dir) = (args[1].as_str(), args[2].parse::<u64>().unwrap(), args[3].as_str());
    let size = args.get(4).map_or(200, |size| size.parse().unwrap());
    if args.get(5).is_some_and(|mode| mode == "child") {
        child(name, records, Path::new(dir), size);
    }
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).unwrap();
    let program = std::env::current_exe().unwrap();
    let size_text = size.to_string();
    Command::new(program)
        .args([name, &args[2], dir, &size_text, "child"])
        .status()
        .unwrap();
    let start = Instant::now();
    let engine = open(name, Path::new(dir));
    assert!(engine.get(&key(0)).is_some());
    let reopened = start.elapsed();
    let lost = (0..records + 40_000).filter(|&i| engine.get(&key(i)).is_none()).count();
    let disk = String::from_utf8(Command::new("du").args(["-sm", dir]).output().unwrap().stdout).unwrap();
    println!(
        "{name:<16} reopen after kill -9 {:.1} ms, lost {lost}, disk {} MiB",
        reopened.as_secs_f64() * 1e3,
        disk.split_whitespace().next().unwrap()
    );
}

/// 16 bytes in no order.
fn key(index: u64) -> [u8; 16] {
    let mut mixed = index.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut key = [0; 16];
    for half in key.chunks_mut(8) {
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        half.copy_from_slice(&mixed.to_be_bytes());
    }
    key
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

fn timed(what: &str, name: &str, count: u64, run: impl FnOnce()) {
    let (start, busy) = (Instant::now(), cpu());
    run();
    println!(
        "{name:<16} {what:<24} {:8.2} us {:8.2} us cpu",
        start.elapsed().as_secs_f64() * 1e6 / count as f64,
        (cpu() - busy) * 1e6 / count as f64
    );
}

fn child(name: &str, records: u64, dir: &Path, size: usize) {
    let engine: Arc<dyn Engine> = open(name, dir);
    let value = vec![7u8; size];
    let singles = 20_000;
    timed("load", name, records, || {
        // Engines with slow single commits load in batches, or this would take minutes.
        if engine.is_quick() {
            (0..records).for_each(|i| engine.put(&[key(i)], &value));
        } else {
            let all: Vec<u64> = (0..records).collect();
            for part in all.chunks(10_000) {
                engine.put(&part.iter().map(|&i| key(i)).collect::<Vec<_>>(), &value);
            }
        }
    });
    timed("(put off by the load)", name, records, || engine.settle());
    timed("put, 1 writer", name, singles, || {
        (records..records + 20_000).for_each(|i| engine.put(&[key(i)], &value));
    });
    timed("put, 32 writers", name, 20_000, || {
        std::thread::scope(|scope| {
            for writer in 0..32 {
                let (engine, value) = (engine.clone(), value.clone());
                scope.spawn(move || {
                    for i in 0..625 {
                        engine.put_grouped(key(records + 20_000 + writer * 625 + i), &value);
                    }
                });
            }
        });
    });
    timed("get", name, 100_000, || {
        for i in 0..100_000 {
            assert!(engine.get(&key(i * 7919 % records)).is_some());
        }
    });
    timed("get of nothing", name, 100_000, || {
        for i in 0..100_000 {
            assert!(engine.get(&key(u64::MAX / 2 + i)).is_none());
        }
    });
    timed("range of 10", name, 20_000, || {
        for i in 0..20_000 {
            engine.range(&key(i * 7919 % records), 10);
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find(|line| line.starts_with("RssAnon")).unwrap();
    println!("{name:<16} {rss}");
    Command::new("kill").args(["-9", &std::process::id().to_string()]).status().unwrap();
    unreachable!();
}
