//! The search for a design: what precision costs, and how sure the plan itself is.
//!
//! Half-widths do not always fall with more seeds (degrees of freedom can fall faster than the
//! error), so designs are enumerated and only those are skipped that cannot serve. Deliberately
//! absent: the statistics of one design, which are in `precision`.
//!
//! Floor: common.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use thiserror::Error;

use super::distribution::chi_square_quantile;
use super::noncentral::detectable_noncentrality;
use super::precision::{
    Precision, PrecisionError, Test, half_width_of, power_of, precision, se_floor,
};
use super::sources::{Components, Design, MeanSquare, Reach, error_of_difference, mean_squares};
use super::summary::normal_quantile;

/// What training costs, in any one unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// One seed on one fold, for all arms together.
    pub run: f64,
    /// A fold, whatever the seeds: labelling, preparing data.
    pub fold: f64,
    /// A seed, whatever the folds.
    pub seed: f64,
}

/// What a design is to reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// The interval of a difference reaches no further than this to either side.
    HalfWidth(f64),
    /// A difference of this size is found with the test's power.
    Effect(f64),
}

/// The designs that a search may choose from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    pub seeds_max: u32,
    pub folds_max: u32,
}

/// What is planned for, apart from the number of seeds and folds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frame {
    pub arms: u32,
    pub reach: Reach,
    pub test: Test,
}

/// A design with its cost and what it shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    pub design: Design,
    pub cost: f64,
    pub precision: Precision,
}

/// The answer of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cheapest {
    Reached(Row),
    /// No design within the limits serves; the largest one is here.
    OutOfReach(Row),
}

/// How many seeds are needed, given how uncertain the components are. `None` is more than the
/// limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Needed {
    pub low: Option<u32>,
    pub median: Option<u32>,
    pub high: Option<u32>,
    /// Share of the draws for which no number up to the limit is enough.
    pub beyond: f64,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PlanError {
    #[error(transparent)]
    Precision(#[from] PrecisionError),
    #[error("the price of a {what} is {price}; it must be finite and not below 0")]
    Price { what: &'static str, price: f64 },
    #[error("the goal is {goal}; it must be finite and above 0")]
    Goal { goal: f64 },
    #[error("a search up to {seeds_max} seeds and {folds_max} folds is empty; allow 1 or more")]
    Limits { seeds_max: u32, folds_max: u32 },
    #[error("no draws of the components were given")]
    NoDraws,
    #[error("the level is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
    #[error(
        "a pilot of {arms} arms, {seeds} seeds and {folds} folds repeats too little to tell the \
         sources apart; take 2 or more of each"
    )]
    Pilot { arms: u32, seeds: u32, folds: u32 },
}

impl Prices {
    /// `C = s f run + f fold + s seed`.
    pub fn cost(&self, design: Design) -> f64 {
        let (seeds, folds) = (f64::from(design.seeds), f64::from(design.folds));
        seeds * folds * self.run + folds * self.fold + seeds * self.seed
    }

    fn check(&self) -> Result<(), PlanError> {
        let named = [("run", self.run), ("fold", self.fold), ("seed", self.seed)];
        match named.into_iter().find(|(_, price)| !price.is_finite() || *price < 0.0) {
            Some((what, price)) => Err(PlanError::Price { what, price }),
            None => Ok(()),
        }
    }
}

/// Every design of `seeds` × `folds`, seeds outermost: the table, and the contour's heights.
pub fn table(
    components: &Components,
    frame: Frame,
    prices: Prices,
    seeds: &[u32],
    folds: &[u32],
) -> Result<Vec<Row>, PlanError> {
    prices.check()?;
    let each = seeds.iter().flat_map(|seeds| folds.iter().map(move |folds| (*seeds, *folds)));
    each.map(|(seeds, folds)| row(components, frame, prices, seeds, folds)).collect()
}

