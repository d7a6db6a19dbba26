//! Threads that serve connections, each its own from the first byte to the last.
//!
//! A runtime over all processors moves tasks between its threads: for requests that take microseconds, waking another
//! thread costs more than the balance brings, and the processors wait for each other. So each thread here polls its own
//! sockets and nothing else. What a request sets going (tasks, timers, blocking work) belongs to the runtime that
//! the server was started in, and goes on there when the connection has ended.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::linger::{Awake, linger};

/// What serves one connection.
pub(crate) trait Serve: Send + 'static {
    /// Serves it until it ends.
    fn serve(self, socket: TcpStream) -> impl Future<Output = ()> + Send;
}

/// The threads.
pub(crate) struct Workers<S>(Vec<Worker<S>>);

struct Worker<S> {
    sender: UnboundedSender<(std::net::TcpStream, S)>,
    open: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl<S: Serve> Workers<S> {
    /// One per processor.
    pub(crate) fn start() -> io::Result<Workers<S>> {
        let n = std::thread::available_parallelism().map_or(1, usize::from);
        let awake = Arc::new(Awake::default());
        let workers: io::Result<_> = (0..n).map(|n| Worker::start(n, awake.clone())).collect();
        Ok(Workers(workers?))
    }

    /// Hands a connection to the thread that has the fewest.
    pub(crate) fn take(&self, socket: TcpStream, serve: S) -> io::Result<()> {
        let socket = socket.into_std()?;
        let least = self
            .0
            .iter()
            .min_by_key(|worker| worker.open.load(Ordering::Relaxed));
        let worker = least.ok_or(io::ErrorKind::NotFound)?;
        worker.open.fetch_add(1, Ordering::Relaxed);
        let sent = worker.sender.send((socket, serve));
        sent.map_err(|_| io::ErrorKind::BrokenPipe.into())
    }

    /// Ends the threads, and with them what connections there still are.
    pub(crate) async fn stop(self) {
        let threads: Vec<_> = self.0.into_iter().map(|worker| worker.thread).collect();
        let join = move || {
            for thread in threads {
                // A panic has been reported where it happened.
                let _ = thread.join();
            }
        };
        let _ = tokio::task::spawn_blocking(join).await;
    }
}

impl<S: Serve> Worker<S> {
    fn start(n: usize, awake: Arc<Awake>) -> io::Result<Worker<S>> {
        let (sender, receiver) = unbounded_channel();
        let open = Arc::new(AtomicUsize::new(0));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let counted = open.clone();
        let thread = std::thread::Builder::new()
            .name(format!("http-{n}"))
            .spawn(move || {
                runtime.spawn(linger(awake));
                runtime.block_on(accept(receiver, counted));
                runtime.shutdown_background();
            })?;
        Ok(Worker {
            sender,
            open,
            thread,
        })
    }
}

async fn accept<S: Serve>(
    mut sockets: UnboundedReceiver<(std::net::TcpStream, S)>,
    open: Arc<AtomicUsize>,
) {
    while let Some((socket, serve)) = sockets.recv().await {
        let open = open.clone();
        tokio::spawn(async move {
            match TcpStream::from_std(socket) {
                Ok(socket) => serve.serve(socket).await,
                Err(error) => tracing::warn!(%error, "a connection could not be served"),
            }
            open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

/// Runs `future` on this thread, and what it spawns in that runtime.
pub(crate) async fn within<F: Future>(runtime: &Handle, future: F) -> F::Output {
    let mut future = pin!(future);
    poll_fn(|context| {
        let _inside = runtime.enter();
        future.as_mut().poll(context)
    })
    .await
}
