//! The servers under load, each a process of its own that ends with us.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// A server.
pub struct Target {
    /// Its port on the loopback interface.
    pub port: u16,
    /// Milliseconds from exec to the first answer.
    pub ready_ms: f64,
    child: Child,
    _data: Option<tempfile::TempDir>,
}

impl Target {
    /// The bare hyper server: this binary with another argument.
    pub async fn bare() -> Outcome<Target> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg("bare")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        Ok(Target {
            port: line.trim().parse()?,
            ready_ms: 0.0,
            child,
            _data: None,
        })
    }

    /// Cumulo with every service, durability `process`, on empty state.
    pub async fn cumulo() -> Outcome<Target> {
        let binary = match std::env::var_os("CUMULO_BINARY") {
            Some(path) => PathBuf::from(path),
            None => std::env::current_exe()?.with_file_name("cumulo"),
        };
        let port = std::net::TcpListener::bind(("127.0.0.1", 0))?
            .local_addr()?
            .port();
        let data = tempfile::tempdir()?;
        let started = Instant::now();
        let child = Command::new(binary)
            .args(["start", "--port", &port.to_string(), "--data-dir"])
            .arg(data.path())
            .env(
                "CUMULO_LOG",
                std::env::var("CUMULO_LOG").unwrap_or_else(|_| "warn".into()),
            )
            .stdout(Stdio::null())
            .spawn()?;
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            if started.elapsed() > Duration::from_secs(20) {
                return Err("cumulo did not start".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let ready_ms = started.elapsed().as_secs_f64() * 1e3;
        Ok(Target {
            port,
            ready_ms,
            child,
            _data: Some(data),
        })
    }

    /// Processor seconds the server has used, in user and kernel mode.
    pub fn cpu_seconds(&self) -> f64 {
        // Linux counts in hundredths whatever the kernel's own tick is (proc(5), USER_HZ).
        const TICKS: f64 = 100.0;
        let stat =
            std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        // The second field, the name in parentheses, may hold blanks.
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |n: usize| after_name.split_whitespace().nth(n)?.parse::<f64>().ok();
        (ticks(11).unwrap_or(0.0) + ticks(12).unwrap_or(0.0)) / TICKS
    }

    /// Resident memory now.
    pub fn resident_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))
            .unwrap_or_default();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        kib.unwrap_or(0.0) / 1024.0
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
