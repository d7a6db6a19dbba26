//! Extensions: programs in `/opt/extensions` that run beside a function's runtime, and parts of the runtime's own process that want to
//! hear of invocations (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>).
//!
//! An environment is made when its runtime and all its extensions ask for what comes next, and an invocation has ended when they do so
//! again. `runtime_api` answers them, `bootstrap/extensions.sh` starts them.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use wire::Timestamp;

use crate::environment::Event;
use crate::watched::Watched;

/// How many an environment may have.
const MOST: usize = 10;
/// How long extensions have when their environment ends, milliseconds.
const SHUTDOWN_MILLIS: i64 = 2_000;
const SHUTDOWN: Duration = Duration::from_millis(SHUTDOWN_MILLIS.unsigned_abs());

const INVOKE: &str = "INVOKE";
const SHUTDOWN_EVENT: &str = "SHUTDOWN";

/// The names of the programs in a layer's `extensions` directory.
#[allow(clippy::disallowed_methods, reason = "looks into unpacked code")]
pub fn programs(opt: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let entries = std::fs::read_dir(opt.join("extensions"));
    let is_program = |path: &Path| {
        std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    entries
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| is_program(&entry.path()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// What the extensions API refuses: the error's type and text, with status 403.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    pub kind: &'static str,
    pub text: String,
}

fn refused<T>(kind: &'static str, text: impl Into<String>) -> Result<T, Refusal> {
    let text = text.into();
    Err(Refusal { kind, text })
}

/// What ended an environment that had an extension that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// `Extension.Crash` and the like.
    pub kind: &'static str,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Registered,
    /// It waits for what comes next.
    Ready,
    Running,
    Ended,
}

#[derive(Debug)]
struct Extension {
    id: String,
    name: String,
    is_program: bool,
    events: Vec<String>,
    phase: Phase,
    /// What it has not been told yet.
    waiting: VecDeque<Value>,
}

impl Extension {
    fn wants(&self, event: &str) -> bool {
        self.events.iter().any(|wanted| wanted == event)
    }

    fn tell(&mut self, event: Value) {
        self.waiting.push_back(event);
        self.phase = Phase::Running;
    }
}

/// What is known of an environment's extensions.
#[derive(Debug, Default)]
struct Book {
    /// Programs that were started and have not registered yet.
    expected: Vec<String>,
    registered: Vec<Extension>,
    /// Whether initialization is over, and registration with it.
    is_closed: bool,
    is_ending: bool,
    failure: Option<Failure>,
}

impl Book {
    fn find(&mut self, id: &str) -> Result<&mut Extension, Refusal> {
        let found = self.registered.iter_mut().find(|e| e.id == id);
        found.map_or_else(
            || {
                refused(
                    "Extension.UnknownExtensionIdentifier",
                    format!("Unknown extension {id}"),
                )
            },
            Ok,
        )
    }

    fn fail(&mut self, kind: &'static str, text: String) {
        if self.failure.is_none() && !self.is_ending {
            self.failure = Some(Failure { kind, text });
        }
    }

    fn is_ready(&self) -> bool {
        let is_idle = |e: &Extension| matches!(e.phase, Phase::Ready | Phase::Ended);
        self.expected.is_empty() && self.registered.iter().all(is_idle)
    }
}

/// The extensions of an environment.
pub struct Extensions(Watched<Book>);

impl Extensions {
    /// Programs of these names are about to be started.
    pub fn new(programs: Vec<String>) -> Extensions {
        Extensions(Watched::new(Book {
            expected: programs,
            ..Book::default()
        }))
    }

    /// Waits until something holds or an extension has failed.
    async fn until(&self, holds: impl Fn(&Book) -> bool) -> Result<(), Failure> {
        self.0
            .wait(|book| match &book.failure {
                Some(failure) => Some(Err(failure.clone())),
                None => holds(book).then_some(Ok(())),
            })
            .await
    }

    /// Registers the extension of that name for events; its id.
    pub fn register(&self, name: &str, events: Vec<String>) -> Result<String, Refusal> {
        self.0.change(|book| {
            let at = book.expected.iter().position(|expected| expected == name);
            let allowed: &[&str] = match at {
                Some(_) => &[INVOKE, SHUTDOWN_EVENT],
                None => &[INVOKE],
            };
            if let Some(event) = events.iter().find(|e| !allowed.contains(&e.as_str())) {
                let text = format!("{event}: ErrorInvalidEventType");
                return refused("Extension.InvalidEventType", text);
            }
            if book.registered.iter().any(|known| known.name == name) {
                let text = "Extension with this name already registered";
                return refused("Extension.InvalidExtensionState", text);
            }
            if book.is_closed {
                let text = "Extension registration closed already";
                return refused("Extension.RegistrationClosed", text);
            }
            if book.registered.len() >= MOST {
                let text = format!("Extension limit ({MOST}) reached");
                return refused("Extension.TooManyExtensions", text);
            }
            if let Some(at) = at {
                book.expected.remove(at);
            }
            let id = cloud::ids::uuid();
            book.registered.push(Extension {
                id: id.clone(),
                name: name.to_owned(),
                is_program: at.is_some(),
                events,
                phase: Phase::Registered,
                waiting: VecDeque::new(),
            });
            Ok(id)
        })
    }

    /// The name of the extension of that id.
    pub fn name_of(&self, id: &str) -> Result<String, Refusal> {
        self.0.quietly().find(id).map(|e| e.name.clone())
    }

    /// The next event for an extension; waits until there is one.
    pub async fn next(&self, id: &str) -> Result<Value, Refusal> {
        self.0.change(|book| {
            let extension = book.find(id)?;
            if extension.waiting.is_empty() {
                extension.phase = Phase::Ready;
            }
            Ok(())
        })?;
        let event = self.0.wait(|book| match book.find(id) {
            Ok(extension) => extension.waiting.pop_front().map(Ok),
            Err(refusal) => Some(Err(refusal)),
        });
        event.await
    }

    /// An extension says that it cannot go on.
    pub fn give_up(&self, id: &str, kind: &'static str, why: &str) -> Result<(), Refusal> {
        self.0.change(|book| {
            let extension = book.find(id)?;
            extension.phase = Phase::Ended;
            let text = format!("{}: {why}", extension.name);
            book.fail(kind, text);
            Ok(())
        })
    }

    /// An extension's program has ended.
    fn ended(&self, name: &str, code: &str) {
        self.0.change(|book| {
            book.expected.retain(|expected| expected != name);
            if let Some(extension) = book.registered.iter_mut().find(|e| e.name == name) {
                extension.phase = Phase::Ended;
            }
            let kind = match code {
                // The shell's words for what it cannot start.
                "126" | "127" => "Extension.LaunchError",
                _ => "Extension.Crash",
            };
            book.fail(kind, format!("exit code {code}"));
        });
    }

    /// Waits until an extension fails.
    pub async fn failed(&self) -> Failure {
        match self.until(|_| false).await {
            Err(failure) => failure,
            Ok(()) => std::future::pending().await,
        }
    }

    /// Waits until every program has registered.
    async fn registered(&self) -> Result<(), Failure> {
        self.until(|book| book.expected.is_empty()).await
    }

    /// Waits until every extension is there and waits for what comes; registration ends then.
    pub async fn initialized(&self) -> Result<(), Failure> {
        self.until(Book::is_ready).await?;
        self.0.change(|book| book.is_closed = true);
        Ok(())
    }

    /// Waits until every extension is through with the invocation.
    pub async fn finished(&self) -> Result<(), Failure> {
        self.until(Book::is_ready).await
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        let book = self.0.quietly();
        book.registered.is_empty() && book.expected.is_empty()
    }

    /// The names of those that registered, with the events they want.
    pub fn list(&self) -> Vec<(String, Vec<String>)> {
        let book = self.0.quietly();
        let named = |e: &Extension| (e.name.clone(), e.events.clone());
        book.registered.iter().map(named).collect()
    }

    /// Tells them of an invocation. The deadline is in milliseconds, as the function sees the time.
    pub fn invoke(&self, event: &Event, trace: &str, deadline: i64) {
        if self.is_empty() {
            return;
        }
        let told = json!({
            "eventType": INVOKE,
            "deadlineMs": deadline,
            "requestId": event.id,
            "invokedFunctionArn": event.arn,
            "tracing": { "type": "X-Amzn-Trace-Id", "value": trace },
        });
        self.0.change(|book| {
            for extension in book.registered.iter_mut().filter(|e| e.wants(INVOKE)) {
                extension.tell(told.clone());
            }
        });
    }

    /// Tells those that want to know of the environment's end, and waits until the programs among them have ended, for no longer than they
    /// have. `false` where nobody wants to know.
    #[allow(
        clippy::disallowed_methods,
        reason = "processes of the host have the host's time"
    )]
    pub async fn shut_down(&self, reason: &str, now: Timestamp) -> bool {
        let deadline = now.plus_millis(SHUTDOWN_MILLIS).0;
        let told = json!({
            "eventType": SHUTDOWN_EVENT, "shutdownReason": reason, "deadlineMs": deadline,
        });
        let is_told = self.0.change(|book| {
            book.is_ending = true;
            book.failure = None;
            let mut is_told = false;
            for extension in &mut book.registered {
                if extension.wants(SHUTDOWN_EVENT) && extension.phase != Phase::Ended {
                    extension.tell(told.clone());
                    is_told = true;
                }
            }
            is_told
        });
        if is_told {
            let is_awaited = |e: &Extension| e.is_program && e.wants(SHUTDOWN_EVENT);
            let has_ended = |e: &Extension| !is_awaited(e) || e.phase == Phase::Ended;
            let all = self.until(|book| book.registered.iter().all(has_ended));
            // Who needs longer is stopped.
            let _ = tokio::time::timeout(SHUTDOWN, all).await;
        }
        is_told
    }
}

