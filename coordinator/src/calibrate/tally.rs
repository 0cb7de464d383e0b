//! Counts of what reports claim and whether it was true.
//!
//! Floor: core.

use std::collections::BTreeMap;

use crate::report::content::{ComponentPart, Interval, Report};

use super::Truth;

/// What the reports of one setting claimed, by the claim's name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    pub studies: u64,
    pub intervals: BTreeMap<String, Count>,
    /// Tests at 5 %: how often they spoke of an effect.
    pub tests: BTreeMap<String, Count>,
}

/// Of one interval: how often it was printed, and held the truth. Of one test: how often it was made,
/// and spoke of an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Count {
    /// Reports that printed it.
    pub made: u64,
    pub hits: u64,
    /// Of the intervals that were printed.
    pub widths: f64,
}

impl Count {
    /// Hits of those made; `None` where there are none.
    pub fn rate(&self) -> Option<f64> {
        (self.made > 0).then(|| self.hits as f64 / self.made as f64)
    }

    /// Monte Carlo standard error of the rate.
    pub fn error(&self) -> Option<f64> {
        self.rate().map(|rate| (rate * (1.0 - rate) / self.made as f64).sqrt())
    }
}

impl Tally {
    pub fn of(report: &Report, truth: &Truth) -> Self {
        let mut tally = Self { studies: 1, ..Self::default() };
        if let Some(contrast) = report.comparisons.first().and_then(|pair| pair.contrast.as_ref()) {
            tally.covers(T2_DIFFERENCE, Some(&contrast.ci), truth.difference);
            tally.covers(NAIVE_DIFFERENCE, Some(&contrast.ci_naive), truth.difference);
            tally.covers(MODEL_DIFFERENCE, contrast.ci_model.as_ref(), truth.difference);
            tally.covers(CORRECTED_DIFFERENCE, Some(&contrast.ci_corrected), truth.difference);
            if let Some(on_folds) = truth.difference_on_folds {
                tally.covers(T1_DIFFERENCE, contrast.ci_t1.as_ref(), on_folds);
            }
            tally.speaks(HEADLINE, contrast.p_holm < ALPHA);
            tally.speaks(CORRECTED, contrast.p_corrected < ALPHA);
            tally.speaks(NAIVE, contrast.p_naive < ALPHA);
        }
        if let Some(scores) = report.arms.first().and_then(|arm| arm.scores.as_ref()) {
            tally.covers("mean of an arm, T2", scores.ci_t2.as_ref(), truth.mean);
            if let Some(mean) = truth.mean_on_folds {
                tally.covers("mean of an arm, T1", scores.ci_t1.as_ref(), mean);
            }
            if let Some(next) = truth.next_run {
                tally.covers("one more run", scores.next_run.as_ref(), next);
            }
        }
        for (model, factor, sd) in &truth.spread {
            let of_model = |part: &&ComponentPart| {
                part.arm.as_deref().unwrap_or("all arms") == *model && part.factor == *factor
            };
            let Some(part) = report.components.iter().find(of_model) else { continue };
            let model = if *model == "all arms" { *model } else { "one arm" };
            tally.covers(&format!("SD of {factor}, {model}"), part.ci_sd.as_ref(), *sd);
            if let Some(p) = part.p {
                tally.speaks(&format!("{factor} at zero, {model}"), p < ALPHA);
            }
        }
        tally
    }

    /// Adds another one's counts.
    pub fn add(&mut self, other: &Self) {
        self.studies += other.studies;
        for (mine, others) in
            [(&mut self.intervals, &other.intervals), (&mut self.tests, &other.tests)]
        {
            for (name, count) in others {
                let sum = mine.entry(name.clone()).or_default();
                sum.made += count.made;
                sum.hits += count.hits;
                sum.widths += count.widths;
            }
        }
    }

    fn covers(&mut self, claim: &str, interval: Option<&Interval>, truth: f64) {
        let count = self.intervals.entry(claim.to_string()).or_default();
        if let Some(interval) = interval {
            count.made += 1;
            count.hits += u64::from(interval.low <= truth && truth <= interval.high);
            count.widths += interval.high - interval.low;
        }
    }

    fn speaks(&mut self, test: &str, of_an_effect: bool) {
        let count = self.tests.entry(test.to_string()).or_default();
        count.made += 1;
        count.hits += u64::from(of_an_effect);
    }
}

/// The interval of the verdict.
pub const T2_DIFFERENCE: &str = "difference, T2";
/// The mixed model's own, with folds as independent as they were drawn.
pub const MODEL_DIFFERENCE: &str = "difference, mixed model";
pub const CORRECTED_DIFFERENCE: &str = "difference, corrected t";
pub const T1_DIFFERENCE: &str = "difference, T1";
pub const NAIVE_DIFFERENCE: &str = "difference, naive t";
/// The test of the verdict.
pub const HEADLINE: &str = "verdict: a difference";
pub const CORRECTED: &str = "corrected t-test: a difference";
pub const NAIVE: &str = "naive t-test: a difference";

const ALPHA: f64 = 0.05;
