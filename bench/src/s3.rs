//! Objects of 1 KiB, 1 MiB and 64 MiB, put and got.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Method;
use md5::{Digest, Md5};

use crate::Outcome;
use crate::load::{self, Call, Connection, Kind, Plan};
use crate::target::Target;

const SIZES: [(&str, usize); 3] = [("1KiB", 1 << 10), ("1MiB", 1 << 20), ("64MiB", 64 << 20)];

/// Runs the scenarios that are wanted.
pub async fn run(bare: &Target, cumulo: &Target, on: &dyn Fn(&str) -> bool) -> Outcome {
    let mut admin = Connection::open(cumulo.port).await?;
    let (status, text) = admin
        .send(Method::PUT, "/bench", "s3", Bytes::new())
        .await?;
    if status != 200 {
        return Err(format!("no bucket: {status} {}", String::from_utf8_lossy(&text)).into());
    }
    for (name, size) in SIZES {
        let body = Bytes::from((0..size).map(|i| (i * 31 % 251) as u8).collect::<Vec<_>>());
        let put_bare: Plan = plan(Method::PUT, |_| "/0".into(), &body);
        // Keys repeat: the state does not grow with the speed of the machine.
        let put: Plan = plan(
            Method::PUT,
            |i| format!("/bench/k{}-{}", i >> 32, i % 512 % 64),
            &body,
        );
        let get_bare: Plan = plan(Method::GET, move |_| format!("/{size}"), &Bytes::new());
        let get: Plan = plan(Method::GET, |_| "/bench/got".into(), &Bytes::new());
        admin
            .send(Method::PUT, "/bench/got", "s3", body.clone())
            .await?;
        let connections: &[usize] = if size > 1 << 20 { &[1, 4] } else { &[1, 32] };
        for &n in connections {
            if on(&format!("s3-put-{name}")) {
                let rate = load::compare(
                    &format!("s3-put-{name}"),
                    n,
                    "s3",
                    (bare, put_bare.clone()),
                    (cumulo, put.clone()),
                )
                .await?;
                if size > 1 << 10 {
                    let share = rate * size as f64 / md5_bytes_per_second(&body);
                    println!("{:<28}{share:>32.2} of one core's MD5", "");
                }
            }
            if on(&format!("s3-get-{name}")) {
                load::compare(
                    &format!("s3-get-{name}"),
                    n,
                    "s3",
                    (bare, get_bare.clone()),
                    (cumulo, get.clone()),
                )
                .await?;
            }
        }
    }
    Ok(())
}

fn plan(
    method: Method,
    path: impl Fn(u64) -> String + Send + Sync + 'static,
    body: &Bytes,
) -> Plan {
    let body = body.clone();
    Arc::new(move |i, _| Call {
        method: method.clone(),
        path: path(i),
        kind: Kind::Rest,
        body: body.clone(),
    })
}

/// How fast one core computes MD5, by the same crate.
fn md5_bytes_per_second(body: &[u8]) -> f64 {
    let started = Instant::now();
    let mut bytes = 0usize;
    while started.elapsed().as_millis() < 300 {
        std::hint::black_box(Md5::digest(body));
        bytes += body.len();
    }
    bytes as f64 / started.elapsed().as_secs_f64()
}
