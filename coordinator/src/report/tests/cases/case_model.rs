//! How a single row's score divides between the row, its fold and the training: M2.
//!
//! Floor: core.

use super::super::*;
use super::other_rows::{mae, outcomes, table, told};
use super::scored;
use crate::report::content::{CaseComponent, CaseModelPart};

/// Standard normal, about: twelve uniform numbers of one seed, less six.
fn normal(seed: u64) -> f64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d;
    let uniform = |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((bits ^ bits >> 31) >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..12).map(uniform).sum::<f64>() - 6.0
}

const SD_ROW: f64 = 1.0;
const SD_OWN: f64 = 0.6;
const SD_RUN: f64 = 0.3;
const SD_REST: f64 = 0.5;

/// An absolute error of so many sources, far from zero.
fn error(key: &TrialKey, row: u32) -> f32 {
    let (row, arm) = (u64::from(row), u64::from(key.arm));
    let run = (arm * 100 + u64::from(key.seeds[0])) * 100 + u64::from(key.fold);
    let fold = [0.0, 2.0, -1.0, 0.7][key.fold as usize % 4];
    let own = SD_OWN * normal(1_000_000 + arm * 10_000 + row);
    let effects = SD_ROW * normal(row) + own + SD_RUN * normal(2_000_000 + run);
    (20.0 + fold + effects + SD_REST * normal(10_000_000 + run * 10_000 + row)) as f32
}

/// `rows` rows in so many folds, all of `error`.
fn simulated(arms: &[(&str, u32)], seeds: u32, folds: u32, rows: u64) -> (Study, Vec<OutcomeRow>) {
    let mut study = mae(arms, seeds, 1, folds, rows);
    if folds > 1 {
        let rows = outcomes(&study, &table(&study, None), error);
        return (study, rows);
    }
    study.outer.kind = OuterKind::Holdout { share: 0.5 };
    let design = Design::of(&study);
    let of_trial = |index: u64| {
        let key = design.key(TrialIndex(index)).expect("inside");
        let rows: Vec<f32> = (0..rows as u32).map(|row| error(&key, row)).collect();
        let mean = rows.iter().map(|row| f64::from(*row)).sum::<f64>() / rows.len() as f64;
        scored(index, mean, rows)
    };
    let all = (0..design.trials().expect("small")).map(of_trial).collect();
    (study, all)
}

fn variance(parts: &[CaseComponent], factor: &str) -> f64 {
    parts.iter().find(|part| part.factor == factor).expect("component").variance
}

fn same(found: f64, expected: f64) {
    assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
}

