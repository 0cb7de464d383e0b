//! When to stop buying seeds, and for which arms: decided after every block, valid at every look.
//!
//! A block is one seed on every fold of every arm that goes on. Whatever is claimed rests on a
//! confidence sequence, which holds at all numbers of blocks at once; so looking after each block,
//! stopping, and going on after all never make a claim less sure. Deliberately absent: which blocks
//! are complete, who trains them, and what a log keeps.
//!
//! # What the guarantee is about
//!
//! Blocks on fixed folds repeat the seed and nothing else. Their mean tends to the difference on
//! *these* data and folds for new seeds (T1, [`Reach::Seeds`]), and a sequence over blocks bounds
//! that. What the folds add is in every block alike: no number of seeds settles it. For new folds
//! or a new sample (T2, [`Reach::Folds`], [`Reach::Samples`]) the limits are therefore widened by
//! the folds' own t interval: the folds were drawn once and spend their share of alpha once, the
//! seeds spend theirs over all looks. By the union bound both hold together, up to what is heuristic
//! in Nadeau and Bengio's factor. When endless seeds would hardly narrow that, buying ends
//! ([`End::Floor`]).
//!
//! # Several arms
//!
//! Of k arms each comparison's sequence has alpha / (k - 1).
//!
//! - [`Aim::Baseline`]: the first arm against each other one, k - 1 comparisons named beforehand. By
//!   Bonferroni all their limits hold at all times with 1 - alpha. The two that lead are no such
//!   pair: who leads is chosen by the same scores.
//! - [`Aim::Best`]: all pairs; an arm that the limits of any pair put behind is dropped. Let b be a
//!   best arm. Only the k - 1 sequences that b is part of can drop it, and while they hold none does,
//!   since each true difference is in b's favour or 0. So with 1 - alpha, at all times and whatever
//!   is dropped when, b goes on, and every arm called equal to b is. Order among the others is not
//!   promised. Racing by sequences that hold at all times: Maron & Moore (1997), Artif. Intell. Rev.
//!   11; Even-Dar, Mannor & Mansour (2006), J. Mach. Learn. Res. 7.
//!
//! Of many configs, whose pairs would be too many, each is compared with the leader alone ([`behind`]).
//!
//! To stop because the rest is hopeless or not worth its cost claims nothing, and so costs no error.
//!
//! # What it rests on
//!
//! Blocks are exchangeable and their differences normal: then the limits are exact at every look
//! (Wang & Ramdas 2025). Tails and skew that both arms share do no harm; one arm's own long tail, such
//! as a seed in ten that collapses, makes false claims of a difference some 10 to 12 % where alpha is
//! 5 % (`coordinator calibrate --sequential`), since the first blocks show too little of it.
//!
//! Floor: common.

mod behind;
mod pair;
mod race;
mod words;

use thiserror::Error;

use super::monitor::{Look, MonitorError};
use super::sources::{Reach, SourceError};
use super::worth::{Return, Stakes, WorthError};

pub use behind::behind;

use pair::Judge;
use race::Race;

/// When a study has bought enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// Chance of a false claim, over all looks and comparisons.
    pub alpha: f64,
    /// Blocks after which the limits are narrowest for their kind.
    pub narrowest: u32,
    /// Nothing ends before so many blocks.
    pub blocks_min: u32,
    /// As planned; everything ends here.
    pub blocks_max: u32,
    pub larger_is_better: bool,
    pub aim: Aim,
    /// What the limits are to hold for.
    pub reach: Reach,
    /// Ends a comparison once 0 is outside its limits. In a race it always does.
    pub difference: bool,
    /// Ends it once its limits lie within so much of 0.
    pub rope: Option<f64>,
    /// Ends it once its limits are this near the mean.
    pub half_width: Option<f64>,
    /// Ends it while the blocks left settle it with a smaller chance than this. Not heeded beside
    /// `half_width`, which every block comes nearer to.
    pub hopeless_below: Option<f64>,
    /// Ends it while no number of the blocks left is worth its cost.
    pub worth: Option<Worth>,
}

/// Which comparisons count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aim {
    /// The first arm against each other one.
    Baseline,
    /// Which arm is the best: those that cannot be are dropped.
    Best,
}

/// What blocks bring and cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Worth {
    pub stakes: Stakes,
    /// Of one arm's block.
    pub hours_per_block: f64,
}

/// What the blocks so far decide.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// Complete blocks that were looked at, up to the end of all.
    pub blocks: u32,
    pub next: Next,
    /// By arm.
    pub arms: Vec<Arm>,
    pub comparisons: Vec<Comparison>,
}

/// What to buy next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Next {
    /// A block of these arms, in ascending order.
    GoOn(Vec<usize>),
    Stop,
}

/// Where an arm stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Arm {
    /// Blocks of it that were looked at.
    pub blocks: u32,
    /// The arm that put it out of the race.
    pub lost_to: Option<usize>,
}

/// Two arms and what is known of the first minus the second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    pub a: usize,
    pub b: usize,
    /// After the last block of both that was looked at; `None` before the first look.
    pub look: Option<Look>,
    /// `None` while it goes on.
    pub end: Option<End>,
}

/// Why a comparison needs no further blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    /// 0 is outside the limits.
    Differ,
    /// The limits are within the range of practical equivalence.
    Equal,
    /// The limits are as near as was asked.
    Narrow,
    /// Endless seeds would leave nearly the same standard error: the rest is the folds'.
    Floor { se: f64, se_floor: f64 },
    /// No number of the blocks left returns its cost; the one that comes nearest.
    NotWorth(Return),
    /// The blocks left settle it with no more than this chance.
    Hopeless { chance: f64 },
    /// One of the two is out of the race.
    Moot,
    /// All planned blocks are there.
    Planned,
}

