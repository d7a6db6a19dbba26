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

/// A request.
pub struct Call {
    /// Its method.
    pub method: http::Method,
    /// Path and query.
    pub path: String,
    /// How its operation is told.
    pub kind: Kind,
    /// Its body.
    pub body: Bytes,
}

/// How a request names its operation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// By method and path.
    Rest,
    /// By `X-Amz-Target`.
    Json(&'static str),
    /// By a field of a form.
    Form,
}

/// What is sent, by the request's number and the answer to the connection's last request.
pub type Plan = Arc<dyn Fn(u64, &Bytes) -> Call + Send + Sync>;

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
    /// One request without a target.
    pub async fn send(
        &mut self,
        method: http::Method,
        path: &str,
        scope: &str,
        body: Bytes,
    ) -> Outcome<(u16, Bytes)> {
        let call = Call {
            method,
            path: path.to_owned(),
            kind: Kind::Rest,
            body,
        };
        self.call(scope, call).await
    }
    /// One request; its status and its body's first piece.
    pub async fn call(&mut self, scope: &str, call: Call) -> Outcome<(u16, Bytes)> {
        let Call {
            method,
            path,
            kind,
            body,
        } = call;
        self.0.ready().await?;
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/{scope}/aws4_request, SignedHeaders=host, Signature=0"
        );
        let mut request = http::Request::builder().method(method).uri(path);
        request = match kind {
            Kind::Rest => request,
            Kind::Json(target) => request
                .header("x-amz-target", target)
                .header("content-type", "application/x-amz-json-1.0"),
            Kind::Form => request.header("content-type", "application/x-www-form-urlencoded"),
        };
        let request = request
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

impl Connection {
    /// One request that must succeed; its body's first piece.
    pub async fn expect(&mut self, scope: &str, call: Call) -> Outcome<Bytes> {
        let (status, text) = self.call(scope, call).await?;
        if !(200..300).contains(&status) {
            return Err(format!("{scope}: {status} {}", String::from_utf8_lossy(&text)).into());
        }
        Ok(text)
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
                let (mut done, mut last) = (0u64, Bytes::new());
                while started.elapsed() < span {
                    let call = plan((n as u64) << 32 | done, &last);
                    last = connection.expect(scope, call).await?;
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
        let call = plan(i as u64, &Bytes::new());
        let started = Instant::now();
        connection.expect(scope, call).await?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
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
    scope: &'static str,
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
            let rate = rate(target, connections, span, scope, plan).await?;
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
