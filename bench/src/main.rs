//! The load generator: Cumulo's hot paths beside a bare hyper server, in turns in one run.
//!
//! `bench [SCENARIO…]` starts the release binary that lies beside it and a bare server as processes of their own,
//! drives both over keep-alive connections and prints requests per second and the ratio of medians.

mod bare;
mod json;
mod lambda;
mod load;
mod s3;
mod target;

use std::process::ExitCode;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match args.first().map(String::as_str) {
        Some("bare") => bare::serve(),
        _ => run(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("bench: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(wanted: &[String]) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let bare = target::Target::bare().await?;
        let cumulo = target::Target::cumulo().await?;
        println!(
            "load average {}",
            std::fs::read_to_string("/proc/loadavg")
                .unwrap_or_default()
                .trim()
        );
        println!(
            "ready after {:.1} ms, resident {:.1} MiB idle\n",
            cumulo.ready_ms,
            cumulo.resident_mib()
        );
        println!(
            "{:<22}{:>6}{:>12}{:>12}{:>8}{:>12}{:>12}",
            "scenario", "conns", "bare/s", "cumulo/s", "ratio", "bare cpu µs", "cumulo"
        );
        let on =
            |name: &str| wanted.is_empty() || wanted.iter().any(|w| name.starts_with(w.as_str()));
        s3::run(&bare, &cumulo, &on).await?;
        json::run(&bare, &cumulo, &on).await?;
        if on("lambda") {
            lambda::run(&bare, &cumulo).await?;
        }
        if on("sqs-to-lambda") {
            lambda::mapping(&cumulo).await?;
        }
        println!("\nresident {:.1} MiB after the run", cumulo.resident_mib());
        Ok(())
    })
}
