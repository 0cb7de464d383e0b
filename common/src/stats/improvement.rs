//! How often one arm beats another when both are trained and tested once more.
//!
//! A difference of means says nothing of how often the better one is better. Whole folds, whole
//! seeds or both are resampled, never single cells: cells of one fold share its rows, and those of
//! one seed its luck. Deliberately absent: what counts as better; a positive difference does.
//!
//! Source: Bouthillier et al. (2021), Accounting for Variance in Machine Learning Benchmarks,
//! MLSys 3, whose decision this is.
//!
//! Floor: common.

use std::collections::BTreeMap;

use thiserror::Error;

use super::resample::Resampling;
use super::summary::normal_cdf;
use crate::seed::StreamRng;

/// One pair of runs on the same fold and seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    pub fold: u32,
    pub seed: u32,
    /// Positive where the first arm is better; 0 is a tie.
    pub difference: f64,
}

/// What a repetition of the study would draw anew.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Blocks {
    Folds,
    Seeds,
    /// Both, crossed: each resampled whole, a cell counts as often as its fold times its seed.
    FoldsAndSeeds,
}

/// The share of pairs that the first arm wins.
#[derive(Clone, Debug, PartialEq)]
pub struct Improvement {
    /// Ties count half.
    pub share: f64,
    /// Percentile interval over resampled blocks.
    pub interval: (f64, f64),
    pub judgement: Judgement,
}

/// What an interval of P(A > B) says against 0.5 and against the share that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Judgement {
    /// The lower end is at most 0.5: chance alone can do this.
    NotShown,
    /// Above 0.5 for certain, but not even the upper end is above the share that matters.
    TooSmall,
    /// Above 0.5 for certain, and perhaps above the share that matters.
    Meaningful,
}

