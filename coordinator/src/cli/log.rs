//! The program's log on stderr: what is logged, and in which form.
//!
//! Study, trial and agent are fields. In JSON every line is one object, so whatever else belongs on
//! stderr is logged too.
//!
//! Floor: wiring.

use std::io::{self, IsTerminal};

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How lines look.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum Format {
    Human,
    Json,
}

/// Logs from now on. A filter that cannot be read lets warnings through.
pub fn start(filter: &str, format: Format) {
    let read = EnvFilter::try_new(filter);
    let unread = read.as_ref().err().map(ToString::to_string);
    let filter = read.unwrap_or_else(|_| EnvFilter::new("warn"));
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
    if let Some(why) = unread {
        tracing::warn!(%why, "--log or RUST_LOG cannot be read: warnings alone are logged");
    }
}
