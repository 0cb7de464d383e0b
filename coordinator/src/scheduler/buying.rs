//! How much of a study is bought: seeds by seeds, until its rule or its budget says that it is enough.
//!
//! A block is one seed on every outer fold of the arms that go on. The trials of a block are open once it is
//! bought; the leader compares scores and clocks, proposes, and here it is kept. Scores are kept as bits,
//! hours as whole milliseconds, and nothing is compared. A decision is about what was bought when it was
//! made: told twice, or by two leaders, it is made once.
//!
//! Floor: core.

use std::collections::BTreeMap;

use common::design::{Design, TrialKey};
use common::id::{StudyId, TrialIndex};
use common::study::{Control, Study};
use common::time::Timestamp;
use common::wire::message::{Decided, RowEnd, Why};
use serde::{Deserialize, Serialize};

use super::command::BORROWED_LEVEL;
use super::state::{State, StudyRecord};
use super::{Applied, Ended};

/// What of a study with limits is bought and used.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Buying {
    /// Of each arm; none where no rule decides, and all of it is bought.
    arms: Vec<Bought>,
    /// Primary scores of judged arms on outer folds, as bits; until the rule has ended.
    scores: BTreeMap<TrialIndex, u64>,
    /// For how long something of it was in training, as leaders measured it.
    worked_ms: u64,
    /// Of all that gave an outcome, over all lanes.
    trained_us: u64,
    decided: Vec<Decided>,
}

/// What of one arm is bought.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Bought {
    /// From the first on; controls may have fewer.
    seeds: u32,
    /// No more is.
    closed: bool,
}

impl Buying {
    /// What is bought of a study that has just come in.
    fn of(study: &Study) -> Self {
        let of_arm = |first| Bought { seeds: first, closed: false };
        let arms = study.budget.stop.map(|stop| vec![of_arm(stop.first); study.arms.len()]);
        Self { arms: arms.unwrap_or_default(), ..Self::default() }
    }

    pub fn score(&self, trial: TrialIndex) -> Option<f64> {
        self.scores.get(&trial).copied().map(f64::from_bits)
    }

    /// Seeds that are bought of an arm.
    pub fn seeds(&self, arm: u32) -> Option<u32> {
        Some(self.arms.get(arm as usize)?.seeds)
    }

    /// The arms of which more may be bought, ascending.
    pub fn open(&self) -> impl Iterator<Item = u32> {
        (0..).zip(&self.arms).filter(|(_, bought)| !bought.closed).map(|(arm, _)| arm)
    }

    pub fn decided(&self) -> &[Decided] {
        &self.decided
    }

    /// Milliseconds in which something of the study was in training.
    pub fn worked_ms(&self) -> u64 {
        self.worked_ms
    }

    /// Hours of training, over all lanes.
    pub fn trained_hours(&self) -> f64 {
        self.trained_us as f64 / 3.6e9
    }

    /// Whether the trial's seed is bought.
    fn has(&self, design: &Design, key: &TrialKey) -> bool {
        let seed = design.seed_number(key);
        let bought = self.seeds(key.arm).map(u64::from);
        seed.zip(bought).is_none_or(|(seed, bought)| seed < bought)
    }

    /// Trials that are trained of what is bought.
    fn planned(&self, design: &Design) -> u64 {
        let of_arm = |(arm, bought): (u32, &Bought)| {
            let seeds = u64::from(bought.seeds).min(design.seeds_of(arm));
            seeds * design.trained_with_a_seed(arm)
        };
        design.tuning_trials() + (0..).zip(&self.arms).map(of_arm).sum::<u64>()
    }

    /// Trials that would be trained and never will, since nobody buys them.
    pub(super) fn never(&self, design: &Design) -> u64 {
        let closed = (0..).zip(&self.arms).filter(|(_, bought)| bought.closed);
        let of_arm = |(arm, bought): (u32, &Bought)| {
            let left = design.seeds_of(arm).saturating_sub(u64::from(bought.seeds));
            left * design.trained_with_a_seed(arm)
        };
        closed.map(of_arm).sum()
    }

