//! R4: at rest every trial is complete, failed with a reason, or cancelled; and what an agent had spooled
//! has reached the log.
//!
//! That rest is reached at all is seen to by the loop itself.
//!
//! Floor: wiring.

use std::collections::BTreeSet;

use common::trial::Attempt;
use common::wire::message::{RowEnd, StudyState, ToAgent};
use coordinator::scheduler::state::TrialState;

use super::{Invariant, Plan, Seen, World};

pub struct NothingForgotten {
    spooled: BTreeSet<Attempt>,
    acknowledged: BTreeSet<Attempt>,
}

impl NothingForgotten {
    pub fn new(_: &Plan) -> Self {
        Self { spooled: BTreeSet::new(), acknowledged: BTreeSet::new() }
    }
}

impl Invariant for NothingForgotten {
    const RULE: &'static str = "R4: no trial is forgotten";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        match seen {
            Seen::Spooled { report } => {
                self.spooled.insert(report.attempt);
            }
            Seen::ToAgent { message: ToAgent::Acknowledge { attempts }, .. } => {
                self.acknowledged.extend(attempts.iter().copied());
            }
            _ => {}
        }
        Ok(())
    }

    fn at_rest(&mut self, world: &World) -> Result<(), String> {
        if let Some(lost) = self.spooled.difference(&self.acknowledged).next() {
            return Err(format!("{lost:?} was spooled and never reached a coordinator"));
        }
        for (replica, process) in world.members() {
            let rows = replica.rows();
            for (study, record) in &process.node.state().studies {
                let cancelled = record.state == StudyState::Cancelled;
                if let Some(trial) = record.in_state(TrialState::Open).next() {
                    return Err(format!("{}: trial {trial} of {study} is open", replica.id));
                }
                for trial in record.in_state(TrialState::Failed) {
                    let row = rows.get(&(*study, trial)).map(|row| &row.end);
                    if !matches!(row, Some(RowEnd::Failed { reason, .. }) if !reason.is_empty()) {
                        return Err(format!(
                            "{}: trial {trial} of {study} failed without a reason",
                            replica.id
                        ));
                    }
                }
                if record.cancelled > 0 && !cancelled {
                    return Err(format!(
                        "{}: cancelled trials of {study}, which goes on",
                        replica.id
                    ));
                }
            }
        }
        Ok(())
    }
}
