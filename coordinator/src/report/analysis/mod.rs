//! Runs to numbers: each arm alone, sources of spread, arms against each other.
//!
//! Every sum runs in trial order. Deliberately absent: words for readers (verdicts are beside this
//! folder) and the statistics themselves, which are in `common::stats`.
//!
//! Floor: core.

pub mod agreement;
pub mod arms;
pub mod by_row;
pub mod case_lottery;
pub mod case_model;
mod case_work;
pub mod cases;
pub mod caution;
pub mod choice;
pub mod comparisons;
pub mod components;
pub mod controls;
pub mod curves;
pub mod drawn;
pub mod estimate;
pub mod influence;
pub mod leakage;
pub mod lottery;
pub mod monitor;
pub mod other_rows;
pub mod outlook;
pub mod places;
pub mod ranks;
pub mod selection;
pub mod spreads;
pub mod worth;

use super::content::{Interval, LEVEL, Target};

/// Names of a trial's seed levels, such as `3` or `3/0` when streams move apart.
pub fn seed_label(seeds: &[u32]) -> String {
    let words: Vec<String> = seeds.iter().map(u32::to_string).collect();
    words.join("/")
}

/// `low` to `high`, when both are finite.
pub fn interval(
    (low, high): (f64, f64),
    method: &'static str,
    target: Option<Target>,
) -> Option<Interval> {
    let finite = low.is_finite() && high.is_finite();
    finite.then_some(Interval { low, high, level: LEVEL, method, target })
}

/// Groups of `items` by key, in key order, each in the items' order.
pub fn grouped<T, K: Ord>(
    items: impl IntoIterator<Item = T>,
    key: impl Fn(&T) -> K,
) -> std::collections::BTreeMap<K, Vec<T>> {
    let mut groups = std::collections::BTreeMap::new();
    for item in items {
        groups.entry(key(&item)).or_insert_with(Vec::new).push(item);
    }
    groups
}