/// The line of equal `cost`: for each of `folds`, how many seeds it pays for, as a real number.
///
/// Folds too dear for any seed are left out; so is every fold where seeds and runs are free.
pub fn iso_cost(prices: Prices, cost: f64, folds: &[u32]) -> Result<Vec<(u32, f64)>, PlanError> {
    prices.check()?;
    let seeds = |folds: f64| (cost - folds * prices.fold) / (folds * prices.run + prices.seed);
    let points = folds.iter().map(|folds| (*folds, seeds(f64::from(*folds))));
    Ok(points.filter(|(_, seeds)| seeds.is_finite() && *seeds > 0.0).collect())
}

/// The cheapest design that reaches `goal`; of equal costs the one with fewer folds.
///
/// Enumerates folds and, for each, seeds from the first whose standard error would do if it were
/// known exactly, up to the limits or the best cost so far.
pub fn cheapest(
    components: &Components,
    frame: Frame,
    prices: Prices,
    goal: Goal,
    limits: Limits,
) -> Result<Cheapest, PlanError> {
    prices.check()?;
    let Limits { seeds_max, folds_max } = limits;
    if seeds_max == 0 || folds_max == 0 {
        return Err(PlanError::Limits { seeds_max, folds_max });
    }
    let largest = row(components, frame, prices, seeds_max, folds_max)?;
    let search = Search::new(components, frame, goal)?;
    let mut best: Option<(f64, Design)> = None;
    for folds in 1..=folds_max {
        let cost_of = |seeds| prices.cost(Design { arms: frame.arms, seeds, folds });
        let affordable =
            |seeds: &u32| best.is_none_or(|(cost, _): (f64, Design)| cost_of(*seeds) < cost);
        if let Some(seeds) = search.fewest_seeds(folds, seeds_max, affordable)? {
            best = Some((cost_of(seeds), Design { arms: frame.arms, seeds, folds }));
        }
    }
    Ok(match best {
        Some((_, Design { seeds, folds, .. })) => {
            Cheapest::Reached(row(components, frame, prices, seeds, folds)?)
        }
        None => Cheapest::OutOfReach(largest),
    })
}

/// Fewest seeds on `folds` folds that reach `goal`; `None` when `seeds_max` do not.
pub fn fewest_seeds(
    components: &Components,
    frame: Frame,
    goal: Goal,
    folds: u32,
    seeds_max: u32,
) -> Result<Option<u32>, PlanError> {
    Search::new(components, frame, goal)?.fewest_seeds(folds, seeds_max, |_| true)
}

/// The number of seeds per fold that gives the smallest error for any sum of money, as a real
/// number: `sqrt(c_fold s2_E / (c_run s2_CF))`.
///
/// Holds for new folds where only runs and folds cost and a seed has no effect of its own; `None`
/// elsewhere, and where nothing limits the number. Minimises `(s2_CF + s2_E/s)(s c_run + c_fold)`.
pub fn best_seeds_per_fold(components: &Components, prices: Prices) -> Option<f64> {
    let holds = components.seed.unwrap_or(0.0) == 0.0 && prices.seed == 0.0;
    let ratio = prices.fold * components.residual / (prices.run * components.arm_fold);
    (holds && ratio.is_finite() && ratio >= 0.0).then(|| ratio.sqrt())
}

/// Seeds needed on `folds` folds over `draws` of the components: median and the ends of `level`.
///
/// Draws come from [`draws`] or a bootstrap; a draw that cannot reach the goal counts as more than
/// `seeds_max`.
pub fn needed_seeds(
    draws: &[Components],
    frame: Frame,
    goal: Goal,
    folds: u32,
    seeds_max: u32,
    level: f64,
) -> Result<Needed, PlanError> {
    if !(level > 0.0 && level < 1.0) {
        return Err(PlanError::Level { level });
    }
    let seeds: Result<Vec<Option<u32>>, PlanError> =
        draws.iter().map(|draw| fewest_seeds(draw, frame, goal, folds, seeds_max)).collect();
    let mut seeds = seeds?;
    let last = seeds.len().checked_sub(1).ok_or(PlanError::NoDraws)?;
    let beyond = seeds.iter().filter(|seeds| seeds.is_none()).count() as f64 / seeds.len() as f64;
    seeds.sort_by_key(|seeds| seeds.unwrap_or(u32::MAX));
    let at = |probability: f64| seeds[(probability * last as f64).round() as usize];
    let tail = 0.5 * (1.0 - level);
    Ok(Needed { low: at(tail), median: at(0.5), high: at(1.0 - tail), beyond })
}

