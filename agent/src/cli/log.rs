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

/// Logs from now on. People are told in other words, and need warnings alone. After a filter that cannot be
/// read the usual one serves.
pub(super) fn start(filter: Option<&str>, format: Format) -> Result<(), Failure> {
    let asked = filter.map(str::to_string).or_else(|| std::env::var("RUST_LOG").ok());
    let usual = match format {
        Format::Human => "warn",
        Format::Json => "info",
    };
    let (filter, read) = match EnvFilter::try_new(asked.as_deref().unwrap_or(usual)) {
        Ok(filter) => (filter, Ok(())),
        Err(error) => {
            let why = Failure::usage(anyhow::anyhow!("--log or RUST_LOG: {error}"));
            (EnvFilter::new(usual), Err(why))
        }
    };
    // Whatever a filter leaves out, the last word is not.
    let filter = match format!("{LAST_WORD}=error").parse() {
        Ok(directive) => filter.add_directive(directive),
        Err(_) => filter,
    };
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
    read
}

/// Why the program fails, where that is logged.
pub(super) fn last_word(text: &str) {
    tracing::error!(target: LAST_WORD, "{text}");
}

/// A target that no filter means by chance.
const LAST_WORD: &str = "agent::last_word";
