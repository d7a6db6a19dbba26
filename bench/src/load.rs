//! Keep-alive connections that send one request after the other, and the times they take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;

use crate::Outcome;
use crate::target::Target;

/// A connection.
pub struct Connection(SendRequest<Full<Bytes>>);

/// What is sent: method, path (with the request's number), body.
pub type Plan = Arc<dyn Fn(u64) -> (http::Method, String, Bytes) + Send + Sync>;

impl Connection {
    /// To that server.
    pub async fn open(port: u16) -> Outcome<Connection> {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection(sender))
    }
    /// One request; its status and body's length.
    pub async fn send(
        &mut self,
        method: http::Method,
        path: &str,
        scope: &str,
        body: Bytes,
    ) -> Outcome<(u16, Bytes)> {
        self.0.ready().await?;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{scope}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "127.0.0.1:4566")
            .header("authorization", authorization)
            .header("x-amz-content-sha256", "UNSIGNED-PAYLOAD")
            .body(Full::new(body))?;
        let response = self.0.send_request(request).await?;
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut first = Bytes::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame?.into_data()
                && first.is_empty()
            {
                first = data;
            }
        }
        Ok((status, first))
    }
}

/// Requests per second over `connections` for `span`; any status but 2xx is an error.
pub async fn rate(
    target: &Target,
    connections: usize,
    span: Duration,
    scope: &'static str,
    plan: &Plan,
) -> Outcome<f64> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(Connection::open(target.port).await?);
    }
    let started = Instant::now();
    let tasks: Vec<_> = open
        .into_iter()
        .enumerate()
        .map(|(n, mut connection)| {
            let plan = plan.clone();
            tokio::spawn(async move {
                let mut done = 0u64;
                while started.elapsed() < span {
                    let (method, path, body) = plan((n as u64) << 32 | done);
                    let (status, text) = connection.send(method, &path, scope, body).await?;
                    if !(200..300).contains(&status) {
                        return Err(
                            format!("{path}: {status} {}", String::from_utf8_lossy(&text)).into(),
                        );
                    }
                    done += 1;
                }
                Outcome::Ok(done)
            })
        })
        .collect();
    let mut total = 0;
    for task in tasks {
        total += task.await??;
    }
    Ok(total as f64 / started.elapsed().as_secs_f64())
}

/// Median milliseconds of `n` requests one after the other.
pub async fn median_ms(
    target: &Target,
    n: usize,
    scope: &'static str,
    plan: &Plan,
) -> Outcome<f64> {
    let mut connection = Connection::open(target.port).await?;
    let mut times = Vec::new();
    for i in 0..n {
        let (method, path, body) = plan(i as u64);
        let started = Instant::now();
        let (status, text) = connection.send(method, &path, scope, body).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
        if !(200..300).contains(&status) {
            return Err(format!("{path}: {status} {}", String::from_utf8_lossy(&text)).into());
        }
    }
    Ok(median(times))
}

/// The middle one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Both servers in turns; prints medians, their ratio, and the microseconds of processor time that each server used
/// a request: those move less with the machine's load than the rates do.
pub async fn compare(
    name: &str,
    connections: usize,
    bare: (&Target, Plan),
    cumulo: (&Target, Plan),
) -> Outcome<f64> {
    const ROUNDS: usize = 3;
    let span = Duration::from_secs(2);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let (mut a_cpu, mut b_cpu) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for ((target, plan), rates, cpu) in
            [(&bare, &mut a, &mut a_cpu), (&cumulo, &mut b, &mut b_cpu)]
        {
            let before = target.cpu_seconds();
            let rate = rate(target, connections, span, "s3", plan).await?;
            rates.push(rate);
            cpu.push((target.cpu_seconds() - before) / (rate * span.as_secs_f64()) * 1e6);
        }
    }
    let ratios = a.iter().zip(&b).map(|(a, b)| b / a).collect();
    let (a, b, ratio) = (median(a), median(b), median(ratios));
    let (a_cpu, b_cpu) = (median(a_cpu), median(b_cpu));
    println!("{name:<22}{connections:>6}{a:>12.0}{b:>12.0}{ratio:>8.2}{a_cpu:>12.1}{b_cpu:>12.1}");
    Ok(b)
}
