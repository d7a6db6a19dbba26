//! The foundation that services stand on.

use std::path::PathBuf;
use std::sync::Arc;

use store::{Options, Store};

use crate::{Clock, Facts, Ports, Scheduler, Targets};

/// What the server was told at its start, as far as services care.
#[derive(Clone, Debug)]
pub struct Config {
    /// The account of made-up credentials.
    pub account: String,
    /// The region where a request names none.
    pub region: String,
    /// The port that clients and sandboxes reach.
    pub port: u16,
    /// Where files live that are not rows: sandboxes' roots, unpacked code.
    pub scratch: PathBuf,
    /// `auto`, `linux` or `process`.
    pub sandbox: String,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            account: "000000000000".into(),
            region: "us-east-1".into(),
            port: 4566,
            scratch: std::env::temp_dir().join("cumulo"),
            sandbox: "auto".into(),
        }
    }
}

/// Everything a service is given. Clones are the same region.
#[derive(Clone)]
pub struct Cloud {
    /// State.
    pub store: Store,
    /// Time.
    pub clock: Clock,
    /// Jobs.
    pub scheduler: Scheduler,
    /// What happened.
    pub facts: Facts,
    /// The road to other services.
    pub targets: Targets,
    /// Questions to other services.
    pub ports: Ports,
    /// Settings.
    pub config: Arc<Config>,
}

impl Cloud {
    /// Opens a region over its state. Nothing runs until [`Cloud::start`].
    pub fn open(options: Options, config: Config) -> Result<Cloud, store::Error> {
        let store = Store::open(options)?;
        let clock = Clock::default();
        let facts = Facts::new(&store, &clock)?;
        let scheduler = Scheduler::new(&store, &clock)?;
        let targets = Targets::new(&facts, &clock);
        Ok(Cloud { store, clock, scheduler, facts, targets, ports: Ports::default(), config: Arc::new(config) })
    }
    /// A region in memory, for tests.
    pub fn ephemeral() -> Cloud {
        match Cloud::open(Options::default(), Config::default()) {
            Ok(cloud) => cloud,
            Err(e) => unreachable!("an empty store in memory opens: {e}"),
        }
    }
    /// Begins to run jobs and tell facts; call once all services are built, within a runtime.
    pub fn start(&self) {
        self.facts.start();
        self.scheduler.start();
    }
}
