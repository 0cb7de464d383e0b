//! Lanes: trial keys, opened.
//!
//! A lane knows its rows, its hyperparameters and the seeds of its streams, and nothing of its
//! study: what is not in it cannot influence a training.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::design::{Design, TrialKey};
use common::id::TrialIndex;
use common::seed::{Stream, StreamRng, mix};
use common::split::{inner_folds, latest, partition, training_rows};
use common::study::{Control, Hyper, Model, OuterKind, Study};
use common::table::{Copies, Dataset};
use thiserror::Error;

use super::shuffle::shuffled;

/// Everything one training needs besides the data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Lane {
    pub model: Model,
    pub hyper: Hyper,
    pub seeds: StreamSeeds,
    /// Ascending; never empty.
    pub train_rows: Vec<u32>,
    /// Ascending; kept from training to decide when to stop.
    pub validation_rows: Vec<u32>,
    /// Ascending; never empty.
    pub test_rows: Vec<u32>,
    /// Of each row of the data set, the row whose label it is trained with; `None`: its own.
    pub labels: Option<Vec<u32>>,
    /// Whether it helps to choose a config: no score of a row is kept then.
    pub chooses: bool,
}

impl Lane {
    /// The row whose label `row` is trained with.
    pub fn label_row(&self, row: u32) -> u32 {
        self.labels.as_ref().map_or(row, |labels| labels[row as usize])
    }
}

/// The seed that feeds each stream of a training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSeeds {
    pub init: u64,
    pub order: u64,
    pub noise: u64,
}

/// Why a trial cannot be trained.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LaneError {
    #[error("trial {trial} is not in the study, which has {trials} trials")]
    NoTrial { trial: u64, trials: u64 },
    #[error("the study that this agent has does not say yet which config trial {trial} trains")]
    NotProposed { trial: u64 },
    #[error("partition {partition} has no fold {fold}; check that the data file is the study's")]
    NoFold { partition: u32, fold: u32 },
    #[error(
        "fold {fold} of partition {partition} leaves {train} rows to train and {test} to test; \
         both need at least one"
    )]
    EmptyFold { partition: u32, fold: u32, train: usize, test: usize },
}

/// The lanes of `trials`, in their order.
pub fn open(
    study: &Study,
    dataset: &Dataset,
    trials: &[TrialIndex],
) -> Vec<Result<Lane, LaneError>> {
    let design = Design::of(study);
    let labels = dataset.labels(study.outer.stratify);
    let mut drawn: BTreeMap<u32, Vec<Vec<u32>>> = BTreeMap::new();
    let mut divided: BTreeMap<(u32, u32), Vec<Vec<u32>>> = BTreeMap::new();
    let mut copies: Option<Copies> = None;
    let mut open_one = |trial: &TrialIndex| {
        let key = design.key(*trial).ok_or_else(|| LaneError::NoTrial {
            trial: trial.0,
            trials: design.trials().unwrap_or(u64::MAX),
        })?;
        if !key.is_proposed(study) {
            return Err(LaneError::NotProposed { trial: trial.0 });
        }
        let (number, fold) = (key.partition, key.fold);
        let folds = drawn
            .entry(number)
            .or_insert_with(|| partition(&study.outer, &labels, &dataset.digest, number));
        let test_rows = folds
            .get(fold as usize)
            .cloned()
            .ok_or(LaneError::NoFold { partition: number, fold })?;
        let mut train_rows = training_rows(&study.outer.kind, &labels, 0..labels.rows, &test_rows);
        let mut test_rows = test_rows;
        if let (Some(inner), Some(within)) = (key.inner, &study.outer.inner) {
            let folds = divided.entry((number, fold)).or_insert_with(|| {
                let cell = (number, fold);
                inner_folds(&study.outer, within, &labels, &dataset.digest, cell, &train_rows)
            });
            test_rows = folds
                .get(inner as usize)
                .cloned()
                .ok_or(LaneError::NoFold { partition: number, fold: inner })?;
            train_rows = training_rows(&within.kind, &labels, train_rows, &test_rows);
        }
        if train_rows.is_empty() || test_rows.is_empty() {
            let (train, test) = (train_rows.len(), test_rows.len());
            return Err(LaneError::EmptyFold { partition: number, fold, train, test });
        }
        let seed = |stream| key.seed_of(study, stream);
        let permuted = matches!(key.arm(study).control(), Some(Control::Permuted { .. }));
        let labels = permuted.then(|| {
            let copies = copies.get_or_insert_with(|| Copies::of(dataset));
            shuffled(copies, &train_rows, &test_rows, &mut label_rng(study, dataset, &key))
        });
        let hyper = key.config(study).hyper.clone();
        let seeds = StreamSeeds {
            init: seed(Stream::Init),
            order: seed(Stream::Order),
            noise: seed(Stream::Noise),
        };
        let model = study.model_of(key.arm(study));
        // A program is given its validation rows by what runs it.
        let share = if model == Model::Program { 0.0 } else { hyper.recipe.validation };
        let order = time_order(study, dataset);
        let (train_rows, validation_rows) = match order.filter(|_| share > 0.0) {
            Some(order) => latest(order, &train_rows, wanted(&train_rows, share)),
            None => held_back(dataset, train_rows, share, seeds.order),
        };
        let chooses = key.inner.is_some();
        Ok(Lane { model, hyper, seeds, train_rows, validation_rows, test_rows, labels, chooses })
    };
    trials.iter().map(&mut open_one).collect()
}

