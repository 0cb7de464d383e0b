//! What raft logs, through slog, goes where everything else goes: to tracing, under the target `raft`.
//!
//! Raft tells as information what is ordinary for us: one level lower here.
//!
//! Floor: shell.

use std::fmt::{Arguments, Write};

use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer};

/// A logger for a replica.
pub fn logger() -> Logger {
    Logger::root(Bridge, slog::o!())
}

struct Bridge;

impl Drain for Bridge {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        match record.level() {
            Level::Critical | Level::Error => {
                tracing::error!(target: "raft", "{}", line(record, values))
            }
            Level::Warning => tracing::warn!(target: "raft", "{}", line(record, values)),
            Level::Info => tracing::debug!(target: "raft", "{}", line(record, values)),
            Level::Debug | Level::Trace => {
                tracing::trace!(target: "raft", "{}", line(record, values))
            }
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        match level {
            Level::Critical | Level::Error => {
                tracing::enabled!(target: "raft", tracing::Level::ERROR)
            }
            Level::Warning => tracing::enabled!(target: "raft", tracing::Level::WARN),
            Level::Info => tracing::enabled!(target: "raft", tracing::Level::DEBUG),
            Level::Debug | Level::Trace => tracing::enabled!(target: "raft", tracing::Level::TRACE),
        }
    }
}

fn line(record: &Record<'_>, values: &OwnedKVList) -> String {
    let mut line = Line(record.msg().to_string());
    // Values that cannot be written are left out of the line.
    let _ = record.kv().serialize(record, &mut line);
    let _ = values.serialize(record, &mut line);
    line.0
}

struct Line(String);

impl Serializer for Line {
    fn emit_arguments(&mut self, key: Key, value: &Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_becomes_one_line_with_its_values() {
        let values = slog::o!("replica" => 3);
        let values = OwnedKVList::from(values);
        let found = line(
            &slog::record!(Level::Info, "", &format_args!("term {}", 5), slog::b!("lag" => 7)),
            &values,
        );
        assert_eq!(found, "term 5, lag: 7, replica: 3");
    }
}
