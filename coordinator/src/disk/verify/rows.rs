//! The snapshot and the entries after it say how every trial ended; the table of outcomes must too.
//!
//! What an entry ended is in the table at the latest with the next snapshot. So a trial that ended
//! before the snapshot has its row; one that an entry after it changed has the row of before or of
//! after, to the byte.
//!
//! Floor: shell.

use std::collections::BTreeMap;

use common::id::{Digest, ReplicaId, StudyId, TrialIndex};
use common::wire::codec;
use common::wire::message::{OutcomeRow, RowEnd};
use redb::ReadableTable;

use super::finding::Finding;
use super::{Parts, Verdict};
use crate::disk::{Disk, DiskError, OUTCOMES, damaged, row_key, unsealed};
use crate::replica::log::{EntryKind, LogEntry};
use crate::scheduler::command::{Command, Entry, EntryError, LEVEL};
use crate::scheduler::state::{State, TrialState, short_digest};
use crate::scheduler::{Applied, Ended};

/// How trials ended, by the log.
pub(super) struct Ends {
    /// After the last entry.
    state: State,
    /// What trials that entries after the snapshot changed were, one after the other.
    changed: BTreeMap<(StudyId, TrialIndex), Vec<Was>>,
}

/// What the table may say of a trial.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Was {
    Absent,
    /// Failed before the snapshot, for whatever reason.
    Failed,
    /// The digest of this row's bytes.
    Row(Digest),
}

/// Applies the entries to the snapshot's state, as a replica that starts does. `None` when it cannot.
pub(super) fn replay(parts: &Parts, entries: &[LogEntry], verdict: &mut Verdict) -> Option<Ends> {
    let state = state(parts, verdict)?;
    let told = told_digests(entries);
    let mut ends = Ends { state, changed: BTreeMap::new() };
    let mut digests: BTreeMap<u64, [u8; 32]> = BTreeMap::new();
    let own = parts.identity.map(|identity| identity.replica);
    let first = ends.state.applied;
    if told.contains(&first) {
        digests.insert(first, ends.state.digest());
    }
    for entry in entries.iter().filter(|entry| entry.index > first) {
        // Entries that are not known to be committed are replayed too: rows may be ahead of the mark.
        if entry.index != ends.state.applied + 1 || !ends.apply(entry, own, &digests, verdict) {
            return None;
        }
        if told.contains(&entry.index) {
            digests.insert(entry.index, ends.state.digest());
        }
    }
    if ends.state.applied < parts.committed() {
        return None;
    }
    verdict.studies = Some(ends.state.studies.len() as u64);
    Some(ends)
}

/// The snapshot's state.
fn state(parts: &Parts, verdict: &mut Verdict) -> Option<State> {
    let (snapshot, identity) = (parts.snapshot.as_ref()?, parts.identity?);
    let index = snapshot.meta.index;
    if let Some(base) = parts.base.filter(|base| base.index > index) {
        verdict.find(Finding::Base { index, base: base.index });
        return None;
    }
    let state = match snapshot.state.as_slice() {
        // The leader has not sent its first snapshot yet.
        [] if index == 0 => State::empty(identity.cluster),
        bytes => match State::decode(bytes) {
            Some(state) => state,
            None => {
                verdict.find(Finding::State);
                return None;
            }
        },
    };
    verdict.snapshot = Some((index, Some(state.level)));
    let (cluster, other) = (identity.cluster, state.cluster);
    if other != cluster {
        verdict.find(Finding::OtherCluster { part: "snapshot", cluster, other });
    }
    if state.level > LEVEL {
        let error = EntryError::Level { level: state.level, known: LEVEL };
        verdict.find(Finding::Newer { why: error.to_string() });
        return None;
    }
    if state.applied != index {
        verdict.find(Finding::StateIndex { index, applied: state.applied });
        return None;
    }
    Some(state)
}

