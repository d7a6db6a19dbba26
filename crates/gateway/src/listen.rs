//! Connections: HTTP/1.1, HTTP/2 and TLS on one port, told apart by the first byte.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http::header::{CONTENT_LENGTH, InvalidHeaderName};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Either, Full, StreamBody};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use wire::{Body, BodyError};

use crate::linger;
use crate::pipeline::Gateway;
use crate::workers::{Serve, Workers, within};

/// What a client may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For sending a request's headers, and between requests of one connection.
    pub header_timeout: Duration,
    /// Between two pieces of a body.
    pub body_timeout: Duration,
    /// Size of a request's headers in bytes.
    pub header_bytes: usize,
    /// For requests under way when the server stops.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(60),
            header_bytes: 64 * 1024,
            drain: Duration::from_secs(10),
        }
    }
}

/// A bound port.
pub struct Listener {
    socket: TcpListener,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    workers: Workers<Connection>,
}

type Answered = http::Response<Either<Full<Bytes>, StreamBody<Frames>>>;
type Frames = Pin<Box<dyn futures_util::Stream<Item = Result<Frame<Bytes>, BodyError>> + Send>>;

impl Listener {
    /// Binds an address. With a TLS configuration, TLS is spoken on the same port.
    pub async fn bind(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
    ) -> io::Result<Listener> {
        let socket = TcpListener::bind(address).await?;
        Ok(Listener {
            socket,
            tls: tls.map(TlsAcceptor::from),
            limits,
            workers: Workers::start()?,
        })
    }
    /// The address that was bound.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop` turns true, then lets requests under way finish.
    pub async fn serve(self, gateway: Arc<Gateway>, mut stop: watch::Receiver<bool>) {
        let (done, mut all_done) = tokio::sync::mpsc::channel::<()>(1);
        let runtime = Handle::current();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stopped(&mut stop) => break,
            };
            let (socket, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(e) => {
                    // Out of file descriptors: existing connections free some.
                    tracing::warn!(error = %e, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                }
            };
            let _ = socket.set_nodelay(true);
            let connection = Connection {
                gateway: gateway.clone(),
                tls: self.tls.clone(),
                limits: self.limits,
                stop: stop.clone(),
                peer,
                runtime: runtime.clone(),
                _done: done.clone(),
            };
            if let Err(error) = self.workers.take(socket, connection) {
                tracing::warn!(%error, "a connection could not be served");
            }
        }
        drop(done);
        let _ = tokio::time::timeout(self.limits.drain, all_done.recv()).await;
        self.workers.stop().await;
    }
}

impl Serve for Connection {
    async fn serve(self, socket: TcpStream) {
        let metrics = self.gateway.metrics.clone();
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        self.run(socket).await;
        metrics.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Resolves once the server is to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone: the server is ending anyway.
    drop(stop.wait_for(|s| *s).await);
}

struct Connection {
    gateway: Arc<Gateway>,
    tls: Option<TlsAcceptor>,
    limits: Limits,
    stop: watch::Receiver<bool>,
    peer: SocketAddr,
    /// Where requests are at home.
    runtime: Handle,
    /// Tells at its end that the connection is through.
    _done: tokio::sync::mpsc::Sender<()>,
}

/// The first byte of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;

impl Connection {
    async fn run(self, socket: TcpStream) {
        let mut first = [0u8; 1];
        let peeked =
            tokio::time::timeout(self.limits.header_timeout, socket.peek(&mut first)).await;
        if !matches!(peeked, Ok(Ok(1))) {
            return;
        }
        match &self.tls {
            Some(tls) if first[0] == TLS_HANDSHAKE => {
                match tokio::time::timeout(self.limits.header_timeout, tls.accept(socket)).await {
                    Ok(Ok(stream)) => self.http(TokioIo::new(stream), true).await,
                    Ok(Err(e)) => tracing::debug!(error = %e, "TLS handshake failed"),
                    Err(_) => {}
                }
            }
            _ => self.http(TokioIo::new(socket), false).await,
        }
    }

