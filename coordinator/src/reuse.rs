//! Outcomes that a new study takes over from earlier ones of the same cluster.
//!
//! A trial's digest names the training itself, so a study grown from 10 to 20 seeds trains only what
//! is new. What is taken over goes through the log like any outcome: the first one committed stands.
//!
//! Floor: shell.

use std::collections::{BTreeMap, BTreeSet};

use common::design::{Design, TUNING, TrialKey};
use common::id::{StudyId, TrialIndex};
use common::seed::Stream;
use common::study::{SeedFactor, Study};
use common::wire::message::{OutcomeRow, Request, Response, RowEnd};

use crate::driver::Handle;

/// Gives a new study the outcomes that earlier studies have of its trials; returns how many.
pub async fn reuse(handle: &Handle, id: StudyId) -> u64 {
    let Some(study) = study_of(handle, id).await else { return 0 };
    let Response::Status { studies } = handle.ask_own(Request::Status { study: None }).await else {
        return 0;
    };
    let sought = Sought::of(&study);
    let mut taken = BTreeSet::new();
    for earlier in studies.iter().rev().filter(|status| status.id != id && status.complete > 0) {
        // What is sealed there would be shown here.
        let earlier_id = earlier.id;
        let closed = handle.look(move |node| node.state().is_closed(earlier_id)).await;
        if closed.unwrap_or(true) {
            continue;
        }
        let Some(other) = study_of(handle, earlier.id).await else { continue };
        if could_share(&study, &other) {
            take_from(handle, id, earlier.id, &other, &sought, &mut taken).await;
        }
    }
    taken.len() as u64
}

async fn take_from(
    handle: &Handle,
    id: StudyId,
    earlier: StudyId,
    other: &Study,
    sought: &Sought<'_>,
    taken: &mut BTreeSet<TrialIndex>,
) {
    let design = Design::of(other);
    let mut from = Some(TrialIndex(0));
    while let Some(first) = from {
        let page = handle.outcomes(earlier, first).await;
        let Response::Outcomes { rows, next } = page else { return };
        let found: Vec<OutcomeRow> = rows
            .into_iter()
            .filter(|row| matches!(row.end, RowEnd::Complete(_)))
            .filter_map(|row| {
                let trial = sought.same_training(&design.key(row.trial)?, other)?;
                taken.insert(trial).then_some(OutcomeRow { trial, ..row })
            })
            .collect();
        if !found.is_empty() {
            handle.adopt(id, found).await;
        }
        from = next;
    }
}

/// The trials of a new study, found by what an earlier one trained. Nothing is made for each trial:
/// a new study may have millions, the earlier ones none of them.
struct Sought<'a> {
    study: &'a Study,
    design: Design,
    /// Arm and config, by the arm as written and the config's point.
    configs: BTreeMap<(&'a str, String), (u32, u32)>,
}

impl<'a> Sought<'a> {
    fn of(study: &'a Study) -> Self {
        let mut configs = BTreeMap::new();
        // What a search tries is not known before it runs.
        let written = (0..).zip(&study.arms).filter(|(_, arm)| arm.learned.is_none());
        for (number, arm) in written {
            for (config, within) in (0..).zip(&arm.configs) {
                let name = (arm.written.as_str(), within.point.to_string());
                configs.insert(name, (number, config));
            }
        }
        Self { study, design: Design::of(study), configs }
    }

    /// The trial that is the same training as one of another study: the one that is alike in all that
    /// both studies name, when the digests agree.
    fn same_training(&self, key: &TrialKey, other: &Study) -> Option<TrialIndex> {
        let name = (key.arm(other).written.as_str(), key.config(other).point.to_string());
        let (arm, config) = *self.configs.get(&name)?;
        let tuning = if key.inner.is_some() { TUNING } else { 0 };
        let level = |factor: &SeedFactor| {
            let moved = Stream::TRAINING.into_iter().find(|s| factor.streams.contains(s));
            // A factor that moves no training has the same outcome at each level.
            u32::try_from(moved.map_or(0, |stream| key.seed_of(other, stream) - tuning)).ok()
        };
        let seeds = self.study.seeds.factors.iter().map(level).collect::<Option<_>>()?;
        let same = TrialKey { arm, config, seeds, ..key.clone() };
        // Which config is trained again, a choice says first: refits are not open yet.
        if same.inner.is_none() && self.design.is_searched(arm) {
            return None;
        }
        let trial = self.design.index(&same)?;
        (same.digest(self.study) == key.digest(other)).then_some(trial)
    }
}

async fn study_of(handle: &Handle, id: StudyId) -> Option<Study> {
    match handle.ask_own(Request::Study { study: id }).await {
        Response::Study { study, .. } => Some(*study),
        _ => None,
    }
}

/// Whether outcomes of one study have the form of the other's.
fn could_share(study: &Study, other: &Study) -> bool {
    study.data.digest == other.data.digest
        && study.metrics == other.metrics
        && study.keeps_rows() == other.keeps_rows()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// Trial of `other` → trial of `study`, for all that are found.
    fn found(study: &Study, other: &Study) -> BTreeMap<TrialIndex, TrialIndex> {
        let (sought, design) = (Sought::of(study), Design::of(other));
        let trials = (0..design.trials().expect("small")).map(TrialIndex);
        let same = |trial| sought.same_training(&design.key(trial)?, other);
        trials.filter_map(|trial| Some((trial, same(trial)?))).collect()
    }

    /// The same by the digest of each trial.
    fn found_by_digest(study: &Study, other: &Study) -> BTreeMap<TrialIndex, TrialIndex> {
        let digests = |study: &Study| {
            let design = Design::of(study);
            let trials = (0..design.trials().expect("small")).map(TrialIndex);
            let digest = |trial| (design.key(trial).expect("in it").digest(study), trial);
            trials.map(digest).collect::<BTreeMap<_, _>>()
        };
        let own = digests(study);
        let theirs = digests(other).into_iter();
        theirs.filter_map(|(digest, trial)| Some((trial, *own.get(&digest)?))).collect()
    }

    #[test]
    fn a_study_of_more_seeds_finds_every_trial_of_the_smaller_one() {
        let (large, small) = (sample::study(5), sample::study(2));
        let found = found(&large, &small);
        assert_eq!(found.len() as u64, Design::of(&small).trials().expect("small"));
        assert_eq!(found, found_by_digest(&large, &small));
    }

    #[test]
    fn a_study_of_more_seeds_and_fewer_partitions_finds_what_is_the_same() {
        let mut large = sample::study(3);
        large.outer.partitions = 3;
        let mut small = sample::study(4);
        small.outer.partitions = 1;
        let found = found(&small, &large);
        assert!(!found.is_empty());
        assert_eq!(found, found_by_digest(&small, &large));
    }

    #[test]
    fn another_training_is_not_found() {
        let (study, mut other) = (sample::study(2), sample::study(2));
        other.outer.stratify = !other.outer.stratify;
        assert_eq!(found(&study, &other), BTreeMap::new());
        let mut other = sample::study(2);
        other.arms.iter_mut().for_each(|arm| arm.written += "epochs = 7\n");
        assert_eq!(found(&study, &other), BTreeMap::new());
    }
}
