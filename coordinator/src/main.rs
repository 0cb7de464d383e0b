//! The program `coordinator`.
//!
//! Floor: wiring.

use std::process::ExitCode;

// candle's tensors and redb's pages come and go by the thousand: glibc would return and refault them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    coordinator::cli::main()
}
