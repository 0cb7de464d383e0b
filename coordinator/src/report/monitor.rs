//! "May one stop here?": the difference of two arms after each seed, with limits that hold however
//! often one looks.
//!
//! Floor: core.

use serde::Serialize;

use super::number::{beside, counted, percent};

/// The sequential monitor of the study's first two arms that can be compared.
///
/// Choosing the pair by its scores would take away what the limits promise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitorPart {
    pub a: String,
    pub b: String,
    /// What a seed more would draw anew: T1, these rows and folds.
    pub target: super::content::Target,
    pub method: &'static str,
    pub level: f64,
    /// Seeds after which the limits are narrowest for their kind; fixed beforehand.
    pub narrowest: u32,
    /// From the first seed on, in the order of the design.
    pub looks: Vec<MonitorLook>,
    /// Seeds after which the limits first left out zero, whatever came later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_after: Option<u64>,
    /// Chance that a plain test after each of these seeds finds a difference where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent_by_plain_tests: Option<f64>,
}

/// What may be believed after so many seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MonitorLook {
    pub seed: String,
    /// This seed's own difference, first arm minus second, over all folds.
    pub difference: f64,
    /// Over all seeds so far.
    pub mean: f64,
    /// Absent while nothing is bounded yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub low: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub high: Option<f64>,
}

/// What the sequence says, for readers who may stop at any seed.
pub fn sentence(part: &MonitorPart, larger_is_better: bool) -> String {
    let Some(last) = part.looks.last() else { return String::new() };
    let seeds = counted(part.looks.len() as u64, "complete seed");
    let scale = match (last.low, last.high) {
        (Some(low), Some(high)) => (high - low) / 4.0,
        _ => 0.0,
    };
    let span = match (last.low, last.high) {
        (Some(low), Some(high)) => format!(
            "After {seeds} the difference of {} and {} on these rows and folds lies between {} and {}",
            part.a,
            part.b,
            beside(low, scale),
            beside(high, scale)
        ),
        _ => {
            format!("After {seeds} nothing bounds the difference of {} and {} yet", part.a, part.b)
        }
    };
    let decided = match part.decided_after {
        Some(seeds) => {
            let then = part.looks.get(seeds as usize - 1).unwrap_or(last);
            let first = (then.mean > 0.0) == larger_is_better;
            format!(
                "; {} were enough to see that {} is ahead here, and one might have stopped there",
                counted(seeds, "seed"),
                if first { &part.a } else { &part.b }
            )
        }
        None => "; who is ahead here is still open".to_string(),
    };
    let spent = part.spent_by_plain_tests.map_or(String::new(), |spent| {
        format!(
            " A plain test after each seed would find a difference in {} of studies without one.",
            percent(spent)
        )
    });
    format!(
        "{span}{decided}. These limits may be read after every seed; they say nothing of other \
         rows (T1).{spent}"
    )
}
