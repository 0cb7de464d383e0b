//! Calibration of stopping: studies whose truth is known are bought block by block, by the rule that
//! real ones are, and its claims and its savings are counted.
//!
//! Everything follows from the case and the study's number. Deliberately absent: threads, and any
//! rule: `common::stats::stopping` is the one that is judged.
//!
//! Floor: core.

mod cases;
mod configs;
mod folds;
mod pair;
mod race;

use std::ops::AddAssign;

use common::id::Digest;
use common::seed::{Stream, StreamRng};

use super::settings::Noise;

pub use cases::{EFFECT_MIN, POWER, cases, fixed_blocks};
pub use configs::Configs;
pub use folds::Leaning;
pub use pair::Pair;
pub use race::Field;

/// One row of the calibration's tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    pub name: String,
    pub kind: Kind,
}

/// What is simulated.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Two equal arms, and nothing ends a study but a difference or its planned blocks.
    Alarm(Pair),
    /// Two arms with a true difference, and everything that saves blocks.
    Saving(Pair),
    /// Two arms that are equal but for what their few folds happen to say.
    Folds(Leaning),
    /// Several arms, the first of them the best, or as good as any.
    Race(Field),
    /// Configs of which a choice takes one, the first of them the best, or as good as any.
    Configs(Configs),
}

/// How block differences, or an arm's blocks, are distributed; mean 0 and variance 1.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shape {
    Drawn(Noise),
    /// One centred exponential minus another.
    BothSkewed,
    /// Normal, but one in ten falls by five standard deviations of the others.
    Collapsing,
}

/// What came of one study, or summed over many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Course {
    pub studies: u64,
    /// Blocks bought, each of one arm.
    pub blocks: u64,
    /// The rule claimed a difference; for races, one or more.
    pub differ: u64,
    /// It claimed one that has the other sign, or where there is none.
    pub differ_falsely: u64,
    pub equal: u64,
    pub hopeless: u64,
    /// More seeds would not have helped.
    pub floor: u64,
    /// A plain t test at 5 % after one or more of the blocks saw a difference.
    pub plain: u64,
    /// The same at the end of the fixed design.
    pub fixed: u64,
    /// The report's T2 interval held the truth when buying ended, of those that had one.
    pub t2_held: u64,
    pub t2_made: u64,
    /// The best arm was dropped.
    pub best_lost: u64,
    /// It was left alone.
    pub best_found: u64,
}

impl Case {
    /// Buys study number `number` to its end.
    pub fn run(&self, number: u64) -> Course {
        let mut rng = StreamRng::new(&Digest::of(self.name.as_bytes()), Stream::Noise, number, 0);
        let course = match &self.kind {
            Kind::Alarm(pair) | Kind::Saving(pair) => pair.run(&mut rng),
            Kind::Folds(leaning) => leaning.run(&mut rng),
            Kind::Race(field) => field.run(&mut rng),
            Kind::Configs(configs) => configs.run(&mut rng),
        };
        Course { studies: 1, ..course }
    }

    /// Fewer of what takes long.
    pub fn studies(&self, asked: u64) -> u64 {
        match self.kind {
            Kind::Folds(_) => asked.div_ceil(FOLDS_COST),
            _ => asked,
        }
    }
}

impl Shape {
    fn draw(self, rng: &mut StreamRng) -> f64 {
        match self {
            Shape::Drawn(noise) => noise.draw(rng),
            Shape::BothSkewed => {
                let (a, b) = (Noise::Skewed.draw(rng), Noise::Skewed.draw(rng));
                (a - b) * std::f64::consts::FRAC_1_SQRT_2
            }
            Shape::Collapsing => {
                let falls = if rng.unit_f64() < COLLAPSE { 1.0 } else { 0.0 };
                let variance = 1.0 + FALL * FALL * COLLAPSE * (1.0 - COLLAPSE);
                (rng.normal() - FALL * (falls - COLLAPSE)) / variance.sqrt()
            }
        }
    }
}

impl Course {
    /// Of all studies.
    pub fn share(&self, count: u64) -> f64 {
        count as f64 / self.studies.max(1) as f64
    }

    /// Blocks of one arm, in the mean.
    pub fn mean_blocks(&self) -> f64 {
        self.share(self.blocks)
    }
}

impl AddAssign for Course {
    fn add_assign(&mut self, other: Self) {
        self.studies += other.studies;
        self.blocks += other.blocks;
        self.differ += other.differ;
        self.differ_falsely += other.differ_falsely;
        self.equal += other.equal;
        self.hopeless += other.hopeless;
        self.floor += other.floor;
        self.plain += other.plain;
        self.fixed += other.fixed;
        self.t2_held += other.t2_held;
        self.t2_made += other.t2_made;
        self.best_lost += other.best_lost;
        self.best_found += other.best_found;
    }
}

const COLLAPSE: f64 = 0.1;
const FALL: f64 = 5.0;
/// Studies with folds are fitted by the mixed model, which takes so many times as long.
const FOLDS_COST: u64 = 20;