    /// Trials that are not bought and that no choice decides about.
    pub(super) fn held(&self, design: &Design) -> u64 {
        let of_arm = |(arm, bought): (u32, &Bought)| {
            let seeds = u64::from(bought.seeds)..design.seeds_of(arm);
            let held = design.with_seed(arm, seeds.start).into_iter().filter(|(_, refits)| !refits);
            let of_seed: u64 = held.map(|(range, _)| range.end - range.start).sum();
            seeds.end.saturating_sub(seeds.start) * of_seed
        };
        (0..).zip(&self.arms).map(of_arm).sum()
    }

    /// Whether it can be what is known of the study.
    pub(super) fn is_sound(&self, study: &Study, design: &Design) -> bool {
        let arms = if study.budget.stop.is_some() { study.arms.len() } else { 0 };
        let counted = |trial: &TrialIndex| {
            let key = design.key(*trial);
            key.is_some_and(|key| key.inner.is_none() && (key.arm as usize) < study.judged().len())
        };
        study.budget.is_limited() && self.arms.len() == arms && self.scores.keys().all(counted)
    }

    fn note(&mut self, study: &Study, design: &Design, trial: TrialIndex, score: Option<f64>) {
        if self.open().next().is_none() {
            return;
        }
        let key = design.key(trial).filter(|key| key.inner.is_none());
        if let (Some(key), Some(score)) = (key, score)
            && (key.arm as usize) < study.judged().len()
        {
            self.scores.insert(trial, score.to_bits());
        }
    }
}

/// Whether the trial's seed is bought, as each is where nobody buys seeds.
pub(super) fn is_bought(buying: Option<&Buying>, design: &Design, trial: TrialIndex) -> bool {
    let key = design.key(trial);
    key.is_some_and(|key| buying.is_none_or(|known| known.has(design, &key)))
}

impl StudyRecord {
    /// Whether every trial of what is bought has ended, and more could be bought.
    pub fn is_due(&self, buying: &Buying) -> bool {
        if !self.state.goes_on() || buying.arms.is_empty() {
            return false;
        }
        let design = Design::of(&self.study);
        let judged = self.study.judged().len() as u32;
        let left = |arm: u32| buying.seeds(arm).map(u64::from) < Some(design.seeds_of(arm));
        buying.open().any(|arm| arm < judged && left(arm))
            && self.complete + self.failed + self.cancelled
                == buying.planned(&design).saturating_add_signed(-self.spared)
    }
}

impl State {
    /// What is bought of a study; `None` where nothing limits it.
    pub fn buying(&self, study: StudyId) -> Option<&Buying> {
        self.buying.get(&study)
    }

    /// A study came in: whether it is bought bit by bit.
    pub(super) fn begin_buying(&mut self, study: StudyId) {
        let Some(record) = self.studies.get_mut(&study) else { return };
        if record.study.budget.is_limited() {
            let buying = Buying::of(&record.study);
            record.hold(&buying);
            self.buying.insert(study, buying);
        }
    }

    /// Keeps scores that count, and how long trainings took.
    pub(super) fn note_work(&mut self, ended: &[Ended]) {
        for ended in ended {
            let Ended::Trial { attempt, row, .. } = ended else { continue };
            let Some(buying) = self.buying.get_mut(&attempt.study) else { continue };
            let Some(record) = self.studies.get(&attempt.study) else { continue };
            let RowEnd::Complete(outcome) = &row.end else { continue };
            let design = Design::of(&record.study);
            buying.note(&record.study, &design, attempt.trial, outcome.metrics.first().copied());
            // What an earlier study knew was no work of this one.
            if attempt.lease.term > 0 {
                buying.trained_us = buying.trained_us.saturating_add(outcome.duration_us);
            }
        }
    }

