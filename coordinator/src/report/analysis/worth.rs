//! What choosing the leading arm now is expected to lose, what more runs would save of that, and what
//! the lead costs in training.
//!
//! Larger designs hold the runs so far, so that what is bought is the rest. Money counts only where
//! whoever asks for the report says what a better score and an hour are worth. Deliberately absent:
//! words, and how the spread was divided.
//!
//! Floor: core.

use common::stats::plan;
use common::stats::sources::{Components, Design, Reach, error_of_difference};
use common::stats::worth::{self, Block, Choice, Decision, Stakes};
use common::study::{OuterKind, Study};

use super::super::content::{Contrast, GainPrice, Money, NextBlock, Worth};

/// What training takes and costs.
#[derive(Clone, Copy, Debug)]
pub struct Prices {
    /// Agent-seconds of one seed on one fold for all configs of both arms, its own choices included.
    pub cell: f64,
    /// Agent-seconds of what all seeds of a fold share: their choices, where tuning seeds make them.
    pub fold: f64,
    /// Mean agent-seconds of one training of each arm, where any was timed.
    pub run: [Option<f64>; 2],
    /// Whether both arms have one config, so that a cell's score is that of a single run.
    pub single_runs: bool,
    /// Whether there is time to draw pairs again.
    pub drawn: bool,
    /// What a better score and an hour are worth, where that was said.
    pub stakes: Option<Stakes>,
}

impl Prices {
    pub fn of_designs(&self) -> plan::Prices {
        plan::Prices { run: self.cell, fold: self.fold, seed: 0.0 }
    }
}

/// `None` where the present design's error cannot be told.
pub fn of_pair(
    study: &Study,
    (components, design, reach): (&Components, Design, Reach),
    contrast: &Contrast,
    prices: &Prices,
) -> Option<Worth> {
    let se = |design: Design| error_of_difference(components, design, reach).ok().map(|e| e.se);
    let now = se(design)?;
    let choice = Choice { difference: contrast.difference, se: now, df: contrast.df };
    let priced = prices.of_designs();
    let spent = priced.cost(design);
    let block = |larger: Design| {
        let cost = priced.cost(larger) - spent;
        let block = Block { se_after: se(larger)?.min(now), hours: cost / HOUR };
        let expected = worth::expected_return(choice, block, NO_MONEY).ok()?;
        let next = NextBlock {
            seeds: larger.seeds,
            folds: larger.folds,
            cost,
            expected_loss: expected.loss_after,
        };
        Some((next, block))
    };
    let room = Room::of(study, components);
    let doubled = [
        Design { seeds: 2 * design.seeds, ..design },
        Design { folds: 2 * design.folds, ..design },
    ];
    let doubled = doubled.into_iter().filter(|larger| room.holds(design, *larger));
    let expected_loss = worth::expected_loss(choice).ok()?;
    let larger: Vec<(NextBlock, Block)> = larger_designs(study, design)
        .into_iter()
        .filter(|one| room.holds(design, *one))
        .filter_map(block)
        .collect();
    let (frontier, offered): (Vec<NextBlock>, Vec<Block>) =
        frontier(larger, expected_loss).into_iter().unzip();
    let best = frontier.iter().max_by(|x, y| {
        let saved = |next: &NextBlock| (expected_loss - next.expected_loss) / next.cost;
        saved(x).total_cmp(&saved(y))
    });
    Some(Worth {
        expected_loss,
        next_block_value: best.map(|next| expected_loss - next.expected_loss),
        verdict: String::new(),
        money: (prices.stakes).and_then(|stakes| money(choice, &frontier, &offered, stakes)),
        gain: gain(study, contrast, prices),
        blocks: doubled.filter_map(|larger| Some(block(larger)?.0)).collect(),
        frontier,
    })
}

/// What of a design can be more.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Not where one seed was trained: nobody knows what others would do.
    pub seeds: bool,
    /// Not where each fold is a value of a column, or time divides: there are no more of them.
    pub folds: bool,
}

