//! Forks of a warm interpreter as processes of sandboxes.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A helper of a test may fail as loudly as the test.

use std::time::Instant;

use runtime::*;
use tokio::sync::mpsc;

runtime::init_hook!();

const PYTHON: &str = "/usr/bin/python3";

async fn warm() -> Option<(Host, Zygote)> {
    let options = Options {
        backend: BackendChoice::Exactly(Backend::Linux),
        init_program: None,
    };
    let must = std::env::var("CI").as_deref() == Ok("true");
    let host = match Host::open(options).await {
        Ok(host) if std::path::Path::new(PYTHON).exists() => host,
        other => {
            assert!(!must, "{other:?}");
            eprintln!("skipped");
            return None;
        }
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/zygote.py");
    let zygote = host.zygote(Command::new([PYTHON, script])).await.unwrap();
    Some((host, zygote))
}

async fn fork(host: &Host, zygote: &Zygote, payload: &str) -> (Sandbox, mpsc::Receiver<Line>) {
    let (sender, receiver) = mpsc::channel(100);
    let limits = Limits {
        memory_bytes: Some(64 << 20),
        ..Limits::default()
    };
    let spec = Spec {
        output: Output::merged_to(sender),
        hostname: Some("forked".into()),
        limits,
        ..Spec::default()
    };
    let prepared = host.prepare(spec).await.unwrap();
    let command = Command::default().env("NAME", "value");
    (
        zygote
            .fork(prepared, command, payload.into())
            .await
            .unwrap(),
        receiver,
    )
}

async fn lines(receiver: &mut mpsc::Receiver<Line>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(line) = receiver.recv().await {
        lines.push(String::from_utf8(line.bytes).unwrap());
    }
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_is_confined_like_a_program_and_has_what_the_zygote_loaded() {
    let Some((host, zygote)) = warm().await else {
        return;
    };
    let payload = r#"
import os, sys
print('decimal' in sys.modules, os.environ, os.getpid() < 10, os.getuid(), os.uname().nodename, os.listdir('/root'), os.listdir('/home'))
print(len([name for name in os.listdir('/proc') if name.isdigit()]), sorted(os.listdir('/proc/self/fd')))
print('NoNewPrivs:\t1' in open('/proc/self/status').read(), 'Seccomp:\t2' in open('/proc/self/status').read())
try: open('/etc/x', 'w')
except OSError as error: print(error.strerror)
sys.exit(5)
"#;
    let (sandbox, mut output) = fork(&host, &zygote, payload).await;
    assert_eq!(
        sandbox.wait().await,
        Exit {
            code: Some(5),
            signal: None,
            oom_killed: false
        }
    );
    let lines = lines(&mut output).await;
    assert_eq!(
        lines[0],
        "True environ({'PATH': '/usr/bin', 'NAME': 'value'}) True 993 forked [] []"
            .replace("'PATH': '/usr/bin', ", "")
    );
    assert_eq!(lines[1], "2 ['0', '1', '2', '3']");
    assert_eq!(lines[2], "True True");
    assert!(
        lines[3] == "Read-only file system" || lines[3] == "Permission denied",
        "{lines:?}"
    );
    sandbox.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_over_the_memory_limit_is_killed_and_the_zygote_lives_on() {
    let Some((host, zygote)) = warm().await else {
        return;
    };
    let (sandbox, _output) = fork(&host, &zygote, "x = b'1' * (200 << 20)").await;
    assert_eq!(
        sandbox.wait().await,
        Exit {
            code: None,
            signal: Some(9),
            oom_killed: true
        }
    );
    let (sandbox, mut output) = fork(
        &host,
        &zygote,
        "print('alive', flush=True)\nimport time\nwhile True: time.sleep(0.01)",
    )
    .await;
    assert_eq!(output.recv().await.unwrap().bytes, b"alive");
    sandbox.freeze().await.unwrap();
    sandbox.kill().await.unwrap();
    assert!(output.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn sandboxes_end_with_their_zygote() {
    let Some((host, zygote)) = warm().await else {
        return;
    };
    let (sandbox, mut output) = fork(
        &host,
        &zygote,
        "print('up', flush=True)\nimport time\ntime.sleep(1000)",
    )
    .await;
    output.recv().await.unwrap();
    drop(zygote);
    assert_eq!(sandbox.wait().await.code, None);
    assert!(output.recv().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn parallel_forks_each_get_their_own_sandbox() {
    let Some((host, zygote)) = warm().await else {
        return;
    };
    let zygote = std::sync::Arc::new(zygote);
    let started = Instant::now();
    let start = |number: i32| {
        let (host, zygote) = (host.clone(), zygote.clone());
        tokio::spawn(async move {
            let (sandbox, _output) =
                fork(&host, &zygote, &format!("import sys\nsys.exit({number})")).await;
            let exit = sandbox.wait().await;
            sandbox.kill().await.unwrap();
            exit.code
        })
    };
    for (number, task) in (0..20)
        .map(|number| (number, start(number)))
        .collect::<Vec<_>>()
    {
        assert_eq!(task.await.unwrap(), Some(number));
    }
    eprintln!("20 forked sandboxes in {:?}", started.elapsed());
    let mut times = Vec::new();
    for _ in 0..20 {
        let started = Instant::now();
        let (sandbox, mut output) = fork(&host, &zygote, "print('x', flush=True)").await;
        output.recv().await.unwrap();
        times.push(started.elapsed());
        sandbox.kill().await.unwrap();
    }
    times.sort();
    eprintln!(
        "prepare + fork + first line: median {:?}, fastest {:?}",
        times[10], times[0]
    );
}
