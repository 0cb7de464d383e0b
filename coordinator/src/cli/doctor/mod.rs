//! `coordinator doctor`: what is wrong with this machine or the cluster, and what to change.
//!
//! Works without any coordinator: then it looks at what one would need. Nothing is changed.
//!
//! Floor: wiring.

mod cluster;
mod machine;

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::connect::data_folder;
use super::output::{Output, table};
use super::{Target, connect};
use crate::disk::Disk;

/// Check this machine and the cluster, and say what to mend.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator doctor\n  coordinator doctor --data /srv/seedsweep\n  coordinator doctor --coordinator 10.0.0.5:7461 --json\n\nExit status 1 when anything is bad."
)]
pub struct DoctorArgs {
    #[command(flatten)]
    target: Target,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq)]
struct Check {
    name: String,
    level: Level,
    /// A sentence: how it is, and what to change.
    what: String,
    /// For programs.
    figures: Value,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Level {
    Ok,
    Warn,
    Bad,
}

impl Check {
    fn new(name: impl Into<String>, level: Level, what: impl Into<String>) -> Self {
        Self { name: name.into(), level, what: what.into(), figures: json!({}) }
    }

    fn ok(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Level::Ok, what)
    }

    fn warn(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Level::Warn, what)
    }

    fn bad(name: impl Into<String>, what: impl Into<String>) -> Self {
        Self::new(name, Level::Bad, what)
    }

    fn with(self, figures: Value) -> Self {
        Self { figures, ..self }
    }
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Bad => "bad",
        }
    }
}

/// `coordinator doctor`.
pub async fn doctor(args: DoctorArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let target = &args.target;
    let mut checks = Vec::new();
    // With the address of a coordinator elsewhere alone, this machine's own folder is not meant.
    let is_here = target.data.is_some() || target.coordinator.is_empty();
    let mut answers = !target.coordinator.is_empty();
    if is_here {
        let folder = data_folder(target.data.as_deref())?;
        let in_use = Disk::is_in_use(&folder);
        let looked = folder.clone();
        let found = tokio::task::spawn_blocking(move || machine::checks(&looked, in_use)).await;
        checks.extend(found?);
        answers |= in_use && folder.join(connect::ADDRESS_FILE).exists();
    }
    if answers {
        checks.extend(cluster::checks(target).await);
    }
    print(&checks, output);
    let bad = checks.iter().any(|check| check.level == Level::Bad);
    Ok(if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

fn print(checks: &[Check], output: &Output) {
    let row = |check: &Check| {
        vec![check.level.name().to_string(), check.name.clone(), check.what.clone()]
    };
    let count = |level| checks.iter().filter(|check| check.level == level).count();
    let end = match (count(Level::Bad), count(Level::Warn)) {
        (0, 0) => "nothing to mend".to_string(),
        (0, warned) => format!("nothing is bad, {warned} to look at"),
        (bad, warned) => format!("{bad} to mend, {warned} to look at"),
    };
    let people =
        table(&["", "check", "how it is, and what to do"], checks.iter().map(row).collect());
    let healthy = count(Level::Bad) == 0;
    let checks: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "check": check.name,
                "level": check.level.name(),
                "what": check.what,
                "figures": check.figures,
            })
        })
        .collect();
    let answer = json!({ "healthy": healthy, "checks": checks });
    output.answer(&format!("{people}\n{end}"), "seedsweep.doctor/1", answer);
}
