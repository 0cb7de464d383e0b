//! Claims about whole reports, on small studies whose numbers are worked out by hand.
//!
//! Floor: core.

mod cases;
mod choosing;
mod controls;
mod figures;
mod looks;
mod words;

use ::parquet::file::reader::{FileReader, SerializedFileReader};
use common::design::{Design, TrialKey};
use common::id::{Digest, MemberId, TrialIndex};
use common::seed::Stream;
use common::space::{Config, Value};
use common::study::{
    Arm, ArmConfig, Budget, Data, Diverged, Format, Hyper, Missing, Model, Outer, OuterKind,
    SeedFactor, Seeds,
};
use common::time::Timestamp;
use common::trial::Outcome;
use common::wire::message::RowEnd;

use super::content::{ComponentPart, VerdictKind};
use super::*;

pub(super) fn study(arms: &[(&str, u32)], seeds: u32, partitions: u32, folds: u32) -> Study {
    let plain = || ArmConfig { point: Config::default(), hyper: Hyper::default() };
    let config = |number: u32| ArmConfig {
        point: Config { values: vec![("lr".into(), Value::Float(number.into()))] },
        ..plain()
    };
    let arm = |(name, configs): &(&str, u32)| Arm {
        name: name.to_string(),
        model: Model::Mlp,
        written: name.to_string(),
        configs: if *configs == 1 { vec![plain()] } else { (0..*configs).map(config).collect() },
        learned: None,
        halving: None,
        race: None,
        requires: Default::default(),
    };
    let factor = SeedFactor { name: "seed".into(), streams: Stream::TRAINING.into(), count: seeds };
    Study {
        name: "small".into(),
        notes: "A note.".into(),
        metrics: vec![Metric::R2, Metric::Mae],
        data: Data {
            path: "small.csv".into(),
            format: Format::Csv,
            digest: Digest::of(b"small"),
            bytes: 5,
            target: "y".into(),
            task: Task::Regression,
            drop: Vec::new(),
            group: None,
            leave_out: None,
            missing: Missing::Refuse,
            rows: 100,
        },
        outer: Outer { kind: OuterKind::KFold, partitions, folds, stratify: false, inner: None },
        seeds: Seeds { factors: vec![factor] },
        arms: arms.iter().map(arm).collect(),
        budget: Budget::default(),
    }
}

/// One row a trial; a score of `None` is a diverged run.
pub(super) fn rows(study: &Study, score: impl Fn(&TrialKey) -> Option<f64>) -> Vec<OutcomeRow> {
    let design = Design::of(study);
    (0..design.trials().expect("small"))
        .map(|index| {
            let key = design.key(TrialIndex(index)).expect("inside");
            let end = match score(&key) {
                Some(score) => complete(score),
                None => RowEnd::Failed { reason: "diverged".into(), detail: "loss is NaN".into() },
            };
            row(index, end)
        })
        .collect()
}

fn row(index: u64, end: RowEnd) -> OutcomeRow {
    OutcomeRow { trial: TrialIndex(index), ended: Timestamp(index), agent: MemberId(1), end }
}

fn complete(score: f64) -> RowEnd {
    RowEnd::Complete(Outcome {
        metrics: vec![score, 1.0 - score],
        rows: Vec::new(),
        epochs: 7,
        duration_us: 250_000,
        device: "cpu".into(),
        curve: None,
    })
}

pub(super) fn material<'a>(study: &'a Study, rows: &'a [OutcomeRow]) -> Material<'a> {
    Material::of(study, rows)
}

pub(super) fn built(study: &Study, rows: &[OutcomeRow]) -> Report {
    build(&material(study, rows))
}

/// All five forms, one after another.
fn all_bytes(study: &Study, rows: &[OutcomeRow]) -> Vec<u8> {
    let (material, report) = (material(study, rows), built(study, rows));
    let mut bytes = [html(&report), markdown(&report), json(&report)].concat().into_bytes();
    bytes.extend(parquet(&material).expect("parquet"));
    bytes.extend(csv(&material).expect("csv"));
    bytes
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() <= 1e-5 * expected.abs().max(1e-3), "{value} {expected}");
}

