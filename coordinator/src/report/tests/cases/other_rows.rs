//! What a report says of other test rows for the same models: T3.
//!
//! Floor: core.

use common::split::partition;
use common::table::{Dataset, Target as Truth};

use super::super::*;
use super::scored;
use crate::report::content::OtherRows;

/// A table of so many rows with two features and the target 0, 1, 2, …
pub fn table(study: &Study, groups: Option<Vec<u32>>) -> Dataset {
    let values: Vec<f32> = (0..study.data.rows).map(|row| row as f32).collect();
    Dataset {
        digest: study.data.digest,
        features: values.iter().flat_map(|v| [(v * 0.7).sin(), (v * 1.1).cos()]).collect(),
        width: 2,
        shape: vec![2],
        tokens: None,
        levels: Vec::new(),
        names: vec!["x".into(), "y".into()],
        target: Truth::Values(values),
        groups,
        leave_out: None,
        order: None,
        spacing: None,
    }
}

/// Outcomes whose rows are those of the drawn partitions: `error` of a trial and a row of the table.
pub fn outcomes(
    study: &Study,
    data: &Dataset,
    error: impl Fn(&TrialKey, u32) -> f32,
) -> Vec<OutcomeRow> {
    let design = Design::of(study);
    let of_trial = |index: u64| {
        let key = design.key(TrialIndex(index)).expect("inside");
        let labels = data.labels(study.outer.stratify);
        let folds = partition(&study.outer, &labels, &data.digest, key.partition);
        let test = &folds[key.fold as usize];
        let rows: Vec<f32> = test.iter().map(|test| error(&key, *test)).collect();
        let mean = rows.iter().map(|row| f64::from(row.abs())).sum::<f64>() / rows.len() as f64;
        scored(index, mean, rows)
    };
    (0..design.trials().expect("small")).map(of_trial).collect()
}

pub fn mae(arms: &[(&str, u32)], seeds: u32, partitions: u32, folds: u32, rows: u64) -> Study {
    let mut study = study(arms, seeds, partitions, folds);
    study.metrics = vec![Metric::Mae];
    study.data.rows = rows;
    study
}

pub fn told(study: &Study, rows: &[OutcomeRow], data: Option<&Dataset>) -> Report {
    build(&Material { data, ..material(study, rows) })
}

fn of_arm(report: &Report) -> &OtherRows {
    report.arms[0].other_rows.as_ref().expect("resampled")
}

/// Errors of a row that no other row has.
pub fn own(row: u32) -> f32 {
    1.0 + (row as f32 * 1.7).sin() * 0.5
}

/// Standard error of a mean over rows drawn again, as the bootstrap has it: √(Σ (x − x̄)²) / n.
fn error_of_mean(values: &[f64]) -> f64 {
    let (count, mean) = (values.len() as f64, values.iter().sum::<f64>() / values.len() as f64);
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>().sqrt() / count
}

fn about(value: f64, expected: f64) {
    // 2,000 draws know a standard error within 1.6 %; this is three times that.
    assert!((value / expected - 1.0).abs() < 0.05, "{value} {expected}");
}

#[test]
fn a_mean_over_rows_has_the_error_of_rows_drawn_again() {
    let study = mae(&[("a", 1)], 3, 1, 5, 40);
    let data = table(&study, None);
    let rows = outcomes(&study, &data, |_, row| own(row));

    let report = told(&study, &rows, None);

    let found = of_arm(&report);
    near(found.estimate, report.arms[0].scores.as_ref().expect("scores").mean);
    let values: Vec<f64> = (0..40).map(|row| f64::from(own(row))).collect();
    about(found.se, error_of_mean(&values));
    assert!(found.ci.low < found.estimate && found.estimate < found.ci.high);
    assert_eq!((report.t3.units, report.t3.rows, report.t3.unit.as_str()), (40, 40, "row"));
    // The same, whether or not rows have names, as there is one partition.
    let named = told(&study, &rows, Some(&data));
    near(of_arm(&named).ci.low, found.ci.low);
    let page = markdown(&report);
    assert!(page.contains("T3 keeps the models as they were trained"), "{page}");
    assert!(page.contains("| T3: new test rows |"), "{page}");
}

