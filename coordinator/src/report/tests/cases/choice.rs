//! Verdicts for choosing.
//!
//! Floor: core.

use super::super::*;

/// Outcomes whose trainings take `seconds` of an arm and config.
fn timed(
    rows: Vec<OutcomeRow>,
    study: &Study,
    seconds: impl Fn(&TrialKey) -> f64,
) -> Vec<OutcomeRow> {
    let design = Design::of(study);
    let timed = |mut row: OutcomeRow| {
        let key = design.key(row.trial).expect("inside");
        if let RowEnd::Complete(outcome) = &mut row.end {
            outcome.duration_us = (seconds(&key) * 1e6) as u64;
        }
        row
    };
    rows.into_iter().map(timed).collect()
}

fn near_equal(key: &TrialKey) -> Option<f64> {
    let luck = f64::from(key.fold * 7 + key.seeds[0] * 3 + key.arm * 5).sin() / 10_000.0;
    Some(0.8 + f64::from(key.fold) / 100.0 + luck)
}

#[test]
fn arms_that_differ_by_less_than_counts_are_equivalent_and_the_cheaper_is_named() {
    let study = study(&[("a", 1), ("b", 1)], 4, 1, 5);
    let rows = timed(rows(&study, near_equal), &study, |key| if key.arm == 0 { 5.0 } else { 3.0 });

    let report = built(&study, &rows);

    assert_eq!(report.verdict.kind, VerdictKind::Equivalent);
    let text = &report.verdict.text;
    let said = "If less than 0.01 in r2 does not matter, a and b are equivalent: on new samples of this \
                size their difference is smaller than that (probability above 0.999; 0.01 is \
                assumed, not asked for).";
    assert!(text.starts_with(said), "{text}");
    let saved = "Choose the cheaper one: b takes 40 % less time to train (3.0 s instead of 5.0 s";
    assert!(text.contains(saved), "{text}");
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert_eq!(value["verdict_kind"], "equivalent");
    assert_eq!(value["cost"]["trainings"][1]["seconds"], 3.0);
}

#[test]
fn a_clear_difference_that_is_too_small_is_called_so() {
    let study = study(&[("a", 1), ("b", 1)], 4, 1, 5);
    let ahead = |key: &TrialKey| {
        let score = near_equal(&TrialKey { arm: 0, ..key.clone() })?;
        let noise = f64::from(key.fold * key.seeds[0] % 3) / 100_000.0;
        Some(if key.arm == 0 { score + 0.002 + noise } else { score })
    };

    let report = built(&study, &rows(&study, ahead));

    assert_eq!(report.verdict.kind, VerdictKind::Equivalent);
    let text = &report.verdict.text;
    assert!(text.contains("That a is ahead, by 0.002"), "{text}");
    assert!(text.ends_with("They cost about the same to train."), "{text}");
}

#[test]
fn an_error_without_a_natural_unit_is_never_equivalent() {
    let mut study = study(&[("a", 1), ("b", 1)], 4, 1, 5);
    study.metrics = vec![Metric::Rmse, Metric::Mae];

    assert_eq!(built(&study, &rows(&study, near_equal)).verdict.kind, VerdictKind::NotShown);
}

#[test]
fn on_one_test_set_the_best_seed_of_one_arm_is_a_lottery() {
    let mut study = study(&[("a", 1)], 5, 1, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let scores = [0.80, 0.82, 0.81, 0.83, 0.79];

    let report = built(&study, &rows(&study, |key| Some(scores[key.seeds[0] as usize])));

    // The mean is 0.81 and the standard deviation 0.0158; the largest of five normals is 1.163 on
    // average, which makes 0.0184 of it.
    assert_eq!(report.verdict.kind, VerdictKind::Lottery);
    let text = &report.verdict.text;
    for said in [
        "The best of 5 trainings of a (seed 3) looks 0.0200 better in r2 than the average one.",
        "This is what luck alone gives (expected 0.0184).",
        "A retrained model should be expected at the average, 0.810.",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(report.verdict.basis.contains("Seed use: 3: sensitivity"), "{}", report.verdict.basis);
}

#[test]
fn a_best_seed_far_beyond_the_others_is_not_called_luck() {
    let mut study = study(&[("a", 1)], 30, 1, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let score = |key: &TrialKey| {
        if key.seeds[0] == 7 { 0.99 } else { 0.5 + 0.001 * f64::from(key.seeds[0] % 2) }
    };

    let report = built(&study, &rows(&study, |key| Some(score(key))));

    assert!(report.verdict.text.contains("more than the luck of such a spread usually gives"));
}

#[test]
fn the_cheapest_config_within_one_standard_error_is_named_beside_the_best() {
    let study = study(&[("a", 3), ("b", 1)], 2, 1, 5);
    // Config 1 is best by a little and unsteadily so, config 0 is cheap, config 2 is bad and cheapest.
    let score = |key: &TrialKey| {
        let fold = f64::from(key.fold) / 50.0;
        Some(match (key.arm, key.config) {
            (0, 1) => 0.8 + fold + if key.fold.is_multiple_of(2) { 0.02 } else { -0.02 },
            (0, 0) => 0.8 + fold,
            (0, _) => 0.5 + fold,
            _ => 0.7 + fold + 0.01 * f64::from(key.seeds[0]),
        })
    };
    let rows = timed(rows(&study, score), &study, |key| [4.0, 8.0, 1.0][key.config as usize]);

    let report = built(&study, &rows);

    let [found] = report.cost.cheapest.as_slice() else { panic!("{:?}", report.cost) };
    assert_eq!((found.best.as_str(), found.cheapest.as_str()), ("lr=1", "lr=0"));
    // Differences of 0.02, -0.02, 0.02, -0.02, 0.02 with mean 0.004 and sd 0.0219; times
    // sqrt(1/5 + 1/4).
    near(found.behind, 0.004);
    near(found.se, 0.021_908_9 * 0.45f64.sqrt());
    let page = markdown(&report);
    assert!(page.contains("a: lr=0 is the cheapest config within one standard error"), "{page}");
    assert!(page.contains("for 4.0 s a training instead of 8.0 s."), "{page}");
}