impl Room {
    pub fn of(study: &Study, components: &Components) -> Self {
        let folds = matches!(study.outer.kind, OuterKind::KFold | OuterKind::Holdout { .. });
        Self { seeds: components.seed.is_some(), folds }
    }

    fn holds(self, now: Design, larger: Design) -> bool {
        (self.seeds || larger.seeds == now.seeds) && (self.folds || larger.folds == now.folds)
    }
}

/// Designs with more seeds, more whole partitions, or both.
fn larger_designs(study: &Study, now: Design) -> Vec<Design> {
    let each = study.outer.folds.max(1);
    let steps = |now: u32| -> Vec<u32> {
        let mut list: Vec<u32> =
            STEPS.iter().map(|times| (f64::from(now) * times).round() as u32).collect();
        list.dedup();
        list
    };
    let partitions = steps(now.folds.div_ceil(each));
    let mut list = Vec::new();
    for seeds in steps(now.seeds) {
        for partitions in &partitions {
            let larger = Design { seeds, folds: (partitions * each).max(now.folds), ..now };
            if larger != now {
                list.push(larger);
            }
        }
    }
    list
}

/// Of all designs those that no cheaper one beats, by cost.
fn frontier(mut all: Vec<(NextBlock, Block)>, now: f64) -> Vec<(NextBlock, Block)> {
    let loss = |(next, _): &(NextBlock, Block)| next.expected_loss;
    all.retain(|(next, _)| next.cost > 0.0);
    all.sort_by(|x, y| x.0.cost.total_cmp(&y.0.cost).then(loss(x).total_cmp(&loss(y))));
    let mut least = now;
    all.retain(|one| {
        let better = loss(one) < least * (1.0 - SAME);
        least = least.min(loss(one));
        better
    });
    all
}

fn money(
    choice: Choice,
    frontier: &[NextBlock],
    offered: &[Block],
    stakes: Stakes,
) -> Option<Money> {
    let (worth_it, found) = match worth::decide(choice, offered, stakes).ok()? {
        Decision::Continue { block, expected } => (true, Some((block, expected))),
        Decision::Stop { nearest } => (false, nearest),
    };
    let (place, expected) = found?;
    let next = frontier.get(place)?;
    Some(Money {
        value_of_a_hundredth: stakes.value_per_unit / 100.0,
        price_of_an_hour: stakes.price_per_hour,
        worth_it,
        seeds: next.seeds,
        folds: next.folds,
        value: expected.value,
        cost: expected.cost,
    })
}

/// What the leader's lead costs, where it takes longer to train.
fn gain(study: &Study, contrast: &Contrast, prices: &Prices) -> Option<GainPrice> {
    let first = (contrast.difference > 0.0) == study.primary().larger_is_better();
    let [a, b] = prices.run;
    let (leader, other) = if first { (a?, b?) } else { (b?, a?) };
    let difference = contrast.difference.abs();
    price(leader - other, difference, (difference.powi(2), contrast.se.powi(2)))
}

/// What `lead` costs where it takes `seconds` more to train; `spread` and `error` as in
/// [`worth::shrunken`]. `None` where it costs nothing.
pub fn price(seconds: f64, lead: f64, (spread, error): (f64, f64)) -> Option<GainPrice> {
    if !(seconds > 0.0 && seconds.is_finite()) {
        return None;
    }
    let shrunken_gain = worth::shrunken(lead, spread, error);
    let seconds_per_step = worth::cost_per_step(shrunken_gain, seconds, GAIN_STEP).ok()?;
    Some(GainPrice { shrunken_gain, seconds, step: GAIN_STEP, seconds_per_step })
}

/// Losses alone are read from it.
const NO_MONEY: Stakes = Stakes { value_per_unit: 0.0, uses: 0.0, price_per_hour: 0.0 };

/// Seconds.
const HOUR: f64 = 3600.0;

/// The lead that a price is given for.
const GAIN_STEP: f64 = 0.001;

/// Times the present seeds and partitions that larger designs have.
const STEPS: [f64; 8] = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0];

/// Losses that differ by less are the same.
const SAME: f64 = 1e-3;
