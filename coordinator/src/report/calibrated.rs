//! Why the report may be believed: what its claims were worth in studies whose truth is known.
//!
//! `calibration.json` is the answer of `coordinator calibrate --json`, run through this very
//! analysis; a test below makes some of those studies again and holds its rates against it.
//! Deliberately absent: the simulation.
//!
//! Floor: core.

use std::sync::LazyLock;

use serde::Deserialize;

use super::content::Report;
use super::number::{count, counted, percent};
use super::page::{Block, Sheet, columns, legend};
use crate::calibrate::{HEADLINE, MODEL_DIFFERENCE, NAIVE, T1_DIFFERENCE, T2_DIFFERENCE};

/// What `coordinator calibrate` found.
#[derive(Debug, Deserialize)]
pub struct Calibration {
    pub designs: Vec<Calibrated>,
}

/// One kind of study that was simulated.
#[derive(Debug, Deserialize)]
pub struct Calibrated {
    pub design: String,
    pub seeds: u32,
    pub folds: u32,
    pub studies: u64,
    pub intervals: Vec<Claimed>,
    pub tests: Vec<Claimed>,
}

/// How often a claim was made and true.
#[derive(Debug, Deserialize)]
pub struct Claimed {
    pub claim: String,
    pub made: u64,
    pub rate: Option<f64>,
    pub error: Option<f64>,
}

/// The calibration that this version was released with.
pub fn calibration() -> &'static Calibration {
    static FOUND: LazyLock<Calibration> = LazyLock::new(|| {
        serde_json::from_str(include_str!("calibration.json"))
            .unwrap_or_else(|error| unreachable!("calibration.json is no calibration: {error}"))
    });
    &FOUND
}

/// A sentence on the designs nearest to this one, and the whole table; nothing where nothing was
/// inferred.
pub fn blocks(report: &Report) -> Vec<Block> {
    if report.components.is_empty() && report.comparisons.is_empty() {
        return Vec::new();
    }
    let mut list = Vec::new();
    list.extend(nearest(report).map(Block::Text));
    list.push(Block::Sheet(sheet()));
    list.push(Block::Text(missed()));
    list
}

impl Calibrated {
    fn claim<'a>(list: &'a [Claimed], name: &str) -> Option<&'a Claimed> {
        list.iter().find(|claimed| claimed.claim == name)
    }

    pub fn interval(&self, name: &str) -> Option<f64> {
        Self::claim(&self.intervals, name)?.rate
    }

    pub fn test(&self, name: &str) -> Option<f64> {
        Self::claim(&self.tests, name)?.rate
    }

    fn title(&self) -> String {
        format!("{}, {} × {}", self.design, self.seeds, self.folds)
    }

    /// Least and greatest share of standard deviations that were held, over all sources.
    fn spreads(&self) -> Option<(f64, f64)> {
        let rates: Vec<f64> = (self.intervals.iter())
            .filter(|claimed| claimed.claim.starts_with(SPREAD))
            .filter(|claimed| claimed.made * 2 > self.studies)
            .filter_map(|claimed| claimed.rate)
            .collect();
        let least = rates.iter().copied().reduce(f64::min)?;
        Some((least, rates.iter().copied().fold(least, f64::max)))
    }
}

/// How the claims fared in a design of about this size.
fn nearest(report: &Report) -> Option<String> {
    let folds = report.design.partitions * report.design.outer_folds;
    let seeds: u64 = report.design.seeds.values().map(|levels| u64::from(*levels)).product();
    let apart = |one: &&Calibrated| {
        let ratio = |a: u64, b: u32| (a.max(1) as f64 / f64::from(b)).ln().abs();
        ratio(seeds, one.seeds) + ratio(u64::from(folds), one.folds)
    };
    let plain = calibration().designs.iter().filter(|one| one.design == "balanced");
    let found = plain.min_by(|a, b| apart(a).total_cmp(&apart(b)))?;
    let (held, wrong) = (found.interval(T2_DIFFERENCE)?, found.test(HEADLINE)?);
    Some(format!(
        "Why believe this? In {} simulated studies with {} and {} and no difference between two arms, the \
         interval of the difference (T2) held the truth in {} of them and the verdict spoke of a \
         difference in {}; a plain paired t-test did so in {}. The same analysis made this report.",
        count(found.studies),
        counted(u64::from(found.seeds), "seed"),
        counted(u64::from(found.folds), "fold"),
        percent(held),
        percent(wrong),
        percent(found.test(NAIVE)?),
    ))
}

