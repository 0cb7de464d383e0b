//! Whether more runs are worth their cost, and which arm is the cheapest that will do.
//!
//! The true difference is taken as t distributed about the estimate, with no prior beyond it. Losses are
//! in units of the metric until a value per unit makes them money. No result is ever NaN.
//! Deliberately absent: words, and where standard errors come from.
//!
//! Floor: common.

use statrs::distribution::{Continuous, StudentsT};
use thiserror::Error;

use super::noncentral::{critical, normal_loss, student_sf};

/// The difference that a choice between two arms rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// Use the shrunken difference where the leader was selected for its score.
    pub difference: f64,
    pub se: f64,
    /// How well the standard error is known; may be infinite. Below two, where the loss is hardly
    /// finite, it is taken for two.
    pub df: f64,
}

/// What a better score is worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stakes {
    /// Money per unit of the metric and use.
    pub value_per_unit: f64,
    pub uses: f64,
    /// Money per hour of training.
    pub price_per_hour: f64,
}

/// A block of further runs: more seeds, more folds, or both.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Standard error of the difference over the runs so far and these; not above the present one.
    pub se_after: f64,
    pub hours: f64,
}

/// What a block is expected to bring.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Return {
    /// Expected loss of choosing now, in units of the metric.
    pub loss_now: f64,
    /// The same after the block, averaged over what it may show.
    pub loss_after: f64,
    /// Money: `(loss_now - loss_after) × value × uses`.
    pub value: f64,
    /// Money.
    pub cost: f64,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Decision {
    /// Run this one of the blocks offered: it returns most above its cost.
    Continue { block: usize, expected: Return },
    /// No block offered returns its cost; the one that comes nearest is here.
    Stop { nearest: Option<(usize, Return)> },
}

/// An arm beside the best one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rival {
    /// How much worse than the best its mean is; 0 for the best itself.
    pub behind: f64,
    /// Standard error of that difference; 0 for the best itself.
    pub se: f64,
    /// Its degrees of freedom; may be infinite.
    pub df: f64,
    pub cost: f64,
}

/// When an arm is as good as the best.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Behind by one standard error at most (Breiman et al. 1984, for the difference).
    OneSe,
    /// The interval of the difference at 1 - alpha reaches zero.
    Overlap { alpha: f64 },
    /// Behind by less than `width` with at least this probability, taking the difference as t
    /// distributed about its estimate.
    Rope { width: f64, probability: f64 },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum WorthError {
    #[error("the {what} is {value}; it must be finite and not below 0")]
    Number { what: &'static str, value: f64 },
    #[error("the difference is {difference}; it must be a finite number")]
    Difference { difference: f64 },
    #[error(
        "the standard error rises from {now} to {after} with block {block}, counted from 0; \
         further runs cannot take knowledge away"
    )]
    Block { block: usize, now: f64, after: f64 },
    #[error("there is no arm to choose from")]
    NoArms,
    #[error("the degrees of freedom are {df}; they must be above 0")]
    Df { df: f64 },
    #[error("the level is {level}; it must lie between 0 and 1")]
    Level { level: f64 },
}

/// Expected opportunity loss of choosing the leader now, in units of the metric.
///
/// `SE [(df + z^2) / (df - 1) t(z) - z (1 - T(z))]`, z = |difference| / SE, t and T Student's density
/// and distribution; for a known error `SE [phi(z) - z (1 - Phi(z))]`. 0 without error. Source: Raiffa
/// & Schlaifer (1961), Applied Statistical Decision Theory.
pub fn expected_loss(choice: Choice) -> Result<f64, WorthError> {
    choice.check()?;
    Ok(loss(choice, choice.se))
}

/// What `block` is expected to bring.
///
/// Before the block is run, the difference that it will leave lies about the present one with
/// variance `SE_now^2 - SE_after^2`, since the estimates are efficient. So the loss saved is that of
/// choosing now with that variance's root for the standard error, and the loss after is what remains.
pub fn expected_return(choice: Choice, block: Block, stakes: Stakes) -> Result<Return, WorthError> {
    choice.check()?;
    stakes.check()?;
    returned(choice, 0, block, stakes)
}

/// The block with the largest return above its cost, or to stop.
///
/// Offer blocks of several sizes: one seed may bring too little where ten would do. Of equal ones
/// the first is taken.
pub fn decide(choice: Choice, blocks: &[Block], stakes: Stakes) -> Result<Decision, WorthError> {
    choice.check()?;
    stakes.check()?;
    let mut best: Option<(usize, Return)> = None;
    for (at, block) in blocks.iter().enumerate() {
        let expected = returned(choice, at, *block, stakes)?;
        if best.is_none_or(|(_, so_far)| expected.net() > so_far.net()) {
            best = Some((at, expected));
        }
    }
    Ok(match best {
        Some((block, expected)) if expected.net() > 0.0 => Decision::Continue { block, expected },
        nearest => Decision::Stop { nearest },
    })
}