#[test]
fn a_row_of_two_partitions_is_one_row_where_the_table_says_so() {
    let study = mae(&[("a", 1)], 2, 2, 4, 40);
    let data = table(&study, None);
    let rows = outcomes(&study, &data, |key, row| own(row) + 0.01 * key.partition as f32);

    let (alone, named) = (told(&study, &rows, None), told(&study, &rows, Some(&data)));

    let values: Vec<f64> = (0..40).map(|row| f64::from(own(row))).collect();
    for (report, partitions) in [(&alone, 1), (&named, 2)] {
        about(of_arm(report).se, error_of_mean(&values));
        assert_eq!((report.t3.partitions, report.t3.rows), (partitions, 40));
    }
    near(of_arm(&named).estimate - of_arm(&alone).estimate, 0.005);
    assert!(markdown(&alone).contains("Of the first partition alone"));
}

#[test]
fn what_is_hard_for_both_arms_cancels_in_their_difference() {
    let study = mae(&[("a", 1), ("b", 2)], 2, 1, 4, 40);
    let data = table(&study, None);
    let extra = |row: u32| 0.1 + 0.02 * (row as f32 * 2.3).cos();
    let rows =
        outcomes(&study, &data, |key, row| own(row) + if key.arm == 1 { extra(row) } else { 0.0 });

    let report = told(&study, &rows, Some(&data));

    let pair = &report.comparisons[0];
    let found = pair.other_rows.as_ref().expect("resampled");
    near(found.estimate, pair.contrast.as_ref().expect("contrast").difference);
    let values: Vec<f64> = (0..40).map(|row| -f64::from(extra(row))).collect();
    about(found.se, error_of_mean(&values));
    assert!(found.se < of_arm(&report).se / 10.0);
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert_eq!(value["comparisons"][0]["ci_t3"]["target"], "T3");
    assert!(value["arms"][1]["ci_t3"]["low"].is_number());
}

#[test]
fn rows_of_one_group_are_drawn_together_or_not_at_all() {
    let mut study = mae(&[("a", 1)], 2, 1, 4, 40);
    study.data.group = Some("patient".into());
    let groups: Vec<u32> = (0..40).map(|row| row / 4).collect();
    let data = table(&study, Some(groups));
    // All rows of one patient are alike.
    let rows = outcomes(&study, &data, |_, row| own(row / 4));

    let report = told(&study, &rows, Some(&data));

    let values: Vec<f64> = (0..10).map(|patient| f64::from(own(patient))).collect();
    about(of_arm(&report).se, error_of_mean(&values));
    assert_eq!((report.t3.units, report.t3.unit.as_str()), (10, "patient"));
    let blind = told(&study, &rows, None);
    assert_eq!(blind.arms[0].other_rows, None);
    let page = markdown(&blind);
    assert!(page.contains("(T3) is not shown: rows of one patient belong together"), "{page}");
}

#[test]
fn a_table_that_is_not_the_studys_is_none() {
    let study = mae(&[("a", 1)], 2, 2, 4, 40);
    let data = table(&study, None);
    let rows = outcomes(&study, &data, |_, row| own(row));
    let other = Dataset { digest: Digest::of(b"other"), ..data };

    assert_eq!(told(&study, &rows, Some(&other)), told(&study, &rows, None));
}

#[test]
fn scores_of_rows_that_do_not_give_the_metric_are_not_used() {
    let study = mae(&[("a", 1)], 2, 1, 4, 40);
    let data = table(&study, None);
    let mut rows = outcomes(&study, &data, |_, row| own(row));
    if let RowEnd::Complete(outcome) = &mut rows[0].end {
        outcome.metrics[0] += 0.2;
    }

    let why = told(&study, &rows, None).t3.missing.expect("refused");
    assert_eq!(why, "the scores of its rows do not give a run's mae");
}

#[test]
fn runs_without_scores_of_their_rows_are_left_out_and_counted() {
    let study = mae(&[("a", 1)], 2, 1, 4, 40);
    let data = table(&study, None);
    let mut rows = outcomes(&study, &data, |_, row| own(row));
    if let RowEnd::Complete(outcome) = &mut rows[0].end {
        outcome.rows.clear();
    }

    let report = told(&study, &rows, None);

    assert_eq!((report.t3.left_out, report.t3.rows), (1, 40));
    let said = "Left out, having come without a score of each row: 1 run.";
    assert!(markdown(&report).contains(said));
}