/// The entries of which the log tells the state's digest.
fn told_digests(entries: &[LogEntry]) -> Vec<u64> {
    let commands = entries.iter().filter_map(command);
    let told = commands.filter_map(|entry| match entry {
        Ok(Entry { command: Command::Digests { index, .. }, .. }) => Some(index),
        _ => None,
    });
    told.collect()
}

/// `None`: a leader began its term, or the membership changed.
fn command(entry: &LogEntry) -> Option<Result<Entry, EntryError>> {
    let empty = entry.kind != EntryKind::Command || entry.data.is_empty();
    (!empty).then(|| Entry::decode(&entry.data))
}

impl Ends {
    /// Applies one entry. False when that is not possible.
    fn apply(
        &mut self,
        entry: &LogEntry,
        own: Option<ReplicaId>,
        digests: &BTreeMap<u64, [u8; 32]>,
        verdict: &mut Verdict,
    ) -> bool {
        let index = entry.index;
        let command = match command(entry) {
            None => {
                self.state.pass(index);
                return true;
            }
            Some(Ok(command)) => command,
            Some(Err(error @ EntryError::Unreadable { .. })) => {
                verdict.find(Finding::Unreadable { index, why: error.to_string() });
                return false;
            }
            Some(Err(error)) => {
                verdict.find(Finding::Newer { why: error.to_string() });
                return false;
            }
        };
        let level = command.command.level();
        let applied = self.state.apply(index, command);
        let level = level.max(self.state.level);
        if level > LEVEL {
            let error = EntryError::Level { level, known: LEVEL };
            verdict.find(Finding::Newer { why: error.to_string() });
            return false;
        }
        match applied {
            Applied::Reported(ended) => ended.into_iter().for_each(|ended| self.ended(ended)),
            Applied::Retried { study, trials } => {
                for trial in trials {
                    let was = self.changed.entry((study, trial)).or_insert(vec![Was::Failed]);
                    was.push(Was::Absent);
                }
            }
            Applied::Digests { index, of }
                if digests.get(&index).is_some_and(|digest| differs(digest, own, &of)) =>
            {
                verdict.find(Finding::Diverged { index });
            }
            _ => {}
        }
        true
    }

    fn ended(&mut self, ended: Ended) {
        if let Ended::Trial { attempt, row, .. } = ended {
            let was =
                self.changed.entry((attempt.study, attempt.trial)).or_insert(vec![Was::Absent]);
            was.push(Was::Row(digest_of(&row)));
        }
    }

    /// Whether a trial may be what the table says of it; `None`: it has no row.
    fn allows(&self, study: StudyId, trial: TrialIndex, row: Option<&OutcomeRow>) -> bool {
        if let Some(was) = self.changed.get(&(study, trial)) {
            return was.iter().any(|was| match (was, row) {
                (Was::Absent, None) => true,
                (Was::Failed, Some(row)) => matches!(row.end, RowEnd::Failed { .. }),
                (Was::Row(digest), Some(row)) => *digest == digest_of(row),
                _ => false,
            });
        }
        let record = self.state.studies.get(&study);
        let ended = record.and_then(|record| record.trial(trial));
        match (ended, row.map(|row| &row.end)) {
            (Some(TrialState::Complete), Some(RowEnd::Complete(outcome))) => {
                let stands = record.map(|record| record.digest(trial));
                stands == Some(short_digest(&outcome.digest()))
            }
            (Some(TrialState::Failed), Some(RowEnd::Failed { .. })) => true,
            (Some(TrialState::Complete | TrialState::Failed), _) => false,
            (_, row) => row.is_none(),
        }
    }

    /// Whether a trial has ended, or had at some time that the table may still show.
    fn knows(&self, study: StudyId, trial: TrialIndex) -> bool {
        let state = self.state.studies.get(&study).and_then(|record| record.trial(trial));
        self.changed.contains_key(&(study, trial))
            || matches!(state, Some(TrialState::Complete | TrialState::Failed))
    }
}