/// What a gain of `step` in the metric costs: `extra_cost × step / gain`.
///
/// `gain` is the shrunken one. `None` where there is none, so that no money buys a step.
pub fn cost_per_step(gain: f64, extra_cost: f64, step: f64) -> Result<Option<f64>, WorthError> {
    not_negative("extra cost", extra_cost)?;
    not_negative("step", step)?;
    if !gain.is_finite() {
        return Err(WorthError::Difference { difference: gain });
    }
    Ok((gain > 0.0).then(|| extra_cost * (step / gain)).filter(|cost| cost.is_finite()))
}

/// What is left of an observed `effect` when luck is taken away: `effect × (1 - error / spread)`, and
/// nothing where the error alone explains the spread.
///
/// `error` is the variance of one such effect, `spread` the variance that effects like it show; of a
/// lone difference its square. Effects are taken as normal about zero with a variance that is
/// estimated from them. Source: Efron & Morris (1975), J. Am. Stat. Assoc. 70.
pub fn shrunken(effect: f64, spread: f64, error: f64) -> f64 {
    if spread > error { effect * (1.0 - error.max(0.0) / spread) } else { 0.0 }
}

/// The cheapest arm that is as good as the best by `rule`; of equal costs the one less behind.
///
/// The best itself always is, so there is always one.
pub fn cheapest_arm(rivals: &[Rival], rule: Rule) -> Result<usize, WorthError> {
    for rival in rivals {
        rival.check()?;
    }
    rule.check()?;
    let good = rivals.iter().enumerate().filter(|(_, rival)| rule.allows(rival));
    let order =
        |a: &Rival, b: &Rival| a.cost.total_cmp(&b.cost).then(a.behind.total_cmp(&b.behind));
    good.min_by(|(_, a), (_, b)| order(a, b)).map(|(at, _)| at).ok_or(WorthError::NoArms)
}

impl Return {
    /// Value above cost.
    pub fn net(&self) -> f64 {
        self.value - self.cost
    }
}

impl Rule {
    fn allows(&self, rival: &Rival) -> bool {
        if rival.behind == 0.0 {
            return true;
        }
        match *self {
            Rule::OneSe => rival.behind <= rival.se,
            Rule::Overlap { alpha } => rival.behind <= critical(rival.df, alpha) * rival.se,
            Rule::Rope { width, .. } if rival.se == 0.0 => rival.behind < width,
            Rule::Rope { width, probability } => {
                student_sf((rival.behind - width) / rival.se, rival.df) >= probability
            }
        }
    }

    fn check(&self) -> Result<(), WorthError> {
        let level = match *self {
            Rule::OneSe => return Ok(()),
            Rule::Overlap { alpha } => alpha,
            Rule::Rope { width, probability } => {
                not_negative("width that matters", width)?;
                probability
            }
        };
        if level > 0.0 && level < 1.0 { Ok(()) } else { Err(WorthError::Level { level }) }
    }
}

impl Rival {
    fn check(&self) -> Result<(), WorthError> {
        not_negative("distance to the best", self.behind)?;
        not_negative("standard error", self.se)?;
        not_negative("cost", self.cost)?;
        if self.df > 0.0 { Ok(()) } else { Err(WorthError::Df { df: self.df }) }
    }
}

impl Choice {
    fn check(&self) -> Result<(), WorthError> {
        if !self.difference.is_finite() {
            return Err(WorthError::Difference { difference: self.difference });
        }
        if self.df.is_nan() || self.df <= 0.0 {
            return Err(WorthError::Df { df: self.df });
        }
        not_negative("standard error", self.se)
    }
}

impl Stakes {
    fn check(&self) -> Result<(), WorthError> {
        not_negative("value per unit", self.value_per_unit)?;
        not_negative("number of uses", self.uses)?;
        not_negative("price per hour", self.price_per_hour)
    }
}

fn returned(choice: Choice, at: usize, block: Block, stakes: Stakes) -> Result<Return, WorthError> {
    not_negative("standard error", block.se_after)?;
    not_negative("number of hours", block.hours)?;
    let (now, after) = (choice.se, block.se_after);
    // Rounding alone is no rise.
    if after > now * (1.0 + 1e-9) {
        return Err(WorthError::Block { block: at, now, after });
    }
    let moved = ((now - after).max(0.0) * (now + after)).sqrt();
    let loss_now = loss(choice, now);
    let saved = loss(choice, moved).min(loss_now);
    Ok(Return {
        loss_now,
        loss_after: loss_now - saved,
        value: saved * stakes.value_per_unit * stakes.uses,
        cost: block.hours * stakes.price_per_hour,
    })
}

fn loss(choice: Choice, se: f64) -> f64 {
    let z = (choice.difference / se).abs();
    match StudentsT::new(0.0, 1.0, choice.df.max(DF_LEAST)) {
        _ if se == 0.0 => 0.0,
        Ok(t) if choice.df.is_finite() => {
            let df = choice.df.max(DF_LEAST);
            // Far out the two terms cancel to less than their rounding.
            (se * ((df + z * z) / (df - 1.0) * t.pdf(z) - z * student_sf(z, df))).max(0.0)
        }
        _ => se * normal_loss(z),
    }
}