/// Scores that differ in every cell, without a pattern.
fn jagged(key: &TrialKey) -> Option<f64> {
    let cell = key.arm * 7 + key.config * 5 + key.seeds[0] * 11 + key.partition * 13 + key.fold * 3;
    Some(0.5 + f64::from(cell * cell % 31) / 100.0)
}

fn component<'a>(report: &'a Report, arm: &str, factor: &str) -> &'a ComponentPart {
    let mut parts = report.components.iter();
    parts.find(|part| part.arm.as_deref() == Some(arm) && part.factor == factor).expect("component")
}

#[test]
fn an_arms_numbers_are_those_worked_out_by_hand() {
    let study = study(&[("a", 1)], 2, 1, 2);
    let cells = [[0.48, 0.46], [0.49, 0.47]];
    let rows = rows(&study, |key| Some(cells[key.seeds[0] as usize][key.fold as usize]));

    let report = built(&study, &rows);

    let scores = report.arms[0].scores.as_ref().expect("scores");
    near(scores.mean, 0.475);
    near(scores.sd.expect("sd"), 0.012_909_94);
    near(scores.median, 0.475);
    near(scores.iqm, 0.475);
    assert_eq!((scores.min, scores.max), (0.46, 0.49));
    near(scores.seed_min.expect("seeds"), 0.47);
    near(scores.seed_max.expect("seeds"), 0.48);
    // Seed means 0.47 and 0.48: standard error 0.005, t of 1 degree of freedom 12.7062.
    near(scores.ci_t1.as_ref().expect("T1").low, 0.475 - 12.706_205 * 0.005);
    // Fold means 0.485 and 0.465: s² = 0.0002, times 1/2 + 1/1.
    near(scores.ci_t2.as_ref().expect("T2").high, 0.475 + 12.706_205 * 0.000_3f64.sqrt());
}

#[test]
fn no_interval_of_a_score_goes_beyond_what_the_metric_can_be() {
    let study = study(&[("a", 1)], 2, 1, 2);
    let cells = [[0.8, 0.6], [0.9, 0.7]];
    let rows = rows(&study, |key| Some(cells[key.seeds[0] as usize][key.fold as usize]));
    let report = built(&study, &rows);
    let scores = report.arms[0].scores.as_ref().expect("scores");
    assert_eq!(scores.ci_t1.as_ref().expect("T1").high, 1.0);
    assert_eq!(scores.ci_t2.as_ref().expect("T2").high, 1.0);
}

#[test]
fn balanced_components_equal_two_way_anova() {
    let study = study(&[("a", 1)], 3, 1, 3);
    let (seed, fold) = ([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]);
    let rest = [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]];
    let rows = rows(&study, |key| {
        let (s, f) = (key.seeds[0] as usize, key.fold as usize);
        Some(seed[s] + fold[f] + rest[s][f])
    });

    let report = built(&study, &rows);

    // Mean squares: seeds 3, folds 12, residual 1/4.
    near(component(&report, "a", "seed").variance, (3.0 - 0.25) / 3.0);
    near(component(&report, "a", "fold").variance, (12.0 - 0.25) / 3.0);
    near(component(&report, "a", "residual").variance, 0.25);
    let shares: f64 = report.components.iter().map(|part| part.share).sum();
    near(shares, 1.0);
    let seed = component(&report, "a", "seed");
    let ci = seed.ci_sd.as_ref().expect("interval");
    assert!(ci.low < seed.sd && seed.sd < ci.high, "{ci:?}");
}

#[test]
fn a_difference_is_judged_by_the_corrected_test_beside_the_naive_one() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let rows = rows(&study, |key| {
        let gain = 0.01 * f64::from(key.fold + 1);
        Some(0.5 + f64::from(key.seeds[0]) / 10.0 + if key.arm == 0 { gain } else { 0.0 })
    });

    let report = built(&study, &rows);

    let contrast = report.comparisons[0].contrast.as_ref().expect("contrast");
    near(contrast.difference, 0.03);
    // s² = 0.00025 over 5 folds, times 1/5 + 1/4 and times 1/5.
    near(contrast.se, 0.000_112_5f64.sqrt());
    near(contrast.se_naive, 0.000_05f64.sqrt());
    near(contrast.p_corrected, 0.047_421);
    near(contrast.p_naive, 0.013_235_6);
    near(contrast.ci.low, 0.03 - 2.776_445 * 0.010_606_602);
    assert_eq!((contrast.df, contrast.p_a_beats_b), (4.0, 1.0));
    assert_eq!((contrast.folds_a_better, contrast.seeds_a_better), (5, 2));
    assert_eq!(report.verdict.kind, VerdictKind::Clear);
    assert!(report.verdict.text.starts_with("a did better than b"), "{}", report.verdict.text);
}

