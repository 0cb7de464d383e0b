//! R1 and R3: a trial has one accepted outcome; another one, a late one, one of an ended trial changes
//! nothing. Only a retry takes a failure away, on every replica alike.
//!
//! Floor: wiring.

use std::collections::BTreeMap;

use common::id::{StudyId, TrialIndex};
use common::wire::message::{OutcomeRow, RowEnd};
use coordinator::disk::RowChange;

use super::{Invariant, Plan, Seen};

pub struct OutcomeOnce {
    /// Of each trial the ends that were accepted, in order, and whether a retry took them away.
    accepted: BTreeMap<(StudyId, TrialIndex), Vec<(OutcomeRow, bool)>>,
}

impl OutcomeOnce {
    pub fn new(_: &Plan) -> Self {
        Self { accepted: BTreeMap::new() }
    }
}

impl Invariant for OutcomeOnce {
    const RULE: &'static str = "R1: an accepted outcome is counted once and never replaced";

    fn see(&mut self, seen: &Seen<'_>) -> Result<(), String> {
        let Seen::Row { replica, change } = seen else { return Ok(()) };
        match change {
            // A replica that replays its log keeps again what was dropped later.
            RowChange::Keep(study, row) => {
                let ends = self.accepted.entry((*study, row.trial)).or_default();
                if ends.iter().any(|(end, _)| end == row) {
                    return Ok(());
                }
                if let Some((end, false)) = ends.last() {
                    return Err(format!(
                        "{replica}: the outcome of trial {} of {study} was {end:?} and is now {row:?}",
                        row.trial
                    ));
                }
                ends.push((row.clone(), false));
            }
            RowChange::Drop(study, trial) => {
                let ends = self.accepted.entry((*study, *trial)).or_default();
                if let Some((OutcomeRow { end: RowEnd::Failed { .. }, .. }, gone)) = ends.last_mut()
                {
                    *gone = true;
                }
            }
        }
        Ok(())
    }
}
