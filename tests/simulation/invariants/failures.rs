//! R6: failures are counted once a lease, up to the limits; a poison trial ends as poison.
//!
//! Floor: wiring.

use std::collections::BTreeSet;

use common::id::TrialIndex;
use coordinator::scheduler::LOSSES_MAX;
use coordinator::scheduler::state::State;

use super::{Invariant, Plan, Seen, World};

pub struct FailuresCounted;

impl FailuresCounted {
    pub fn new(_: &Plan) -> Self {
        Self
    }
}

fn counted(state: &State) -> Result<(), String> {
    for (study, record) in &state.studies {
        let limit = record.study.budget.attempts;
        let mut interrupted = 0;
        for (trial, tally) in &record.tallies {
            let leases: BTreeSet<_> = tally.counted.iter().collect();
            if leases.len() != tally.counted.len() {
                return Err(format!("trial {trial} of {study} counts a lease twice: {tally:?}"));
            }
            if tally.own > limit || tally.losses > LOSSES_MAX {
                return Err(format!("trial {trial} of {study} was tried too often: {tally:?}"));
            }
            let failed = u64::from(tally.own + tally.losses);
            let Some(more) = (tally.counted.len() as u64).checked_sub(failed) else {
                return Err(format!("trial {trial} of {study} is counted wrongly: {tally:?}"));
            };
            interrupted += more;
        }
        // A trial that is opened again has no failures; its study still counts them.
        let counts = record.failures.iter().filter(|(reason, _)| reason.is_interruption());
        if interrupted > counts.map(|(_, count)| count).sum() {
            return Err(format!("of {study} {interrupted} attempts are counted as nothing"));
        }
    }
    Ok(())
}

impl Invariant for FailuresCounted {
    const RULE: &'static str = "R6: failures are counted once a lease, up to their limits";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Applied { node, .. } => counted(node.state()),
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let Some((study, trial)) = world.plan.poison else { return Ok(()) };
        let id = world.studies[study].id();
        for replica in &world.replicas {
            let Some(process) = &replica.process else { continue };
            let Some(record) = process.node.state().studies.get(&id) else { continue };
            let complete = coordinator::scheduler::state::TrialState::Complete;
            if record.trial(TrialIndex(trial)) == Some(complete) {
                return Err(format!("the poison trial {trial} is complete"));
            }
        }
        Ok(())
    }
}