    /// Speaks HTTP.
    async fn http<I>(self, io: I, secure: bool)
    where
        I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    {
        let Connection {
            gateway,
            limits,
            mut stop,
            peer,
            runtime,
            _done,
            ..
        } = self;
        let traffic = Traffic::default();
        let seen = traffic.clone();
        // Counted per connection: counters that all threads share cost each request more than what they count.
        let shared = Arc::new((gateway, runtime));
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let shared = shared.clone();
            let busy = seen.begin();
            async move {
                let (gateway, runtime) = &*shared;
                let head = request.method() == http::Method::HEAD;
                let request = request.map(|body| incoming(body, limits.body_timeout));
                let answer = gateway.answer(request, peer.ip(), secure);
                let response = within(runtime, answer).await;
                linger::served();
                let answer = outgoing(response, head);
                Ok::<_, std::convert::Infallible>(answer.map(|body| Answer { body, _busy: busy }))
            }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            // A timer for each request's headers would cost more than reading them: see `Traffic`.
            .header_read_timeout(None)
            .max_buf_size(limits.header_bytes.max(8192) + 64 * 1024);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(limits.header_bytes as u32);
        let connection = builder.serve_connection(io, service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = traffic.idle(limits.header_timeout) => return,
            () = stopped(&mut stop) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(e) = ended {
            tracing::debug!(error = %e, "a connection ended");
        }
    }
}

/// What a connection's requests are about: it is closed where it brings none for too long.
#[derive(Clone, Default)]
struct Traffic(Arc<Counts>);

#[derive(Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

/// A request under way, until its answer has been sent.
struct Busy(Traffic);

impl Traffic {
    fn begin(&self) -> Busy {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Busy(self.clone())
    }
    /// Resolves when no request was under way or begun within `patience`, or up to half of it more.
    async fn idle(&self, patience: Duration) {
        const LOOKS: u32 = 3;
        let (mut quiet, mut before) = (0, u64::MAX);
        while quiet < LOOKS {
            tokio::time::sleep(patience / (LOOKS - 1)).await;
            let ended = self.0.ended.load(Ordering::Relaxed);
            let begun = self.0.begun.load(Ordering::Relaxed);
            let is_quiet = begun == ended && begun == before;
            quiet = if is_quiet { quiet + 1 } else { 1 };
            quiet *= u32::from(begun == ended);
            before = begun;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// An answer's body; its request ends with it.
struct Answer {
    body: Either<Full<Bytes>, StreamBody<Frames>>,
    _busy: Busy,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.body {
            Either::Left(whole) => Pin::new(whole).poll_frame(context).map_err(|e| match e {}),
            Either::Right(stream) => Pin::new(stream).poll_frame(context),
        }
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

/// A request's body as services see it.
fn incoming(body: hyper::body::Incoming, patience: Duration) -> Body {
    use http_body::Body as _;
    if body.is_end_stream() {
        return Body::Empty;
    }
    let len = body.size_hint().exact();
    let stream = futures_util::stream::unfold(
        body.into_data_stream(),
        move |mut body| async move {
            let chunk = match tokio::time::timeout(patience, body.next()).await {
            Ok(None) => return None,
            Ok(Some(Ok(bytes))) => Ok(bytes),
            Ok(Some(Err(e))) => Err(BodyError::Incomplete(e.to_string())),
            Err(_) => Err(BodyError::Rejected {
                code: "RequestTimeout",
                message: "Your socket connection to the server was not read from or written to within the timeout period. \
                          Idle connections will be closed."
                    .into(),
            }),
        };
            Some((chunk, body))
        },
    );
    Body::stream(Box::pin(stream), len)
}

/// An answer as hyper sends it.
fn outgoing(response: wire::protocol::Response, head: bool) -> Answered {
    let mut headers = HeaderMap::with_capacity(response.headers.len() + 2);
    for (name, value) in response.headers {
        // The value's own bytes are handed on, not copied.
        match (
            header_name(&name),
            HeaderValue::from_maybe_shared(Bytes::from(value)),
        ) {
            (Ok(name), Ok(value)) => {
                headers.append(name, value);
            }
            _ => tracing::warn!(%name, "a header that cannot be sent is left out"),
        }
    }
    if let Some(len) = response.body.len()
        && !headers.contains_key(CONTENT_LENGTH)
        && response.status != 204
        && response.status != 304
        && response.status >= 200
    {
        headers.insert(CONTENT_LENGTH, len.into());
    }
    let body = match response.body {
        _ if head => Either::Left(Full::new(Bytes::new())),
        Body::Empty => Either::Left(Full::new(Bytes::new())),
        Body::Bytes(bytes) => Either::Left(Full::new(bytes)),
        body => {
            let frames: Frames = Box::pin(body.into_stream().map(|chunk| chunk.map(Frame::data)));
            Either::Right(StreamBody::new(frames))
        }
    };
    let mut answer = http::Response::new(body);
    *answer.headers_mut() = headers;
    *answer.status_mut() = StatusCode::from_u16(response.status).unwrap_or_else(|e| {
        tracing::error!(error = %e, status = response.status, "an answer without a valid status");
        StatusCode::INTERNAL_SERVER_ERROR
    });
    answer
}

/// How many names a thread remembers.
const NAMES: usize = 256;

thread_local! {
    /// Names known when the program was written, as they were last looked up: the same few go out with every answer.
    static KNOWN: RefCell<Vec<Option<(&'static str, HeaderName)>>> = RefCell::new(vec![None; NAMES]);
}

#[allow(clippy::ptr_arg, reason = "whether it is borrowed is the question")]
fn header_name(name: &Cow<'static, str>) -> Result<HeaderName, InvalidHeaderName> {
    let Cow::Borrowed(name) = *name else {
        return HeaderName::from_bytes(name.as_bytes());
    };
    KNOWN.with_borrow_mut(|known| {
        // Literals lie where they lie: their address tells them apart.
        let slot = &mut known[(name.as_ptr() as usize ^ name.len()) % NAMES];
        match slot {
            Some((known, header)) if std::ptr::eq(*known, name) => Ok(header.clone()),
            _ => {
                let header = HeaderName::from_bytes(name.as_bytes())?;
                *slot = Some((name, header.clone()));
                Ok(header)
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_only_while_no_answer_is_under_way() {
        const PATIENCE: Duration = Duration::from_secs(60);
        let traffic = Traffic::default();
        let idle = |traffic: &Traffic, secs| {
            let traffic = traffic.clone();
            async move {
                let span = Duration::from_secs(secs);
                tokio::time::timeout(span, traffic.idle(PATIENCE))
                    .await
                    .is_ok()
            }
        };
        assert!(!idle(&traffic, 59).await);
        assert!(idle(&traffic, 91).await);
        let busy = traffic.begin();
        assert!(!idle(&traffic, 3600).await, "an answer is being sent");
        drop(busy);
        let watched = traffic.clone();
        let watch = tokio::spawn(async move { watched.idle(PATIENCE).await });
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_secs(25)).await;
            drop(traffic.begin());
        }
        assert!(!watch.is_finished(), "requests came all the time");
        tokio::time::sleep(Duration::from_secs(91)).await;
        assert!(watch.is_finished());
    }
}
