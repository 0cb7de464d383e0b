//! A lease has one holder a term, holds open trials, or complete ones that are trained again, and ends
//! in its time (R5).
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::{LeaseId, MemberId, StudyId, TrialIndex};
use common::wire::message::ToAgent;
use coordinator::scheduler::state::TrialState;

use super::{Invariant, Plan, Seen};
use crate::simulation::replicas::LEASE_MS;

pub struct OneHolder {
    granted: BTreeMap<LeaseId, (StudyId, Vec<TrialIndex>)>,
}

impl OneHolder {
    pub fn new(_: &Plan) -> Self {
        Self { granted: BTreeMap::new() }
    }
}

impl Invariant for OneHolder {
    const RULE: &'static str = "R5: a lease has one holder a term, and ends in its time";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::ToAgent {
                node,
                message:
                    ToAgent::Assign { lease, study, trials, .. }
                    | ToAgent::AssignFrom { lease, study, trials, .. },
                ..
            } => {
                let before = self.granted.insert(*lease, (*study, trials.clone()));
                if before.is_some() {
                    return Err(format!("lease {lease} was granted twice"));
                }
                if lease.term != node.replica().term() {
                    return Err(format!("lease {lease} is of another term"));
                }
                let record = node.state().studies.get(study);
                let due = match node.is_repetition(*lease) {
                    true => TrialState::Complete,
                    false => TrialState::Open,
                };
                let is_due = |trial: &&TrialIndex| {
                    record.and_then(|record| record.trial(**trial)) == Some(due)
                };
                if let Some(ended) = trials.iter().find(|trial| !is_due(trial)) {
                    return Err(format!("trial {ended} of {study} is granted, and is not {due:?}"));
                }
            }
            Seen::Leads { replica, node, mono } => {
                let mut holders: BTreeMap<(StudyId, TrialIndex), (LeaseId, MemberId)> =
                    BTreeMap::new();
                let tick = node.last_tick();
                for (id, lease) in node.leases() {
                    if lease.deadline.0 < tick.0 {
                        return Err(format!(
                            "{replica} holds lease {id}, over since {:?}",
                            lease.deadline
                        ));
                    }
                    if lease.deadline.0 > mono.0 + LEASE_MS {
                        return Err(format!("{replica} holds lease {id} for too long"));
                    }
                    for trial in &lease.trials {
                        let held = holders.insert((lease.study, *trial), (id, lease.agent));
                        if let Some((other, _)) = held {
                            return Err(format!("trial {trial} is under leases {other} and {id}"));
                        }
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
