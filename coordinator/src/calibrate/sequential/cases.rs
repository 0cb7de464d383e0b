//! What is simulated: shapes, effects, folds and fields.
//!
//! Floor: core.

use common::stats::noncentral::two_sided_power;
use common::stats::sources::Reach;
use common::stats::stopping::{Aim, Rule};

use super::super::settings::{Noise, USUAL};
use super::{Case, Configs, Field, Kind, Leaning, Pair, Shape};

/// All cases, in the tables' order.
pub fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    let alarm = Rule::usual(BLOCKS_ALARM);
    let fixed = fixed_blocks(alarm.alpha);
    for (name, shape) in SHAPES {
        let pair = Pair::of("difference alone", 0.0, shape, alarm, fixed);
        all.push(Case { name: format!("no difference, {name}"), kind: Kind::Alarm(pair) });
    }
    let plans = [
        ("a difference, or when hopeless", saving()),
        ("the same, no more blocks than the fixed design", Rule { blocks_max: fixed, ..saving() }),
        ("a difference, equality, or when hopeless", Rule { rope: Some(EFFECT_MIN), ..saving() }),
    ];
    for (plan, rule) in plans {
        for effect in EFFECTS {
            let pair = Pair::of(plan, effect, Shape::Drawn(Noise::Normal), rule, fixed);
            all.push(Case { name: format!("{plan}, {effect} SD"), kind: Kind::Saving(pair) });
        }
    }
    all.extend(folds());
    all.extend(races());
    all.extend(configs());
    all
}

/// Blocks with which a two-sided t test at level `alpha` finds the smallest effect that counts.
pub fn fixed_blocks(alpha: f64) -> u32 {
    let power = |n: u32| {
        let n = f64::from(n);
        two_sided_power(EFFECT_MIN * n.sqrt(), n - 1.0, alpha)
    };
    (2..).find(|n| power(*n) >= POWER).unwrap_or(u32::MAX)
}

/// The rule whose savings are counted.
fn saving() -> Rule {
    Rule { hopeless_below: Some(HOPELESS_BELOW), ..Rule::usual(BLOCKS_PLANNED) }
}

fn folds() -> impl Iterator<Item = Case> {
    [5u32, 10].into_iter().flat_map(|folds| {
        let ratio = 1.0 / f64::from(folds - 1);
        let t2 = Reach::Samples { test_over_train: ratio };
        let rows = [
            ("level on these folds, judged for T1", true, Reach::Seeds),
            ("leaning folds, judged for T1", false, Reach::Seeds),
            ("leaning folds, judged for T2", false, t2),
        ];
        rows.into_iter().map(move |(name, level, reach)| {
            let rule = Rule { reach, ..Rule::usual(BLOCKS_FOLDS) };
            let kind =
                Kind::Folds(Leaning { spread: USUAL, folds, level, rule, test_over_train: ratio });
            Case { name: format!("{name}, {folds} folds"), kind }
        })
    })
}

fn races() -> impl Iterator<Item = Case> {
    let normal = Shape::Drawn(Noise::Normal);
    let ladder = |arms: u32| (0..arms).map(|place| -0.5 * f64::from(place)).collect();
    let ahead = |arms: usize| (0..arms).map(|arm| if arm == 0 { 0.0 } else { -1.0 }).collect();
    let fields: [(&str, Vec<f64>, Shape); 6] = [
        ("4 equal arms", vec![0.0; 4], normal),
        ("4 equal arms, skewed", vec![0.0; 4], Shape::Drawn(Noise::Skewed)),
        ("10 equal arms", vec![0.0; 10], normal),
        ("4 arms, each 0.5 behind the last", ladder(4), normal),
        ("10 arms, each 0.5 behind the last", ladder(10), normal),
        ("10 arms, the best 1 ahead", ahead(10), normal),
    ];
    fields.into_iter().map(|(name, means, shape)| {
        let rule = Rule { aim: Aim::Best, ..saving() };
        let fixed = fixed_blocks(rule.alpha / (means.len() - 1) as f64);
        let rule = Rule { blocks_max: fixed * BLOCKS_PLANNED / fixed_blocks(rule.alpha), ..rule };
        let kind = Kind::Race(Field { means, shape, rule, fixed });
        Case { name: name.to_string(), kind }
    })
}

fn configs() -> impl Iterator<Item = Case> {
    let normal = Shape::Drawn(Noise::Normal);
    let ladder = (0..16).map(|place| -0.5 * f64::from(place)).collect();
    let fields: [(&str, Vec<f64>, Shape); 4] = [
        ("2 equal configs", vec![0.0; 2], normal),
        ("12 equal configs", vec![0.0; 12], normal),
        ("12 equal configs, skewed", vec![0.0; 12], Shape::Drawn(Noise::Skewed)),
        ("16 configs, each 0.5 behind the last", ladder, normal),
    ];
    fields.into_iter().map(|(name, means, shape)| {
        let kind = Kind::Configs(Configs { means, shape, tune: TUNE });
        Case { name: name.to_string(), kind }
    })
}

/// Tuning seeds of a race of configs.
const TUNE: u32 = 20;
const SHAPES: [(&str, Shape); 5] = [
    ("normal", Shape::Drawn(Noise::Normal)),
    ("heavy tails", Shape::Drawn(Noise::HeavyTails)),
    ("both arms skewed", Shape::BothSkewed),
    ("one arm skewed", Shape::Drawn(Noise::Skewed)),
    ("one arm collapses in one of ten", Shape::Collapsing),
];
/// In standard deviations of a block's difference.
const EFFECTS: [f64; 6] = [0.0, 0.25, 0.5, 1.0, 1.5, 2.0];
/// The smallest effect that counts; the fixed design finds it with [`POWER`].
pub const EFFECT_MIN: f64 = 0.5;
pub const POWER: f64 = 0.9;
const HOPELESS_BELOW: f64 = 0.1;
/// Many looks, so that what they spend together is seen.
const BLOCKS_ALARM: u32 = 100;
/// With these the rule finds the smallest effect that counts as often as the fixed design does.
const BLOCKS_PLANNED: u32 = 100;
const BLOCKS_FOLDS: u32 = 40;