/// Components as uncertain as a balanced study of `pilot` leaves them, `count` draws.
///
/// Each mean square is `expected df / chi-square`, independently, and the components follow from
/// them, none below zero: the fiducial draws of Weerahandi (1995), Exact Statistical Methods for
/// Data Analysis. Mean squares keep a component uncertain whose estimate is zero. The fold's own
/// variance cancels in differences and stays as it is.
pub fn draws(
    components: &Components,
    pilot: Design,
    count: u32,
    seed: u64,
) -> Result<Vec<Components>, PlanError> {
    let squares = mean_squares(components, pilot).map_err(PrecisionError::from)?;
    let Design { arms, seeds, folds } = pilot;
    let all = [Some(squares.arm_fold), squares.seed, Some(squares.residual)];
    if all.iter().flatten().any(|square| square.df <= 0.0) {
        return Err(PlanError::Pilot { arms, seeds, folds });
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut draw = |square: MeanSquare| {
        // Between 0 and 1, neither end included.
        let uniform = ((rng.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
        square.expected * square.df / chi_square_quantile(uniform, square.df)
    };
    let drawn = (0..count).map(|_| {
        let residual = draw(squares.residual);
        let arm_fold = (draw(squares.arm_fold) - residual).max(0.0) / f64::from(seeds);
        let seed = squares.seed.map(|seed| (draw(seed) - residual).max(0.0) / f64::from(folds));
        Components { seed, residual, arm_fold, fold: components.fold }
    });
    Ok(drawn.collect())
}

/// How far a standard deviation measured with `df` degrees of freedom can be from the true one: the
/// true one is between these multiples of it, at `level`.
///
/// `sqrt(df / chi-square)` at the chi-square's two tails. At 95 % 2 degrees of freedom leave a
/// factor of 0.52 to 6.3.
pub fn sd_factor(df: u32, level: f64) -> Result<(f64, f64), PlanError> {
    if !(level > 0.0 && level < 1.0) {
        return Err(PlanError::Level { level });
    }
    if df == 0 {
        return Err(PlanError::Pilot { arms: 1, seeds: 1, folds: 1 });
    }
    let tail = 0.5 * (1.0 - level);
    let factor = |p: f64| (f64::from(df) / chi_square_quantile(p, f64::from(df))).sqrt();
    Ok((factor(1.0 - tail), factor(tail)))
}

/// What a first study should be before anything is known: 3 seeds on 5 folds.
pub fn pilot(arms: u32) -> Design {
    Design { arms, seeds: 3, folds: 5 }
}

fn row(
    components: &Components,
    frame: Frame,
    prices: Prices,
    seeds: u32,
    folds: u32,
) -> Result<Row, PlanError> {
    let design = Design { arms: frame.arms, seeds, folds };
    let precision = precision(components, design, frame.reach, frame.test)?;
    Ok(Row { design, cost: prices.cost(design), precision })
}

struct Search<'a> {
    components: &'a Components,
    frame: Frame,
    goal: Goal,
    /// No standard error above this reaches the goal: a test that knows its error has more power
    /// and a narrower interval than one that estimates it.
    se_max: f64,
}

impl<'a> Search<'a> {
    fn new(components: &'a Components, frame: Frame, goal: Goal) -> Result<Self, PlanError> {
        frame.test.check()?;
        components.check().map_err(PrecisionError::from)?;
        let Test { alpha, power } = frame.test;
        let (size, errors) = match goal {
            Goal::HalfWidth(width) => (width, normal_quantile(1.0 - 0.5 * alpha)),
            Goal::Effect(effect) => {
                (effect.abs(), detectable_noncentrality(f64::INFINITY, alpha, power))
            }
        };
        if !size.is_finite() || size <= 0.0 {
            return Err(PlanError::Goal { goal: size });
        }
        Ok(Self { components, frame, goal, se_max: size / errors * (1.0 + 1e-9) })
    }

    /// Fewest seeds on `folds` folds, among those that `allowed` accepts; the first one refused
    /// ends the search.
    fn fewest_seeds(
        &self,
        folds: u32,
        seeds_max: u32,
        allowed: impl Fn(&u32) -> bool,
    ) -> Result<Option<u32>, PlanError> {
        if se_floor(self.components, folds, self.frame.reach) > self.se_max {
            return Ok(None);
        }
        for seeds in (1..=seeds_max).take_while(allowed) {
            if self.serves(seeds, folds)? {
                return Ok(Some(seeds));
            }
        }
        Ok(None)
    }

    fn serves(&self, seeds: u32, folds: u32) -> Result<bool, PlanError> {
        let design = Design { arms: self.frame.arms, seeds, folds };
        let error = error_of_difference(self.components, design, self.frame.reach)
            .map_err(PrecisionError::from)?;
        if error.se > self.se_max {
            return Ok(false);
        }
        let Test { alpha, power } = self.frame.test;
        Ok(match self.goal {
            Goal::HalfWidth(width) => {
                half_width_of(&error, alpha).is_some_and(|half| half <= width)
            }
            Goal::Effect(effect) => {
                power_of(&error, alpha, effect).is_some_and(|found| found >= power)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_finds_what_trying_every_design_finds() {
        let (seeds, folds): (Vec<u32>, Vec<u32>) = ((1..=20).collect(), (1..=15).collect());
        let mut reached = 0;
        for seed in [None, Some(0.0), Some(0.3)] {
            for reach in [Reach::Folds, Reach::Seeds, Reach::Samples { test_over_train: 0.05 }] {
                let components = Components { seed, ..COMPONENTS };
                let frame = Frame { reach, ..FRAME };
                let rows = table(&components, frame, PRICES, &seeds, &folds).unwrap();
                for goal in [Goal::HalfWidth(1.2), Goal::Effect(1.9), Goal::HalfWidth(0.01)] {
                    let tried = rows.iter().filter(|row| serves(row, goal)).map(|row| row.cost);
                    let least = tried.min_by(f64::total_cmp);
                    match cheapest(&components, frame, PRICES, goal, LIMITS).unwrap() {
                        Cheapest::Reached(row) => assert_eq!(Some(row.cost), least, "{row:?}"),
                        Cheapest::OutOfReach(row) => {
                            assert_eq!(least, None);
                            assert_eq!((row.design.seeds, row.design.folds), (20, 15));
                        }
                    }
                    reached += u32::from(least.is_some());
                }
            }
        }
        assert!((12..27).contains(&reached), "{reached} of 27");
    }

    fn serves(row: &Row, goal: Goal) -> bool {
        row.precision.shown.is_some_and(|shown| match goal {
            Goal::HalfWidth(width) => shown.half_width <= width,
            Goal::Effect(effect) => shown.detectable <= effect,
        })
    }

    #[test]
    fn the_closed_form_optimum_is_the_cheapest_among_all() {
        let components = Components { seed: None, residual: 16.0, arm_fold: 1.0, fold: 0.0 };
        let prices = Prices { run: 1.0, fold: 4.0, seed: 0.0 };
        let best = best_seeds_per_fold(&components, prices).unwrap();
        let limits = Limits { seeds_max: 100, folds_max: 2000 };
        // Many folds, so that their number is nearly continuous and t nearly normal.
        let found = cheapest(&components, FRAME, prices, Goal::HalfWidth(0.15), limits).unwrap();
        let Cheapest::Reached(row) = found else { panic!("{found:?}") };

        assert_eq!(best, 8.0);
        assert_eq!(row.design.seeds, 8);
        assert_eq!(best_seeds_per_fold(&COMPONENTS, PRICES), None);
    }

    #[test]
    fn more_seeds_can_widen_an_interval() {
        // Few folds, much seed luck: degrees of freedom fall towards those of the folds.
        let components = Components { seed: Some(1.0), residual: 0.0, arm_fold: 0.4, fold: 0.0 };
        let half = |seeds| {
            let design = Design { arms: 2, seeds, folds: 3 };
            let at = precision(&components, design, Reach::Folds, Test::USUAL).unwrap();
            at.shown.unwrap().half_width
        };
        assert!(half(1000) > half(6), "{} and {}", half(1000), half(6));
    }

    #[test]
    fn uncertain_components_give_a_range_that_holds_the_certain_answer() {
        let goal = Goal::HalfWidth(1.2);
        let drawn = draws(&COMPONENTS, pilot(2), 400, 7).unwrap();
        let needed = needed_seeds(&drawn, FRAME, goal, 10, 500, 0.95).unwrap();
        let certain = fewest_seeds(&COMPONENTS, FRAME, goal, 10, 500).unwrap().unwrap();

        assert!(needed.low.unwrap() <= certain && needed.high.is_none_or(|high| certain <= high));
        assert!(needed.low < needed.median, "{needed:?}");
        assert_eq!(drawn, draws(&COMPONENTS, pilot(2), 400, 7).unwrap());
        assert_ne!(drawn, draws(&COMPONENTS, pilot(2), 400, 8).unwrap());
    }

    #[test]
    fn a_component_estimated_as_zero_stays_uncertain() {
        let components = Components { arm_fold: 0.0, ..COMPONENTS };
        let drawn = draws(&components, pilot(2), 200, 1).unwrap();

        assert!(drawn.iter().any(|draw| draw.arm_fold > 0.1));
        assert!(drawn.iter().any(|draw| draw.arm_fold == 0.0));
    }

    #[test]
    fn iso_cost_designs_cost_what_they_say() {
        for (folds, seeds) in iso_cost(PRICES, 500.0, &[1, 2, 5, 10, 300]).unwrap() {
            let folds = f64::from(folds);
            let cost = seeds * folds * PRICES.run + folds * PRICES.fold + seeds * PRICES.seed;
            assert!((cost - 500.0).abs() < 1e-9);
        }
        assert_eq!(iso_cost(PRICES, 500.0, &[300]).unwrap(), []);
        let free = Prices { run: 0.0, fold: 0.0, seed: 0.0 };
        assert_eq!(iso_cost(free, 5.0, &[2]).unwrap(), []);
    }

    #[test]
    fn what_cannot_be_planned_is_refused() {
        let search = |goal, limits| cheapest(&COMPONENTS, FRAME, PRICES, goal, limits);
        assert_eq!(search(Goal::HalfWidth(0.0), LIMITS), Err(PlanError::Goal { goal: 0.0 }));
        let none = Limits { seeds_max: 0, folds_max: 3 };
        assert_eq!(
            search(Goal::Effect(1.0), none),
            Err(PlanError::Limits { seeds_max: 0, folds_max: 3 })
        );
        assert_eq!(
            needed_seeds(&[], FRAME, Goal::HalfWidth(1.0), 5, 10, 0.9),
            Err(PlanError::NoDraws)
        );
        let single = Design { arms: 2, seeds: 1, folds: 5 };
        assert_eq!(
            draws(&COMPONENTS, single, 3, 0),
            Err(PlanError::Pilot { arms: 2, seeds: 1, folds: 5 })
        );
    }

    const COMPONENTS: Components =
        Components { seed: Some(0.3), residual: 2.0, arm_fold: 0.5, fold: 1.0 };
    const FRAME: Frame = Frame { arms: 2, reach: Reach::Folds, test: Test::USUAL };
    const PRICES: Prices = Prices { run: 1.0, fold: 3.0, seed: 0.5 };
    const LIMITS: Limits = Limits { seeds_max: 20, folds_max: 15 };
}
