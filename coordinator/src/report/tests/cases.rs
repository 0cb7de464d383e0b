//! What a report says that rests on scores of single rows.
//!
//! Floor: core.

mod case_model;
mod choice;
mod leakage;
mod other_rows;
mod spreads;

use super::*;
use crate::report::content::{CaseLottery, LotteryShares};

/// Absolute errors of three seeds on eight rows.
///
/// By scipy 1.16: `ttest_rel` gives p = 0.0003 for the first two, 0.75 for the first and the third,
/// 0.012 for the last two; `wilcoxon` 0.0078, 0.58 and 0.0078. Of the first four rows alone the
/// t-test gives 0.0034, 0.79 and 0.12, of the last four 0.051, 0.89 and 0.11; `wilcoxon` never less
/// than 0.125.
const ERRORS: [[f32; 8]; 3] = [
    [0.10, 0.22, 0.05, 0.31, 0.17, 0.08, 0.26, 0.12],
    [0.15, 0.28, 0.09, 0.38, 0.21, 0.16, 0.33, 0.13],
    [0.14, 0.20, 0.08, 0.28, 0.19, 0.05, 0.30, 0.10],
];

/// The eight rows in so many folds; `errors` of a seed and row, of which every other is negative.
fn of_rows(
    folds: u32,
    seeds: u32,
    errors: impl Fn(&TrialKey, usize) -> f32,
) -> (Study, Vec<OutcomeRow>) {
    let mut study = study(&[("a", 1)], seeds, 1, folds);
    if folds == 1 {
        study.outer.kind = OuterKind::Holdout { share: 0.2 };
    }
    study.metrics = vec![Metric::Mae];
    let design = Design::of(&study);
    let each = 8 / folds as usize;
    let of_trial = |index: u64| {
        let key = design.key(TrialIndex(index)).expect("inside");
        let first = key.fold as usize * each;
        let sizes: Vec<f32> = (first..first + each).map(|row| errors(&key, row)).collect();
        let signed = |(place, size): (usize, &f32)| if place % 2 == 0 { *size } else { -size };
        let mean = sizes.iter().map(|size| f64::from(*size)).sum::<f64>() / each as f64;
        scored(index, mean, sizes.iter().enumerate().map(signed).collect())
    };
    let rows = (0..design.trials().expect("small")).map(of_trial).collect();
    (study, rows)
}

/// The outcome of one trial: its score, and what each test row scored.
fn scored(index: u64, metric: f64, rows: Vec<f32>) -> OutcomeRow {
    let outcome = Outcome {
        metrics: vec![metric],
        rows,
        epochs: 1,
        duration_us: 1_000,
        device: "cpu".into(),
        curve: None,
    };
    row(index, RowEnd::Complete(outcome))
}

fn played(study: &Study, rows: &[OutcomeRow]) -> (Report, CaseLottery) {
    let report = built(study, rows);
    let cases = report.lottery[0].cases.clone().expect("played");
    (report, cases)
}

fn shares(shares: &LotteryShares) -> [f64; 4] {
    [
        shares.beats_share_t,
        shares.beats_share_wilcoxon,
        shares.all_pairs_share,
        shares.all_pairs_share_wilcoxon,
    ]
}