fn not_negative(what: &'static str, value: f64) -> Result<(), WorthError> {
    if value.is_finite() && value >= 0.0 { Ok(()) } else { Err(WorthError::Number { what, value }) }
}

/// Of a t distribution whose mean loss is finite and not all tail.
const DF_LEAST: f64 = 2.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_ends_all_doubt_is_worth_the_whole_loss() {
        let all = Block { se_after: 0.0, hours: 1.0 };
        let none = Block { se_after: CHOICE.se, hours: 1.0 };

        let certain = expected_return(CHOICE, all, STAKES).unwrap();
        let same = expected_return(CHOICE, none, STAKES).unwrap();

        assert_eq!(certain.loss_after, 0.0);
        assert_eq!((same.loss_after, same.value), (same.loss_now, 0.0));
    }

    #[test]
    fn an_error_of_few_degrees_of_freedom_leaves_more_to_lose() {
        let of = |df: f64| expected_loss(Choice { difference: 0.0278, se: 0.01, df }).unwrap();

        // By integrating the tail of Student's t numerically: 36.9 and 8.3 times the normal loss.
        assert!(
            (of(4.0) / of(f64::INFINITY) - 36.9).abs() < 0.5,
            "{}",
            of(4.0) / of(f64::INFINITY)
        );
        assert!((of(9.0) / of(f64::INFINITY) - 8.3).abs() < 0.2, "{}", of(9.0) / of(f64::INFINITY));
        assert!((of(1e9) / of(f64::INFINITY) - 1.0).abs() < 1e-4);
        assert_eq!(of(1.0), of(2.0));
        assert!(expected_loss(Choice { df: 0.0, ..CHOICE }).is_err());
    }

    #[test]
    fn the_run_goes_on_only_where_it_returns_its_cost() {
        let blocks = [
            Block { se_after: 0.0099, hours: 10.0 },
            Block { se_after: 0.004, hours: 100.0 },
            Block { se_after: 0.003, hours: 2000.0 },
        ];
        let worth = decide(CHOICE, &blocks, STAKES).unwrap();
        let little = decide(CHOICE, &blocks, Stakes { uses: 1e-3, ..STAKES }).unwrap();

        assert!(matches!(worth, Decision::Continue { block: 1, .. }), "{worth:?}");
        assert!(matches!(little, Decision::Stop { nearest: Some((0, _)) }), "{little:?}");
        assert_eq!(decide(CHOICE, &[], STAKES), Ok(Decision::Stop { nearest: None }));
    }

    #[test]
    fn the_cheapest_arm_that_will_do_depends_on_the_rule() {
        let rivals = [
            Rival { behind: 0.0, se: 0.0, df: 9.0, cost: 100.0 },
            Rival { behind: 0.009, se: 0.010, df: 9.0, cost: 50.0 },
            Rival { behind: 0.020, se: 0.010, df: 9.0, cost: 10.0 },
            Rival { behind: 0.030, se: 0.010, df: 9.0, cost: 1.0 },
        ];
        assert_eq!(cheapest_arm(&rivals, Rule::OneSe), Ok(1));
        // t at 9 degrees of freedom is 2.26.
        assert_eq!(cheapest_arm(&rivals, Rule::Overlap { alpha: 0.05 }), Ok(2));
        let strict = Rule::Rope { width: 0.010, probability: 0.95 };
        assert_eq!(cheapest_arm(&rivals, strict), Ok(0));
        let wide = Rule::Rope { width: 0.050, probability: 0.95 };
        assert_eq!(cheapest_arm(&rivals, wide), Ok(3));
        assert_eq!(cheapest_arm(&[], Rule::OneSe), Err(WorthError::NoArms));
    }

    #[test]
    fn no_gain_has_no_price() {
        assert_eq!(cost_per_step(0.004, 20.0, 0.001), Ok(Some(5.0)));
        assert_eq!(cost_per_step(0.0, 20.0, 0.001), Ok(None));
        assert_eq!(cost_per_step(-0.1, 20.0, 0.001), Ok(None));
    }

    #[test]
    fn what_luck_can_explain_is_no_gain() {
        assert_eq!(shrunken(0.02, 4e-4, 1e-4), 0.015);
        assert_eq!((shrunken(0.02, 1e-4, 1e-4), shrunken(0.02, f64::NAN, 1.0)), (0.0, 0.0));
    }

    #[test]
    fn what_has_no_worth_is_refused() {
        let rising = Block { se_after: 0.02, hours: 1.0 };
        assert_eq!(
            decide(CHOICE, &[rising], STAKES),
            Err(WorthError::Block { block: 0, now: 0.01, after: 0.02 })
        );
        assert!(expected_loss(Choice { difference: f64::NAN, ..CHOICE }).is_err());
        assert!(expected_loss(Choice { se: -1.0, ..CHOICE }).is_err());
        assert_eq!(expected_loss(Choice { se: 0.0, ..CHOICE }), Ok(0.0));
    }

    const CHOICE: Choice = Choice { difference: 0.005, se: 0.01, df: f64::INFINITY };
    const STAKES: Stakes = Stakes { value_per_unit: 1e6, uses: 1.0, price_per_hour: 2.0 };
}
