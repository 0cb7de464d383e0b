//! A replica's disk: what is committed is there after a crash, all of it or, in the middle of a write,
//! none of it. As slow, as full and as lossy as the schedule says.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::rc::Rc;

use common::id::{StudyId, TrialIndex};
use common::wire::message::OutcomeRow;
use coordinator::disk::RowChange;
use coordinator::replica::log::{Base, Persist, Recovered, Save, Source, Vote};

use super::plan::Bug;

pub type Rows = BTreeMap<(StudyId, TrialIndex), Rc<OutcomeRow>>;

#[derive(Clone, Default)]
pub struct Disk {
    pub recovered: Recovered,
    pub rows: Rows,
    /// Outcomes of a snapshot that is arriving.
    pub incoming: Option<Rows>,
    /// Those of snapshots that have arrived and are not installed, by their last entry.
    pub arrived: BTreeMap<u64, Rows>,
    /// What a crash gives back, where a commit is not what it says.
    before: Option<Box<Disk>>,
    unsynced_vote: Option<Vote>,
    bug: Option<Bug>,
}

impl Disk {
    pub fn new(recovered: Recovered, bug: Option<Bug>) -> Self {
        Self { recovered, bug, ..Self::default() }
    }

    pub fn commit(&mut self, persist: &Persist, rows: &[RowChange]) {
        match self.bug {
            Some(Bug::NoSync) => {
                self.before = None;
                self.before = Some(Box::new(self.clone()));
            }
            Some(Bug::NoVote) if persist.vote.is_some() => {
                self.unsynced_vote.get_or_insert(self.recovered.vote);
            }
            _ => {}
        }
        let Recovered { snapshot, base, vote, entries } = &mut self.recovered;
        if let Some(first) = persist.entries.first() {
            let keep = first.index.saturating_sub(base.index + 1) as usize;
            entries.truncate(keep);
        }
        *vote = persist.vote.unwrap_or(*vote);
        if let Some(Save { record, source }) = &persist.snapshot {
            let new_base = match source {
                Source::Own { base, .. } => *base,
                Source::Leader => Base { index: record.meta.index, term: record.meta.term },
            };
            match source {
                Source::Own { .. } => {
                    let gone = (new_base.index - base.index) as usize;
                    entries.drain(..gone.min(entries.len()));
                }
                Source::Leader => {
                    entries.clear();
                    let arrived = std::mem::take(&mut self.arrived).remove(&new_base.index);
                    let arrived = arrived.expect("its outcomes came with it");
                    if self.bug != Some(Bug::OldRows) {
                        self.rows.clear();
                    }
                    self.rows.extend(arrived);
                }
            }
            (*base, *snapshot) = (new_base, record.clone());
        }
        entries.extend(persist.entries.iter().cloned());
        apply(&mut self.rows, rows);
    }

    /// The process died: what was not synced is gone.
    pub fn crash(&mut self) {
        if let Some(before) = self.before.take() {
            *self = *before;
        }
        if let Some(vote) = self.unsynced_vote.take() {
            // The commit mark alone is kept: without it the folder would be refused.
            let commit = self.recovered.vote.commit;
            self.recovered.vote = Vote { commit, ..vote };
        }
    }
}

/// Outcomes after some changes.
pub fn apply(rows: &mut Rows, changes: &[RowChange]) {
    for change in changes {
        match change {
            RowChange::Keep(study, row) => {
                rows.insert((*study, row.trial), Rc::new(row.clone()));
            }
            RowChange::Drop(study, trial) => {
                rows.remove(&(*study, *trial));
            }
        }
    }
}