/// Why there is no share.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ImprovementError {
    #[error("resampling {what} needs at least 2 of them; there are {count}")]
    TooFewBlocks { what: &'static str, count: usize },
    #[error("the difference of pair {index}, counted from 0, is not a finite number")]
    NotFinite { index: usize },
    #[error("the share that matters is {gamma}; it must lie between 0.5 and 1")]
    Gamma { gamma: f64 },
    #[error("the {which} variance is {variance}; it must be finite and not below 0")]
    Variance { which: &'static str, variance: f64 },
    #[error("the difference is {difference}; it must be finite")]
    Difference { difference: f64 },
}

/// The recommended share that matters: a better arm should win three pairs of four.
pub const GAMMA: f64 = 0.75;

/// P(A > B) by counting pairs, with an interval over resampled blocks, judged against `gamma`.
pub fn paired_share(
    cells: &[Cell],
    blocks: Blocks,
    gamma: f64,
    resampling: &Resampling,
) -> Result<Improvement, ImprovementError> {
    if !(0.5..=1.0).contains(&gamma) {
        return Err(ImprovementError::Gamma { gamma });
    }
    let crossed = Crossed::of(cells, blocks)?;
    // Points of two for a win and one for a tie, in whole numbers: sums have no order.
    let points =
        |cell: &Cell| 1 + i32::from(cell.difference > 0.0) - i32::from(cell.difference < 0.0);
    let points: Vec<u64> = cells.iter().map(|cell| points(cell) as u64).collect();
    let share = |weights: &mut dyn Iterator<Item = u64>| {
        let (mut won, mut all) = (0, 0);
        for (weight, points) in weights.zip(&points) {
            won += weight * points;
            all += 2 * weight;
        }
        (all > 0).then(|| won as f64 / all as f64)
    };
    let observed = share(&mut points.iter().map(|_| 1)).unwrap_or(0.5);
    let interval = crossed.interval("paired share", resampling, share);
    Ok(Improvement { share: observed, interval, judgement: judge(interval, gamma) })
}

/// Percentile interval of the mean difference over resampled blocks.
///
/// It asks nothing of the shape of the differences, and is too narrow with few blocks: of five, no
/// draw is wider than the five.
pub fn mean_interval(
    cells: &[Cell],
    blocks: Blocks,
    resampling: &Resampling,
) -> Result<(f64, f64), ImprovementError> {
    let crossed = Crossed::of(cells, blocks)?;
    Ok(crossed.interval("mean difference", resampling, |weights| {
        let (mut sum, mut all) = (0.0, 0);
        for (weight, cell) in weights.zip(cells) {
            sum += weight as f64 * cell.difference;
            all += weight;
        }
        (all > 0).then(|| sum / all as f64)
    }))
}

/// P(A > B) for one fresh run of each on a fold that both see: `Φ(delta / sqrt(2 (s²_CF + s²_S +
/// s²_E)))`.
///
/// `difference` is positive where the first arm is better; the variances are those of config by
/// fold, of the seed, and the residual. Without variance the better one always wins, and equals
/// share the wins.
pub fn model_share(
    difference: f64,
    config_by_fold: f64,
    seed: f64,
    residual: f64,
) -> Result<f64, ImprovementError> {
    if !difference.is_finite() {
        return Err(ImprovementError::Difference { difference });
    }
    let variances = [("config by fold", config_by_fold), ("seed", seed), ("residual", residual)];
    for (which, variance) in variances {
        if !variance.is_finite() || variance < 0.0 {
            return Err(ImprovementError::Variance { which, variance });
        }
    }
    let sd = (2.0 * (config_by_fold + seed + residual)).sqrt();
    Ok(match (sd > 0.0, difference == 0.0) {
        (_, true) => 0.5,
        (true, false) => normal_cdf(difference / sd),
        (false, false) => f64::from(u8::from(difference > 0.0)),
    })
}

/// Cells by their fold and seed, of which whole ones are drawn.
struct Crossed {
    blocks: Blocks,
    folds: usize,
    seeds: usize,
    /// Of each cell, the number of its fold and of its seed.
    places: Vec<(usize, usize)>,
}

impl Crossed {
    fn of(cells: &[Cell], blocks: Blocks) -> Result<Self, ImprovementError> {
        if let Some(index) = cells.iter().position(|cell| !cell.difference.is_finite()) {
            return Err(ImprovementError::NotFinite { index });
        }
        let (folds, by_fold) = numbered(cells.iter().map(|cell| cell.fold));
        let (seeds, by_seed) = numbered(cells.iter().map(|cell| cell.seed));
        let resampled: &[(&'static str, usize)] = match blocks {
            Blocks::Folds => &[("folds", folds)],
            Blocks::Seeds => &[("seeds", seeds)],
            Blocks::FoldsAndSeeds => &[("folds", folds), ("seeds", seeds)],
        };
        match resampled.iter().find(|(_, count)| *count < 2) {
            Some((what, count)) => Err(ImprovementError::TooFewBlocks { what, count: *count }),
            None => Ok(Self {
                blocks,
                folds,
                seeds,
                places: by_fold.into_iter().zip(by_seed).collect(),
            }),
        }
    }

    /// `statistic` of the cells' weights, in the cells' order; `None` where all are zero.
    fn interval(
        &self,
        purpose: &str,
        resampling: &Resampling,
        statistic: impl Fn(&mut dyn Iterator<Item = u64>) -> Option<f64>,
    ) -> (f64, f64) {
        let (mut of_fold, mut of_seed) = (vec![1; self.folds], vec![1; self.seeds]);
        let drawn = resampling.sorted(purpose, |mut generator| {
            // Crossed, with cells missing, a draw may meet no cell at all; it is made again.
            loop {
                if self.blocks != Blocks::Seeds {
                    redraw(&mut of_fold, &mut generator);
                }
                if self.blocks != Blocks::Folds {
                    redraw(&mut of_seed, &mut generator);
                }
                let mut weights = self.places.iter().map(|(f, s)| of_fold[*f] * of_seed[*s]);
                if let Some(value) = statistic(&mut weights) {
                    return value;
                }
            }
        });
        resampling.percentile(&drawn)
    }
}

fn judge((low, high): (f64, f64), gamma: f64) -> Judgement {
    match () {
        () if low <= 0.5 => Judgement::NotShown,
        () if high <= gamma => Judgement::TooSmall,
        () => Judgement::Meaningful,
    }
}

/// How many names there are, and the place of each entry's among them.
fn numbered(names: impl Iterator<Item = u32> + Clone) -> (usize, Vec<usize>) {
    let mut places: BTreeMap<u32, usize> = names.clone().map(|name| (name, 0)).collect();
    places.values_mut().enumerate().for_each(|(place, own)| *own = place);
    (places.len(), names.map(|name| places[&name]).collect())
}

/// How often each block was drawn.
fn redraw(counts: &mut [u64], generator: &mut StreamRng) {
    let blocks = counts.len();
    counts.fill(0);
    (0..blocks).for_each(|_| counts[generator.below(blocks as u64) as usize] += 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resampling() -> Resampling {
        Resampling::new(4000, 0.95, 3).unwrap()
    }

    /// `wins(fold, seed)` as the difference of each cell.
    fn grid(folds: u32, seeds: u32, wins: impl Fn(u32, u32) -> f64) -> Vec<Cell> {
        let cells = (0..folds).flat_map(|fold| (0..seeds).map(move |seed| (fold, seed)));
        cells.map(|(fold, seed)| Cell { fold, seed, difference: wins(fold, seed) }).collect()
    }

    fn share(cells: &[Cell], blocks: Blocks) -> Improvement {
        paired_share(cells, blocks, GAMMA, &resampling()).unwrap()
    }

    #[test]
    fn the_mean_of_resampled_folds_spreads_as_their_means_do() {
        // Folds at 0, 1, 2 and 3, whatever the seed: the mean of four drawn has variance 1.25 / 4.
        let cells = grid(4, 3, |fold, _| f64::from(fold));
        let of = |blocks| mean_interval(&cells, blocks, &resampling()).unwrap();

        let (low, high) = of(Blocks::Folds);
        assert!((low - 0.5).abs() < 0.26 && (high - 2.5).abs() < 0.26, "{low} to {high}");
        assert_eq!(of(Blocks::Seeds), (1.5, 1.5));
        let few = mean_interval(&cells[..3], Blocks::Folds, &resampling());
        assert_eq!(few, Err(ImprovementError::TooFewBlocks { what: "folds", count: 1 }));
    }

    #[test]
    fn folds_that_decide_alone_leave_seeds_without_spread() {
        let cells = grid(4, 50, |fold, _| if fold == 0 { -1.0 } else { 1.0 });

        let (folds, seeds, both) = (
            share(&cells, Blocks::Folds),
            share(&cells, Blocks::Seeds),
            share(&cells, Blocks::FoldsAndSeeds),
        );

        assert_eq!((folds.share, seeds.share), (0.75, 0.75));
        assert_eq!(seeds.interval, (0.75, 0.75));
        // Four folds drawn of which three win: shares of at most 0.25 have a chance of 5.1 %,
        // and 0.316 is that of winning all.
        assert_eq!((folds.interval, both.interval), ((0.25, 1.0), (0.25, 1.0)));
        assert_eq!(folds.judgement, Judgement::NotShown);
        assert_eq!(seeds.judgement, Judgement::TooSmall);
    }

    #[test]
    fn crossed_blocks_spread_wider_than_either() {
        let cells = grid(8, 8, |fold, seed| if (fold * 3 + seed * 5) % 7 < 5 { 1.0 } else { -1.0 });
        let width = |blocks| {
            let interval = share(&cells, blocks).interval;
            interval.1 - interval.0
        };

        assert!(width(Blocks::FoldsAndSeeds) > width(Blocks::Folds).max(width(Blocks::Seeds)));
    }

    #[test]
    fn ties_are_half_and_certain_wins_are_meaningful() {
        let ties = share(&grid(3, 3, |_, _| 0.0), Blocks::FoldsAndSeeds);
        let wins = share(&grid(3, 3, |_, _| 1e-9), Blocks::FoldsAndSeeds);

        assert_eq!((ties.share, ties.interval), (0.5, (0.5, 0.5)));
        assert_eq!(ties.judgement, Judgement::NotShown);
        assert_eq!((wins.share, wins.interval), (1.0, (1.0, 1.0)));
        assert_eq!(wins.judgement, Judgement::Meaningful);
    }

    #[test]
    fn cells_that_are_missing_do_not_stop_a_crossed_draw() {
        let cells: Vec<Cell> =
            grid(5, 5, |_, _| 1.0).into_iter().filter(|cell| cell.fold == cell.seed).collect();

        assert_eq!(share(&cells, Blocks::FoldsAndSeeds).interval, (1.0, 1.0));
    }

    #[test]
    fn order_of_the_cells_changes_nothing() {
        let mut cells = grid(5, 4, |fold, seed| f64::from(fold) - f64::from(seed));
        let one = share(&cells, Blocks::FoldsAndSeeds);
        cells.reverse();

        assert_eq!(share(&cells, Blocks::FoldsAndSeeds), one);
    }

    #[test]
    fn model_without_variance_knows_the_winner() {
        assert_eq!(model_share(0.1, 0.0, 0.0, 0.0), Ok(1.0));
        assert_eq!(model_share(-0.1, 0.0, 0.0, 0.0), Ok(0.0));
        assert_eq!(model_share(0.0, 0.0, 0.0, 0.0), Ok(0.5));
        assert_eq!(model_share(0.0, 1.0, 0.0, 0.0), Ok(0.5));
        // One standard deviation of the difference of two runs.
        let one = model_share(2.0, 1.0, 0.5, 0.5).unwrap();
        assert!((one - 0.841_344_746_068_542_9).abs() < 1e-10, "{one}");
    }

    #[test]
    fn what_has_no_share_is_refused() {
        let of = |cells: &[Cell], blocks| paired_share(cells, blocks, GAMMA, &resampling());
        let one_fold = grid(1, 4, |_, _| 1.0);

        let few = ImprovementError::TooFewBlocks { what: "folds", count: 1 };
        assert_eq!(of(&one_fold, Blocks::FoldsAndSeeds), Err(few));
        assert!(of(&one_fold, Blocks::Seeds).is_ok());
        let none = ImprovementError::TooFewBlocks { what: "folds", count: 0 };
        assert_eq!(of(&[], Blocks::Folds), Err(none));
        let broken = grid(2, 2, |_, _| f64::NAN);
        assert_eq!(of(&broken, Blocks::Folds), Err(ImprovementError::NotFinite { index: 0 }));
        let negative = ImprovementError::Variance { which: "seed", variance: -1.0 };
        assert_eq!(model_share(0.1, 1.0, -1.0, 1.0), Err(negative));
    }
}