#[test]
fn better_follows_the_metrics_direction() {
    let mut study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    study.metrics = vec![Metric::Rmse];
    let rows = rows(&study, |key| {
        let gain = 0.1 + 0.001 * f64::from(key.fold + key.seeds[0]);
        Some(1.0 + if key.arm == 0 { gain } else { 0.0 })
    });

    let report = built(&study, &rows);

    let contrast = report.comparisons[0].contrast.as_ref().expect("contrast");
    assert!(contrast.difference > 0.0 && contrast.p_a_beats_b == 0.0);
    assert!(report.verdict.text.starts_with("b did better than a"), "{}", report.verdict.text);
    assert_eq!(report.study.goal, "smaller is better");
}

#[test]
fn more_seeds_on_the_same_folds_are_not_called_evidence_for_new_samples() {
    let study = study(&[("a", 1), ("b", 1)], 20, 1, 5);
    let by_fold = [0.05, -0.02, 0.03, -0.01, 0.01];
    let rows = rows(&study, |key| {
        let luck = 0.0005 * f64::from(key.seeds[0] % 3 * (key.arm + 1));
        let gain = if key.arm == 0 { by_fold[key.fold as usize] } else { 0.0 };
        Some(0.5 + gain + luck)
    });

    let report = built(&study, &rows);

    assert_eq!(report.verdict.kind, VerdictKind::NotShown);
    assert!(report.verdict.text.contains("a looked better than b in 20 of 20 seeds"));
    assert!(report.verdict.text.contains("More seeds will not settle this"));
    assert!(report.verdict.basis.contains("T2") && report.verdict.basis.contains("100 rows"));
    assert!(!json(&report).contains("significant"));
}

#[test]
fn many_comparisons_are_adjusted_by_holms_steps() {
    let study = study(&[("a", 1), ("b", 1), ("c", 1)], 1, 1, 5);
    let rows = rows(&study, jagged);

    let report = built(&study, &rows);
    let mut pairs: Vec<(f64, f64)> = report
        .comparisons
        .iter()
        .filter_map(|pair| pair.contrast.as_ref().map(|c| (c.p_corrected, c.p_holm)))
        .collect();
    pairs.sort_by(|x, y| x.0.total_cmp(&y.0));
    let first = (3.0 * pairs[0].0).min(1.0);
    let second = (2.0 * pairs[1].0).min(1.0).max(first);
    let holm: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    assert_eq!(holm, [first, second, pairs[2].0.max(second)]);
}

#[test]
fn of_several_arms_only_one_ahead_of_every_other_is_clear() {
    let study = study(&[("a", 1), ("b", 1), ("c", 1)], 2, 1, 5);
    let with_gains = |gains: [f64; 3]| {
        let rows = rows(&study, |key| {
            let luck = 0.001 * f64::from((key.arm * 5 + key.fold * 3 + key.seeds[0]) % 4);
            Some(gains[key.arm as usize] + luck)
        });
        built(&study, &rows).verdict
    };

    let (ahead, tied) = (with_gains([0.1, 0.3, 0.1]), with_gains([0.1, 0.3, 0.3]));

    assert_eq!((ahead.kind, tied.kind), (VerdictKind::Clear, VerdictKind::PartlyClear));
    assert!(ahead.text.starts_with("b did better than every other arm."), "{}", ahead.text);
    assert!(tied.text.contains("no arm was shown to be better than every"), "{}", tied.text);
}

#[test]
fn a_cell_counts_only_when_every_config_of_both_arms_has_a_score() {
    let study = study(&[("a", 2), ("b", 1)], 3, 1, 4);
    let hole =
        |key: &TrialKey| key.arm == 0 && key.config == 1 && key.seeds[0] == 0 && key.fold < 2;
    let rows = rows(&study, |key| if hole(key) { None } else { jagged(key) });

    let report = built(&study, &rows);

    assert_eq!((report.comparisons[0].cells, report.comparisons[0].folds), (10, 4));
    assert_eq!(
        (report.design.missing[0].reason.as_str(), report.design.missing[0].trials),
        ("diverged", 2)
    );
}

