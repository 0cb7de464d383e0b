//! The settings that are simulated: sizes, spreads, and what is wrong with the data.
//!
//! Floor: core.

use common::id::Digest;
use common::seed::{Stream, StreamRng};
use common::study::{Checked, Study};

/// One row of the calibration's table.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub name: String,
    pub seeds: u32,
    pub folds: u32,
    pub kind: Kind,
}

/// Where scores come from.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    Scores(Scores),
    /// A linear model trained by gradient descent on each fold's rows of a fresh sample.
    Learner {
        rows: u32,
        differ: bool,
    },
}

/// `score = mean of the arm + fold + arm:fold + seed + arm:seed + residual`, all independent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scores {
    pub spread: Spread,
    /// First arm minus second.
    pub difference: f64,
    pub noise: Noise,
    /// Share of runs that failed, at random.
    pub missing: f64,
}

/// Standard deviations of the sources.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub fold: f64,
    pub arm_fold: f64,
    pub seed: f64,
    pub arm_seed: f64,
    pub residual: f64,
}

/// The shape of every source's draws; each has mean 0 and variance 1 before it is scaled.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noise {
    Normal,
    /// Student's t with 5 degrees of freedom.
    HeavyTails,
    /// A centred exponential.
    Skewed,
}

/// All settings, in the table's order.
pub fn settings() -> Vec<Setting> {
    let usual = Scores { spread: USUAL, difference: 0.0, noise: Noise::Normal, missing: 0.0 };
    let sizes = [(3, 5), (3, 10), (5, 5), (5, 10), (10, 5), (10, 10)];
    let balanced = sizes.map(|(seeds, folds)| ("balanced", seeds, folds, usual));
    let missing = sizes
        .map(|(seeds, folds)| ("30 % missing", seeds, folds, Scores { missing: 0.3, ..usual }));
    let seedless = Spread { seed: 0.0, arm_seed: 0.0, ..USUAL };
    let foldless = Spread { fold: 0.0, arm_fold: 0.0, ..USUAL };
    let others = [
        ("no seed effect", 5, 5, Scores { spread: seedless, ..usual }),
        ("no fold effect", 5, 5, Scores { spread: foldless, ..usual }),
        ("a true difference", 10, 10, Scores { difference: 0.02, ..usual }),
        ("heavy tails", 10, 10, Scores { noise: Noise::HeavyTails, ..usual }),
        ("skewed", 10, 10, Scores { noise: Noise::Skewed, ..usual }),
    ];
    let drawn = balanced.into_iter().chain(missing).chain(others);
    let mut all: Vec<Setting> = drawn
        .map(|(name, seeds, folds, model)| Setting {
            name: name.to_string(),
            seeds,
            folds,
            kind: Kind::Scores(model),
        })
        .collect();
    for (name, seeds, folds, differ) in [
        ("retrained, no difference", 5, 5, false),
        ("retrained, no difference", 5, 10, false),
        ("retrained, a true difference", 5, 10, true),
    ] {
        let kind = Kind::Learner { rows: 200, differ };
        all.push(Setting { name: name.to_string(), seeds, folds, kind });
    }
    all
}

impl Setting {
    /// `balanced, 5 seeds, 10 folds`.
    pub fn title(&self) -> String {
        format!("{}, {} seeds, {} folds", self.name, self.seeds, self.folds)
    }

    /// The randomness of study number `number`; another `part` is independent.
    pub(super) fn rng(&self, number: u64, part: u64) -> StreamRng {
        StreamRng::new(&Digest::of(self.title().as_bytes()), Stream::Noise, number, part)
    }

    /// A study of two arms as a file would give it.
    pub(super) fn study(&self) -> Study {
        let text = format!(
            "[study]\nname = \"calibration\"\nmetric = \"mae\"\ncontrols = {{ constant = false }}\n\n[data]\npath = \"drawn.csv\"\n\
             target = \"y\"\ntask = \"regression\"\n\n[split]\nouter = {{ folds = {} }}\n\n[seeds]\n\
             count = {}\n\n[arms.a]\nmodel = \"linear\"\n\n[arms.b]\nmodel = \"linear\"\nbatch = 16\n",
            self.folds, self.seeds
        );
        let rows: String = (0..ROWS_DRAWN).map(|row| format!("{row},{}\n", row % 7)).collect();
        let csv = format!("x,y\n{rows}").into_bytes();
        match common::study::check(&text, &mut |_| Ok(csv.clone())) {
            Ok(Checked { study, .. }) => study,
            Err(findings) => unreachable!("the study of the calibration: {findings}"),
        }
    }
}

impl Noise {
    /// One draw with mean 0 and variance 1.
    pub(super) fn draw(self, rng: &mut StreamRng) -> f64 {
        match self {
            Noise::Normal => rng.normal(),
            Noise::HeavyTails => {
                let squares: f64 = (0..T_DF).map(|_| rng.normal().powi(2)).sum();
                let df = f64::from(T_DF);
                rng.normal() / (squares / df).sqrt() * ((df - 2.0) / df).sqrt()
            }
            Noise::Skewed => -(1.0 - rng.unit_f64()).ln() - 1.0,
        }
    }
}

/// Much of what is seen of small medical data sets: folds matter most, then what is left, then seeds.
pub(super) const USUAL: Spread =
    Spread { fold: 0.03, arm_fold: 0.01, seed: 0.005, arm_seed: 0.01, residual: 0.02 };
const T_DF: u32 = 5;
/// Rows of the data file that stands for a study's; nothing is trained on it.
const ROWS_DRAWN: u32 = 100;
