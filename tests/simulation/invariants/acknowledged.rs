//! R2: an outcome is acknowledged only after it is committed and applied, and is in every later state.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};

use common::id::{ReplicaId, StudyId, TrialIndex};
use common::trial::Attempt;
use common::wire::message::{StudyState, ToAgent};
use coordinator::disk::RowChange;
use coordinator::scheduler::state::{State, TrialState};

use super::{Invariant, Plan, Seen, World};

pub struct Acknowledged {
    /// What was acknowledged as complete: its digest, and the entry that had it.
    complete: BTreeMap<(StudyId, TrialIndex), (u64, u64)>,
    /// Whose failure a retry has taken away.
    retried: BTreeSet<(StudyId, TrialIndex)>,
    /// They take no outcomes, and their agents may forget: true also when they are taken up again in
    /// the same turn.
    cancelled: BTreeSet<StudyId>,
    /// Of this turn: acknowledged, open, and not counted. A retry later in the turn explains it.
    unexplained: BTreeMap<ReplicaId, Vec<Attempt>>,
}

impl Acknowledged {
    pub fn new(_: &Plan) -> Self {
        Self {
            complete: BTreeMap::new(),
            retried: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            unexplained: BTreeMap::new(),
        }
    }

    fn holds(&self, state: &State) -> Result<(), String> {
        for ((study, trial), (digest, index)) in &self.complete {
            if state.applied < *index {
                continue;
            }
            let record = state.studies.get(study);
            let found = record.map(|record| (record.trial(*trial), record.digest(*trial)));
            if found != Some((Some(TrialState::Complete), *digest)) {
                return Err(format!("trial {trial} of {study} was acknowledged, and is {found:?}"));
            }
        }
        Ok(())
    }
}

impl Invariant for Acknowledged {
    const RULE: &'static str = "R2: what was acknowledged is committed and never lost";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::ToAgent { replica, node, message: ToAgent::Acknowledge { attempts } } => {
                let state = node.state();
                for attempt in attempts {
                    let Some(record) = state.studies.get(&attempt.study) else {
                        return Err(format!("{replica} acknowledged {attempt:?} of no study"));
                    };
                    let tally = record.tallies.get(&attempt.trial);
                    let counted = tally.is_some_and(|t| t.counted.contains(&attempt.lease));
                    match record.trial(attempt.trial) {
                        Some(TrialState::Open) if !counted => {
                            self.unexplained.entry(*replica).or_default().push(*attempt);
                        }
                        Some(TrialState::Complete) => {
                            let digest = record.digest(attempt.trial);
                            let key = (attempt.study, attempt.trial);
                            self.complete.entry(key).or_insert((digest, state.applied));
                        }
                        _ => {}
                    }
                }
                Ok(())
            }
            Seen::Row { change: RowChange::Drop(study, trial), .. } => {
                self.retried.insert((*study, *trial));
                Ok(())
            }
            Seen::Turned { replica } => {
                let open = self.unexplained.remove(replica).unwrap_or_default();
                let explained = |attempt: &&Attempt| {
                    self.cancelled.contains(&attempt.study)
                        || self.retried.contains(&(attempt.study, attempt.trial))
                };
                match open.iter().find(|attempt| !explained(attempt)) {
                    Some(attempt) => Err(format!(
                        "{replica} acknowledged {attempt:?}, which the log does not have"
                    )),
                    None => Ok(()),
                }
            }
            Seen::Started { replica } => {
                self.unexplained.remove(replica);
                Ok(())
            }
            Seen::Applied { node, .. } => {
                let studies = node.state().studies.iter();
                let over = studies.filter(|(_, record)| record.state == StudyState::Cancelled);
                self.cancelled.extend(over.map(|(study, _)| *study));
                self.holds(node.state())
            }
            _ => Ok(()),
        }
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        let live = world.replicas.iter().filter_map(|replica| replica.process.as_ref());
        live.map(|process| process.node.state()).try_for_each(|state| self.holds(state))
    }
}
