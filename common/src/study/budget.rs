//! Limits on what a study may use, and the rule that ends it when the answer is known.
//!
//! A study without hours and without a rule has the bytes that it had before there were any: that they
//! follow is announced in the number of attempts, which readers of before refuse as too large.
//! Deliberately absent: how the rule decides (`stats::stopping`), and who asks it.
//!
//! Floor: common.

use std::fmt;

use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::ser::{SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::{Diverged, OuterKind, Study};
use crate::stats::sources::Reach;
use crate::stats::stopping::{Aim, Rule, Worth};
use crate::stats::worth::Stakes;

/// Limits on what a study may use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Own failures after which a trial is failed.
    pub attempts: u32,
    pub diverged: Diverged,
    /// Hours in which something of it is trained, after which what is left is cancelled.
    pub hours: Option<f64>,
    /// Hours of training, over all lanes of all agents.
    pub agent_hours: Option<f64>,
    /// Seeds are bought block by block, until this is satisfied.
    pub stop: Option<Stop>,
}

/// When a study has bought enough seeds, as its file says it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// Chance of a false claim, over all looks and comparisons.
    pub alpha: f64,
    /// Seeds that are trained before the first look.
    pub first: u32,
    /// Whether arms that cannot be the best are dropped; else the first is held against each other.
    pub race: bool,
    /// Whether claims are to hold for a new training sample; else for new seeds on these folds.
    pub sample: bool,
    pub difference: bool,
    /// In units of the metric, as the next one.
    pub half_width: Option<f64>,
    pub rope: Option<f64>,
    pub hopeless: Option<f64>,
    pub worth: Option<StopWorth>,
}

/// What a better score brings and an hour costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StopWorth {
    /// Money for a score better by 0.01.
    pub point_value: f64,
    /// Money for an hour of training.
    pub hour_price: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { attempts: 3, diverged: Diverged::Report, hours: None, agent_hours: None, stop: None }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            alpha: 0.05,
            first: 5,
            race: false,
            sample: false,
            difference: true,
            half_width: None,
            rope: None,
            hopeless: None,
            worth: None,
        }
    }
}

impl Budget {
    /// Whether anything but attempts is limited.
    pub fn is_limited(&self) -> bool {
        self.hours.is_some() || self.agent_hours.is_some() || self.stop.is_some()
    }
}

impl Study {
    /// The rule that its `[stop]` asks for; `None` without one. `hours_per_block`: of one arm's block, as
    /// measured.
    pub fn stopping_rule(&self, hours_per_block: f64) -> Option<Rule> {
        let stop = self.budget.stop?;
        let seeds = self.seeds.factors.first().map_or(1, |factor| factor.count);
        let reach = match (stop.sample, self.test_over_train()) {
            (false, _) => Reach::Seeds,
            (true, Some(test_over_train)) => Reach::Samples { test_over_train },
            (true, None) => Reach::Folds,
        };
        let worth = stop.worth.map(|worth| Worth {
            stakes: Stakes {
                value_per_unit: 100.0 * worth.point_value,
                uses: 1.0,
                price_per_hour: worth.hour_price,
            },
            hours_per_block,
        });
        Some(Rule {
            alpha: stop.alpha,
            blocks_min: stop.first.min(seeds).max(2),
            larger_is_better: self.primary().larger_is_better(),
            aim: if stop.race { Aim::Best } else { Aim::Baseline },
            reach,
            difference: stop.difference,
            rope: stop.rope,
            half_width: stop.half_width,
            hopeless_below: stop.hopeless,
            worth,
            ..Rule::usual(seeds.max(2))
        })
    }

    /// Test rows for each training row, where folds are drawn from the same rows.
    pub fn test_over_train(&self) -> Option<f64> {
        let ratio = match self.outer.kind {
            OuterKind::Holdout { share } => share / (1.0 - share),
            OuterKind::Ordered { share: Some(share) } => share / (1.0 - share),
            // Of equal parts the k-th fold trains on k and tests on one.
            OuterKind::Ordered { share: None } => {
                let folds = self.outer.folds;
                (1..=folds).map(|k| 1.0 / f64::from(k)).sum::<f64>() / f64::from(folds)
            }
            OuterKind::KFold | OuterKind::LeaveOut => 1.0 / (f64::from(self.outer.folds) - 1.0),
        };
        (ratio.is_finite() && ratio > 0.0).then_some(ratio)
    }