/// Why nothing can be decided.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StoppingError {
    #[error(transparent)]
    Monitor(#[from] MonitorError),
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Worth(#[from] WorthError),
    #[error("there are {arms} arms; a comparison needs 2 or more")]
    Arms { arms: usize },
    #[error(
        "at least {blocks_min} and at most {blocks_max} blocks are asked for; take 2 or more, and \
         the second number no smaller than the first"
    )]
    Plan { blocks_min: u32, blocks_max: u32 },
    #[error("the {what} is {value}; it must be finite and above 0")]
    Width { what: &'static str, value: f64 },
    #[error("the chance below which the rest is hopeless is {chance}; it must lie between 0 and 1")]
    Chance { chance: f64 },
    #[error("block {block} of arm {arm}, both counted from 0, has {found} folds and not {folds}")]
    Ragged { arm: usize, block: usize, found: usize, folds: usize },
    #[error(
        "block {block} of arm {arm}, both counted from 0, has a score that is no finite number"
    )]
    NotFinite { arm: usize, block: usize },
    #[error("limits for new folds need 2 or more folds; there is {folds}")]
    Folds { folds: usize },
}

/// What the complete blocks so far decide, as if somebody had looked after each.
///
/// `scores` [arms, blocks, folds], blocks in the order of the design and none after one that is
/// missing, since which block came first can depend on its scores; a block that failed for one arm
/// is left out for all. An arm that goes on no more may have fewer blocks, or surplus ones, which
/// are not read. Everything is computed from the start, so the same scores give the same decision
/// whoever asks, and what once was settled stays so. While all blocks' differences are equal there
/// are no limits: they say nothing about their spread.
pub fn decide(rule: &Rule, scores: &[Vec<Vec<f64>>]) -> Result<Decision, StoppingError> {
    decide_among(rule, scores, &vec![true; scores.len()])
}

/// As [`decide`], where arms that are not `open` [arms] get no further blocks: what these blocks leave
/// unsettled of such an arm stays so, and nobody waits for it. Scores that came late may settle less than
/// what closed it.
pub fn decide_among(
    rule: &Rule,
    scores: &[Vec<Vec<f64>>],
    open: &[bool],
) -> Result<Decision, StoppingError> {
    rule.check(scores.len())?;
    let folds = folds(scores)?;
    let judge = Judge::of(rule, scores.len(), folds)?;
    let mut race = Race::of(rule, scores.len(), folds);
    loop {
        race.retire(scores, open);
        if !race.add_block(scores) {
            return Ok(race.decision());
        }
        race.look(&judge)?;
    }
}

impl Decision {
    /// What was decided, with its numbers.
    pub fn in_words(&self, rule: &Rule, names: &[&str]) -> String {
        words::decision(self, rule, names)
    }

    /// Arms that are not out of the race.
    pub fn left(&self) -> impl Iterator<Item = usize> {
        let arms = self.arms.iter().enumerate();
        arms.filter(|(_, arm)| arm.lost_to.is_none()).map(|(at, _)| at)
    }
}

impl End {
    /// Whether it is a claim about the difference, which later blocks do not take back.
    pub fn settles(self) -> bool {
        matches!(self, End::Differ | End::Equal | End::Narrow)
    }
}

impl Rule {
    /// Two-sided 95 % limits for new seeds on these folds, first arm against each other, until they
    /// differ; nothing else ends it before `blocks_max`.
    pub fn usual(blocks_max: u32) -> Self {
        Self {
            alpha: 0.05,
            narrowest: NARROWEST,
            blocks_min: BLOCKS_MIN.min(blocks_max),
            blocks_max,
            larger_is_better: true,
            aim: Aim::Baseline,
            reach: Reach::Seeds,
            difference: true,
            rope: None,
            half_width: None,
            hopeless_below: None,
            worth: None,
        }
    }

    /// Refuses what no study can follow.
    pub fn check(&self, arms: usize) -> Result<(), StoppingError> {
        if arms < 2 {
            return Err(StoppingError::Arms { arms });
        }
        let Self { blocks_min, blocks_max, .. } = *self;
        if blocks_min < 2 || blocks_max < blocks_min {
            return Err(StoppingError::Plan { blocks_min, blocks_max });
        }
        let widths = [
            ("range of practical equivalence", self.rope),
            ("half-width to be reached", self.half_width),
        ];
        for (what, width) in widths {
            if let Some(value) = width.filter(|value| !value.is_finite() || *value <= 0.0) {
                return Err(StoppingError::Width { what, value });
            }
        }
        match self.hopeless_below.filter(|chance| !(*chance > 0.0 && *chance < 1.0)) {
            Some(chance) => Err(StoppingError::Chance { chance }),
            None => Ok(()),
        }
    }
}

/// Folds of every block; 1 while there is none.
fn folds(scores: &[Vec<Vec<f64>>]) -> Result<usize, StoppingError> {
    let mut blocks = scores.iter().flatten();
    let folds = blocks.next().map_or(1, Vec::len);
    for (arm, blocks) in scores.iter().enumerate() {
        for (block, values) in blocks.iter().enumerate() {
            if values.len() != folds || values.is_empty() {
                return Err(StoppingError::Ragged { arm, block, found: values.len(), folds });
            }
            if !values.iter().all(|value| value.is_finite()) {
                return Err(StoppingError::NotFinite { arm, block });
            }
        }
    }
    Ok(folds)
}

/// Blocks at which the limits are narrowest: what small studies train.
const NARROWEST: u32 = 10;
/// Of fewer blocks nobody knows whether their differences are anything like normal.
const BLOCKS_MIN: u32 = 5;

#[cfg(test)]
mod tests;
