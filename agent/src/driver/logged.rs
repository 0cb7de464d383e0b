//! What an agent writes into its program's log about trials and its connection.
//!
//! Study, trial and agent are fields of their own, as in the coordinator's log. Single trials are for
//! `debug`. Why a program failed stands in its outcome, never here: it may hold anything.
//!
//! Floor: shell.

use common::trial::{Attempt, Ending, Report};
use tracing::debug;

use super::News;
use crate::session::Effect;

/// Trials that begin or have ended with this effect.
pub(super) fn trials(effect: &Effect) {
    match effect {
        Effect::MarkStarted { attempts } => attempts.iter().for_each(started),
        Effect::Spool { reports } => reports.iter().for_each(ended),
        _ => {}
    }
}

fn started(attempt: &Attempt) {
    let Attempt { study, trial, lease } = attempt;
    debug!(%study, trial = trial.0, %lease, "training");
}

fn ended(report: &Report) {
    let Attempt { study, trial, lease } = &report.attempt;
    match &report.ending {
        Ending::Complete(_) => debug!(%study, trial = trial.0, %lease, "complete"),
        Ending::Failed { reason, .. } => {
            let reason = reason.name();
            debug!(%study, trial = trial.0, %lease, reason, "failed");
        }
    }
}

impl News {
    /// The same for a log that programs read.
    pub fn log(&self) {
        match self {
            News::Connected { name } => {
                // After the agent's name comes where it joined.
                let agent = name.split(' ').next().unwrap_or_default();
                tracing::info!(agent = %agent.escape_debug(), "{self}");
            }
            News::Training { study, .. } | News::Fetching { study, .. } => {
                tracing::info!(%study, "{self}");
            }
            News::NoData { study, .. } => tracing::warn!(%study, "{self}"),
            News::Apart { .. } => tracing::warn!("{self}"),
            _ => tracing::info!("{self}"),
        }
    }
}