    /// Whether its limits can be kept to; asked of a study that came from elsewhere.
    pub fn has_sound_limits(&self) -> bool {
        let Budget { hours, agent_hours, stop, .. } = self.budget;
        let sound = |hours: Option<f64>| hours.is_none_or(|hours| hours.is_finite() && hours > 0.0);
        let folds = self.outer.folds.saturating_mul(self.outer.partitions);
        let followed = stop.is_none_or(|stop| {
            let rule = self.stopping_rule(1.0);
            rule.is_some_and(|rule| rule.check(self.judged().len()).is_ok())
                && stop.first >= 2
                && (stop.alpha > 0.0 && stop.alpha < 1.0)
                && self.seeds.factors.len() == 1
                && !(stop.sample && folds < 2)
                && !((self.learns() || self.halves())
                    && self.outer.inner.as_ref().is_some_and(|i| i.tune.is_none()))
        });
        sound(hours) && sound(agent_hours) && followed
    }
}

impl Serialize for Budget {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let limited = self.is_limited();
        let announced = if limited { LIMITED } else { 0 };
        let fields = if limited { FIELDS.len() } else { FIELDS.len() - 1 };
        let mut written = serializer.serialize_struct("Budget", fields)?;
        written.serialize_field(FIELDS[0], &(u64::from(self.attempts) | announced))?;
        written.serialize_field(FIELDS[1], &self.diverged)?;
        if limited {
            written.serialize_field(FIELDS[2], &(self.hours, self.agent_hours, self.stop))?;
        }
        written.end()
    }
}

impl<'de> Deserialize<'de> for Budget {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct("Budget", &FIELDS, InOrder)
    }
}

/// Reads the fields one after another: they lie in a sequence wherever they are kept.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Budget;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the fields of a budget")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<Budget, A::Error> {
        fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(
            fields: &mut A,
        ) -> Result<T, A::Error> {
            fields.next_element()?.ok_or_else(|| A::Error::custom("a budget has more fields"))
        }
        let attempts: u64 = next(&mut fields)?;
        let diverged = next(&mut fields)?;
        let limited = attempts & LIMITED != 0;
        let (hours, agent_hours, stop) =
            if limited { next(&mut fields)? } else { (None, None, None) };
        let attempts = u32::try_from(attempts & !LIMITED)
            .map_err(|_| A::Error::custom("a budget has fewer attempts"))?;
        let budget = Budget { attempts, diverged, hours, agent_hours, stop };
        match budget.is_limited() == limited {
            true => Ok(budget),
            false => Err(A::Error::custom("limits are announced, and there are none")),
        }
    }
}

const FIELDS: [&str; 3] = ["attempts", "diverged", "limits"];

/// Above every number of attempts: limits follow.
const LIMITED: u64 = 1 << 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::codec::{decode, encode};

    #[test]
    fn limits_cost_nothing_where_there_are_none() {
        let plain = Budget { attempts: 3, diverged: Diverged::Worst, ..Budget::default() };
        let stop = Stop { rope: Some(0.01), ..Stop::default() };
        let limited = Budget { hours: Some(8.0), stop: Some(stop), ..plain };
        assert_eq!(encode(&plain).unwrap(), encode(&(3u32, Diverged::Worst)).unwrap());
        for budget in [plain, limited] {
            assert_eq!(decode::<Budget>(&encode(&budget).unwrap()).unwrap(), budget);
        }
        // A program of before finds a number of attempts that is none.
        assert!(decode::<(u32, Diverged)>(&encode(&limited).unwrap()).is_err());
        let none = (None::<f64>, None::<f64>, None::<Stop>);
        let empty = (3u64 | LIMITED, Diverged::Worst, none);
        assert!(decode::<Budget>(&encode(&empty).unwrap()).is_err());
    }
}