/// The rows' places in time, where they divide the study.
pub fn time_order<'a>(study: &Study, dataset: &'a Dataset) -> Option<&'a [u32]> {
    matches!(study.outer.kind, OuterKind::Ordered { .. }).then_some(dataset.order.as_deref())?
}

/// How many of `rows` a share is.
fn wanted(rows: &[u32], share: f64) -> usize {
    (rows.len() as f64 * share).round() as usize
}

/// Draws a trial's shuffle of labels: another one for each seed and each fold, and the same for
/// every arm.
fn label_rng(study: &Study, dataset: &Dataset, key: &TrialKey) -> StreamRng {
    let seeds = Stream::TRAINING.map(|stream| key.seed_of(study, stream));
    let seed = seeds.into_iter().fold(0, |sum, seed| mix(sum ^ seed));
    let fold = u64::from(key.partition) << 32 | u64::from(key.fold);
    StreamRng::new(&dataset.digest, Stream::Labels, seed, fold)
}

/// `rows` without the share of them that decides when to stop, and that share; both ascending.
///
/// Whole groups are drawn, on the `order` stream: neither holds a group that the other has. At least
/// one group stays to train.
fn held_back(dataset: &Dataset, rows: Vec<u32>, share: f64, seed: u64) -> (Vec<u32>, Vec<u32>) {
    if share == 0.0 {
        return (rows, Vec::new());
    }
    let group_of = |row: u32| dataset.groups.as_ref().map_or(row, |groups| groups[row as usize]);
    let mut groups: Vec<u32> = rows.iter().map(|&row| group_of(row)).collect();
    groups.sort_unstable();
    groups.dedup();
    StreamRng::new(&dataset.digest, Stream::Order, seed, HELD_BACK).shuffle(&mut groups);
    let wanted = wanted(&rows, share);
    let mut held: BTreeSet<u32> = BTreeSet::new();
    let mut count = 0;
    for group in groups.iter().skip(1) {
        if count >= wanted {
            break;
        }
        held.insert(*group);
        count += rows.iter().filter(|&&row| group_of(row) == *group).count();
    }
    rows.into_iter().partition(|&row| !held.contains(&group_of(row)))
}

