//! One comparison: its blocks so far, the limits of its difference, and what ends it.
//!
//! Floor: common.

use super::super::monitor::{Look, MonitorError, Sequence, multiple, rho_squared};
use super::super::noncentral::{critical, student_sf};
use super::super::precision::se_floor;
use super::super::sources::{Components, Design, Reach, StandardError, error_of_difference};
use super::super::worth::{self, Block, Choice};
use super::{End, Rule, StoppingError, Worth};

/// Mean and squared distances from it of values that come one by one (Welford 1962).
#[derive(Clone, Copy, Debug, Default)]
struct Running {
    count: f64,
    mean: f64,
    squares: f64,
}

/// Paired differences of two arms, block after block.
#[derive(Clone, Debug)]
pub struct Walk {
    /// Means over folds.
    blocks: Running,
    /// By fold.
    folds: Vec<Running>,
    /// Of all scores, whatever their sign.
    largest: f64,
}

/// What a rule asks of every comparison of a study.
pub struct Judge<'a> {
    rule: &'a Rule,
    rho_squared: f64,
    /// What the sequence over seeds may miss.
    alpha: f64,
    /// Half-width over the standard deviation of fold means; 0 when folds are to stay as they are.
    fold_multiple: f64,
    folds: u32,
}

impl Walk {
    pub fn of(folds: usize) -> Self {
        let folds = vec![Running::default(); folds];
        Self { blocks: Running::default(), folds, largest: 0.0 }
    }

    /// Adds one block, `a` and `b` [folds].
    pub fn add(&mut self, a: &[f64], b: &[f64]) {
        let mut sum = 0.0;
        for ((fold, a), b) in self.folds.iter_mut().zip(a).zip(b) {
            fold.add(a - b);
            sum += a - b;
            self.largest = self.largest.max(a.abs()).max(b.abs());
        }
        self.blocks.add(sum / self.folds.len() as f64);
    }

    /// Whether the blocks differ by no more than what rounding leaves of scores like these.
    fn are_equal(&self) -> bool {
        self.blocks.squares <= self.blocks.count * (ROUNDED * self.largest).powi(2)
    }

    fn fold_sd(&self) -> f64 {
        let mut means = Running::default();
        self.folds.iter().for_each(|fold| means.add(fold.mean));
        means.variance().sqrt()
    }

    /// Variances of one arm, half those of the differences: by mean squares, none below 0.
    fn components(&self) -> Components {
        let (seeds, folds) = (self.blocks.count, self.folds.len() as f64);
        let about_folds: f64 = self.folds.iter().map(|fold| fold.squares).sum();
        let rest = (about_folds - folds * self.blocks.squares).max(0.0);
        let residual = rest / ((seeds - 1.0) * (folds - 1.0));
        let of_seeds = (self.blocks.variance() - residual / folds).max(0.0);
        let of_folds = (self.fold_sd().powi(2) - residual / seeds).max(0.0);
        Components {
            seed: Some(of_seeds / 2.0),
            residual: residual / 2.0,
            arm_fold: of_folds / 2.0,
            fold: 0.0,
        }
    }
}

impl<'a> Judge<'a> {
    pub fn of(rule: &'a Rule, arms: usize, folds: usize) -> Result<Self, StoppingError> {
        let share = rule.alpha / (arms - 1) as f64;
        let count = folds as f64;
        let weight = match rule.reach {
            Reach::Seeds => 0.0,
            Reach::Folds => 1.0 / count,
            Reach::Samples { test_over_train } => 1.0 / count + test_over_train,
        };
        if !(rule.alpha > 0.0 && rule.alpha < 1.0) {
            return Err(MonitorError::Alpha { alpha: rule.alpha }.into());
        }
        if rule.reach != Reach::Seeds && folds < 2 {
            return Err(StoppingError::Folds { folds });
        }
        let (alpha, fold_multiple) = if rule.reach == Reach::Seeds {
            (share, 0.0)
        } else {
            let of_folds = critical(count - 1.0, (1.0 - SHARE_OF_SEEDS) * share);
            (SHARE_OF_SEEDS * share, of_folds * weight.sqrt())
        };
        let rho_squared = rho_squared(alpha, rule.narrowest)?;
        Ok(Self { rule, rho_squared, alpha, fold_multiple, folds: folds as u32 })
    }

    /// The limits after the blocks so far.
    pub fn look(&self, walk: &Walk) -> Look {
        let (blocks, mean) = (walk.blocks.count as u32, walk.blocks.mean);
        let half = self.half(walk, blocks);
        Look { blocks, mean, bounds: half.map(|half| (mean - half, mean + half)) }
    }

    /// Why the comparison needs no further blocks; `None` while it does.
    pub fn end(&self, walk: &Walk, look: &Look) -> Result<Option<End>, StoppingError> {
        if look.blocks < self.rule.blocks_min {
            return Ok(None);
        }
        if let Some(end) = self.claim(look) {
            return Ok(Some(end));
        }
        if look.blocks >= self.rule.blocks_max {
            return Ok(Some(End::Planned));
        }
        // Equal differences say nothing about their spread.
        if walk.are_equal() {
            return Ok(None);
        }
        if let Some(end) = self.floor(walk)? {
            return Ok(Some(end));
        }
        if let Some(worth) = &self.rule.worth
            && let Some(end) = self.not_worth(walk, worth)?
        {
            return Ok(Some(end));
        }
        Ok(self.hopeless(walk))
    }

