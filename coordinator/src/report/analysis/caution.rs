//! Where an interval of a spread would claim more than the design carries, words stand in its place.
//!
//! By simulation (`coordinator calibrate`) profile intervals of standard deviations hold what they
//! say while luck is bell-shaped; with skew or heavy tails they are far too narrow. Of a source with
//! few levels they reach down to zero and err on the wide side: then only their upper end says
//! something.
//!
//! Floor: core.

use common::stats::normality::Normality;

use super::super::content::{Interval, NotEstimable};
use super::super::number::{counted, p, significant};
use super::components::Decomposition;
use super::estimate;

/// Withholds intervals of each arm's model, and of the one over all arms, and says why.
///
/// Arms share their tails more often than not, so their residuals are also tested together.
pub fn apply(arms: &mut [Decomposition], joint: &mut Decomposition) {
    let together: Vec<f64> = arms.iter().flat_map(|parts| scaled(&parts.residuals)).collect();
    let common = odd(&together);
    let mut any = common.is_some();
    for parts in arms.iter_mut() {
        let own = odd(&parts.residuals);
        any |= own.is_some();
        let found = own.map(|test| ("the luck of its runs", test));
        let found =
            found.or(common.map(|test| ("the luck of all arms' runs taken together", test)));
        match found {
            Some((what, test)) => {
                withhold(parts, &format!("{what} is not bell-shaped ({})", said(test)));
            }
            None => limit(parts),
        }
    }
    if any {
        withhold(joint, "the luck of some arm's runs is not bell-shaped");
    } else {
        limit(joint);
    }
}

fn odd(residuals: &[f64]) -> Option<Normality> {
    Normality::of(residuals).ok().filter(|test| test.p < ODD)
}

/// At unit spread.
fn scaled(residuals: &[f64]) -> Vec<f64> {
    match estimate::sd(residuals) {
        Some(sd) if sd > 0.0 => residuals.iter().map(|value| value / sd).collect(),
        _ => Vec::new(),
    }
}

fn said(test: Normality) -> String {
    format!("D'Agostino and Pearson's p {}", p(test.p))
}

fn withhold(parts: &mut Decomposition, reason: &str) {
    if parts.components.iter().all(|component| component.ci_sd.is_none()) {
        return;
    }
    let arm = parts.components.first().and_then(|component| component.arm.clone());
    parts.components.iter_mut().for_each(|component| component.ci_sd = None);
    parts.zeta.clear();
    parts.dropped.push(NotEstimable {
        arm,
        factor: None,
        why: format!(
            "{reason}, so intervals of standard deviations would be too narrow and none is given"
        ),
    });
}

fn limit(parts: &mut Decomposition) {
    for component in &parts.components {
        let few = component.levels < LEVELS_FEW;
        let zero = |interval: &&Interval| interval.low == 0.0 && interval.high.is_finite();
        let Some(interval) = component.ci_sd.as_ref().filter(zero).filter(|_| few) else {
            continue;
        };
        parts.dropped.push(NotEstimable {
            arm: component.arm.clone(),
            factor: None,
            why: format!(
                "the spread of {} cannot be told from zero: {} too few to say more than that its \
                 SD is at most {} (upper end of the 95 % interval)",
                component.factor,
                match component.levels {
                    1 => "1 level is".to_string(),
                    levels => format!("{} are", counted(levels, "level")),
                },
                significant(interval.high),
            ),
        });
    }
}

/// Below this p residuals are not held for normal.
const ODD: f64 = 0.05;
/// Levels below which a spread that may be zero is spelled out.
const LEVELS_FEW: u64 = 6;