/// As a replica that is running judges it, but that what it found itself must be the same.
fn differs(digest: &[u8; 32], own: Option<ReplicaId>, of: &[(ReplicaId, [u8; 32])]) -> bool {
    let agree = |digest: &[u8; 32]| of.iter().filter(|(_, found)| found == digest).count();
    let most = of.iter().map(|(_, found)| agree(found)).max().unwrap_or_default();
    let then = of.iter().find(|(replica, _)| Some(*replica) == own);
    agree(digest) < most || then.is_some_and(|(_, found)| found != digest)
}

fn digest_of(row: &OutcomeRow) -> Digest {
    // It was decoded from such bytes, or is written as such.
    Digest::of(&codec::encode(row).unwrap_or_default())
}

/// Reads every row; with `ends`, compares each, and looks for those that are missing.
pub(super) fn compare(
    disk: &Disk,
    ends: Option<&Ends>,
    verdict: &mut Verdict,
) -> Result<(), DiskError> {
    let transaction = disk.read()?;
    let table = transaction.open_table(OUTCOMES).map_err(|error| damaged(&disk.path, error))?;
    let mut there = There { ends, study: None, trials: Vec::new() };
    for item in table.iter().map_err(|error| damaged(&disk.path, error))? {
        let (key, value) = item.map_err(|error| damaged(&disk.path, error))?;
        let (study, trial) = (StudyId(key.value().0), TrialIndex(key.value().1));
        verdict.outcomes += 1;
        there.turn_to(Some(study), verdict);
        there.mark(trial);
        let row: Option<OutcomeRow> = unsealed(&row_key(study, trial), value.value());
        match row.filter(|row| row.trial == trial) {
            None => verdict.find(Finding::Row { study, trial }),
            Some(row) => {
                if let Some(ends) = ends.filter(|ends| !ends.allows(study, trial, Some(&row))) {
                    verdict.find(match ends.knows(study, trial) {
                        true => Finding::RowDiffers { study, trial },
                        false => Finding::RowStray { study, trial },
                    });
                }
            }
        }
    }
    there.turn_to(None, verdict);
    Ok(())
}

/// The trials of the study in hand that have a row. Rows come study by study.
struct There<'a> {
    ends: Option<&'a Ends>,
    study: Option<StudyId>,
    trials: Vec<bool>,
}

impl There<'_> {
    fn mark(&mut self, trial: TrialIndex) {
        if let Some(there) = self.trials.get_mut(trial.0 as usize) {
            *there = true;
        }
    }

    /// Goes on to `next`, or to the end; studies in between have no row at all.
    fn turn_to(&mut self, next: Option<StudyId>, verdict: &mut Verdict) {
        if next.is_some() && next == self.study {
            return;
        }
        let Some(ends) = self.ends else { return };
        let passed = ends.state.studies.keys().copied().filter(|study| {
            self.study.is_none_or(|current| *study >= current)
                && next.is_none_or(|next| *study < next)
        });
        for study in passed {
            let none = Vec::new();
            let there = if self.study == Some(study) { &self.trials } else { &none };
            missing(ends, study, there, verdict);
        }
        self.study = next;
        let record = next.and_then(|study| ends.state.studies.get(&study));
        self.trials = vec![false; record.map_or(0, |record| record.planned() as usize)];
    }
}

fn missing(ends: &Ends, study: StudyId, there: &[bool], verdict: &mut Verdict) {
    let Some(record) = ends.state.studies.get(&study) else { return };
    for trial in (0..record.planned()).map(TrialIndex) {
        let has = there.get(trial.0 as usize).copied().unwrap_or(false);
        if has {
            continue;
        }
        let ended = matches!(record.trial(trial), Some(TrialState::Complete | TrialState::Failed));
        if !ends.allows(study, trial, None) {
            verdict.find(Finding::RowMissing { study, trial });
        } else if ended {
            verdict.in_log_alone += 1;
        }
    }
}
