//! The process backend, which needs no privileges.

#![allow(clippy::unwrap_used)] // A helper of a test may fail as loudly as the test.

use std::time::Duration;

use runtime::*;
use tokio::sync::mpsc;

async fn host() -> Host {
    Host::open(Options {
        backend: "process".parse().unwrap(),
        init_program: None,
    })
    .await
    .unwrap()
}

fn sh(script: &str) -> Command {
    Command::new(["/bin/sh", "-c", script])
}

fn listening() -> (Spec, mpsc::Receiver<Line>) {
    let (sender, receiver) = mpsc::channel(1000);
    (
        Spec {
            output: Output::to(sender),
            ..Spec::default()
        },
        receiver,
    )
}

#[tokio::test]
async fn output_environment_directory_and_exit_code_come_through() {
    let (spec, mut output) = listening();
    let mut command = sh("echo $NAME; pwd; printf rest >&2; exit 4").env("NAME", "value");
    command.workdir = Some("/usr".into());
    let sandbox = host().await.start(spec, command).await.unwrap();
    assert_eq!(
        sandbox.wait().await,
        Exit {
            code: Some(4),
            signal: None,
            oom_killed: false
        }
    );
    let mut lines = Vec::new();
    while let Some(line) = output.recv().await {
        lines.push((
            line.stream,
            String::from_utf8(line.bytes).unwrap(),
            line.complete,
        ));
    }
    lines.sort_by_key(|(stream, ..)| *stream == Stream::Stderr);
    let expected = [
        (Stream::Stdout, "value", true),
        (Stream::Stdout, "/usr", true),
        (Stream::Stderr, "rest", false),
    ];
    assert_eq!(
        lines,
        expected.map(|(stream, text, complete)| (stream, text.to_owned(), complete))
    );
}

#[tokio::test]
async fn paths_inside_are_translated_to_where_they_really_are() {
    let code = tempfile::tempdir().unwrap();
    std::fs::write(code.path().join("handler"), "code").unwrap();
    let (spec, mut output) = listening();
    let mounts = vec![Mount {
        source: code.path().into(),
        target: "/var/task".into(),
        read_only: true,
    }];
    let scratch = vec![Scratch {
        target: "/tmp".into(),
        bytes: 1 << 20,
    }];
    let prepared = host()
        .await
        .prepare(Spec {
            mounts,
            scratch,
            ..spec
        })
        .await
        .unwrap();
    let handler = prepared.path("/var/task/handler".as_ref());
    let scratch = prepared.path("/tmp".as_ref());
    assert_eq!(
        prepared.path("/usr/bin".as_ref()),
        std::path::Path::new("/usr/bin")
    );
    let mut command = sh(&format!(
        "cat handler; echo; cat {}; touch {}/x",
        handler.display(),
        scratch.display()
    ));
    command.workdir = Some("/var/task".into());
    let sandbox = prepared.exec(command).await.unwrap();
    assert_eq!(sandbox.wait().await.code, Some(0));
    assert_eq!(output.recv().await.unwrap().bytes, b"code");
    sandbox.kill().await.unwrap();
    assert!(!scratch.exists(), "scratch goes with the sandbox");
}

#[tokio::test]
async fn a_frozen_sandbox_stands_still_and_killing_takes_its_tree() {
    let (spec, mut output) = listening();
    let sandbox = host()
        .await
        .start(
            spec,
            sh("(while :; do echo tick; sleep 0.005; done) & wait"),
        )
        .await
        .unwrap();
    assert!(output.recv().await.is_some());
    sandbox.freeze().await.unwrap();
    // A stop signal takes effect when the process is next scheduled; from then on nothing may come.
    let mut quiet = false;
    for _ in 0..100 {
        quiet = tokio::time::timeout(Duration::from_millis(100), output.recv())
            .await
            .is_err();
        if quiet {
            break;
        }
    }
    assert!(quiet);
    sandbox.thaw().await.unwrap();
    assert!(output.recv().await.is_some());
    sandbox.freeze().await.unwrap();
    sandbox.kill().await.unwrap();
    while output.recv().await.is_some() {}
}

#[tokio::test]
async fn what_is_not_there_is_an_error() {
    let host = host().await;
    let error = host
        .start(Spec::default(), Command::new(["/no/such/program"]))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Exec { .. }), "{error}");
    assert!(matches!(
        host.zygote(sh("")).await,
        Err(Error::Unsupported(_))
    ));
    assert!("docker".parse::<BackendChoice>().is_err());
    let scratch = vec![Scratch {
        target: "tmp/../x".into(),
        bytes: 1,
    }];
    assert!(matches!(
        host.prepare(Spec {
            scratch,
            ..Spec::default()
        })
        .await,
        Err(Error::Invalid(_))
    ));
}
