//! Claims about reports over studies, on small ones whose numbers are worked out by hand.
//!
//! Floor: core.

use common::id::Digest;
use common::metric::Metric;
use common::space::Config;
use common::study::{Arm, ArmConfig, Hyper, Model, Study};
use common::wire::message::OutcomeRow;

use super::super::content::VerdictKind;
use super::super::tests::{material, rows, study};
use super::content::ScaleKind;
use super::*;

/// A study of this name and data, and the score of each arm and seed in it, alike in both folds.
fn scored(name: &str, arms: &[&str], scores: &[&[f64]]) -> (Study, Vec<OutcomeRow>) {
    let arms: Vec<(&str, u32)> = arms.iter().map(|arm| (*arm, 1)).collect();
    let mut study = study(&arms, scores[0].len() as u32, 1, 2);
    study.name = name.into();
    study.data.digest = Digest::of(name.as_bytes());
    let rows = rows(&study, |key| {
        // Folds apart, but alike for all: they average out.
        let fold = if key.fold == 0 { 0.01 } else { -0.01 };
        Some(scores[key.arm as usize][key.seeds[0] as usize] + fold)
    });
    (study, rows)
}

fn of(studies: &[(Study, Vec<OutcomeRow>)]) -> Result<Several, SeveralError> {
    let materials: Vec<Material<'_>> =
        studies.iter().map(|(study, rows)| material(study, rows)).collect();
    build(&materials)
}

fn near(value: f64, expected: f64) {
    assert!((value - expected).abs() < 1e-12, "{value} {expected}");
}

/// Arm a ahead of b ahead of c in each of so many studies, by a little more in each.
fn ladder(studies: usize) -> Vec<(Study, Vec<OutcomeRow>)> {
    (0..studies)
        .map(|place| {
            let base = 0.3 + 0.05 * place as f64;
            let a = [base + 0.2, base + 0.22, base + 0.24];
            let b = [base + 0.1, base + 0.12, base + 0.14];
            let c = [base, base + 0.02, base + 0.04];
            scored(&format!("s{place}"), &["a", "b", "c"], &[&a, &b, &c])
        })
        .collect()
}

