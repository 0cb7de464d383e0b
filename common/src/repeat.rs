//! Trials that are trained again, to see whether their outcomes come out as before.
//!
//! Which ones is drawn without a look at any outcome; what is told of two outcomes of one trial is how
//! far apart they are, never what they were. So nobody learns a score of the outer folds by it.
//!
//! Floor: common.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::design::{Design, Slot};
use crate::id::TrialIndex;
use crate::seed::mix;
use crate::study::Study;
use crate::trial::Outcome;

/// Which complete trials are trained again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Again {
    /// So many, drawn with a seed from all arms alike.
    Drawn {
        count: u32,
        seed: u64,
    },
    These(Vec<TrialIndex>),
}

/// How far two outcomes of one trial are apart. Everything is an absolute difference: zero where both
/// are undefined, infinite where one is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// One a metric of the study, in its order.
    pub metrics: Vec<f64>,
    pub epochs: u32,
    /// One a test row, of their scores.
    pub rows: Vec<f32>,
}

impl Difference {
    pub fn between(first: &Outcome, again: &Outcome) -> Self {
        let metrics = first.metrics.iter().zip(&again.metrics).map(|(a, b)| apart(*a, *b));
        let both = first.rows.len().min(again.rows.len());
        let more = first.rows.len().max(again.rows.len()) - both;
        let rows = first.rows.iter().zip(&again.rows);
        let rows = rows.map(|(a, b)| apart(f64::from(*a), f64::from(*b)) as f32);
        Self {
            metrics: metrics.collect(),
            epochs: first.epochs.abs_diff(again.epochs),
            rows: rows.chain(std::iter::repeat_n(f32::INFINITY, more)).collect(),
        }
    }
}

fn apart(a: f64, b: f64) -> f64 {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => 0.0,
        (false, false) if a == b => 0.0,
        (false, false) => (a - b).abs(),
        _ => f64::INFINITY,
    }
}

/// Where absolute differences lie.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    pub count: u64,
    /// Those that are not zero.
    pub nonzero: u64,
    /// At the levels of [`LEVELS`].
    pub quantiles: Vec<f64>,
    pub largest: f64,
}

impl Spread {
    /// `None` of no differences.
    pub fn of(differences: &[f64]) -> Option<Self> {
        let mut sorted = differences.to_vec();
        sorted.sort_by(f64::total_cmp);
        let largest = *sorted.last()?;
        // The nearest rank: a difference that occurred, and no sum with an infinite one.
        let rank = |level: &f64| (level * sorted.len() as f64).ceil().max(1.0) as usize - 1;
        Some(Self {
            count: sorted.len() as u64,
            nonzero: sorted.iter().filter(|difference| **difference != 0.0).count() as u64,
            quantiles: LEVELS.iter().map(|level| sorted[rank(level)]).collect(),
            largest,
        })
    }
}

/// What kind of device a record of an outcome names: `cuda` of `cuda:0; NVIDIA H100; …`.
pub fn kind_of(record: &str) -> &str {
    let name = device_of(record);
    name.split_once(':').map_or(name, |(kind, _)| kind)
}

/// The device's name in a record of an outcome: `cuda:0` of `cuda:0; NVIDIA H100; …`.
pub fn device_of(record: &str) -> &str {
    record.split_once(';').map_or(record, |(name, _)| name).trim()
}

/// Up to `count` of the complete trials, from each arm as many as from another as far as it has them,
/// in trial order. The same for the same seed while no further trial is complete.
pub fn draw(
    study: &Study,
    count: u32,
    seed: u64,
    is_complete: &dyn Fn(TrialIndex) -> bool,
) -> Vec<TrialIndex> {
    let design = Design::of(study);
    let count = count as usize;
    let arms = (0..).zip(&study.arms).map(|(arm, within)| {
        let numbers = mix(seed).wrapping_add(u64::from(arm));
        draw_of_arm(&design, arm, within.configs.len() as u64, count, numbers, is_complete)
    });
    let mut arms: Vec<_> = arms.map(Vec::into_iter).collect();
    let mut drawn = BTreeSet::new();
    while drawn.len() < count {
        let before = drawn.len();
        for arm in &mut arms {
            drawn.extend(arm.next().filter(|_| drawn.len() < count));
        }
        if drawn.len() == before {
            break;
        }
    }
    drawn.into_iter().collect()
}