fn sheet() -> Sheet {
    let share = |rate: Option<f64>| rate.map_or("–".to_string(), percent);
    let row = |one: &Calibrated| {
        vec![
            one.title(),
            count(one.studies),
            share(one.interval(T2_DIFFERENCE)),
            share(one.interval(MODEL_DIFFERENCE)),
            share(one.interval(T1_DIFFERENCE)),
            one.spreads().map_or("–".into(), |(least, most)| {
                format!("{} to {}", percent(least), percent(most))
            }),
            share(one.test(HEADLINE)),
            share(one.test(NAIVE)),
        ]
    };
    Sheet {
        title: "How often claims like these were true in simulated studies".into(),
        columns: columns(
            &["Studies", "Number", "T2", "Model", "T1", "SDs", "Verdict", "Naive test"],
            1,
        ),
        rows: calibration().designs.iter().map(row).collect(),
        legend: legend(&[
            (
                "Studies",
                "What was simulated, with so many seeds × folds of two arms; “retrained”: a linear model was really trained, on samples drawn anew from a known population.",
            ),
            ("T2, Model, T1", "95 % intervals of the difference that held the true one."),
            (
                "SDs",
                "The same of standard deviations, over all sources, of those printed in more than half of the studies.",
            ),
            (
                "Verdict, Naive test",
                "Studies in which the verdict, or a paired t-test over folds, spoke of a difference: false alarms unless the name says that there is one.",
            ),
        ]),
    }
}

/// Which intervals of differences and of spreads were off by more than chance.
fn missed() -> String {
    let mut short: Vec<String> = Vec::new();
    let mut wide = 0;
    for one in &calibration().designs {
        for claimed in &one.intervals {
            let (Some(rate), Some(error)) = (claimed.rate, claimed.error) else { continue };
            let named = claimed.claim.starts_with(SPREAD)
                || [T2_DIFFERENCE, T1_DIFFERENCE].contains(&claimed.claim.as_str());
            if !named {
                continue;
            }
            if rate + 2.0 * error < LEAST {
                let printed = match claimed.made == one.studies {
                    true => String::new(),
                    false => format!(", printed in {} of {}", claimed.made, one.studies),
                };
                let title = one.title();
                short.push(format!("{} ({title}: {}{printed})", claimed.claim, percent(rate)));
            }
            wide += u64::from(rate - 2.0 * error > MOST);
        }
    }
    let short = match short.as_slice() {
        [] => {
            "None of these intervals held the truth in fewer than 93 of 100 studies by more than \
               chance."
                .to_string()
        }
        some => format!("Held in fewer than 93 of 100: {}.", some.join("; ")),
    };
    format!(
        "{short} {} erred on the wide side (held in more than 97 of 100): most are of sources whose \
         spread is close to zero. Where the runs of an arm are seen not to be bell-shaped, no interval \
         of a standard deviation is printed, because it would be too narrow.",
        counted(wide, "interval"),
    )
}

const SPREAD: &str = "SD of ";
const LEAST: f64 = 0.93;
const MOST: f64 = 0.97;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::{Prepared, Tally, settings};

    #[test]
    fn the_rates_are_those_of_this_very_analysis() {
        for title in ["balanced, 3 seeds, 5 folds", "30 % missing, 5 seeds, 5 folds"] {
            let setting = settings().into_iter().find(|setting| setting.title() == title).unwrap();
            let of_setting = |one: &&Calibrated| {
                (one.design.as_str(), one.seeds, one.folds)
                    == (setting.name.as_str(), setting.seeds, setting.folds)
            };
            let kept = calibration().designs.iter().find(of_setting).unwrap();
            let prepared = Prepared::of(setting.clone());
            let mut tally = Tally::default();
            // Studies that the file's did not hold.
            (1_000_000..1_000_000 + STUDIES).for_each(|number| tally.add(&prepared.judge(number)));
            for (list, fresh) in [(&kept.intervals, &tally.intervals), (&kept.tests, &tally.tests)]
            {
                assert_eq!(list.len(), fresh.len(), "{title}");
                for claimed in list {
                    let found = &fresh[&claimed.claim];
                    let (Some(kept), Some(rate)) = (claimed.rate, found.rate()) else { continue };
                    let pooled = (kept * claimed.made as f64 + found.hits as f64 + 1.0)
                        / (claimed.made + found.made + 2) as f64;
                    let error = (pooled
                        * (1.0 - pooled)
                        * (1.0 / claimed.made as f64 + 1.0 / found.made as f64))
                        .sqrt();
                    let apart = (rate - kept).abs();
                    assert!(apart < 5.0 * error, "{title}, {}: {rate} {kept}", claimed.claim);
                }
            }
        }
    }

    #[test]
    fn the_claims_that_the_page_names_are_all_there() {
        for one in &calibration().designs {
            assert!(one.interval(T2_DIFFERENCE).is_some(), "{}", one.title());
            assert!(one.test(HEADLINE).is_some() && one.test(NAIVE).is_some(), "{}", one.title());
        }
        assert_eq!(calibration().designs.len(), settings().len());
    }

    const STUDIES: u64 = 60;
}
