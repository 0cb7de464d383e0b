//! Claims about controls: what they say of an arm, and that they enter nothing else.
//!
//! Floor: core.

use super::super::content::ControlledPart;
use super::*;

/// The study with a constant, and with each arm permuted for so many seeds.
fn controlled(mut study: Study, repeats: Option<u32>) -> Study {
    let judged = study.arms.clone();
    let plain = ArmConfig { point: Config::default(), hyper: Hyper::none() };
    study.arms.push(Arm {
        name: "constant".into(),
        model: Model::Constant,
        written: "constant".into(),
        configs: vec![plain],
        learned: None,
        halving: None,
        race: None,
        requires: Default::default(),
    });
    let permuted = |(of, arm): (usize, &Arm)| Arm {
        name: format!("{}.permuted", arm.name),
        model: Model::Permuted { of: of as u32, repeats: repeats.unwrap_or_default() },
        written: format!("{} permuted", arm.name),
        configs: arm.configs.clone(),
        learned: None,
        halving: None,
        race: None,
        requires: Default::default(),
    };
    if repeats.is_some() {
        study.arms.extend(judged.iter().enumerate().map(permuted));
    }
    study
}

/// One arm on five folds with its controls: scores of the arm, the constant and the permuted arm by
/// fold; two seeds, which change nothing.
fn beside(metric: Metric, scores: [[f64; 5]; 3]) -> Report {
    let mut study = controlled(study(&[("a", 1)], 2, 1, 5), Some(2));
    study.metrics = vec![metric];
    let rows = rows(&study, |key| Some(scores[key.arm as usize][key.fold as usize]));
    built(&study, &rows)
}

fn part(report: &Report) -> &ControlledPart {
    &report.controls.as_ref().expect("controls").arms[0]
}

const GUESS: [f64; 5] = [0.5; 5];
const AROUND: [f64; 5] = [0.48, 0.53, 0.5, 0.46, 0.52];
const GOOD: [f64; 5] = [0.81, 0.82, 0.83, 0.84, 0.85];

#[test]
fn an_arm_is_held_against_the_constant_by_the_corrected_test() {
    let report = beside(Metric::Auroc, [GOOD, GUESS, AROUND]);
    let part = part(&report);
    let constant = part.constant.as_ref().expect("constant");
    assert_eq!((constant.n, constant.folds, constant.mean), (5, 5, 0.5));
    near(constant.difference, 0.33);
    // s² = 0.00025 over 5 folds, times 1/5 + 1/4; t of 4 degrees of freedom 2.776445.
    let ci = constant.ci.as_ref().expect("an interval");
    near(ci.low, 0.33 - 2.776_445 * 0.000_112_5f64.sqrt());
    let above = part.above_chance.as_ref().expect("permuted");
    near(above.difference, -0.002);
    near(part.permuted.as_ref().expect("permuted").difference, 0.332);
    assert_eq!((part.learned, part.leaks, part.findings.len()), (Some(true), Some(false), 0));
    assert!(!report.verdict.text.contains("control"), "{}", report.verdict.text);
    assert!(html(&report).contains("Every arm does better than its controls, and none"));
}

#[test]
fn an_arm_that_does_not_beat_its_controls_has_learned_nothing() {
    let report = beside(Metric::Auroc, [[0.6, 0.4, 0.55, 0.5, 0.48], GUESS, AROUND]);
    let part = part(&report);
    assert_eq!((part.learned, part.leaks), (Some(false), Some(false)));
    assert_eq!(part.findings.len(), 1);
    let said = &part.findings[0];
    assert!(said.starts_with("a has learned nothing that its controls have not"), "{said}");
    assert!(said.contains("constant by 0.0"), "{said}");
    let verdict = &report.verdict;
    assert!(verdict.text.contains("a does not beat the controls: it has learned nothing"));
    assert_eq!(verdict.kind, VerdictKind::Described);
    for page in [html(&report), markdown(&report)] {
        assert!(page.contains("has learned nothing") && page.contains("Arm − constant"), "{page}");
    }
}

#[test]
fn a_permuted_control_above_chance_is_a_leak_and_ends_the_verdict() {
    let report = beside(Metric::Auroc, [GOOD, GUESS, [0.6, 0.62, 0.59, 0.61, 0.63]]);
    let part = part(&report);
    assert_eq!((part.learned, part.leaks), (Some(true), Some(true)));
    assert!(part.findings[0].starts_with("a leaks: trained with shuffled labels"));
    assert_eq!(report.verdict.kind, VerdictKind::NotEstimable);
    assert!(report.verdict.text.starts_with("a leaks: "), "{}", report.verdict.text);
    assert!(report.methods.contains("labels of its training rows shuffled, with 2 seeds"));
}