#[test]
fn numbers_over_two_studies_are_those_worked_out_by_hand() {
    let one = scored("one", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let two = scored("two", &["a", "b"], &[&[0.2, 0.4], &[0.3, 0.9]]);

    let report = of(&[one, two]).expect("a report");

    assert_eq!(report.scale.kind, ScaleKind::Chance, "R² is 0 for the mean of the target");
    // a: 0.2 0.4 0.6 0.8; b: 0.3 0.5 0.7 0.9. The middle halves, and what is lacking to 1.
    let of_arm = |arm: usize| (report.arms[arm].iqm, report.arms[arm].optimality_gap);
    near(of_arm(0).0, 0.5);
    near(of_arm(0).1, 0.5);
    near(of_arm(1).0, 0.6);
    near(of_arm(1).1, 0.4);
    // In one a wins 0.6 > 0.5, 0.8 > 0.5, 0.8 > 0.7; in two 0.4 > 0.3 alone.
    let pair = &report.improvement[0];
    near(pair.p_a_beats_b, 0.5 * (0.75 + 0.25));
    assert_eq!((pair.a_wins, pair.b_wins, pair.ties), (1, 1, 0));
    assert_eq!((report.arms[0].mean_rank, report.arms[0].first_in), (1.5, 1));
    // Four runs of which one is above 0.7.
    let above = |arm: usize, score: f64| {
        let points = &report.arms[arm].profile;
        points.iter().rev().find(|point| point.threshold <= score).expect("inside").above
    };
    near(above(0, 0.75), 0.25);
    near(above(1, 0.75), 0.25);
    near(above(1, 0.25), 1.0);
}

#[test]
fn the_order_in_which_studies_are_named_changes_no_byte() {
    let studies = ladder(5);
    let materials: Vec<Material<'_>> =
        studies.iter().map(|(study, rows)| material(study, rows)).collect();
    let back: Vec<Material<'_>> = materials.iter().rev().copied().collect();
    let (one, other) = (build(&materials).expect("one"), build(&back).expect("other"));

    assert_eq!(json(&one), json(&other));
    assert_eq!(html(&one), html(&other));
    assert_eq!(markdown(&one), markdown(&other));
    assert_eq!(latex(&one), latex(&other));
}

#[test]
fn five_studies_that_rank_alike_make_the_best_of_three_arms_clear_of_the_worst_alone() {
    let report = of(&ladder(5)).expect("a report");
    let test = report.friedman.as_ref().expect("five are enough");

    // Demšar: q of 3 arms at 0.05 is 2.343, times the root of 3·4 / (6·5).
    assert!((test.critical_difference - 2.343 * (12.0f64 / 30.0).sqrt()).abs() < 2e-3, "{test:?}");
    assert_eq!(report.arms.iter().map(|arm| arm.mean_rank).collect::<Vec<_>>(), [1.0, 2.0, 3.0]);
    near(test.chi_square, 10.0);
    assert_eq!((test.f, test.p_f), (None, 0.0), "all studies rank alike");
    assert_eq!(test.alike, [["a", "b"], ["b", "c"]]);
    assert_eq!(report.verdict.kind, VerdictKind::PartlyClear);
    assert!(report.verdict.text.contains("a did better than c"), "{}", report.verdict.text);
    assert!(html(&report).contains("critical difference 1.48"));
}

#[test]
fn ten_studies_that_rank_alike_make_one_arm_better_than_every_other() {
    let studies: Vec<_> = (0..12)
        .map(|place| {
            let base = 0.3 + 0.02 * f64::from(place);
            let better = [base + 0.2, base + 0.21, base + 0.22, base + 0.23, base + 0.24];
            let worse = [base, base + 0.01, base + 0.02, base + 0.03, base + 0.04];
            scored(&format!("s{place:02}"), &["worse", "better"], &[&worse, &better])
        })
        .collect();
    let report = of(&studies).expect("a report");

    assert_eq!(report.verdict.kind, VerdictKind::Clear);
    let said = &report.verdict.text;
    assert!(
        said.starts_with("better did better than every other arm over these 12 data"),
        "{said}"
    );
    assert!(said.contains("lucky seeds do not explain it"), "{said}");
}

#[test]
fn ranks_that_differ_by_chance_show_nothing() {
    let studies: Vec<_> = (0..6)
        .map(|place| {
            let (x, y) = if place % 2 == 0 { (0.5, 0.6) } else { (0.6, 0.5) };
            scored(&format!("s{place}"), &["a", "b"], &[&[x, x + 0.01], &[y, y + 0.01]])
        })
        .collect();
    let report = of(&studies).expect("a report");

    assert_eq!(report.verdict.kind, VerdictKind::NotShown);
    assert!(report.verdict.text.contains("does not show that they are equal"));
}

#[test]
fn fewer_than_five_studies_are_told_so_and_have_no_diagram() {
    let report = of(&ladder(3)).expect("a report");

    assert_eq!((report.verdict.kind, &report.friedman), (VerdictKind::Described, &None));
    let said = &report.verdict.text;
    assert!(said.contains("ranks over data sets need 5 studies, 2 more than these"), "{said}");
    assert!(report.friedman_absent.as_ref().expect("why").contains("at least 5 studies"));
    let page = html(&report);
    assert!(!page.contains("Nemenyi") && page.contains("Share of runs, over all studies"));
    assert_eq!(page.matches("<figure ").count(), 2);
    assert_eq!(html(&of(&ladder(5)).expect("a report")).matches("<figure ").count(), 3);
}

#[test]
fn a_loss_is_better_where_it_is_smaller() {
    let turned = |(mut study, rows): (Study, Vec<OutcomeRow>)| {
        study.metrics = vec![Metric::Rmse];
        (study, rows)
    };
    let one = turned(scored("one", &["a", "b"], &[&[2.0, 3.0], &[4.0, 6.0]]));
    let two = turned(scored("two", &["a", "b"], &[&[20.0, 30.0], &[10.0, 50.0]]));
    let report = of(&[one, two]).expect("a report");

    assert_eq!((report.goal, report.scale.kind), ("smaller is better", ScaleKind::Range));
    assert_eq!((report.studies[0].zero, report.studies[0].one), (6.0, 2.0));
    let of_runs = |place: usize| report.runs[place].normalised.clone();
    assert_eq!((of_runs(0), of_runs(1)), (vec![1.0, 0.75], vec![0.5, 0.0]));
    assert_eq!(report.improvement[0].p_a_beats_b, 0.5 * (1.0 + 0.5));
    assert_eq!(report.studies[0].scores[0].rank, 1.0);
}

#[test]
fn a_constant_control_is_zero_where_every_study_has_one() {
    let controlled = |name: &str, constant: f64| {
        let (mut study, _) = scored(name, &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
        study.metrics = vec![Metric::Accuracy];
        study.arms.push(Arm {
            name: "constant".into(),
            model: Model::Constant,
            written: "constant".into(),
            configs: vec![ArmConfig { point: Config::default(), hyper: Hyper::none() }],
            learned: None,
            halving: None,
            race: None,
            requires: Default::default(),
        });
        let scores = [[0.6, 0.8], [0.5, 0.7], [constant; 2]];
        let rows = rows(&study, |key| Some(scores[key.arm as usize][key.seeds[0] as usize]));
        (study, rows)
    };
    let report = of(&[controlled("one", 0.5), controlled("two", 0.2)]).expect("a report");

    assert_eq!(report.scale.kind, ScaleKind::Constant);
    assert_eq!(report.arms.len(), 2, "a control is no arm");
    near(report.runs[0].normalised[1], (0.8 - 0.5) / 0.5);
    near(report.runs[2].normalised[1], (0.8 - 0.2) / 0.8);
}

#[test]
fn one_seed_gives_no_interval_and_says_so() {
    let one = scored("one", &["a", "b"], &[&[0.6], &[0.5]]);
    let two = scored("two", &["a", "b"], &[&[0.7, 0.8], &[0.5, 0.6]]);
    let report = of(&[one, two]).expect("a report");

    assert_eq!((&report.arms[0].iqm_ci, &report.improvement[0].p_a_beats_b_ci), (&None, &None));
    assert!(
        report.remarks.iter().any(|text| text == "a has one run in one: no interval is given.")
    );
    assert!(report.methods.contains("no interval was drawn"), "{}", report.methods);
    assert!(report.verdict.text.contains("nothing says how sure that is"));
}

#[test]
fn a_fold_that_one_arm_lacks_counts_for_no_arm() {
    let (study, _) = scored("one", &["a", "b"], &[&[0.5, 0.5], &[0.5, 0.5]]);
    let rows = rows(&study, |key| match (key.arm, key.fold) {
        (1, 1) => None,
        (_, fold) => Some(if fold == 0 { 0.4 } else { 0.9 } + 0.1 * f64::from(key.seeds[0])),
    });
    let other = scored("two", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let report = of(&[(study, rows), other]).expect("a report");

    assert_eq!((report.studies[0].folds, report.studies[1].folds), (1, 2));
    assert_eq!(report.studies[0].scores[0].mean, report.studies[0].scores[1].mean);
    near(report.studies[0].scores[0].mean, 0.45);
}

#[test]
fn arms_that_some_study_lacks_are_named_and_left_out() {
    let one = scored("one", &["a", "b", "c"], &[&[0.6, 0.8], &[0.5, 0.7], &[0.1, 0.2]]);
    let two = scored("two", &["b", "a"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let report = of(&[one, two]).expect("a report");

    assert_eq!(report.arms.iter().map(|arm| arm.arm.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(report.left_out[0].arm, "c");
    assert!(html(&report).contains("c, which two lacks"));
    let means: Vec<f64> = report.studies[1].scores.iter().map(|score| score.mean).collect();
    near(means[0], 0.6);
    near(means[1], 0.7);
}

#[test]
fn what_cannot_be_put_side_by_side_is_refused_with_its_reason() {
    let one = || scored("one", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let said = |studies: &[(Study, Vec<OutcomeRow>)]| of(studies).expect_err("refused").to_string();

    assert!(said(&[one()]).contains("at least 2 of them; 1 given"));
    assert!(said(&[one(), one()]).contains("\"one\" is named twice"));
    let mut loss = scored("two", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    loss.0.metrics = vec![Metric::Mae];
    let text = said(&[one(), loss]);
    assert!(
        text.contains("one is judged by r2 (larger is better) and two by mae (smaller"),
        "{text}"
    );
    let strangers = scored("two", &["b", "x"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let text = said(&[one(), strangers]);
    assert!(text.contains("and 1 has: one has a, b; two has b, x"), "{text}");
    let (study, _) = one();
    let silent = rows(&study, |key| (key.arm == 0).then_some(0.5));
    let two = scored("two", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    assert!(said(&[(study, silent), two]).contains("b has no score in one"));
}

#[test]
fn what_makes_numbers_doubtful_is_remarked() {
    let one = scored("one", &["a", "b"], &[&[0.6, 0.8], &[0.5, 0.7]]);
    let mut two = scored("two", &["a", "b"], &[&[0.6, 0.8, 0.7], &[0.5, 0.7, 0.6]]);
    two.0.data.digest = one.0.data.digest;
    two.0.arms[1].configs[0].hyper.epochs += 1;
    let report = of(&[one, two]).expect("a report");

    let says = |part: &str| report.remarks.iter().any(|text| text.contains(part));
    assert!(says("one and two are of the same data and target"), "{:?}", report.remarks);
    assert!(says("b is not trained alike everywhere; in one: "), "{:?}", report.remarks);
    assert!(says("With 2 seeds a study"), "{:?}", report.remarks);
    assert!(says("those with more runs weigh more"), "{:?}", report.remarks);
    assert!(!says("a is not trained alike"), "{:?}", report.remarks);
}
