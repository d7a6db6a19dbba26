//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};
use store::Durability;

use crate::{certs, client, region, start};

/// A failure, told to the terminal.
pub type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// The local AWS region that runs your architecture.
#[derive(Parser)]
#[command(name = "cumulo", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the region.
    Start(Box<Start>),
    /// Show whether a region runs, and its services.
    Status(Remote),
    /// Print exports that point AWS tools at the region: eval "$(cumulo env)".
    Env(Remote),
    /// Delete state.
    Reset {
        #[command(flatten)]
        remote: Remote,
        /// Only this service.
        #[arg(long)]
        service: Option<String>,
        /// Only this account.
        #[arg(long)]
        account: Option<String>,
    },
    /// Save or load the region's state.
    Snapshot {
        #[command(subcommand)]
        command: Snapshot,
    },
    /// Show or move the region's clock.
    Clock {
        #[command(subcommand)]
        command: Clock,
    },
    /// Show which operations are real, stored or absent.
    Coverage {
        /// Only this service, with each operation.
        service: Option<String>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the certificate of the local authority that signs TLS connections.
    Certs(DataDir),
    /// Print the version.
    Version,
    /// Print shell completions.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// How the region starts.
#[derive(Args)]
pub struct Start {
    /// The port that every client comes in by.
    #[arg(long, env = "CUMULO_PORT", default_value_t = 4566)]
    pub port: u16,
    /// The address to listen at.
    #[arg(long, env = "CUMULO_BIND", default_value = "127.0.0.1")]
    pub bind: IpAddr,
    #[command(flatten)]
    pub data: DataDir,
    /// Keep everything in memory.
    #[arg(long, env = "CUMULO_EPHEMERAL", conflicts_with = "data_dir")]
    pub ephemeral: bool,
    /// What an acknowledged write survives: none, process (kill -9) or disk (power loss).
    #[arg(long, env = "CUMULO_DURABILITY", default_value = "process")]
    pub durability: Durability,
    /// Only these services, separated by commas.
    #[arg(long, env = "CUMULO_SERVICES", value_delimiter = ',')]
    pub services: Vec<String>,
    /// How functions and containers are confined: auto, linux or process.
    #[arg(long, env = "CUMULO_SANDBOX", default_value = "auto", value_parser = ["auto", "linux", "process"])]
    pub sandbox: String,
    /// The object ownership of new buckets that ask for none. With `none`, access control lists count everywhere,
    /// as on AWS before April 2023.
    #[arg(long, env = "CUMULO_S3_OBJECT_OWNERSHIP", default_value = "BucketOwnerEnforced",
        value_parser = ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter", "none"])]
    pub object_ownership: String,
    /// How the URLs of queues look: at the host that was asked (dynamic, off), with the region in the path (path), at
    /// sqs.<region>.localhost.localstack.cloud (standard) or <region>.queue.localhost.localstack.cloud (domain).
    #[arg(long, env = "SQS_ENDPOINT_STRATEGY", default_value = "dynamic")]
    pub sqs_endpoint_strategy: String,
    /// Refuse requests to DynamoDB's provisioned tables beyond their throughput, as AWS does.
    #[arg(long, env = "CUMULO_DYNAMODB_THROTTLING")]
    pub dynamodb_throttling: bool,
    /// The account of access keys that name none: twelve digits.
    #[arg(long, env = "CUMULO_ACCOUNT", default_value = "000000000000", value_parser = account)]
    pub account: String,
    /// The region of requests that name none.
    #[arg(long, env = "CUMULO_REGION", default_value = "us-east-1")]
    pub region: String,
}

fn account(text: &str) -> Result<String, String> {
    let is_account = text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit());
    let refusal = || "an account is twelve digits".to_owned();
    is_account.then(|| text.to_owned()).ok_or_else(refusal)
}

/// Where state is kept.
#[derive(Args, Clone)]
pub struct DataDir {
    /// The directory of the region's state.
    #[arg(long, env = "CUMULO_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

impl DataDir {
    /// The directory, or `~/.cumulo`.
    pub fn path(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| {
            std::env::var_os("HOME").map_or_else(
                || PathBuf::from(".cumulo"),
                |home| PathBuf::from(home).join(".cumulo"),
            )
        })
    }
}

/// A region that runs.
#[derive(Args)]
pub struct Remote {
    /// Where it listens.
    #[arg(
        long,
        env = "AWS_ENDPOINT_URL",
        default_value = "http://127.0.0.1:4566"
    )]
    pub endpoint: String,
}