#[test]
fn where_less_is_better_more_is_no_gain() {
    let constant = [1.0, 1.01, 1.02, 0.99, 1.0];
    let worse = [1.2, 1.23, 1.21, 1.22, 1.24];
    let report = beside(Metric::Rmse, [worse, constant, worse.map(|score| score + 0.3)]);
    assert_eq!((part(&report).learned, part(&report).leaks), (Some(false), Some(false)));
    let better = [0.2, 0.23, 0.21, 0.22, 0.24];
    let report = beside(Metric::Rmse, [better, constant, better.map(|score| score + 0.1)]);
    assert_eq!(part(&report).leaks, Some(true), "shuffled targets, told better than their mean");
}

#[test]
fn the_same_in_every_fold_needs_no_interval_and_one_fold_tells_nothing() {
    let report = beside(Metric::Accuracy, [[1.0; 5], [0.5; 5], [0.5; 5]]);
    let steady = part(&report);
    assert_eq!((steady.learned, steady.leaks), (Some(true), Some(false)));
    assert!(steady.constant.as_ref().expect("constant").ci.is_none());

    let mut one = controlled(study(&[("a", 1)], 3, 1, 1), Some(1));
    one.outer.kind = OuterKind::Holdout { share: 0.2 };
    let report = built(&one, &rows(&one, jagged));
    assert_eq!((part(&report).learned, part(&report).leaks), (None, None));
    assert!(html(&report).contains("for some the folds cannot tell"));
}

#[test]
fn without_a_constant_only_the_area_under_the_curve_knows_what_a_guess_scores() {
    let mut study = controlled(study(&[("a", 1)], 2, 1, 5), Some(2));
    study.arms.remove(1);
    let leak = |key: &TrialKey| {
        Some(if key.arm == 0 { GOOD } else { GOOD.map(|s| s - 0.2) }[key.fold as usize])
    };
    for (metric, leaks) in [(Metric::Auroc, Some(true)), (Metric::Accuracy, None)] {
        study.metrics = vec![metric];
        let report = built(&study, &rows(&study, leak));
        assert_eq!((part(&report).leaks, part(&report).learned), (leaks, Some(true)));
        assert_eq!(report.controls.as_ref().and_then(|part| part.constant.clone()), None);
    }
}

#[test]
fn controls_enter_no_other_number_of_the_report() {
    let plain = study(&[("a", 2), ("b", 1), ("c", 1)], 4, 2, 3);
    for policy in [Diverged::Report, Diverged::Worst, Diverged::Fail] {
        let mut plain = plain.clone();
        plain.budget.diverged = policy;
        let beside = controlled(plain.clone(), Some(3));
        let score = |key: &TrialKey| match key.arm {
            // Controls that are far off, or diverge.
            arm if arm > 2 => (key.fold != 1).then_some(-9.0),
            0 if key.seeds[0] == 1 && policy != Diverged::Fail => None,
            _ => jagged(key),
        };
        let alone = built(&plain, &rows(&plain, score));
        let report = built(&beside, &rows(&beside, score));
        assert_eq!(report.arms, alone.arms);
        assert_eq!(report.components, alone.components);
        assert_eq!(report.comparisons.len(), 3);
        for (own, other) in report.comparisons.iter().zip(&alone.comparisons) {
            assert_eq!(own.contrast, other.contrast, "{policy:?}");
        }
        assert_eq!(report.seed_use, alone.seed_use);
        assert_eq!(report.design.diverged, alone.design.diverged);
        assert_eq!(report.design.arms, 3);
        // When trials ended is a matter of looks, which see controls too.
        let drawn = Drawn { ended: alone.drawn.ended.clone(), ..report.drawn };
        assert_eq!(drawn, alone.drawn);
        // Six folds of the constant; of the others four configs and three of the four seeds.
        assert_eq!(report.design.planned - alone.design.planned, 6 + 6 * 4 * 3);
        assert_eq!(alone.controls, None);
    }
}

#[test]
fn exports_tell_controls_from_arms() {
    let study = controlled(study(&[("a", 1)], 1, 1, 2), Some(1));
    let rows = rows(&study, jagged);
    let material = Material::of(&study, &rows);
    let text = String::from_utf8(csv(&material).expect("csv")).expect("text");
    let arms: Vec<(String, String)> = ::csv::Reader::from_reader(text.as_bytes())
        .deserialize::<std::collections::BTreeMap<String, String>>()
        .map(|row| row.expect("a row"))
        .map(|row| (row["arm"].clone(), row["control"].clone()))
        .collect();
    let named = |arm: &str, control: &str| (arm.to_string(), control.to_string());
    let block = [named("a", ""), named("constant", "constant"), named("a.permuted", "permuted")];
    assert_eq!(arms, [block.clone(), block].concat());
}