#[test]
fn an_area_needs_the_table_and_then_has_its_interval() {
    let mut study = mae(&[("a", 1)], 2, 1, 2, 60);
    study.metrics = vec![Metric::Auroc];
    study.data.task = Task::Classification { classes: vec!["no".into(), "yes".into()] };
    study.outer.stratify = true;
    let labels: Vec<u32> = (0..60).map(|row| row % 2).collect();
    let data = Dataset { target: Truth::Classes { labels, classes: 2 }, ..table(&study, None) };
    let said = |row: u32| 0.4 + 0.2 * (row % 2) as f32 + 0.3 * (row as f32 * 1.3).sin();
    let of_true = |row: u32| if row % 2 == 1 { said(row) } else { 1.0 - said(row) };
    let mut rows = outcomes(&study, &data, |_, row| of_true(row));
    let folds = partition(&study.outer, &data.labels(true), &data.digest, 0);
    let design = Design::of(&study);
    for row in &mut rows {
        let test = &folds[design.key(row.trial).expect("inside").fold as usize];
        let probabilities: Vec<f32> =
            test.iter().flat_map(|row| [1.0 - said(*row), said(*row)]).collect();
        let truth: Vec<u32> = test.iter().map(|row| row % 2).collect();
        use common::metric::score::{Predictions, score};
        let all = Predictions::Classes { probabilities: &probabilities, classes: 2, truth: &truth };
        let RowEnd::Complete(outcome) = &mut row.end else { continue };
        outcome.metrics[0] = score(Metric::Auroc, &all);
    }

    let (blind, seeing) = (told(&study, &rows, None), told(&study, &rows, Some(&data)));

    assert!(blind.t3.missing.as_ref().is_some_and(|why| why.contains("needs the truth")));
    let found = of_arm(&seeing);
    assert!((0.6..0.95).contains(&found.estimate), "{found:?}");
    assert!((0.02..0.12).contains(&found.se), "{found:?}");
}

#[test]
fn the_order_of_outcomes_changes_no_draw() {
    let study = mae(&[("a", 1), ("b", 1)], 3, 1, 4, 40);
    let data = table(&study, None);
    let rows =
        outcomes(&study, &data, |key, row| own(row * (key.arm + 2)) + 0.01 * key.seeds[0] as f32);
    let mut shuffled = rows.clone();
    shuffled.reverse();

    let bytes = |rows: &[OutcomeRow]| json(&told(&study, rows, Some(&data)));
    assert_eq!(bytes(&rows), bytes(&shuffled));
}

#[test]
fn a_paper_with_one_seed_believes_in_the_error_over_its_rows_alone() {
    let study = mae(&[("a", 1), ("b", 1)], 3, 1, 4, 80);
    let data = table(&study, None);
    let extra = |key: &TrialKey, row: u32| {
        let seed = 0.04 * f64::from(key.seeds[0] * 2 + key.fold).sin();
        0.05 + 0.02 * f64::from(row * 3).cos() + seed
    };
    let rows = outcomes(&study, &data, |key, row| {
        own(row) + if key.arm == 1 { extra(key, row) as f32 } else { 0.0 }
    });

    let report = told(&study, &rows, Some(&data));

    let outlook = report.comparisons[0].outlook.as_ref().expect("an outlook");
    let paper = outlook.replication.one_seed.expect("rows have scores");
    assert_eq!(paper.rows, 20);
    // Within a fold rows differ by 0.02 cos alone, whose variance is a half of 0.02 squared.
    assert!((paper.se / (0.02 * 0.5f64.sqrt() / 20f64.sqrt()) - 1.0).abs() < 0.1, "{paper:?}");
    let precision = &outlook.precision;
    let variances = [Some(precision.sd_fold), precision.sd_seed, Some(precision.sd_residual)];
    let real: f64 = variances.into_iter().flatten().map(|sd| sd * sd).sum::<f64>().sqrt();
    assert!(real > 3.0 * paper.se, "{real} {paper:?}");
    // Normal about the difference with the real spread, believed where 1.96 errors from zero.
    let difference = report.comparisons[0].contrast.as_ref().expect("two arms").difference.abs();
    let above = |z: f64| 1.0 - common::stats::summary::normal_cdf(z);
    let (far, near_side) = (1.959_964 * paper.se - difference, 1.959_964 * paper.se + difference);
    near(paper.wrong, above(near_side / real));
    near(paper.significant, above(far / real) + above(near_side / real));
    let page = markdown(&report);
    assert!(page.contains("a paper that trains each arm once and tests both on 20 rows"), "{page}");
    assert!(page.contains("Gelman A, Carlin J (2014)"), "{page}");
    let size = outlook.standardized.expect("runs spread").abs();
    near(size, difference / (real / std::f64::consts::SQRT_2));
}