#[test]
fn the_same_outcomes_in_any_order_give_the_same_bytes() {
    let study = study(&[("a", 2), ("b", 1)], 4, 2, 3);
    let sorted = rows(&study, jagged);
    let mut shuffled = sorted.clone();
    shuffled.reverse();
    shuffled.swap(3, 20);
    shuffled.rotate_left(17);

    assert_eq!(all_bytes(&study, &sorted), all_bytes(&study, &shuffled));
}

#[test]
fn agents_and_durations_show_in_costs_alone() {
    let study = study(&[("a", 1), ("b", 1)], 3, 1, 4);
    let here = rows(&study, jagged);
    let mut there = here.clone();
    for (place, row) in there.iter_mut().enumerate() {
        row.agent = MemberId(place as u64);
        if let RowEnd::Complete(outcome) = &mut row.end {
            outcome.duration_us *= 3;
            outcome.device = "cuda:0".into();
        }
    }

    let (one, mut other) = (built(&study, &here), built(&study, &there));

    near(other.cost.gpu_seconds, 3.0 * one.cost.agent_seconds);
    other.cost = one.cost.clone();
    let planned = |report: &Report| report.comparisons[0].outlook.clone().expect("compared");
    let cheaper = planned(&one);
    let outlook = other.comparisons[0].outlook.as_mut().expect("compared");
    near(outlook.precision.table[0].cost, 3.0 * cheaper.precision.table[0].cost);
    outlook.precision.table.clone_from(&cheaper.precision.table);
    outlook.worth = cheaper.worth;
    assert_eq!(one, other);
}

#[test]
fn a_second_outcome_of_a_trial_changes_nothing() {
    let study = study(&[("a", 1)], 2, 1, 3);
    let once = rows(&study, jagged);
    let mut twice = once.clone();
    twice.push(OutcomeRow { ended: Timestamp(99), ..row(2, complete(9.0)) });
    assert_eq!(built(&study, &once), built(&study, &twice));
}

#[test]
fn no_text_of_a_study_becomes_markup() {
    let mut study = study(&[("<script>alert(1)</script>", 2), ("\"><img src=x>", 1)], 2, 1, 3);
    study.name = "</title><script>".into();
    study.notes = "<script>alert('notes')</script>".into();
    study.arms[0].configs[0].point.values[0] = ("lr<script>".into(), Value::Text("<b>".into()));
    study.data.path = "<script>.csv".into();
    let rows = rows(&study, |key| if key.fold == 0 { None } else { jagged(key) });

    let report = built(&study, &rows);
    let (page, text) = (html(&report), markdown(&report));

    assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>"));
    assert!(page.contains("&lt;script&gt;alert(&#39;notes&#39;)&lt;/script&gt;"));
    assert!(!text.contains("<script") && !text.contains("<img"));
    assert!(page.contains("default-src 'none'"));
    // The SVG namespace is a name, and nothing fetches it.
    let addresses = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!addresses.contains("http://") && !addresses.contains("https://"));
}

#[test]
fn report_json_has_its_stable_keys() {
    let study = study(&[("a", 2), ("b", 1)], 3, 2, 3);
    let report = built(&study, &rows(&study, jagged));

    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("json");

    assert_eq!(value["schema"], "seedsweep.report/1");
    let has = |part: &serde_json::Value, keys: &[&str]| {
        for key in keys {
            assert!(part.get(key).is_some_and(|found| !found.is_null()), "{key} in {part}");
        }
    };
    has(&value["study"], &["name", "digest", "metric", "goal", "rows"]);
    has(
        &value["design"],
        &[
            "arms",
            "configs",
            "seeds",
            "partitions",
            "outer_folds",
            "planned",
            "complete",
            "failed",
            "diverged",
            "missing",
        ],
    );
    has(
        &value["arms"][0],
        &["arm", "n", "mean", "sd", "median", "iqm", "min", "max", "ci_t1", "ci_t2", "next_run"],
    );
    has(
        &value["components"][0],
        &["factor", "levels", "variance", "sd", "share", "ci_sd", "method", "p", "at_boundary"],
    );
    has(
        &value["comparisons"][0],
        &[
            "a",
            "b",
            "difference",
            "se",
            "df",
            "ci",
            "p_naive",
            "p_corrected",
            "p_a_beats_b",
            "verdict",
        ],
    );
    has(&value["seed_use"], &["class", "why"]);
    has(&value["cost"], &["agent_seconds", "gpu_seconds", "kwh_absent"]);
    has(&value, &["verdict", "methods", "reproduce"]);
    has(&value["lottery"][0], &["best_seed", "observed_gain", "expected_gain", "shrunken_gain"]);
    has(&value["comparisons"][0], &["rope", "precision", "replication", "worth"]);
    assert!(value["study"].get("groups").is_none());
}

