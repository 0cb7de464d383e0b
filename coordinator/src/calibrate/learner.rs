//! Studies in which a learner is really trained, on a sample drawn anew from a known population.
//!
//! `y = x'b + e`, all normal. A linear model is fitted by one pass of stochastic gradient descent in an
//! order that the seed shuffles. Arm a cannot see one feature, arm b another; with equal
//! coefficients the two are the same in truth and differ on every sample. The score is the mean
//! absolute error, whose expected value for given weights is known: `sqrt(2 (|w - b|^2 + s^2) / pi)`. So the
//! truth needs fresh training samples, but no test sample.
//!
//! Floor: core.

use common::design::Design;
use common::id::TrialIndex;
use common::seed::StreamRng;

use super::scores::row;
use super::settings::Setting;
use super::{Made, Truth};

/// Rows of a sample: features and target.
type Sample = Vec<([f64; FEATURES], f64)>;

/// Makes study number `number`; `means` are the arms' true ones, by [`truth`].
pub fn make(setting: &Setting, (rows, differ): (u32, bool), means: [f64; 2], number: u64) -> Made {
    let study = setting.study();
    let design = Design::of(&study);
    let population = Population::of(differ);
    let mut rng = setting.rng(number, 0);
    let sample = population.sample(rows as usize, &mut rng);
    let mut order: Vec<usize> = (0..sample.len()).collect();
    rng.shuffle(&mut order);
    let folds = setting.folds as usize;
    let mut outcomes = Vec::new();
    for index in 0..design.trials().unwrap_or(0) {
        let Some(key) = design.key(TrialIndex(index)) else { break };
        let tests = |at: usize| at % folds == key.fold as usize;
        let part = |test: bool| -> Sample {
            let places = order.iter().enumerate().filter(|(at, _)| tests(*at) == test);
            places.map(|(_, row)| sample[*row]).collect()
        };
        // The same seed is the same chance for both arms.
        let mut chance = setting.rng(number, 1 + u64::from(key.seeds[0]));
        let weights = train(part(false), HIDDEN[key.arm as usize], &mut chance);
        outcomes.push(row(index, Some(error(&part(true), &weights))));
    }
    let truth = Truth {
        difference: means[0] - means[1],
        difference_on_folds: None,
        mean: means[0],
        mean_on_folds: None,
        next_run: None,
        spread: Vec::new(),
    };
    Made { study, rows: outcomes, truth }
}

/// Where samples come from.
struct Population {
    coefficients: [f64; FEATURES],
}

impl Population {
    fn of(differ: bool) -> Self {
        let mut coefficients = [0.3; FEATURES];
        if differ {
            // What arm a cannot see matters more.
            coefficients[HIDDEN[0]] = 0.6;
        }
        Self { coefficients }
    }

    fn sample(&self, rows: usize, rng: &mut StreamRng) -> Sample {
        let mut one = || {
            let features: [f64; FEATURES] = std::array::from_fn(|_| rng.normal());
            let mean: f64 = features.iter().zip(&self.coefficients).map(|(x, b)| x * b).sum();
            (features, mean + NOISE_SD * rng.normal())
        };
        (0..rows).map(|_| one()).collect()
    }
}

/// Expected score of each arm, over training samples of a fold's size and over seeds.
pub fn truth(setting: &Setting, (rows, differ): (u32, bool)) -> [f64; 2] {
    let population = Population::of(differ);
    let training = (rows - rows / setting.folds) as usize;
    let mut rng = setting.rng(u64::MAX, 0);
    let mut sums = [0.0; 2];
    for number in 0..TRUTH_SAMPLES {
        let sample = population.sample(training, &mut rng);
        for (sum, hidden) in sums.iter_mut().zip(HIDDEN) {
            let mut chance = setting.rng(u64::MAX, 1 + u64::from(number));
            let weights = train(sample.clone(), hidden, &mut chance);
            let apart: f64 =
                weights.iter().zip(&population.coefficients).map(|(w, b)| (w - b).powi(2)).sum();
            *sum += (2.0 * (apart + NOISE_SD * NOISE_SD) / std::f64::consts::PI).sqrt();
        }
    }
    let means = sums.map(|sum| sum / f64::from(TRUTH_SAMPLES));
    // The arms are mirror images then, and exactly as good.
    if differ { means } else { [(means[0] + means[1]) / 2.0; 2] }
}

/// Weights after one pass of stochastic gradient descent without feature `hidden`.
fn train(mut sample: Sample, hidden: usize, rng: &mut StreamRng) -> [f64; FEATURES] {
    rng.shuffle(&mut sample);
    let mut weights = [0.0; FEATURES];
    for (features, target) in &sample {
        let fitted: f64 = features.iter().zip(&weights).map(|(x, w)| x * w).sum();
        let step = RATE * (target - fitted);
        for (place, weight) in weights.iter_mut().enumerate().filter(|(place, _)| *place != hidden)
        {
            *weight += step * features[place];
        }
    }
    weights
}

/// Mean absolute error.
fn error(sample: &Sample, weights: &[f64; FEATURES]) -> f64 {
    let apart = |(features, target): &([f64; FEATURES], f64)| {
        let fitted: f64 = features.iter().zip(weights).map(|(x, w)| x * w).sum();
        (target - fitted).abs()
    };
    sample.iter().map(apart).sum::<f64>() / sample.len() as f64
}

const FEATURES: usize = 8;
/// The feature that each arm cannot see.
const HIDDEN: [usize; 2] = [0, 1];
const NOISE_SD: f64 = 1.0;
const RATE: f64 = 0.03;
/// Fresh samples for the truth: its own error is a hundredth of a study's.
const TRUTH_SAMPLES: u32 = 20_000;