#[derive(Subcommand)]
enum Snapshot {
    /// Write the state to a file.
    Save {
        /// The file; made on the server's machine.
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
    /// Replace the state by that of a file.
    Load {
        /// The file, on the server's machine.
        file: PathBuf,
        #[command(flatten)]
        remote: Remote,
    },
}

#[derive(Subcommand)]
enum Clock {
    /// Print the region's time.
    Show(Remote),
    /// Move the clock forward by a duration (30d, 12h, 5m, 10s), running what falls due.
    Advance {
        /// How far.
        duration: String,
        #[command(flatten)]
        remote: Remote,
    },
    /// Move the clock forward to a time (2030-01-01T00:00:00Z), or `system` to let it show the system's time.
    Set {
        /// When.
        time: String,
        #[command(flatten)]
        remote: Remote,
    },
}

/// Parses the arguments and does what they say.
pub fn run() -> Outcome {
    match Cli::parse().command {
        Command::Start(options) => start::start(*options),
        Command::Status(remote) => status(&remote),
        Command::Env(remote) => {
            println!("export AWS_ENDPOINT_URL={}", remote.endpoint);
            println!("export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test");
            println!(
                "export AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1 AWS_EC2_METADATA_DISABLED=true"
            );
            Ok(())
        }
        Command::Reset {
            remote,
            service,
            account,
        } => {
            let body = serde_json::json!({ "service": service, "account": account });
            post(&remote, "/_cumulo/reset", &body)?;
            println!("reset");
            Ok(())
        }
        Command::Snapshot { command } => {
            let (path, file, remote) = match command {
                Snapshot::Save { file, remote } => ("/_cumulo/snapshot/save", file, remote),
                Snapshot::Load { file, remote } => ("/_cumulo/snapshot/load", file, remote),
            };
            let file = std::path::absolute(file)?;
            post(&remote, path, &serde_json::json!({ "file": file }))?;
            println!("{}", file.display());
            Ok(())
        }
        Command::Clock { command } => {
            let (remote, body) = match command {
                Clock::Show(remote) => (remote, serde_json::json!({})),
                Clock::Advance { duration, remote } => (
                    remote,
                    serde_json::json!({ "advance_ms": millis(&duration)? }),
                ),
                Clock::Set { time, remote } => (remote, serde_json::json!({ "set": time })),
            };
            let answer = post(&remote, "/_cumulo/clock", &body)?;
            println!("{}", answer["now"].as_str().unwrap_or_default());
            Ok(())
        }
        Command::Coverage { service, json } => region::print_coverage(service.as_deref(), json),
        Command::Certs(data) => {
            print!(
                "{}",
                certs::Authority::open(Some(&data.path()))?.certificate()
            );
            Ok(())
        }
        Command::Version => {
            println!("cumulo {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "cumulo", &mut std::io::stdout());
            Ok(())
        }
    }
}

fn status(remote: &Remote) -> Outcome {
    let health = client::call(&remote.endpoint, "GET", "/_localstack/health", "")?;
    println!(
        "running at {} (version {})",
        remote.endpoint,
        health["version"].as_str().unwrap_or("?")
    );
    for (name, state) in health["services"].as_object().into_iter().flatten() {
        println!("  {name}: {}", state.as_str().unwrap_or("?"));
    }
    Ok(())
}

fn post(remote: &Remote, path: &str, body: &serde_json::Value) -> Outcome<serde_json::Value> {
    client::call(&remote.endpoint, "POST", path, &body.to_string())
}

/// Milliseconds of `30d`, `12h`, `5m`, `10s`, `250ms` and their sums (`1d12h`).
fn millis(text: &str) -> Outcome<i64> {
    let bad = || format!("{text:?} is no duration; write 30d, 12h, 5m, 10s or 250ms");
    let mut total: i64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let n: i64 = rest[..digits].parse().map_err(|_| bad())?;
        let unit_end = rest[digits..]
            .find(|c: char| c.is_ascii_digit())
            .map_or(rest.len(), |i| digits + i);
        let unit = match &rest[digits..unit_end] {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(bad().into()),
        };
        total = n
            .checked_mul(unit)
            .and_then(|ms| total.checked_add(ms))
            .ok_or_else(bad)?;
        rest = &rest[unit_end..];
    }
    if text.is_empty() {
        Err(bad().into())
    } else {
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn durations_add_up_and_nonsense_is_refused() {
        assert_eq!(millis("1d12h").ok(), Some(129_600_000));
        assert_eq!(millis("250ms").ok(), Some(250));
        for bad in ["", "5", "5x", "d", "99999999999999999d"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }
}