    /// Buys a seed more of some arms and closes the others, or ends the study.
    pub(super) fn decide(&mut self, study: StudyId, decided: Decided) -> Applied {
        let level = self.level;
        let (Some(record), Some(buying)) =
            (self.studies.get_mut(&study), self.buying.get_mut(&study))
        else {
            return Applied::Refused { why: "there is no such study with limits" };
        };
        let at = decided.at;
        match decided.why {
            Why::Asked => return Applied::Refused { why: "that is asked for by `extend`" },
            Why::Spent if !record.state.goes_on() => {
                return Applied::Refused { why: "this study has ended" };
            }
            Why::Spent
                if level >= BORROWED_LEVEL && buying.worked_ms == 0 && buying.trained_us == 0 =>
            {
                return Applied::Refused { why: "nothing was used since it was taken up again" };
            }
            Why::Spent => {
                buying.decided.push(decided);
                record.cancel(at);
                return Applied::Cancelled { study };
            }
            Why::Rule => {
                let first = buying.open().next();
                let about = first.and_then(|arm| buying.seeds(arm)) == Some(decided.seeds);
                if !about || !record.is_due(buying) {
                    return Applied::Refused { why: "that was decided before" };
                }
            }
        }
        let goes_on = |arm: u32| {
            let judged = match record.study.arms[arm as usize].control() {
                None => arm,
                Some(Control::Permuted { of, .. }) => of,
                Some(Control::Constant) => return !decided.go_on.is_empty(),
            };
            decided.go_on.contains(&judged)
        };
        let bought: Vec<u32> = buying.open().collect();
        for arm in &bought {
            let of_arm = &mut buying.arms[*arm as usize];
            match goes_on(*arm) {
                true => of_arm.seeds += 1,
                false => of_arm.closed = true,
            }
        }
        if decided.stops() {
            buying.scores.clear();
        }
        let opens = bought.into_iter().filter(|arm| goes_on(*arm));
        let opens: Vec<(u32, u32)> = opens.map(|arm| (arm, decided.seeds)).collect();
        buying.decided.push(decided);
        let opened = self.open_seeds(study, &opens);
        let record = self.studies.get_mut(&study);
        let over = record.is_some_and(|record| record.finish(at));
        Applied::Decided { study, opened, over }
    }

    /// Opens what is bought of these arms with these seeds: all but refits that no choice has fallen on.
    fn open_seeds(&mut self, study: StudyId, seeds: &[(u32, u32)]) -> Vec<TrialIndex> {
        let (Some(record), Some(buying)) = (self.studies.get_mut(&study), self.buying.get(&study))
        else {
            return Vec::new();
        };
        let design = Design::of(&record.study);
        let ranges = seeds.iter().flat_map(|(arm, seed)| design.with_seed(*arm, (*seed).into()));
        let trials = ranges.filter(|(_, refits)| !refits).flat_map(|(range, _)| range);
        let mut trials: Vec<TrialIndex> = trials.map(TrialIndex).collect();
        let chosen = self.choices.get(&study).into_iter().flat_map(|known| known.all());
        let refits = chosen.flat_map(|chosen| design.refits(chosen.choice(), chosen.config));
        trials.extend(refits.filter(|trial| is_bought(Some(buying), &design, *trial)));
        let opened = record.release(&trials);
        record.count_never(Some(buying));
        opened
    }

    /// A study grew: its rule may buy more. Of one whose rule has ended so many seeds are bought outright.
    pub(super) fn buy_grown(&mut self, study: StudyId, seeds: u32, at: Timestamp) {
        let (Some(record), Some(buying)) =
            (self.studies.get_mut(&study), self.buying.get_mut(&study))
        else {
            return;
        };
        record.hold(buying);
        let ended = !buying.arms.is_empty() && buying.open().next().is_none();
        let mut bought = Vec::new();
        if ended {
            for (arm, of_arm) in (0..).zip(&mut buying.arms) {
                bought.extend((of_arm.seeds..seeds).map(|seed| (arm, seed)));
                of_arm.seeds = of_arm.seeds.max(seeds);
            }
            let go_on: Vec<u32> = (0..record.study.judged().len() as u32).collect();
            let words = format!("{seeds} seeds were asked for; the rule decides no more.");
            buying.decided.push(Decided { at, seeds, go_on, why: Why::Asked, words });
        }
        self.open_seeds(study, &bought);
        if let Some(record) = self.studies.get_mut(&study) {
            record.goes_on_again();
        }
    }

    /// Something of a study was in training for so long more.
    pub(super) fn worked(&mut self, study: StudyId, ms: u64) -> Applied {
        if let Some(buying) = self.buying.get_mut(&study) {
            buying.worked_ms = buying.worked_ms.saturating_add(ms);
        }
        Applied::Nothing
    }

    /// A study whose budget was spent is taken up again, with as much once more.
    pub(super) fn buy_again(&mut self, study: StudyId) {
        if let Some(buying) = self.buying.get_mut(&study)
            && buying.decided.last().is_some_and(|last| last.why == Why::Spent)
        {
            buying.decided.pop();
            (buying.worked_ms, buying.trained_us) = (0, 0);
        }
    }
}
