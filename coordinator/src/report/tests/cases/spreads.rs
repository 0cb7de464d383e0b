//! Spreads of seeds, chances of ranks, and what looks could be worth.
//!
//! Floor: core.

use common::ledger::{Ledger, Look, Purpose};

use super::super::*;
use super::other_rows::{mae, outcomes, own, table};

#[test]
fn seeds_that_move_one_arm_more_are_told_with_scipys_p() {
    let study = study(&[("a", 1), ("b", 1)], 6, 1, 2);
    let of_a = [0.801, 0.802, 0.800, 0.799, 0.803, 0.798];
    let of_b = [0.70, 0.78, 0.66, 0.81, 0.74, 0.62];
    let score = |key: &TrialKey| {
        let seed = key.seeds[0] as usize;
        let fold = if key.fold == 0 { 0.01 } else { -0.01 };
        Some(fold + if key.arm == 0 { of_a[seed] } else { of_b[seed] })
    };

    let report = built(&study, &rows(&study, score));

    // By scipy's levene with center="median".
    let part = report.spreads.as_ref().expect("two seeds");
    assert_eq!(part.groups.len(), 2);
    near(part.groups[0].sd, 0.001_870_829);
    near(part.groups[1].sd, 0.072_226_50);
    let test = part.test.expect("two groups");
    near(test.f.expect("finite"), 17.038_008);
    near(test.p, 0.002_051_668);
    assert!(test.unequal);
    let page = markdown(&report);
    assert!(
        page.contains("A new seed alone moves the mean of a by 0.00187 and b by 0.0722"),
        "{page}"
    );
    assert!(page.contains("These spreads differ by more than luck gives"), "{page}");
}

#[test]
fn ranks_are_as_sure_as_the_arms_lie_apart() {
    let study = study(&[("a", 1), ("b", 1), ("c", 2)], 4, 1, 5);
    let score = |key: &TrialKey| {
        let wave = |k: u32| (f64::from(k) * 1.7).sin();
        let luck = wave(key.arm * 31 + key.fold * 7 + key.seeds[0] * 3 + key.config * 11);
        let level = [0.9, 0.5, 0.5][key.arm as usize];
        Some(level + 0.02 * luck)
    };

    let report = built(&study, &rows(&study, score));

    let ranks = report.ranks.as_ref().expect("three arms");
    assert_eq!((ranks.missing.as_ref(), ranks.arms.len()), (None, 3));
    assert_eq!((ranks.arms[0].chances[0], ranks.arms[0].low, ranks.arms[0].high), (1.0, 1, 1));
    for arm in &ranks.arms {
        assert!((arm.chances.iter().sum::<f64>() - 1.0).abs() < 1e-9);
    }
    assert!((0.05..0.95).contains(&ranks.arms[1].chances[1]), "{ranks:?}");
    let page = markdown(&report);
    assert!(page.contains("a would come first in 100 of 100 repetitions"), "{page}");
}

#[test]
fn the_variance_of_a_rank_is_that_of_the_model() {
    // Two arms and one seed: the residual holds what folds add, so the difference has the corrected
    // variance of the fold differences, and the chance to be first is the normal one.
    let study = study(&[("a", 1), ("b", 1)], 1, 1, 5);
    let of_a = [0.80, 0.83, 0.79, 0.82, 0.81];
    let of_b = [0.81, 0.80, 0.80, 0.80, 0.79];
    let score = |key: &TrialKey| Some([of_a, of_b][key.arm as usize][key.fold as usize]);

    let report = built(&study, &rows(&study, score));

    let ranks = report.ranks.as_ref().expect("two arms");
    let joint = |factor: &str| {
        let mut parts = report.components.iter();
        parts.find(|part| part.arm.is_none() && part.factor == factor).map(|part| part.variance)
    };
    let residual = joint("residual").expect("fitted");
    let variance = 2.0 * (0.2 + 0.25) * residual;
    let expected = common::stats::summary::normal_cdf(0.01 / variance.sqrt());
    // Four thousand draws: three standard errors.
    assert!((ranks.arms[0].chances[0] - expected).abs() < 0.025, "{ranks:?} {expected}");
    assert!((0.55..0.95).contains(&expected), "{expected}");
}

