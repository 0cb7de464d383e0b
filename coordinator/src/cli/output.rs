//! What a command prints: answers on stdout, talk on stderr, JSON where it is asked for.
//!
//! Control characters in names never reach the terminal.
//!
//! Floor: wiring.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::client::ClientError;
use crate::cluster::{ClusterError, JoinError};

/// Where a command prints to.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
    /// Whether stderr is a log in JSON.
    logs: bool,
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet, logs: false }
    }

    /// Talk is logged, where stderr holds a log for programs.
    pub fn logging(self, logs: bool) -> Self {
        Self { logs, ..self }
    }

    pub fn is_json(&self) -> bool {
        self.json
    }

    /// One line of talk.
    pub fn say(&self, line: impl AsRef<str>) {
        if self.logs {
            tracing::info!("{}", printable(line.as_ref()));
        } else if !self.quiet && !self.json {
            eprintln!("{}", printable(line.as_ref()));
        }
    }

    /// One line of talk that matters even to the quiet.
    pub fn warn(&self, line: impl AsRef<str>) {
        if self.logs {
            tracing::warn!("{}", printable(line.as_ref()));
        } else {
            eprintln!("{}", printable(line.as_ref()));
        }
    }

    /// The answer, for people or for programs.
    pub fn answer(&self, people: &str, schema: &str, mut programs: Value) {
        let text = if self.json {
            if let Some(object) = programs.as_object_mut() {
                object.insert("schema".to_string(), json!(schema));
            }
            serde_json::to_string_pretty(&programs).unwrap_or_default()
        } else {
            printable(people)
        };
        print_text(&text);
    }

    /// An error, once, with its causes, and the exit status that belongs to it.
    pub fn failure(&self, error: &anyhow::Error) -> ExitCode {
        let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
        let mut lines: Vec<&str> = Vec::new();
        for cause in &causes {
            // A cause that its effect already quotes is not printed again.
            if !lines.iter().any(|line| line.contains(cause.as_str())) {
                lines.push(cause);
            }
        }
        let text = printable(&lines.join(": "));
        let unreachable = error.chain().any(is_unreached);
        let status = if unreachable { 3 } else { 1 };
        if self.json {
            let answer = json!({ "schema": "seedsweep.error/1", "error": text, "status": status });
            print_text(&answer.to_string());
        } else if self.logs {
            tracing::error!("{text}");
        } else {
            eprintln!("error: {text}");
        }
        ExitCode::from(status)
    }

    /// A bar with an estimate, on a terminal; nothing elsewhere.
    pub fn bar(&self, total: u64) -> ProgressBar {
        self.drawn(total, "{bar:40.cyan/dim} {pos}/{len} trainings  {msg}")
    }

    /// The same for anything that is counted.
    pub fn counting(&self, total: u64, what: &'static str) -> ProgressBar {
        self.drawn(total, "{bar:40.cyan/dim} {pos}/{len} {msg}, {eta} left").with_message(what)
    }

    /// The same for bytes, without an estimate: they come unevenly.
    pub fn bytes_bar(&self, total: u64, doing: &'static str) -> ProgressBar {
        let bar = self.drawn(total, "{msg} {bar:40.cyan/dim} {bytes} of {total_bytes}");
        bar.with_message(doing)
    }

    fn drawn(&self, total: u64, template: &str) -> ProgressBar {
        if self.quiet || self.json || self.logs || !std::io::stderr().is_terminal() {
            return ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar
    }
}

/// Whether no coordinator was reached that could decide; it may be another time.
fn is_unreached(cause: &(dyn std::error::Error + 'static)) -> bool {
    let client = cause.downcast_ref::<ClientError>().is_some_and(|error| match error {
        ClientError::Unreachable { source, .. } => !source.is_refusal(),
        ClientError::NoCoordinator { .. } | ClientError::Leaderless => true,
        ClientError::Refused { .. } | ClientError::Unexpected => false,
    });
    let joiner = cause.downcast_ref::<ClusterError>().is_some_and(|error| match error {
        ClusterError::Join(JoinError::Link(source)) => source.is_unreached(),
        ClusterError::Join(JoinError::NoLeader { .. }) => true,
        _ => false,
    });
    client || joiner
}

/// A table for people: columns under headings, nothing drawn.
pub fn table(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(headings.iter().copied());
    rows.into_iter().for_each(|row| {
        table.add_row(row);
    });
    let lines: Vec<String> = table.to_string().lines().map(|l| l.trim_end().to_string()).collect();
    lines.join("\n")
}

/// `1 min 20 s`, `3 h 5 min`.
pub fn duration(seconds: u64) -> String {
    match seconds {
        0..=59 => format!("{seconds} s"),
        60..=3_599 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..=86_399 => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

/// `512 B`, `1.5 KiB`, `20.0 GiB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let mut shown = (bytes as f64, "B");
    for unit in units {
        if shown.0 < 1_024.0 {
            break;
        }
        shown = (shown.0 / 1_024.0, unit);
    }
    if shown.1 == "B" { format!("{bytes} B") } else { format!("{:.1} {}", shown.0, shown.1) }
}

/// Reads `90s`, `15m`, `24h`, `7d`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is not a duration; write for example 30s, 15m, 24h or 7d");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| refused())?;
    let unit = match &text[digits.len()..] {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    number.checked_mul(unit).map(Duration::from_secs).ok_or_else(refused)
}

/// Without control characters: a name must not move somebody's cursor.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\n').collect()
}

fn print_text(text: &str) {
    // A reader that went away (`| head`) is no error.
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_printed() {
        assert_eq!(parse_duration("24h"), Ok(Duration::from_secs(86_400)));
        assert!(parse_duration("24").is_err() && parse_duration("h").is_err());
        assert!(parse_duration("99999999999999999999d").is_err());
        assert_eq!(duration(3_700), "1 h 1 min");
    }

    #[test]
    fn bytes_are_counted_in_powers_of_two() {
        let all = [1_023, 1_536, 20 << 30].map(bytes);
        assert_eq!(all, ["1023 B", "1.5 KiB", "20.0 GiB"]);
    }

    #[test]
    fn escape_codes_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a[2Jb\nc");
    }
}