/// Complete trials of one arm in a random order, `count` of them if there are so many. Of an arm of
/// millions not each is looked at: it is drawn from all of it, and what is lacking then, when few are
/// complete, comes from its first cells, which are trained first.
fn draw_of_arm(
    design: &Design,
    arm: u32,
    configs: u64,
    count: usize,
    seed: u64,
    is_complete: &dyn Fn(TrialIndex) -> bool,
) -> Vec<TrialIndex> {
    let all = design.cells_of(arm) * configs;
    let at = |place: u64| {
        let slot = Slot::outer(arm, (place % configs) as u32);
        let trial = design.in_cell(place / configs, slot)?;
        is_complete(trial).then_some(trial)
    };
    // SplitMix64 (Steele et al. 2014), whose state moves by this constant.
    let number = |turn: u64| mix(seed.wrapping_add(turn.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    if all <= LOOKED_AT_MAX {
        let mut there: Vec<TrialIndex> = (0..all).filter_map(at).collect();
        there.sort_by_cached_key(|trial| (number(trial.0), *trial));
        there.truncate(count);
        return there;
    }
    let (mut found, mut known) = (Vec::new(), BTreeSet::new());
    let random = (0..LOOKED_AT_MAX).map(|turn| number(turn) % all);
    for place in random.chain(0..LOOKED_AT_MAX) {
        if found.len() == count {
            break;
        }
        found.extend(at(place).filter(|trial| known.insert(*trial)));
    }
    found
}

/// Levels of the quantiles of a [`Spread`].
pub const LEVELS: [f64; 4] = [0.25, 0.5, 0.75, 0.95];

/// Trials that are trained again at once.
pub const REPEATS_MAX: u32 = 1_000;

/// Trials of one arm that a draw looks at, twice at most.
const LOOKED_AT_MAX: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::check;

    fn outcome(metrics: &[f64], rows: &[f32]) -> Outcome {
        let (metrics, rows) = (metrics.to_vec(), rows.to_vec());
        Outcome { metrics, rows, epochs: 2, duration_us: 1, device: "cpu".to_string(), curve: None }
    }

    /// Two arms, of which one is a control that is trained with the first seed alone.
    fn study(seeds: u32) -> Study {
        let text = format!(
            "[study]\nname = \"s\"\nmetric = \"auroc\"\ncontrols = {{ permuted = 1 }}\n\
             [data]\npath = \"d.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
             [split]\nouter = {{ folds = 2 }}\n[seeds]\ncount = {seeds}\n\
             [arms.a]\nmodel = \"linear\"\nepochs = 2\nspace = {{ lr = [0.1, 0.2] }}\n"
        );
        let rows: Vec<String> = (0..40).map(|n| format!("{}.5,{}\n", n * 7 % 13, n % 2)).collect();
        let csv = format!("x,y\n{}", rows.concat());
        check(&text, &mut |_| Ok(csv.clone().into_bytes())).expect("valid").study
    }

    #[test]
    fn outcomes_are_apart_by_their_absolute_differences() {
        let nan = f64::NAN;
        let first = outcome(&[0.5, nan, nan, f64::INFINITY], &[0.25, 0.5]);
        let again = outcome(&[0.75, nan, 1.0, f64::INFINITY], &[0.25, 0.25, 1.0]);
        let difference = Difference::between(&first, &again);
        assert_eq!(difference.metrics, [0.25, 0.0, f64::INFINITY, 0.0]);
        assert_eq!(difference.rows, [0.0, 0.25, f32::INFINITY]);
        assert_eq!(difference.epochs, 0);
        let same = Difference::between(&first, &first);
        assert!(same.metrics.iter().all(|d| *d == 0.0) && same.rows == [0.0, 0.0]);
    }

    #[test]
    fn a_spread_tells_quantiles_and_the_largest() {
        assert_eq!(Spread::of(&[]), None);
        let differences: Vec<f64> = (0..=100).map(|n| f64::from(n) / 100.0).collect();
        let spread = Spread::of(&differences).expect("some");
        assert_eq!((spread.count, spread.nonzero, spread.largest), (101, 100, 1.0));
        for (quantile, level) in spread.quantiles.iter().zip(LEVELS) {
            assert!((quantile - level).abs() <= 0.01, "{level}: {quantile}");
        }
    }

    #[test]
    fn a_record_names_its_device_and_kind() {
        let record = "cuda:1; NVIDIA H100; driver 550";
        assert_eq!((device_of(record), kind_of(record)), ("cuda:1", "cuda"));
        assert_eq!((device_of("cpu"), kind_of("cpu")), ("cpu", "cpu"));
    }

    #[test]
    fn every_arm_is_drawn_from_and_a_small_one_leaves_its_place_to_others() {
        let study = study(3);
        let design = Design::of(&study);
        let all = design.trials().expect("small");
        let arms = |drawn: &[TrialIndex]| -> Vec<usize> {
            let of = |arm: u32| {
                let keys = drawn.iter().filter_map(|trial| design.key(*trial));
                keys.filter(|key| key.arm == arm).count()
            };
            (0..study.arms.len() as u32).map(of).collect()
        };
        let count = study.arms.len() as u32 * 2;
        let drawn = draw(&study, count, 1, &|_| true);
        assert_eq!(arms(&drawn), vec![2; study.arms.len()]);
        assert!(drawn.is_sorted());
        assert_eq!(drawn, draw(&study, count, 1, &|_| true));
        assert_ne!(drawn, draw(&study, count, 2, &|_| true));
        // All, if fewer: the constant arm alone has too few for an equal share.
        assert_eq!(draw(&study, 1_000, 1, &|_| true).len() as u64, all);
        let even = draw(&study, 1_000, 1, &|trial| trial.0 % 2 == 0);
        assert!(even.iter().all(|trial| trial.0 % 2 == 0) && even.len() as u64 == all.div_ceil(2));
        assert_eq!(draw(&study, 20, 1, &|_| false), []);
    }

    #[test]
    fn of_a_million_trials_few_are_looked_at_and_the_first_ones_are_found() {
        let mut study = study(3);
        study.seeds.factors[0].count = 1_000_000;
        let looked = std::cell::Cell::new(0u64);
        let few = |trial: TrialIndex| {
            looked.set(looked.get() + 1);
            trial.0 < 40
        };
        let drawn = draw(&study, 20, 7, &few);
        assert_eq!(drawn.len(), 20);
        assert!(looked.get() < 500_000, "{}", looked.get());
        let spread = draw(&study, 20, 7, &|_| true);
        assert!(spread.iter().any(|trial| trial.0 > 1_000_000), "{spread:?}");
    }
}