/// Where on the `order` stream rows are held back: no epoch comes there.
const HELD_BACK: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use common::study::{ArmConfig, Inner, OuterKind, Select};
    use common::table::Target;

    use super::super::{Machine, train};
    use super::*;
    use crate::sample;

    /// The sample study with configs to choose on two inner folds, its rows in groups of two.
    fn nested(tune: Option<u32>, holdout: bool) -> (Study, Dataset) {
        let rows: String = (0..48)
            .map(|row| format!("{}.5,{},{}\n", row * 7 % 13, row, ["a", "b"][row / 2 % 2]))
            .collect();
        let rows = format!("x,y,class\n{rows}");
        let mut study = sample::study(rows.as_bytes());
        study.seeds.factors[0].count = 2;
        study.outer.folds = 3;
        study.outer.stratify = false;
        let (kind, folds) = match holdout {
            true => (OuterKind::Holdout { share: 0.4 }, 1),
            false => (OuterKind::KFold, 2),
        };
        study.outer.inner = Some(Inner { kind, folds, tune, select: Select::Best });
        let config = study.arms[0].configs[0].clone();
        let hyper = Hyper { lr: 0.5, ..config.hyper.clone() };
        study.arms[0].configs.push(ArmConfig { hyper, ..config });
        let mut dataset = Dataset::read(&study.data, rows.as_bytes()).expect("a table");
        dataset.groups = Some((0..48).map(|row| row / 2).collect());
        (study, dataset)
    }

    #[test]
    fn no_outer_test_row_is_seen_by_a_trial_that_chooses() {
        for (tune, holdout) in [(None, false), (Some(3), false), (None, true)] {
            let (study, dataset) = nested(tune, holdout);
            let design = Design::of(&study);
            let trials = design.trials().expect("few");
            let all: Vec<TrialIndex> = (0..trials).map(TrialIndex).collect();
            let lanes = open(&study, &dataset, &all);
            let keys: Vec<TrialKey> =
                all.iter().map(|trial| design.key(*trial).expect("in it")).collect();
            let mut outer: BTreeMap<(u32, u32), Vec<u32>> = BTreeMap::new();
            for (key, lane) in keys.iter().zip(&lanes).filter(|(key, _)| key.inner.is_none()) {
                let test = lane.as_ref().expect("rows").test_rows.clone();
                outer.insert((key.partition, key.fold), test);
            }
            let mut chose = 0;
            for (key, lane) in keys.iter().zip(&lanes).filter(|(key, _)| key.inner.is_some()) {
                let lane = lane.as_ref().expect("rows");
                let group = |row: &u32| row / 2;
                let seen: BTreeSet<u32> =
                    lane.train_rows.iter().chain(&lane.test_rows).map(group).collect();
                let hidden: BTreeSet<u32> =
                    outer[&(key.partition, key.fold)].iter().map(group).collect();
                assert!(lane.chooses && seen.is_disjoint(&hidden), "{key:?}");
                let trained: BTreeSet<u32> = lane.train_rows.iter().map(group).collect();
                assert!(lane.test_rows.iter().all(|row| !trained.contains(&group(row))), "{key:?}");
                chose += 1;
            }
            assert_eq!(
                chose,
                if holdout { 12 } else { 24 / 2 * tune.map_or(2, |tune| tune as usize) }
            );
        }
    }

    #[test]
    fn nothing_of_the_outer_test_rows_moves_a_score_that_chooses() {
        let (study, dataset) = nested(None, false);
        let design = Design::of(&study);
        let trials = design.trials().expect("few");
        let of_fold = |fold: u32| -> Vec<TrialIndex> {
            let chooses = |trial: &TrialIndex| {
                design.key(*trial).is_some_and(|key| key.inner.is_some() && key.fold == fold)
            };
            (0..trials).map(TrialIndex).filter(chooses).collect()
        };
        let refit = (0..trials).map(TrialIndex).find(|trial| {
            design.key(*trial).is_some_and(|key| key.inner.is_none() && key.fold == 1)
        });
        let refit = [refit.expect("one")];
        let test = open(&study, &dataset, &refit).remove(0).expect("rows").test_rows;
        let mut changed = dataset.clone();
        for row in test {
            changed.features[row as usize * changed.width..][..changed.width].fill(1e6);
            if let Target::Classes { labels, classes } = &mut changed.target {
                labels[row as usize] = (labels[row as usize] + 1) % *classes;
            }
        }
        let trained = |dataset: &Dataset, trials: &[TrialIndex]| {
            train(&study, dataset, trials, &Machine::default(), &|| false).expect("not stopped")
        };
        let inner = of_fold(1);
        assert_eq!(inner.len(), 8);
        assert_eq!(trained(&dataset, &inner), trained(&changed, &inner));
        let (before, after) = (trained(&dataset, &refit), trained(&changed, &refit));
        assert_ne!(before, after, "the refit is tested on them");
    }

    /// The nested study in order of a column whose values come twice each, not in the rows' order.
    fn ordered(share: Option<f64>) -> (Study, Dataset) {
        let (mut study, mut dataset) = nested(None, false);
        study.outer.kind = OuterKind::Ordered { share };
        study.outer.folds = if share.is_some() { 1 } else { 3 };
        if let Some(inner) = &mut study.outer.inner {
            inner.kind = OuterKind::Ordered { share: None };
        }
        for config in &mut study.arms[0].configs {
            config.hyper.recipe.validation = 0.25;
        }
        dataset.groups = None;
        dataset.order = Some((0..48).map(|row| row * 7 % 48 / 2).collect());
        (study, dataset)
    }

    #[test]
    fn validation_rows_are_later_than_training_rows_and_earlier_than_test_rows() {
        for share in [None, Some(0.3)] {
            let (study, dataset) = ordered(share);
            let order = dataset.order.clone().expect("times");
            let trials = Design::of(&study).trials().expect("few");
            let all: Vec<TrialIndex> = (0..trials).map(TrialIndex).collect();
            for lane in open(&study, &dataset, &all) {
                let lane = lane.expect("rows");
                let times = |rows: &[u32]| -> BTreeSet<u32> {
                    rows.iter().map(|row| order[*row as usize]).collect()
                };
                let sides = [&lane.train_rows, &lane.validation_rows, &lane.test_rows];
                let [train, validation, test] = sides.map(|rows| times(rows));
                assert!(train.last() < validation.first() && validation.last() < test.first());
                assert!(!train.is_empty());
            }
        }
    }

    #[test]
    fn nothing_later_than_the_test_rows_moves_an_outcome() {
        let (study, dataset) = ordered(None);
        let order = dataset.order.clone().expect("times");
        let design = Design::of(&study);
        let trials = design.trials().expect("few");
        let trained = |dataset: &Dataset, trial: TrialIndex| {
            train(&study, dataset, &[trial], &Machine::default(), &|| false).expect("not stopped")
        };
        let (mut moved, mut last) = (0, 0);
        for trial in (0..trials).map(TrialIndex) {
            let lane = open(&study, &dataset, &[trial]).remove(0).expect("rows");
            let latest = lane.test_rows.iter().map(|row| order[*row as usize]).max();
            let changed = |from: Option<u32>| {
                let mut changed = dataset.clone();
                for row in (0..48).filter(|row| Some(order[*row]) >= from) {
                    changed.features[row * changed.width..][..changed.width].fill(1e6);
                    if let Target::Classes { labels, classes } = &mut changed.target {
                        labels[row] = (labels[row] + 1) % *classes;
                    }
                }
                changed
            };
            let before = trained(&dataset, trial);
            let later = changed(latest.map(|time| time + 1));
            last += u64::from(later == dataset);
            assert_eq!(before, trained(&later, trial), "{:?}", design.key(trial));
            moved += u64::from(before != trained(&changed(latest), trial));
        }
        assert!(last < trials / 2, "most trials have later rows");
        assert!(moved > trials / 2, "their own rows do move them");
    }
}
