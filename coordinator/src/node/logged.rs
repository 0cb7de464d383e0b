//! What the leader writes into the program's log about trials and agents.
//!
//! Study, trial and agent are fields of their own, named so everywhere, so that a log in JSON can be
//! searched by them. What concerns single trials is for `debug`: there may be millions. Nothing that
//! an agent or program wrote is repeated here, since it may hold anything; but for an agent's name.
//!
//! Floor: core.

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::wire::message::{AgentAbout, RowEnd};
use tracing::{debug, info, warn};

use crate::scheduler::Ended;
use crate::scheduler::lease::Lease;
use crate::scheduler::state::State;

/// An agent said who it is.
pub(super) fn joined(agent: MemberId, about: &AgentAbout) {
    let host = about.host.escape_debug();
    let device = about.device.escape_debug();
    info!(%agent, %host, %device, lanes = about.lanes, "agent joined");
}

pub(super) fn left(agent: MemberId) {
    info!(%agent, "agent left");
}

pub(super) fn set_aside(study: StudyId, agent: MemberId) {
    warn!(%study, %agent, "agent set aside: see `coordinator agents`");
}

pub(super) fn assigned(study: StudyId, agent: MemberId, lease: LeaseId, trials: &[TrialIndex]) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        for trial in trials {
            debug!(%study, trial = trial.0, %agent, %lease, "assigned");
        }
    }
}

pub(super) fn expired(id: LeaseId, lease: &Lease) {
    let Lease { agent, study, trials, .. } = lease;
    info!(%study, %agent, lease = %id, trials = trials.len(), "lease expired");
}

/// One attempt is over, and that is applied.
pub(super) fn ended(state: &State, ended: &Ended) {
    match ended {
        Ended::Trial { attempt, row, study_over } => {
            let (study, trial, lease) = (attempt.study, attempt.trial.0, attempt.lease);
            let agent = row.agent;
            match &row.end {
                RowEnd::Complete(_) => debug!(%study, trial, %agent, %lease, "complete"),
                RowEnd::Failed { reason, .. } => {
                    debug!(%study, trial, %agent, %lease, %reason, "failed");
                }
            }
            if *study_over {
                info!(%study, "study finished");
            }
        }
        Ended::Again { attempt } if tracing::enabled!(tracing::Level::DEBUG) => {
            let (study, trial, lease) = (attempt.study, attempt.trial, attempt.lease);
            let tally = state.studies.get(&study).and_then(|record| record.tallies.get(&trial));
            let Some(last) = tally.and_then(|tally| tally.past.last()) else { return };
            let (agent, reason) = (last.agent, last.reason.name());
            debug!(%study, trial = trial.0, %agent, %lease, reason, "attempt failed");
        }
        Ended::Late { attempt, differs: true } => {
            let (study, trial, lease) = (attempt.study, attempt.trial.0, attempt.lease);
            warn!(%study, trial, %lease, "an outcome came again and differs from the one that stands");
        }
        Ended::Again { .. } | Ended::Late { .. } | Ended::Unknown { .. } => {}
    }
}