    fn half(&self, walk: &Walk, blocks: u32) -> Option<f64> {
        if blocks < 2 || walk.are_equal() {
            return None;
        }
        let multiple = multiple(blocks, self.rho_squared, self.alpha, Sequence::Student)?;
        let of_seeds = multiple * (walk.blocks.variance() / f64::from(blocks)).sqrt();
        let of_folds =
            if self.fold_multiple > 0.0 { self.fold_multiple * walk.fold_sd() } else { 0.0 };
        Some(of_seeds + of_folds)
    }

    fn claim(&self, look: &Look) -> Option<End> {
        let (low, high) = look.bounds?;
        let differ = self.rule.asks_for_difference() && (low > 0.0 || high < 0.0);
        let within = |width: f64| low > -width && high < width;
        let near = |width: f64| high - look.mean <= width;
        if differ {
            Some(End::Differ)
        } else if self.rule.rope.is_some_and(within) {
            Some(End::Equal)
        } else {
            self.rule.half_width.is_some_and(near).then_some(End::Narrow)
        }
    }

    /// Q10's floor: with endless seeds the folds' part is left.
    fn floor(&self, walk: &Walk) -> Result<Option<End>, StoppingError> {
        if self.rule.reach == Reach::Seeds {
            return Ok(None);
        }
        let se = self.error(walk, walk.blocks.count as u32)?.se;
        let se_floor = se_floor(&walk.components(), self.folds, self.rule.reach);
        let hardly_narrower = se_floor >= (1.0 - NARROWER_BY) * se;
        Ok(hardly_narrower.then_some(End::Floor { se, se_floor }))
    }

    /// Standard error after so many blocks, with these blocks' spread.
    fn error(&self, walk: &Walk, blocks: u32) -> Result<StandardError, StoppingError> {
        if self.rule.reach == Reach::Seeds {
            let se = (walk.blocks.variance() / f64::from(blocks)).sqrt();
            return Ok(StandardError { se, df: Some(walk.blocks.count - 1.0) });
        }
        let design = Design { arms: 2, seeds: blocks, folds: self.folds };
        Ok(error_of_difference(&walk.components(), design, self.rule.reach)?)
    }

    fn not_worth(&self, walk: &Walk, worth: &Worth) -> Result<Option<End>, StoppingError> {
        let blocks = walk.blocks.count as u32;
        let now = self.error(walk, blocks)?;
        let df = now.df.unwrap_or(walk.blocks.count - 1.0);
        let choice = Choice { difference: walk.blocks.mean, se: now.se, df };
        let left = self.rule.blocks_max - blocks;
        // One block may bring too little where ten would do.
        let mut offered = Vec::new();
        let sizes = std::iter::successors(Some(1u32), |size| size.checked_mul(2));
        for size in sizes.take_while(|size| *size < left).chain([left]) {
            let se_after = self.error(walk, blocks + size)?.se.min(now.se);
            let hours = 2.0 * worth.hours_per_block * f64::from(size);
            offered.push(Block { se_after, hours });
        }
        Ok(match worth::decide(choice, &offered, worth.stakes)? {
            worth::Decision::Stop { nearest: Some((_, expected)) } => Some(End::NotWorth(expected)),
            _ => None,
        })
    }

    /// Stochastic curtailment: the chance that the last planned look settles it, its mean being t
    /// distributed about the present one with variance `s^2 (1/n - 1/N)`.
    ///
    /// Source: Spiegelhalter, Freedman & Blackburn (1986), Control. Clin. Trials 7.
    fn hopeless(&self, walk: &Walk) -> Option<End> {
        let below = self.rule.hopeless_below.filter(|_| self.rule.half_width.is_none())?;
        let (now, then) = (walk.blocks.count, f64::from(self.rule.blocks_max));
        let spread = (walk.blocks.variance() * (1.0 / now - 1.0 / then)).sqrt();
        let above = |limit: f64| student_sf((limit - walk.blocks.mean) / spread, now - 1.0);
        let mut chance = 0.0;
        if let Some(half) = self.half(walk, self.rule.blocks_max) {
            if self.rule.asks_for_difference() {
                chance += above(half) + 1.0 - above(-half);
            }
            if let Some(room) = self.rule.rope.map(|rope| rope - half).filter(|room| *room > 0.0) {
                // Where both can be claimed the difference comes first; counting twice is no harm.
                chance += above(-room) - above(room);
            }
        }
        let chance = chance.clamp(0.0, 1.0);
        (chance < below).then_some(End::Hopeless { chance })
    }
}

impl Running {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let apart = value - self.mean;
        self.mean += apart / self.count;
        self.squares += apart * (value - self.mean);
    }

    /// 0 below two values.
    fn variance(&self) -> f64 {
        if self.count < 2.0 { 0.0 } else { (self.squares / (self.count - 1.0)).max(0.0) }
    }
}

/// Of a score, in a difference of two.
const ROUNDED: f64 = 1e-12;
/// Of alpha, for limits that hold for new folds: seeds grow many and folds do not, and so a
/// smaller share costs least here.
const SHARE_OF_SEEDS: f64 = 0.2;
/// Endless seeds that would narrow the standard error by less are not worth waiting for.
const NARROWER_BY: f64 = 0.1;
