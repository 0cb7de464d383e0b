//! The program `agent`.
//!
//! Floor: wiring.

use std::process::ExitCode;

/// Trainings allocate small tensors at a high rate, on every thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    agent::cli::run()
}
