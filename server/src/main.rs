//! `cumulo`: a whole AWS region in one process.

mod certs;
mod cli;
mod client;
mod control;
mod region;
mod start;

use std::process::ExitCode;

/// A request allocates a hundred times; the system's allocator takes a tenth of its time for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The server's own program is process 1 of every sandbox: this must come before anything else.
    runtime::init_entry();
    match cli::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            // The message is the product here: a terminal's user reads it.
            eprintln!("cumulo: {e}");
            ExitCode::FAILURE
        }
    }
}