#[test]
fn a_lottery_on_held_out_rows_is_the_one_that_scipy_plays() {
    let (study, rows) = of_rows(1, 3, |key, row| ERRORS[key.seeds[0] as usize][row]);
    let (report, cases) = played(&study, &rows);

    assert_eq!(shares(&cases.shares), [0.5, 0.5, 2.0 / 3.0, 2.0 / 3.0]);
    assert_eq!((cases.played_on, cases.hold_out), ("hold-out", None));
    assert_eq!((cases.case_best_seed.as_str(), cases.shares.rows), ("0", 8));
    assert!(cases.case_score_is_the_metrics && !cases.shares.pairs_drawn);
    let stars: Vec<(bool, bool)> = cases.drawn.iter().map(|s| (s.is_best, s.beaten)).collect();
    assert_eq!(stars, [(true, false), (false, true), (false, false)]);
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    let said = &value["lottery"][0];
    for key in ["beats_share_t", "beats_share_wilcoxon", "all_pairs_share", "case_best_seed"] {
        assert!(!said[key].is_null(), "{key}: {said}");
    }
    let page = markdown(&report);
    for said in [
        "a: compared on the 8 rows held out to test, the best of 3 seeds \"beats\" 50 % of the \
         other seeds",
        "With 8 rows such a test hardly finds anything",
        "Seeds against each other, row by row",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(html(&report).contains("a: 1 of 2 seeds beaten"));
}

#[test]
fn a_lottery_on_folds_is_played_on_all_rows_and_on_each_fold() {
    let (study, rows) = of_rows(2, 3, |key, row| ERRORS[key.seeds[0] as usize][row]);
    let (report, cases) = played(&study, &rows);

    assert_eq!(shares(&cases.shares), [0.5, 0.5, 2.0 / 3.0, 2.0 / 3.0]);
    let hold_out = cases.hold_out.expect("two folds");
    let found = shares(&hold_out);
    assert_eq!(found[..2], [0.25, 0.0]);
    near(found[2], 1.0 / 6.0);
    assert_eq!((hold_out.plays, hold_out.rows, hold_out.pairs), (2, 4, 6));
    let page = markdown(&report);
    assert!(page.contains("all 8 rows of the cross-validation"), "{page}");
    assert!(page.contains("On single folds taken for hold-out sets (4 rows), the best beats 25 %"));
}

#[test]
fn seeds_that_score_the_same_win_nothing_and_are_not_drawn() {
    let (study, rows) = of_rows(2, 3, |_, row| ERRORS[0][row]);
    let (report, cases) = played(&study, &rows);

    assert_eq!(shares(&cases.shares), [0.0; 4]);
    let page = markdown(&report);
    assert!(page.contains("All seeds gave the same scores: there is nothing to win."), "{page}");
    assert!(!html(&report).contains("The seed lottery: seeds in order"));
}

#[test]
fn where_no_row_has_a_score_the_page_says_why() {
    let (mut study, mut rows) = of_rows(2, 3, |key, row| ERRORS[key.seeds[0] as usize][row]);
    for row in &mut rows {
        if let RowEnd::Complete(outcome) = &mut row.end {
            outcome.rows.clear();
        }
    }
    let said = |study: &Study| {
        let report = built(study, &rows);
        assert_eq!(report.lottery[0].cases, None);
        markdown(&report)
    };
    let page = said(&study);
    let why =
        "Seeds of a were not compared row by row: 6 outcomes came without a score of each row.";
    assert!(page.contains(why), "{page}");
    study.data.rows = 100_000;
    let page = said(&study);
    assert!(page.contains("outcomes on more than 16\u{202f}384 test rows keep no score"), "{page}");
}

#[test]
fn of_very_many_pairs_a_part_is_drawn_and_the_best_still_meets_all() {
    let seeds = 100;
    let (mut study, mut rows) = of_rows(1, seeds, |_, _| 1.0);
    study.data.rows = 100_000;
    for row in &mut rows {
        let seed = row.trial.0 as f32;
        let of_row = |place: u32| 1.0 + (place as f32 * (1.0 + seed / 7.0)).sin();
        if let RowEnd::Complete(outcome) = &mut row.end {
            outcome.rows = (0..10_000).map(of_row).collect();
        }
    }

    let (report, cases) = played(&study, &rows);

    // Of 4,950 pairs those that fit 40 million rows.
    assert_eq!((cases.shares.pairs, cases.shares.pairs_drawn), (4_000, true));
    assert_eq!((cases.drawn.len(), cases.shares.rows), (100, 10_000));
    assert!(markdown(&report).contains("a part of them was drawn at random"));
}