/// The server's side of `extensions.sh`.
pub struct Supervisor {
    end: Arc<Notify>,
    /// Ended with this.
    _tasks: JoinSet<()>,
}

impl Supervisor {
    /// Lets the runtime start when all extensions have registered, and hears of those that end.
    pub fn start(stream: UnixStream, extensions: Arc<Extensions>) -> Supervisor {
        let (read, mut words) = stream.into_split();
        let mut tasks = JoinSet::new();
        let listening = extensions.clone();
        tasks.spawn(async move {
            let mut lines = BufReader::new(read).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                if let Some((code, name)) = line.split_once(' ') {
                    listening.ended(name, code);
                }
            }
        });
        let end = Arc::new(Notify::new());
        let ending = end.clone();
        tasks.spawn(async move {
            if extensions.registered().await.is_ok() && words.write_all(b"start\n").await.is_ok() {
                ending.notified().await;
                // Where nobody reads, the environment has ended, which is seen elsewhere.
                let _ = words.write_all(b"end\n").await;
            }
        });
        Supervisor { end, _tasks: tasks }
    }

    /// Has the runtime told to end.
    pub fn end(&self) {
        self.end.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extensions() -> Extensions {
        Extensions::new(vec!["agent".into()])
    }

    fn event() -> Event {
        Event {
            id: "id".into(),
            arn: "arn".into(),
            payload: bytes::Bytes::new(),
            client_context: None,
            trace: None,
        }
    }

    fn kind<T>(answer: Result<T, Refusal>) -> &'static str {
        answer.err().map_or("", |refusal| refusal.kind)
    }

    #[tokio::test]
    async fn an_environment_is_ready_when_its_extensions_wait() {
        let all = extensions();
        let both = vec![INVOKE.to_owned(), SHUTDOWN_EVENT.to_owned()];
        assert_eq!(
            kind(all.register("within", both.clone())),
            "Extension.InvalidEventType"
        );
        let agent = all.register("agent", both).unwrap();
        let within = all.register("within", vec![INVOKE.into()]).unwrap();
        assert!(!all.0.quietly().is_ready());
        let asking = async {
            tokio::join!(all.next(&agent), all.next(&within), async {
                all.initialized().await.unwrap();
                all.invoke(&event(), "Root=1", 5);
            })
        };
        let (first, second, ()) = asking.await;
        assert_eq!(first.unwrap()["eventType"], "INVOKE");
        assert_eq!(second.unwrap()["requestId"], "id");
        assert!(!all.0.quietly().is_ready());
        assert_eq!(
            kind(all.register("late", vec![])),
            "Extension.RegistrationClosed"
        );
        assert_eq!(
            kind(all.next("nobody").await),
            "Extension.UnknownExtensionIdentifier"
        );
        let ending = async {
            let reason = all.shut_down("spindown", Timestamp(7));
            let ends = async {
                let told = all.next(&agent).await.unwrap();
                assert_eq!(told["shutdownReason"], "spindown");
                all.ended("agent", "0");
            };
            tokio::join!(reason, ends).0
        };
        assert!(ending.await);
    }

    #[tokio::test]
    async fn a_program_that_ends_fails_the_environment() {
        let all = extensions();
        all.ended("agent", "3");
        let failure = all.initialized().await.unwrap_err();
        assert_eq!(
            (failure.kind, failure.text.as_str()),
            ("Extension.Crash", "exit code 3")
        );
        let all = extensions();
        all.ended("agent", "126");
        assert_eq!(all.failed().await.kind, "Extension.LaunchError");
    }
}