/// Sum of squares about the mean of means of `times` scores each.
fn squares(means: &[f64], times: usize) -> f64 {
    let centre = mean(means);
    means.iter().map(|value| (value - centre).powi(2)).sum::<f64>() * times as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Mean over the first index of equally long lists.
fn over(lists: &[Vec<f64>]) -> Vec<f64> {
    (0..lists[0].len())
        .map(|at| mean(&lists.iter().map(|list| list[at]).collect::<Vec<_>>()))
        .collect()
}

/// Scores by run, of one arm and fold.
fn scores(study: &Study, rows: &[OutcomeRow], arm: u32, fold: u32) -> Vec<Vec<f64>> {
    let design = Design::of(study);
    let of_cell = |row: &&OutcomeRow| {
        let key = design.key(row.trial).expect("inside");
        (key.arm, key.fold) == (arm, fold)
    };
    let read = |row: &OutcomeRow| match &row.end {
        RowEnd::Complete(outcome) => outcome.rows.iter().map(|row| f64::from(*row)).collect(),
        RowEnd::Failed { .. } => Vec::new(),
    };
    rows.iter().filter(of_cell).map(read).collect()
}

#[test]
fn a_balanced_arm_divides_as_the_analysis_of_variance_does() {
    let (folds, seeds, each) = (4, 10, 60);
    let (study, rows) = simulated(&[("a", 1)], seeds, folds, u64::from(folds) * each);

    let report = built(&study, &rows);

    // Mean squares: folds, rows within folds, runs within folds, rest.
    let (folds_, s, r) = (folds as usize, seeds as usize, each as usize);
    let (mut of_rows, mut of_runs, mut of_rest, mut centres) = (0.0, 0.0, 0.0, Vec::new());
    for fold in 0..folds {
        let scores = scores(&study, &rows, 0, fold);
        let rows: Vec<f64> = over(&scores);
        let runs: Vec<f64> = scores.iter().map(|run| mean(run)).collect();
        let all: Vec<f64> = scores.concat();
        of_rows += squares(&rows, s);
        of_runs += squares(&runs, r);
        of_rest += squares(&all, 1) - squares(&rows, s) - squares(&runs, r);
        centres.push(mean(&all));
    }
    let of_rest = of_rest / (folds_ * (s - 1) * (r - 1)) as f64;
    let of_rows = of_rows / (folds_ * (r - 1)) as f64;
    let of_runs = of_runs / (folds_ * (s - 1)) as f64;
    let of_folds = squares(&centres, s * r) / (folds_ - 1) as f64;
    let parts = &report.case_model.arms[0].components;
    same(variance(parts, "residual"), of_rest);
    same(variance(parts, "row"), (of_rows - of_rest) / s as f64);
    same(variance(parts, "run"), (of_runs - of_rest) / r as f64);
    same(variance(parts, "fold"), (of_folds - of_rows - of_runs + of_rest) / (s * r) as f64);
    // Within four standard errors of what was put in.
    let (row, run) = (variance(parts, "row"), variance(parts, "run"));
    let put_in = SD_ROW.powi(2) + SD_OWN.powi(2);
    assert!((row / put_in - 1.0).abs() < 4.0 * (2.0 / 236.0f64).sqrt(), "{row}");
    assert!((run / SD_RUN.powi(2) - 1.0).abs() < 4.0 * (2.0 / 36.0f64).sqrt(), "{run}");
    assert!((of_rest / SD_REST.powi(2) - 1.0).abs() < 0.12, "{of_rest}");
    near(parts.iter().map(|part| part.share).sum(), 1.0);
    let levels: Vec<(&str, u64)> =
        parts.iter().map(|part| (part.factor.as_str(), part.levels)).collect();
    assert_eq!(levels, [("row", 240), ("fold", 4), ("run", 40), ("residual", 2400)]);
}

#[test]
fn two_arms_and_three_divide_jointly_as_the_analysis_of_variance_does() {
    for arms in [&[("a", 1), ("b", 1)][..], &[("a", 1), ("b", 1), ("c", 1)]] {
        let (study, rows) = simulated(arms, 6, 1, 50);

        let report = built(&study, &rows);

        let (k, s, r) = (arms.len(), 6, 50);
        let all: Vec<Vec<Vec<f64>>> =
            (0..k as u32).map(|arm| scores(&study, &rows, arm, 0)).collect();
        let of_arm: Vec<Vec<f64>> = all.iter().map(|scores| over(scores)).collect();
        let (mut of_runs, mut of_rest, mut of_both) = (0.0, 0.0, 0.0);
        for (scores, rows) in all.iter().zip(&of_arm) {
            let runs: Vec<f64> = scores.iter().map(|run| mean(run)).collect();
            of_runs += squares(&runs, r);
            of_rest += squares(&scores.concat(), 1) - squares(rows, s) - squares(&runs, r);
            of_both += squares(rows, s);
        }
        let of_rows = squares(&over(&of_arm), k * s);
        let of_own = (of_both - of_rows) / ((k - 1) * (r - 1)) as f64;
        let of_rows = of_rows / (r - 1) as f64;
        let of_rest = of_rest / (k * (s - 1) * (r - 1)) as f64;
        let of_runs = of_runs / (k * (s - 1)) as f64;
        let parts = &report.case_model.joint;
        same(variance(parts, "residual"), of_rest);
        same(variance(parts, "arm:row"), (of_own - of_rest) / s as f64);
        same(variance(parts, "row"), (of_rows - of_own) / (k * s) as f64);
        same(variance(parts, "run"), (of_runs - of_rest) / r as f64);
        assert_eq!(report.case_model.joint_runs, Some(6 * k as u64));
        let page = markdown(&report);
        assert!(page.contains("is rows that are hard, or easy, for every arm"), "{page}");
    }
}

#[test]
fn rows_that_are_hard_for_one_arm_and_easy_for_the_other_have_nothing_in_common() {
    let (study, mut rows) = simulated(&[("a", 1), ("b", 1)], 3, 1, 30);
    let design = Design::of(&study);
    for outcome in &mut rows {
        let key = design.key(outcome.trial).expect("inside");
        let sign = if key.arm == 0 { 1.0 } else { -1.0 };
        if let RowEnd::Complete(outcome) = &mut outcome.end {
            for (row, error) in outcome.rows.iter_mut().enumerate() {
                *error = (20.0 + sign * normal(row as u64)) as f32 + 0.05 * (*error - 20.0);
            }
        }
    }

    let joint = built(&study, &rows).case_model.joint;

    assert_eq!(variance(&joint, "row"), 0.0);
    assert!((0.5..2.0).contains(&variance(&joint, "arm:row")), "{joint:?}");
}

#[test]
fn the_order_in_which_outcomes_come_does_not_matter() {
    let (study, mut rows) = simulated(&[("a", 1), ("b", 1)], 4, 4, 48);
    let first = built(&study, &rows).case_model;

    rows.reverse();
    rows.rotate_left(7);

    assert_eq!(built(&study, &rows).case_model, first);
    assert!(first.arms.len() == 2 && !first.joint.is_empty(), "{first:?}");
}

#[test]
fn the_page_tells_patients_from_trainings() {
    let (study, rows) = simulated(&[("a", 1)], 10, 4, 240);

    let report = built(&study, &rows);

    let page = markdown(&report);
    for said in [
        "Is it the row or the training?",
        "a: of the spread of a single row's score, ",
        "is which row it is",
        "is which training it met, over all rows alike",
        "Train again, and the score of one row moves by ",
        ", typically, and the mean over the rows of one fold by ",
        "This rests on 240 rows and 40 runs.",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    let part = &value["case_model"];
    assert_eq!((&part["rows"], &part["runs"]), (&240.into(), &40.into()));
    assert_eq!(part["arms"][0]["score"], "its absolute error");
    assert_eq!(part["arms"][0]["components"][0]["factor"], "row");
    assert!(part["missing"].is_null() && part["linear_probability"].is_null(), "{part}");
    assert!(report.methods.contains("The spread of single rows' scores was divided"));
}

fn emptied(rows: &mut [OutcomeRow], of: impl Fn(u64) -> bool) {
    for row in rows.iter_mut().filter(|row| of(row.trial.0)) {
        if let RowEnd::Complete(outcome) = &mut row.end {
            outcome.rows.clear();
        }
    }
}

#[test]
fn runs_without_rows_are_left_out_and_said() {
    let (study, mut rows) = simulated(&[("a", 1)], 5, 4, 48);
    emptied(&mut rows, |trial| trial % 9 == 0);

    let report = built(&study, &rows);

    assert_eq!((report.case_model.runs, report.case_model.left_out), (17, 3));
    let page = markdown(&report);
    let said = "17 runs. Left out, having come without a score of each row: 3 runs.";
    assert!(page.contains(said), "{page}");
    emptied(&mut rows, |_| true);
    let report = built(&study, &rows);
    let page = markdown(&report);
    let why = "is not shown: 20 outcomes came without a score of each row.";
    assert!(page.contains(&format!("between rows and trainings {why}")), "{page}");
    assert!(!report.methods.contains("The spread of single rows' scores"));
}

#[test]
fn with_one_seed_a_row_cannot_be_told_from_the_rest() {
    let (study, rows) = simulated(&[("a", 1)], 1, 4, 48);

    let part = built(&study, &rows).case_model;

    let why: Vec<(&str, &str)> = part
        .not_estimable
        .iter()
        .map(|left| (left.factor.as_deref().unwrap_or_default(), left.why.as_str()))
        .collect();
    let expected = [
        ("row", "each of its 48 levels has one score, so it cannot be told from the residual"),
        ("run", "its levels are those of fold, so the two cannot be told apart"),
    ];
    assert_eq!(why, expected);
}

#[test]
fn scores_of_0_or_1_are_said_to_be_taken_for_numbers() {
    let (mut study, mut rows) = simulated(&[("a", 1)], 5, 4, 48);
    study.metrics = vec![Metric::Accuracy];
    study.data.task = Task::Classification { classes: vec!["no".into(), "yes".into()] };
    for row in &mut rows {
        if let RowEnd::Complete(outcome) = &mut row.end {
            // A probability of the true class on either side of a half.
            outcome.rows.iter_mut().for_each(|row| *row = if *row > 20.3 { 0.9 } else { 0.2 });
        }
    }

    let report = built(&study, &rows);

    assert!(report.case_model.linear_probability);
    let total: f64 = report.case_model.arms[0].components.iter().map(|part| part.variance).sum();
    assert!((0.1..0.4).contains(&total), "{total}");
    assert!(markdown(&report).contains("(a linear probability model)"));
}

#[test]
fn rows_of_one_patient_have_the_patients_spread_beside_their_own() {
    let mut study = mae(&[("a", 1)], 4, 1, 4, 60);
    study.data.group = Some("patient".into());
    let data = table(&study, Some((0..60).map(|row| row / 3).collect()));
    let rows = outcomes(&study, &data, |key, row| {
        error(key, row) + 3.0 * normal(77_000 + u64::from(row / 3)) as f32
    });

    let report = told(&study, &rows, Some(&data));

    let parts = &report.case_model.arms[0].components;
    assert!(variance(parts, "patient") > 2.0 * variance(parts, "row"), "{parts:?}");
    assert!(markdown(&report).contains("is which patient the row belongs to"));
    // Nobody knows whose rows they are without the table.
    let parts = &told(&study, &rows, None).case_model.arms[0].components;
    assert_eq!(parts[0].factor, "row");
}

#[test]
fn without_the_table_one_partition_alone_has_rows() {
    let study = mae(&[("a", 1)], 3, 2, 4, 48);
    let data = table(&study, None);
    let rows = outcomes(&study, &data, error);

    let (alone, named) = (told(&study, &rows, None), told(&study, &rows, Some(&data)));

    let of = |part: &CaseModelPart| (part.partitions, part.rows, part.runs);
    assert_eq!(of(&alone.case_model), (1, 48, 12));
    assert_eq!(of(&named.case_model), (2, 48, 24));
    assert!(markdown(&alone).contains("It is of the first partition alone"));
    let factors = |report: &Report| report.case_model.arms[0].components[1].factor.clone();
    assert_eq!([factors(&alone), factors(&named)], ["fold", "partition:fold"]);
}

#[test]
fn of_very_many_runs_some_are_taken_evenly() {
    let (study, rows) = simulated(&[("a", 1)], 200, 4, 2_000);

    let report = built(&study, &rows);

    let part = &report.case_model;
    assert_eq!(part.runs_with_rows, 800);
    assert!(part.runs.is_multiple_of(4) && (40..800).contains(&part.runs), "{}", part.runs);
    let row = variance(&part.arms[0].components, "row");
    assert!((row / (SD_ROW.powi(2) + SD_OWN.powi(2)) - 1.0).abs() < 0.15, "{row}");
    assert!(markdown(&report).contains("of 800 runs, taken evenly from each fold"));
}

#[test]
fn over_three_arms_rows_are_taken_evenly_where_they_are_thousands() {
    let arms = [("a", 1), ("b", 1), ("c", 1)];
    let (study, rows) = simulated(&arms, 12, 4, 6_000);

    let report = built(&study, &rows);

    let part = &report.case_model;
    assert_eq!((part.rows, part.joint_rows), (6_000, Some(1_000)));
    let runs = part.joint_runs.expect("a joint model");
    assert!(runs.is_multiple_of(12) && (24..=144).contains(&runs), "{runs}");
    let (row, own) = (variance(&part.joint, "row"), variance(&part.joint, "arm:row"));
    // Within four standard errors of what was put in.
    assert!((row / SD_ROW.powi(2) - 1.0).abs() < 4.0 * (2.0 / 1_000.0f64).sqrt() * 1.3, "{row}");
    assert!((own / SD_OWN.powi(2) - 1.0).abs() < 4.0 * (2.0 / 2_000.0f64).sqrt() * 1.3, "{own}");
    let page = markdown(&report);
    assert!(page.contains("Over all arms it is of 1000 of these rows, taken evenly"), "{page}");
}

#[test]
fn of_many_small_groups_some_are_taken_whole() {
    let mut study = mae(&[("a", 1), ("b", 1), ("c", 1)], 4, 1, 4, 3_000);
    study.data.group = Some("patient".into());
    let data = table(&study, Some((0..3_000).map(|row| row / 3).collect()));
    let rows = outcomes(&study, &data, |key, row| {
        error(key, row) + 3.0 * normal(77_000 + u64::from(row / 3)) as f32
    });

    let part = told(&study, &rows, Some(&data)).case_model;

    let levels =
        |factor: &str| part.joint.iter().find(|part| part.factor == factor).map(|part| part.levels);
    let taken = part.joint_rows.expect("a joint model");
    assert!(taken < 3_000, "{taken}");
    assert_eq!(levels("patient"), Some(taken / 2));
    assert_eq!(levels("arm:row"), Some(3 * taken));
    let (patient, row) = (variance(&part.joint, "patient"), variance(&part.joint, "row"));
    assert!((patient / 9.0 - 1.0).abs() < 0.25, "{patient}");
    assert!((row / SD_ROW.powi(2) - 1.0).abs() < 0.3, "{row}");
}
