//! The linux backend. Skipped without root, except in CI, where that is a failure.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)] // A helper of a test may fail as loudly as the test.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use runtime::*;
use tokio::sync::mpsc;

runtime::init_hook!();

async fn host() -> Option<Host> {
    let options = Options {
        backend: BackendChoice::Exactly(Backend::Linux),
        init_program: None,
    };
    match Host::open(options).await {
        Ok(host) => Some(host),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn sh(script: &str) -> Command {
    Command::new(["/bin/sh", "-c", script])
}

fn listening() -> (Spec, mpsc::Receiver<Line>) {
    let (sender, receiver) = mpsc::channel(1000);
    (
        Spec {
            output: Output::merged_to(sender),
            ..Spec::default()
        },
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

async fn run(host: &Host, mut spec: Spec, script: &str) -> (Vec<String>, Exit) {
    let (sender, mut receiver) = mpsc::channel(1000);
    spec.output = Output::merged_to(sender);
    let sandbox = host.start(spec, sh(script)).await.unwrap();
    let exit = sandbox.wait().await;
    let lines = lines(&mut receiver).await;
    sandbox.kill().await.unwrap();
    (lines, exit)
}

/// Host processes whose command line holds the marker.
fn marked(marker: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(marker))
        .collect()
}

/// Groups of this test process's hosts, in any hierarchy.
fn groups() -> BTreeSet<PathBuf> {
    let own = format!("{}-", std::process::id());
    let hierarchies = std::fs::read_dir("/sys/fs/cgroup")
        .unwrap()
        .flatten()
        .map(|entry| entry.path().join("cumulo"));
    let servers =
        hierarchies.flat_map(|ours| std::fs::read_dir(ours).into_iter().flatten().flatten());
    let servers = servers
        .filter(|server| server.file_name().to_string_lossy().starts_with(&own))
        .map(|server| server.path());
    servers
        .flat_map(|server| std::fs::read_dir(server).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_private_root_hides_the_hosts_home_processes_and_secrets() {
    let Some(host) = host().await else { return };
    let secret = tempfile::Builder::new()
        .prefix("host-secret")
        .tempdir_in("/tmp")
        .unwrap();
    let spec = Spec {
        hostname: Some("inside".into()),
        ..Spec::default()
    };
    let script = format!(
        "ls -A /root /home /tmp /mnt /var/lib; ls -d {} /work; cat /etc/shadow; ls /proc | grep -c '^[0-9]'; cat /proc/sys/kernel/hostname; id -u; grep CapEff /proc/self/status; exit 7",
        secret.path().display()
    );
    let (lines, exit) = run(&host, spec, &script).await;
    assert_eq!(exit.code, Some(7));
    let text = lines.join("\n");
    assert!(
        text.starts_with("/home:\n\n/mnt:\n\n/root:\n\n/tmp:\n\n/var/lib:\n"),
        "{text}"
    );
    assert!(
        text.contains("host-secret") && text.matches("No such file or directory").count() == 3,
        "{text}"
    );
    let end: Vec<_> = lines.iter().rev().take(4).rev().cloned().collect();
    assert!(end[0].parse::<u32>().unwrap() <= 5, "{text}");
    assert_eq!(&end[1..], ["inside", "993", "CapEff:\t0000000000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_only_mounts_and_the_root_refuse_writes_also_below_hidden_directories() {
    let Some(host) = host().await else { return };
    let code = tempfile::tempdir().unwrap();
    std::fs::write(code.path().join("handler"), "code").unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(code.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mount = |target: &str, read_only| Mount {
        source: code.path().into(),
        target: target.into(),
        read_only,
    };
    let mounts = vec![
        mount("/var/task", true),
        mount("/root/.tools/versions/1", true),
        mount("/srv/data", false),
    ];
    let spec = Spec {
        mounts,
        ..Spec::default()
    };
    let (lines, _) = run(
        &host,
        spec,
        "cat /var/task/handler /root/.tools/versions/1/handler; echo; for d in /var/task /root/.tools/versions/1 /usr /srv/data; do echo x 2>/dev/null > $d/new && echo wrote $d; done; touch /var/task/y",
    )
    .await;
    assert_eq!(lines[0], "codecode");
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.starts_with("wrote"))
            .collect::<Vec<_>>(),
        ["wrote /srv/data"]
    );
    assert!(
        lines.last().unwrap().contains("Read-only file system"),
        "{lines:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scratch_directory_is_full_at_its_size() {
    let Some(host) = host().await else { return };
    let spec = Spec {
        scratch: vec![Scratch {
            target: "/tmp".into(),
            bytes: 1 << 20,
        }],
        ..Spec::default()
    };
    let (lines, exit) = run(
        &host,
        spec,
        "head -c 2000000 /dev/zero > /tmp/x; s=$?; stat -c %s /tmp/x; exit $s",
    )
    .await;
    assert_ne!(exit.code, Some(0));
    assert!(lines[0].contains("No space left on device"), "{lines:?}");
    assert_eq!(lines[1], "1048576");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_over_the_memory_limit_is_killed_and_reported() {
    let Some(host) = host().await else { return };
    let limits = Limits {
        memory_bytes: Some(32 << 20),
        ..Limits::default()
    };
    let (_, exit) = run(
        &host,
        Spec {
            limits,
            ..Spec::default()
        },
        "exec dd if=/dev/zero of=/dev/null bs=100M count=1",
    )
    .await;
    assert_eq!(
        exit,
        Exit {
            code: None,
            signal: Some(9),
            oom_killed: true
        }
    );
    let (_, exit) = run(&host, Spec::default(), "kill -9 $$").await;
    assert_eq!(
        exit,
        Exit {
            code: None,
            signal: Some(9),
            oom_killed: false
        }
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_processor_limit_throttles() {
    let Some(host) = host().await else { return };
    let limits = Limits {
        cpu: Some(0.2),
        ..Limits::default()
    };
    let started = Instant::now();
    let sandbox = host
        .start(
            Spec {
                limits,
                ..Spec::default()
            },
            sh("while :; do :; done"),
        )
        .await
        .unwrap();
    until("throttled", || {
        sandbox.stats().unwrap().throttled_periods >= 10
    })
    .await;
    let (used, passed) = (sandbox.stats().unwrap().cpu_time, started.elapsed());
    assert!(
        used.as_secs_f64() < 0.35 * passed.as_secs_f64(),
        "{used:?} of {passed:?}"
    );
    sandbox.kill().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_limit_refuses_forks() {
    let Some(host) = host().await else { return };
    let limits = Limits {
        pids: Some(3),
        ..Limits::default()
    };
    let (lines, _) = run(
        &host,
        Spec {
            limits,
            ..Spec::default()
        },
        "for i in 1 2 3 4 5; do sleep 5 & done",
    )
    .await;
    assert!(lines.iter().any(|line| line.contains("fork")), "{lines:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_sandbox_stands_still_and_goes_on_when_thawed() {
    let Some(host) = host().await else { return };
    let (spec, mut output) = listening();
    let sandbox = host
        .start(spec, sh("while :; do echo tick; sleep 0.005; done"))
        .await
        .unwrap();
    assert!(output.recv().await.is_some());
    sandbox.freeze().await.unwrap();
    sandbox.flush_output().await;
    while output.try_recv().is_ok() {}
    assert!(
        tokio::time::timeout(Duration::from_millis(200), output.recv())
            .await
            .is_err(),
        "it printed while frozen"
    );
    sandbox.thaw().await.unwrap();
    assert!(output.recv().await.is_some());
    sandbox.freeze().await.unwrap();
    sandbox.kill().await.unwrap();
    assert!(marked("echo tick; sleep 0.005").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn killing_takes_the_whole_tree_with_it() {
    let Some(host) = host().await else { return };
    let (spec, mut output) = listening();
    let script = "trap '' TERM; (setsid sh -c ': tree-4711; sleep 1000 & sleep 1001' &); (sh -c ': tree-4711; sleep 1002; :' &); echo up; sleep 1003";
    let sandbox = host.start(spec, sh(script)).await.unwrap();
    assert_eq!(output.recv().await.unwrap().bytes, b"up");
    until("the tree stands", || marked("tree-4711").len() >= 3).await;
    sandbox.kill().await.unwrap();
    assert!(marked("tree-4711").is_empty());
    assert!(
        output.recv().await.is_none(),
        "the output ends with the last process"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_leaves_behind_ends_with_it() {
    let Some(host) = host().await else { return };
    let (_, exit) = run(
        &host,
        Spec::default(),
        "(: left-4712; sleep 1000; :) & exit 3",
    )
    .await;
    assert_eq!(exit.code, Some(3));
    assert!(marked("left-4712").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn fifty_parallel_starts_leave_nothing_behind() {
    let Some(host) = host().await else { return };
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let spec = Spec {
        scratch: vec![Scratch {
            target: "/tmp".into(),
            bytes: 1 << 20,
        }],
        ..Spec::default()
    };
    let start = |number: u32| {
        let (host, spec) = (host.clone(), spec.clone());
        tokio::spawn(async move {
            let sandbox = host
                .start(spec, sh(&format!(": many-4713; sleep 0.02; exit {number}")))
                .await
                .unwrap();
            // Half of them are only let go of.
            let exit = sandbox.wait().await;
            if number.is_multiple_of(2) {
                sandbox.kill().await.unwrap();
            }
            exit.code
        })
    };
    for (number, task) in (0..50)
        .map(|number| (number, start(number)))
        .collect::<Vec<_>>()
    {
        assert_eq!(task.await.unwrap(), Some(number as i32));
    }
    assert!(marked("many-4713").is_empty());
    assert_eq!(
        std::fs::read_to_string("/proc/self/mountinfo").unwrap(),
        mounts
    );
    drop(host);
    // Other tests of this process have hosts of their own, so only what stays for good counts.
    let before = groups();
    until("the groups are gone", || {
        before.iter().all(|group| !group.exists())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_cannot_be_started_is_an_error_with_the_reason() {
    let Some(host) = host().await else { return };
    let error = host
        .start(Spec::default(), Command::new(["no-such-program"]))
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Error::Exec { program, source } if program == "no-such-program" && source.kind() == std::io::ErrorKind::NotFound),
        "{error}"
    );
    let mounts = vec![Mount {
        source: "/no/such/code".into(),
        target: "/var/task".into(),
        read_only: true,
    }];
    let error = host
        .prepare(Spec {
            mounts,
            ..Spec::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "sandbox could not be set up: mount /no/such/code: No such file or directory (os error 2)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_to_a_root_can_be_kept_in_memory_or_in_a_directory() {
    let Some(host) = host().await else { return };
    let kept = tempfile::tempdir().unwrap();
    let spec = |writes| Spec {
        root: Root {
            base: Base::default(),
            writes,
        },
        user: User { uid: 0, gid: 0 },
        ..Spec::default()
    };
    let script = "echo new > /etc/made-inside; cat /etc/made-inside; echo 1 > /proc/sys/kernel/panic; mount -t tmpfs x /mnt; cat /etc/shadow";
    let (lines, _) = run(&host, spec(Writes::Memory { bytes: 1 << 20 }), script).await;
    assert_eq!(lines[0], "new");
    assert!(lines[1].contains("Read-only file system"), "{lines:?}");
    assert!(
        lines[2..]
            .iter()
            .any(|line| line.contains("permission denied") || line.contains("must be superuser")),
        "{lines:?}"
    );
    assert!(lines.last().unwrap().contains("No such file"), "{lines:?}");
    for _ in 0..2 {
        let (lines, _) = run(
            &host,
            spec(Writes::Directory(kept.path().into())),
            "echo x >> /etc/made-inside; wc -l < /etc/made-inside",
        )
        .await;
        assert_eq!(lines.len(), 1);
    }
    assert_eq!(
        std::fs::read_to_string(kept.path().join("upper/etc/made-inside")).unwrap(),
        "x\nx\n"
    );
    assert!(!Path::new("/etc/made-inside").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_without_network_has_only_its_loopback() {
    let Some(host) = host().await else { return };
    let (lines, _) = run(
        &host,
        Spec {
            network: Network::None,
            ..Spec::default()
        },
        "tail -n +3 /proc/net/dev | cut -d: -f1; cat /proc/net/if_inet6 | wc -l",
    )
    .await;
    assert_eq!(lines[0].trim(), "lo");
    assert_eq!(lines.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_descriptors_and_environment_reach_the_program() {
    let Some(host) = host().await else { return };
    let (spec, mut output) = listening();
    let files = vec![File {
        target: "/etc/deep/er/motd".into(),
        content: b"hello\n".to_vec(),
    }];
    let (read, write) = std::io::pipe().unwrap();
    let mut command = sh("cat /etc/deep/er/motd; echo $NAME; echo to-three >&3; env | wc -l; pwd")
        .env("NAME", "value");
    command.fds.push(write.into());
    command.workdir = Some("/usr".into());
    let sandbox = host.start(Spec { files, ..spec }, command).await.unwrap();
    sandbox.wait().await;
    let mut read = std::io::BufReader::new(read);
    let mut line = String::new();
    std::io::BufRead::read_line(&mut read, &mut line).unwrap();
    assert_eq!(line, "to-three\n");
    assert_eq!(lines(&mut output).await, ["hello", "value", "3", "/usr"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory_peak_can_be_measured_anew() {
    let Some(host) = host().await else { return };
    let (spec, mut output) = listening();
    let sandbox = host
        .start(
            spec,
            sh("head -c 50000000 /dev/zero | tail -c 50000000 > /dev/null; echo done; sleep 1000"),
        )
        .await
        .unwrap();
    output.recv().await.unwrap();
    let peak = sandbox.stats().unwrap().memory_peak_bytes;
    assert!(peak > 40_000_000, "{peak}");
    sandbox.reset_memory_peak().unwrap();
    assert!(sandbox.stats().unwrap().memory_peak_bytes < 30_000_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cold_start_costs_milliseconds() {
    let Some(host) = host().await else { return };
    let mut times = Vec::new();
    for _ in 0..30 {
        let started = Instant::now();
        let prepared = host
            .prepare(Spec {
                scratch: vec![Scratch {
                    target: "/tmp".into(),
                    bytes: 1 << 20,
                }],
                ..Spec::default()
            })
            .await
            .unwrap();
        let ready = started.elapsed();
        let sandbox = prepared.exec(Command::new(["/bin/true"])).await.unwrap();
        let up = started.elapsed();
        assert_eq!(sandbox.wait().await.code, Some(0));
        let ended = started.elapsed();
        sandbox.kill().await.unwrap();
        times.push((ended, ready, up, started.elapsed()));
    }
    times.sort();
    let (ended, ready, up, gone) = times[times.len() / 2];
    eprintln!(
        "median: prepared {ready:?}, started {up:?}, ended {ended:?}, removed {gone:?}; fastest end {:?}",
        times[0].0
    );
    // A bound against mistakes of kind, such as a cgroup move that waits for the kernel, with room for a busy machine.
    assert!(times[0].0 < Duration::from_millis(50), "{:?}", times[0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "the server that the next test kills"]
async fn server_that_is_killed() {
    let Some(host) = host().await else { return };
    let running = host
        .start(Spec::default(), sh(": orphan-4714; sleep 1000; :"))
        .await
        .unwrap();
    let frozen = host
        .start(Spec::default(), sh(": orphan-4714; sleep 1000; :"))
        .await
        .unwrap();
    frozen.freeze().await.unwrap();
    println!("standing");
    std::future::pending::<()>().await;
    drop((running, frozen));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_leaves_no_process_and_its_groups_are_swept_by_the_next() {
    let Some(first) = host().await else { return };
    drop(first);
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "--nocapture",
            "server_that_is_killed",
        ])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = std::io::BufReader::new(server.stdout.take().unwrap());
    assert!(std::io::BufRead::lines(output).any(|line| line.unwrap().contains("standing")));
    assert!(marked("orphan-4714").len() >= 2);
    server.kill().unwrap();
    server.wait().unwrap();
    until("the orphans are gone", || marked("orphan-4714").is_empty()).await;
    let left = || {
        let name = format!("{}-", server.id());
        let servers = std::fs::read_dir("/sys/fs/cgroup/memory/cumulo")
            .into_iter()
            .flatten()
            .flatten();
        servers
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&name))
            .count()
    };
    let _next = host().await;
    assert_eq!(left(), 0);
}