#[test]
fn diverged_runs_are_left_out_or_counted_as_the_worst() {
    let mut study = study(&[("a", 1), ("b", 1)], 2, 1, 3);
    let lost = |key: &TrialKey| key.arm == 0 && key.fold == 0;
    let rows = rows(&study, |key| if lost(key) { None } else { Some(0.2 + f64::from(key.fold)) });

    let reported = built(&study, &rows);
    study.budget.diverged = Diverged::Worst;
    let worst = built(&study, &rows);

    assert_eq!((reported.arms[0].n, reported.design.diverged), (4, 2));
    near(reported.arms[0].scores.as_ref().expect("scores").mean, 1.7);
    assert_eq!(worst.arms[0].n, 6);
    near(worst.arms[0].scores.as_ref().expect("scores").mean, (2.0 * 0.2 + 4.0 * 1.7) / 6.0);
}

#[test]
fn a_study_that_declares_it_fails_with_a_diverged_run() {
    let mut study = study(&[("a", 1), ("b", 1)], 2, 1, 3);
    study.budget.diverged = Diverged::Fail;
    let rows = rows(&study, |key| if key.fold == 0 { None } else { jagged(key) });
    assert_eq!(built(&study, &rows).verdict.kind, VerdictKind::NotEstimable);
}

#[test]
fn a_single_seed_is_called_risky_with_what_would_mend_it() {
    let study = study(&[("a", 1), ("b", 1)], 1, 1, 5);
    let report = built(&study, &rows(&study, jagged));

    assert!(report.seed_use.risky && report.seed_use.class.starts_with('4'));
    assert_eq!(report.seed_use.mend_cost.as_ref().map(|cost| cost.trials), Some(90));
    assert!(report.arms[0].scores.as_ref().is_some_and(|scores| scores.ci_t1.is_none()));
    let seed = report.not_estimable.iter().find(|part| part.factor.as_deref() == Some("seed"));
    assert!(seed.is_some_and(|part| part.why.contains("one level")));
}

#[test]
fn drawn_test_sets_are_partitions_without_folds() {
    let mut study = study(&[("a", 1), ("b", 1)], 3, 6, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let report = built(&study, &rows(&study, jagged));

    let factors: Vec<&str> = report
        .components
        .iter()
        .filter(|part| part.arm.as_deref() == Some("a"))
        .map(|part| part.factor.as_str())
        .collect();
    assert_eq!(factors, ["seed", "partition", "residual"]);
    let contrast = report.comparisons[0].contrast.as_ref().expect("contrast");
    near((contrast.se_corrected / contrast.se_naive).powi(2), (1.0 / 6.0 + 0.25) * 6.0);
}

#[test]
fn one_test_set_compares_no_arms_and_is_called_risky() {
    let mut study = study(&[("a", 1), ("b", 1)], 5, 1, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let report = built(&study, &rows(&study, jagged));

    assert_eq!(report.verdict.kind, VerdictKind::NotEstimable);
    assert!(report.seed_use.class.starts_with('5'));
    assert!(report.arms[0].scores.as_ref().is_some_and(|scores| scores.ci_t2.is_none()));
}

#[test]
fn an_arm_without_a_score_is_said_to_have_none() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 3);
    let rows = rows(&study, |key| if key.arm == 0 { None } else { jagged(key) });

    let report = built(&study, &rows);

    assert!(report.arms[0].scores.is_none() && report.arms[0].failed == 6);
    assert_eq!(report.verdict.kind, VerdictKind::NotEstimable);
    assert!(html(&report).contains("Not estimable"));
}

