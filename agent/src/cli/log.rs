//! The program's log on stderr: what is logged, and in which form.
//!
//! In JSON every line is one object, so whatever a person would be told there is logged too.
//!
//! Floor: wiring.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

use super::Failure;

/// How lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

/// Logs from now on. People are told in other words, and need warnings alone.
pub(super) fn start(filter: Option<&str>, format: Format) -> Result<(), Failure> {
    let asked = filter.map(str::to_string).or_else(|| std::env::var("RUST_LOG").ok());
    let usual = match format {
        Format::Human => "warn",
        Format::Json => "info",
    };
    let filter = EnvFilter::try_new(asked.as_deref().unwrap_or(usual))
        .map_err(|error| Failure::usage(anyhow::anyhow!("--log: {error}")))?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    match format {
        Format::Human => subscriber.with_ansi(io::stderr().is_terminal()).init(),
        Format::Json => subscriber
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .init(),
    }
    Ok(())
}
