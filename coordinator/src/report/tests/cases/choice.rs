//! Verdicts for choosing.
//!
//! Floor: core.

use common::stats::worth::Stakes;

use super::super::*;
use crate::report::content::{MeanErrors, NextBlock};

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
    // Means 0.84, 0.844 and 0.54 vary by 0.0304, beside which half of an error of 0.0147 squared is
    // nothing, so nearly all of the lead is left.
    let gain = found.gain.expect("the best takes longer");
    let spread: f64 =
        [0.84, 0.844, 0.54].map(|mean: f64| (mean - 0.741_333).powi(2) / 2.0).iter().sum();
    let left = 0.004 * (1.0 - found.se.powi(2) / 2.0 / spread);
    assert!((gain.shrunken_gain - left).abs() < 1e-5, "{gain:?} {left}");
    near(gain.seconds_per_step.expect("something is left"), 4.0 * 0.001 / gain.shrunken_gain);
    assert!(page.contains("each 0.001 of it costs 1.0 s more a training."), "{page}");
    // Behind by 0.004 with an error of 0.0147 is no sure sign of less than 0.01.
    let rope = found.rope.as_ref().expect("a width that counts");
    assert_eq!((rope.width, rope.cheapest.as_str(), rope.seconds), (0.01, "lr=1", 8.0));
    assert!(
        page.contains("None that costs noticeably less is behind it by less than 0.01"),
        "{page}"
    );
}

#[test]
fn more_runs_are_bought_while_they_save_more_than_they_cost() {
    let study = study(&[("a", 1), ("b", 1)], 3, 1, 5);
    let rows = timed(rows(&study, jagged), &study, |_| 60.0);
    let weighed = |stakes: Option<Stakes>| build(&Material { stakes, ..material(&study, &rows) });
    let told = |value_per_unit: f64| Stakes { value_per_unit, uses: 1.0, price_per_hour: 2.0 };

    let worth =
        |report: &Report| report.comparisons[0].outlook.as_ref().expect("an outlook").worth.clone();
    let (none, dear, cheap) =
        (worth(&weighed(None)), weighed(Some(told(1e6))), weighed(Some(told(1.0))));

    assert!(none.money.is_none() && none.next_block_value.expect("blocks") > 0.0);
    let falling = |pair: &[NextBlock]| {
        pair[0].cost < pair[1].cost && pair[0].expected_loss > pair[1].expected_loss
    };
    assert!(none.frontier.len() > 3 && none.frontier.windows(2).all(falling), "{none:?}");
    assert!(none.frontier.iter().all(|next| next.folds.is_multiple_of(5)), "whole partitions");
    let (rich, poor) = (worth(&dear).money.expect("told"), worth(&cheap).money.expect("told"));
    assert!(rich.worth_it && rich.value > rich.cost, "{rich:?}");
    assert!(!poor.worth_it && poor.value < poor.cost, "{poor:?}");
    // One training of each arm takes a minute: a further seed on five folds ten.
    let bought =
        none.frontier.iter().find(|next| (next.seeds, next.folds) == (rich.seeds, rich.folds));
    near(bought.expect("on the frontier").cost / 3600.0 * 2.0, rich.cost);
    let said = "At 10000 for each 0.01 and 2 for an hour of training, more runs are worth it";
    assert!(markdown(&dear).contains(said), "{}", markdown(&dear));
    assert!(
        markdown(&cheap).contains("more runs are not worth it: the nearest"),
        "{}",
        worth(&cheap).verdict
    );
    let figure = crate::report::figures::worth(&dear).expect("drawn");
    assert!(figure.caption.contains("Below the dotted line training is worth its price"));
}

#[test]
fn a_configs_mean_has_the_intervals_of_an_arm_of_it_alone() {
    let apart = |config: u32| {
        let alone = study(&[("a", 1), ("b", 1)], 4, 1, 5);
        let rows = rows(&alone, |key| jagged(&TrialKey { config, ..key.clone() }));
        built(&alone, &rows).arms[0].scores.clone().expect("scores")
    };
    let both = study(&[("a", 2), ("b", 1)], 4, 1, 5);
    let report = built(&both, &rows(&both, jagged));
    for (config, part) in report.arms[0].configs.iter().enumerate() {
        let alone = apart(config as u32);
        let MeanErrors { se_t1, ci_t1, se_t2, ci_t2 } = part.errors.clone();
        assert_eq!(
            (se_t1, ci_t1, se_t2, ci_t2),
            (alone.se_t1, alone.ci_t1, alone.se_t2, alone.ci_t2)
        );
        assert!(se_t2 > se_t1 && se_t1 > Some(0.0), "config {config}");
    }
    let page = markdown(&report);
    let heading = "| Arm | Config | Runs | Mean | SD | T1: new seeds | T2: new samples |";
    assert!(page.contains(heading), "{page}");
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    assert_eq!(value["arms"][0]["configs"][1]["ci_t2"]["target"], "T2");
}