#[test]
fn on_one_test_set_no_rank_has_a_chance() {
    let mut study = study(&[("a", 1), ("b", 1), ("c", 1)], 3, 1, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let report = built(&study, &rows(&study, jagged));

    let why = report.ranks.as_ref().and_then(|ranks| ranks.missing.clone()).expect("refused");
    assert!(why.starts_with("there was one test set"), "{why}");
}

#[test]
fn looks_are_worth_a_lucky_pick_where_rows_have_scores() {
    let study = mae(&[("a", 1)], 2, 1, 5, 40);
    let rows =
        outcomes(&study, &table(&study, None), |key, row| own(row) + 0.01 * key.seeds[0] as f32);
    let mut ledger = Ledger::default();
    for number in 1..=11 {
        ledger.add(Look {
            number,
            at: Timestamp(1_767_225_600_000 + number),
            who: MemberId(1),
            label: "local".into(),
            purpose: Purpose::Report,
            outcomes: 10,
            study: Digest([1; 32]),
            split: Digest([2; 32]),
        });
    }
    let told = |this: u64| {
        let looks = Some(Looks { ledger: &ledger, this, sealing: None });
        build(&Material { looks, ..material(&study, &rows) })
    };

    let report = told(11);

    let part = report.ledger.as_ref().expect("looks");
    let se = report.arms[0].other_rows.as_ref().expect("resampled").se;
    assert_eq!(part.case_se, Some(se));
    // The largest of ten standard normals is 1.5388 on average.
    near(part.lucky_pick.expect("ten looks") / se, 1.538_75);
    let page = markdown(&report);
    assert!(
        page.contains("Looked 10 times before this claim: a lucky pick of this size"),
        "{page}"
    );
    assert!(page.contains("it does not say that anything was picked"), "{page}");
    assert_eq!(told(2).ledger.expect("looks").lucky_pick, None);
}

#[test]
fn runs_agree_as_their_components_say() {
    let study = study(&[("a", 3)], 4, 1, 5);
    let wave = |k: u32| (f64::from(k) * 1.7).sin();
    let score = |key: &TrialKey| {
        let luck = wave(key.fold * 7 + key.seeds[0] * 13 + key.config * 29);
        let level = 0.1 * f64::from(key.config) + 0.05 * wave(key.seeds[0]);
        Some(level + 0.08 * wave(key.fold * 5) + 0.02 * luck)
    };

    let report = built(&study, &rows(&study, score));

    let of = |factor: &str| {
        report.components.iter().find(|part| part.factor == factor).expect(factor).variance
    };
    let (seed, fold, config, rest) = (of("seed"), of("fold"), of("config"), of("residual"));
    assert!(seed > 0.0 && fold > 0.0 && config > 0.0 && rest > 0.0);
    let [part] = report.agreement.as_slice() else { panic!("{:?}", report.agreement) };
    assert_eq!(part.repeatability_sd, None, "configs lean to folds");
    near(part.icc_seed.expect("seeds"), seed / (seed + fold + rest));
    near(part.icc_fold.expect("folds"), fold / (seed + fold + rest));
    let configs = part.configs.expect("three configs");
    // The level of five folds and of four seeds moves all configs alike; the rest is taken for
    // leanings to folds.
    near(configs.relative, config / (config + rest / 5.0));
    near(configs.absolute, config / (config + rest / 5.0 + fold / 5.0 + seed / 4.0));
    let page = markdown(&report);
    assert!(page.contains("How alike are single runs?") && page.contains("Brennan RL (2001)"));
    assert!(built(&study, &[]).agreement.is_empty());

    let one = super::super::study(&[("a", 1)], 4, 1, 5);
    let alone = built(&one, &rows(&one, score));
    let of = |factor: &str| {
        alone.components.iter().find(|part| part.factor == factor).expect(factor).variance
    };
    let found = alone.agreement[0].repeatability_sd.expect("one config");
    near(found, (of("seed") + of("residual")).sqrt());
    let unseeded = super::super::study(&[("a", 1)], 1, 2, 5);
    let part = &built(&unseeded, &rows(&unseeded, score)).agreement;
    assert!(part.iter().all(|part| part.icc_seed.is_none()), "{part:?}");
}

#[test]
fn a_difference_is_shown_resampled_and_on_logits_where_a_metric_has_both_ends() {
    let mut study = study(&[("a", 1), ("b", 1)], 4, 1, 5);
    let score = |key: &TrialKey| {
        let luck = (f64::from(key.fold * 7 + key.seeds[0] * 3 + key.arm * 5)).sin();
        Some(0.97 + 0.01 * luck + if key.arm == 0 { 0.015 } else { 0.0 })
    };
    let of = |study: &Study| {
        let report = built(study, &rows(study, score));
        report.comparisons[0].contrast.clone().expect("two arms")
    };
    assert_eq!(of(&study).p_logit, None, "r2 has no lower end");
    study.metrics = vec![Metric::Accuracy, Metric::LogLoss];

    let contrast = of(&study);

    // A hundred rows, twenty a fold: nothing beyond 1 - 0.5/21.
    let logit = |score: f64| {
        let inside = f64::min(score, 1.0 - 0.5 / 21.0);
        (inside / (1.0 - inside)).ln()
    };
    let found = contrast.p_logit.expect("between 0 and 1");
    let shifted = |key: &TrialKey| score(key).map(logit);
    let mut unbounded = study.clone();
    unbounded.metrics = vec![Metric::R2, Metric::Mae];
    let by_hand = built(&unbounded, &rows(&unbounded, shifted));
    near(found, by_hand.comparisons[0].contrast.as_ref().expect("two arms").p);
    let ends = contrast.ci_bootstrap.expect("folds and seeds");
    assert!(ends.low < contrast.difference && contrast.difference < ends.high, "{ends:?}");
    assert!(ends.high - ends.low < contrast.ci.high - contrast.ci.low, "few folds: too narrow");
}