#[test]
fn a_metric_that_is_not_defined_in_a_fold_is_counted_and_left_out() {
    let study = study(&[("a", 1), ("b", 1)], 3, 1, 4);
    let rows = rows(&study, |key| if key.fold == 1 { Some(f64::NAN) } else { jagged(key) });

    let report = built(&study, &rows);

    assert_eq!((report.design.undefined, report.arms[0].n), (6, 9));
    assert_eq!(report.comparisons[0].folds, 3);
    assert!(!json(&report).contains("null"));
}

#[test]
fn equal_scores_have_no_spread_to_divide() {
    let study = study(&[("a", 1), ("b", 1)], 3, 2, 3);
    let report = built(&study, &rows(&study, |_| Some(0.1)));

    assert!(report.components.is_empty());
    assert!(report.not_estimable.iter().any(|part| part.why.contains("identical")));
    assert_eq!(report.verdict.kind, VerdictKind::NotEstimable);
    assert!(report.arms[0].remarks[0].contains("the seed does not reach it"));
    assert!(html(&report).contains("</html>"));
}

#[test]
fn streams_varied_apart_have_a_component_each() {
    let mut study = study(&[("a", 1)], 1, 1, 4);
    let factor =
        |stream: Stream| SeedFactor { name: stream.name().into(), streams: vec![stream], count: 3 };
    study.seeds.factors = vec![factor(Stream::Init), factor(Stream::Order)];
    let rows = rows(&study, |key| {
        let luck = f64::from(key.seeds[0] * key.seeds[0]) + 0.1 * f64::from(key.seeds[1]);
        Some(luck + jagged(key).unwrap_or(0.0))
    });

    let report = built(&study, &rows);

    assert!(component(&report, "a", "init").sd > component(&report, "a", "order").sd);
    assert!(report.drawn.effects.iter().any(|effects| effects.factor == "order"));
    assert_eq!(report.drawn.arms[0].seeds.len(), 9);
}

#[test]
fn an_exported_cell_is_never_a_formula() {
    let mut study = study(&[("=cmd()", 1), ("b", 1)], 1, 1, 2);
    study.metrics = vec![Metric::R2];
    let mut rows = rows(&study, |_| Some(-0.5));
    rows[0].end = RowEnd::Failed { reason: "error".into(), detail: "-1+1\nlost".into() };

    let material = material(&study, &rows);
    let text = String::from_utf8(csv(&material).expect("csv")).expect("text");
    let mut reader = ::csv::Reader::from_reader(text.as_bytes());

    let heads = reader.headers().expect("heads").clone();
    assert_eq!(
        heads.iter().collect::<Vec<_>>(),
        [
            "trial",
            "arm",
            "config",
            "seed",
            "partition",
            "fold",
            "status",
            "r2",
            "epochs",
            "duration_seconds",
            "device",
            "agent",
            "reason",
            "detail",
            "digest"
        ]
    );
    let cells: Vec<_> = reader.records().map(|record| record.expect("record")).collect();
    assert_eq!((&cells[0][1], &cells[0][6], &cells[0][13]), ("'=cmd()", "failed", "'-1+1\nlost"));
    assert_eq!((&cells[1][1], &cells[1][7], &cells[1][11]), ("b", "-0.5", "m1"));
}

#[test]
fn parquet_holds_one_row_a_trial_with_hyperparameters_as_columns() {
    let study = study(&[("a", 2), ("b", 1)], 2, 1, 2);
    let rows = rows(&study, |key| if key.fold == 0 { None } else { jagged(key) });

    let bytes = parquet(&material(&study, &rows)).expect("parquet");

    let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("reads");
    let rows_read = reader.get_row_iter(None).expect("rows");
    let table: Vec<_> = rows_read.map(|row| row.expect("row")).collect();
    assert_eq!(table.len(), 12);
    let cell = |row: usize, name: &str| -> String {
        let mut columns = table[row].get_column_iter();
        columns.find(|(column, _)| *column == name).map(|(_, cell)| cell.to_string()).expect("cell")
    };
    assert_eq!((cell(1, "config.lr"), cell(2, "config.lr")), ("1.0".into(), "null".into()));
    assert_eq!((cell(0, "status"), cell(0, "r2")), ("\"diverged\"".into(), "null".into()));
    assert_eq!((cell(3, "status"), cell(3, "epochs")), ("\"complete\"".into(), "7".into()));
}
