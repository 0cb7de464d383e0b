//! Claims about the words of a report: they say what was done, and no more.
//!
//! Floor: core.

use super::*;

#[test]
fn with_one_test_set_nothing_claims_to_reach_other_rows() {
    let mut study = study(&[("a", 1), ("b", 1), ("c", 1)], 5, 1, 1);
    study.outer.kind = OuterKind::Holdout { share: 0.2 };
    let report = built(&study, &rows(&study, jagged));

    let next = report.arms[0].scores.as_ref().and_then(|scores| scores.next_run.as_ref());
    assert_eq!(next.and_then(|next| next.target), Some(content::Target::T1));
    assert!(!report.verdict.basis.contains("T2"), "{}", report.verdict.basis);
    assert!(html(&report).contains("on the same test rows, each with a new seed"));
    for absent in ["Holm", "corrected", "T2"] {
        assert!(!report.methods.contains(absent), "{absent}: {}", report.methods);
    }
}

#[test]
fn holms_method_is_named_only_where_several_comparisons_were_tested() {
    let (two, three) =
        (study(&[("a", 1), ("b", 1)], 2, 1, 5), study(&[("a", 1), ("b", 1), ("c", 1)], 2, 1, 5));
    let [two, three] = [two, three].map(|study| built(&study, &rows(&study, jagged)));

    assert!(two.methods.contains("corrected resampled") && !two.methods.contains("Holm"));
    assert!(three.methods.contains("the 3 comparisons were adjusted by Holm's method"));
    assert_eq!(three.references.len(), two.references.len() + 1);
}

#[test]
fn the_page_and_the_methods_say_what_was_done_to_the_data() {
    let mut study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    study.metrics = vec![Metric::Auroc];
    study.data.task = Task::Classification { classes: vec!["ill".into(), "well".into()] };
    study.data.missing = Missing::Mean;
    study.data.drop = vec!["id".into()];
    study.data.group = Some("patient".into());
    let report = built(&study, &rows(&study, jagged));

    for text in [html(&report), report.methods.clone()] {
        for said in [
            "well is the positive one",
            "filled with the mean of the training rows",
            "id",
            "patient",
            "standardised with the mean and standard deviation of the training rows alone",
            "one column a level",
            "60 epochs, batch size 32, Adam, learning rate 0.001",
            "a positive case scores above a negative one",
        ] {
            assert!(text.contains(said), "{said}: {text}");
        }
    }
}

#[test]
fn only_hyperparameters_that_all_configs_share_have_a_value() {
    let mut study = study(&[("a", 2)], 2, 1, 3);
    study.arms[0].configs[1].hyper.lr = 0.5;

    let words = subject::training(&study.arms[0]);

    assert!(words.contains("60 epochs") && words.ends_with("varied: learning rate"), "{words}");
}

#[test]
fn every_metric_is_explained_and_areas_name_their_mean_over_classes() {
    let mut study = study(&[("a", 1)], 2, 1, 3);
    study.data.task = Task::Classification { classes: ["x", "y", "z"].map(String::from).to_vec() };
    let meanings = Metric::ALL.map(|metric| {
        study.metrics = vec![metric];
        subject::metric(&study)
    });

    assert!(meanings[0].contains("one against the rest"), "{}", meanings[0]);
    for (metric, meaning) in Metric::ALL.iter().zip(&meanings) {
        assert!(meaning.starts_with(&format!("{metric} is ")) && meaning.len() > 40, "{meaning}");
    }
}

#[test]
fn a_verdict_on_several_arms_agrees_with_its_label() {
    let study = study(&[("a", 2), ("b", 1), ("c", 1)], 2, 1, 5);
    let gains = [0.1, 0.3, 0.3];
    let rows = rows(&study, |key| {
        let luck = 0.001 * f64::from((key.arm * 5 + key.fold * 3 + key.seeds[0]) % 4);
        Some(gains[key.arm as usize] + luck)
    });

    let verdict = built(&study, &rows).verdict;

    assert_eq!(verdict.kind, VerdictKind::PartlyClear);
    assert!(verdict.text.starts_with("Some differences are clear"), "{}", verdict.text);
    assert!(!verdict.text.contains("0 are"), "{}", verdict.text);
    let caveat = "Here a stands for a typical one of its 2 configs, not for its best.";
    assert!(verdict.text.ends_with(caveat), "{}", verdict.text);
}

#[test]
fn a_left_out_column_is_spoken_of_by_its_name() {
    let mut study = study(&[("a", 1), ("b", 1)], 20, 1, 5);
    study.outer.kind = OuterKind::LeaveOut;
    study.data.leave_out = Some("hospital".into());
    let by_fold = [0.05, -0.02, 0.03, -0.01, 0.01];
    let rows = rows(&study, |key| {
        let luck = 0.0005 * f64::from(key.seeds[0] % 3 * (key.arm + 1));
        Some(0.5 + luck + if key.arm == 0 { by_fold[key.fold as usize] } else { 0.0 })
    });

    let report = built(&study, &rows);

    let text = &report.verdict.text;
    assert!(text.contains("the same 5 values of hospital. On a new hospital"), "{text}");
    assert!(text.contains("more values of hospital would help"), "{text}");
    assert!(report.verdict.basis.starts_with("Target T2: the same training, tested on a new hos"));
    assert!(report.methods.contains("For a new hospital (T2)"), "{}", report.methods);
    assert!(html(&report).contains("T2: a new hospital"));
}

#[test]
fn forward_chaining_is_spoken_of_by_its_column_and_its_limits_are_said() {
    let mut study = study(&[("a", 1), ("b", 1)], 20, 1, 5);
    study.outer.kind = OuterKind::Ordered { share: None };
    study.outer.stratify = false;
    study.data.leave_out = Some("date".into());
    let rows = rows(&study, |key| Some(0.5 + 0.01 * f64::from(key.fold + key.seeds[0] % 3)));

    let report = built(&study, &rows);

    let split = "forward chaining over date: 5 folds, each trained on all earlier rows";
    assert_eq!(report.study.split, split);
    assert!(report.methods.contains(split), "{}", report.methods);
    assert!(report.methods.contains("Later folds have more training rows"), "{}", report.methods);
    assert!(report.methods.contains("is a heuristic here"), "{}", report.methods);
    let mean = (1.0 + 1.0 / 2.0 + 1.0 / 3.0 + 1.0 / 4.0 + 1.0 / 5.0) / 5.0;
    assert!((study.test_over_train().expect("rows on both sides") - mean).abs() < 1e-12);

    (study.outer.kind, study.outer.folds) = (OuterKind::Ordered { share: Some(0.2) }, 1);
    assert!((study.test_over_train().expect("rows on both sides") - 0.25).abs() < 1e-12);
}

#[test]
fn a_seed_variance_of_zero_gives_a_sentence_and_no_panel() {
    let study = study(&[("a", 1)], 3, 1, 3);
    // Latin square: no seed and no fold is better than another.
    let square = |key: &TrialKey| Some(f64::from((key.seeds[0] + key.fold) % 3) / 10.0);
    let report = built(&study, &rows(&study, square));
    let (flat, uneven) = (
        html(&report),
        html(&built(
            &study,
            &rows(&study, |key| square(key).map(|score| score + f64::from(key.seeds[0]))),
        )),
    );

    assert_eq!(component(&report, "a", "seed").variance, 0.0);
    assert!(flat.contains("estimated as exactly zero for seed of a"));
    assert!(!flat.contains("Predicted effects of seeds"));
    assert!(uneven.contains("Predicted effects of seeds") && !uneven.contains("exactly zero"));
}

#[test]
fn seeds_are_counted_plainly_and_apart_by_stream() {
    let mut study = study(&[("a", 1)], 20, 1, 2);
    let together = html(&built(&study, &[]));
    let factor = |stream: Stream, count| SeedFactor {
        name: stream.name().into(),
        streams: vec![stream],
        count,
    };
    study.seeds.factors = vec![factor(Stream::Init, 10), factor(Stream::Order, 4)];
    let apart = html(&built(&study, &[]));

    assert!(together.contains("<dt>Seeds</dt><dd>20</dd>"));
    assert!(apart.contains("<dt>Seeds</dt><dd>10 init × 4 order</dd>"));
}

#[test]
fn a_cut_interval_is_said_to_be_cut() {
    let study = study(&[("a", 1)], 2, 1, 2);
    let at = |level: f64| {
        let score = |key: &TrialKey| Some(level + f64::from(key.seeds[0] + key.fold) / 20.0);
        html(&built(&study, &rows(&study, score)))
    };

    assert!(at(0.9).contains("ends where the metric ends"));
    assert!(!at(-9.0).contains("ends where the metric ends"));
}

#[test]
fn a_study_partly_done_says_so() {
    let study = study(&[("a", 1), ("b", 1)], 4, 1, 5);
    let rows = rows(&study, jagged);
    for ended in [0, 1, 2, 3, 7, 23] {
        let report = built(&study, &rows[..ended]);

        assert!(report.verdict.basis.contains("interim look"), "{ended}: {}", report.verdict.basis);
        assert!(html(&report).ends_with("</html>\n") && markdown(&report).contains("## Methods"));
        let open: u64 = report.design.missing.iter().map(|missing| missing.trials).sum();
        assert_eq!(open, 40 - ended as u64);
    }
}

fn violation(trial: u64, digests: (u64, u64), agent: u64) -> Violation {
    let (trial, agent) = (TrialIndex(trial), MemberId(agent));
    Violation { trial, digests, agent, at: Timestamp(5) }
}

#[test]
fn outcomes_that_came_again_as_others_are_named_with_what_to_do() {
    let study = study(&[("a", 2), ("b", 1)], 2, 1, 3);
    let rows = rows(&study, jagged);
    let built = |violations: &[Violation]| {
        build(&Material { differing: 3, violations, ..material(&study, &rows) })
    };
    let (one, other) = (violation(10, (0xab, 1 << 60), 17), violation(2, (7, 8), 18));

    let report = built(&[one.clone(), other.clone()]);

    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("json");
    let found = &value["determinism"];
    assert_eq!((&found["violations"], &found["trials"][0]["trial"]), (&3.into(), &2.into()));
    let cell = "a · lr=1 · seed 1 · partition 0 · fold 0";
    let expected = serde_json::json!({
        "trial": 10, "cell": cell, "stands": "00000000000000ab", "later": "1000000000000000",
        "agent": "m17",
    });
    assert_eq!(found["trials"][1], expected);
    let (page, text) = (html(&report), markdown(&report));
    for said in [
        "3 outcomes were other ones when a trial was trained again",
        "rests on the first outcome of each trial",
        "1 further outcome that differed",
        cell,
        "00000000000000ab",
        "m17",
    ] {
        assert!(page.contains(said), "{said}");
        assert!(text.contains(said), "{said}");
    }
    let trusted = page.find("Can these numbers be trusted?").expect("a heading");
    let methods = page.find(">Methods<").expect("a heading");
    let said = page.find("were other ones").expect("said");
    assert!(trusted < said && said < methods);
    assert_eq!(report, built(&[other, one]), "whatever order they are in");
}

#[test]
fn where_nothing_came_again_as_another_only_the_json_says_so() {
    let study = study(&[("a", 1)], 2, 1, 3);
    let report = built(&study, &rows(&study, jagged));

    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("json");

    assert_eq!(value["determinism"], serde_json::json!({ "violations": 0, "trials": [] }));
    assert!(
        !html(&report).contains("trained again") && !markdown(&report).contains("trained again")
    );
}

#[test]
fn trials_that_killed_their_agents_are_named_where_the_missing_ones_are() {
    let study = study(&[("a", 2), ("b", 1)], 20, 1, 3);
    let mut rows = rows(&study, jagged);
    let failed = |reason: &str| RowEnd::Failed { reason: reason.into(), detail: "died".into() };
    for row in &mut rows {
        match row.trial.0 {
            3 | 9 => row.end = failed("poison"),
            6 => row.end = failed("error"),
            trial if trial % 3 == 2 => row.end = failed("poison"),
            _ => {}
        }
    }

    let report = built(&study, &rows);

    let page = html(&report);
    assert!(page.contains("<td>poison (trials 3 and 9)</td>"), "{page}");
    assert!(page.contains("trials 2, 5, 8") && page.contains("and 40 more)"), "{page}");
    assert!(page.contains("<td>error</td>") && page.contains("The agent that trained it died"));
    let named: Vec<&[u64]> = report.design.missing.iter().map(|m| m.named.as_slice()).collect();
    assert_eq!((named.len(), named[0], named[1]), (3, &[][..], &[3, 9][..]));
    assert_eq!((named[2].len(), report.design.missing[2].trials), (20, 60));
}

#[test]
fn a_guideline_is_answered_in_a_section_that_the_report_has() {
    let several = study(&[("a", 1), ("b", 1)], 3, 1, 4);
    let lone = study(&[("a", 1)], 1, 1, 2);
    let reports = [
        built(&several, &rows(&several, jagged)),
        built(&lone, &rows(&lone, jagged)),
        built(&lone, &[]),
    ];
    let mut items = Vec::new();
    for report in &reports {
        let page = markdown(report);
        for item in &report.checklists {
            let section = item.answered_in;
            let there = section == checklists::HEAD || page.contains(&format!("## {section}\n"));
            assert!(there, "{} {}: {section}", item.checklist, item.item);
        }
        items.push(report.checklists.len());
        assert!(page.contains("| CLAIM 2024 | 12 | how missing data were handled |"), "{page}");
        assert!(page.contains("Tejani AS, Klontzas ME"), "{page}");
    }
    assert!(items[0] > items[1] && items[1] >= items[2], "{items:?}");
    let value: serde_json::Value = serde_json::from_str(&json(&reports[0])).expect("JSON");
    assert_eq!(value["checklists"][0]["checklist"], "CLAIM 2024");
    assert!(latex(&reports[0]).contains("\\cite{tejani2024}"), "cited");
}

#[test]
fn methods_name_the_degrees_of_freedom_that_were_used() {
    let of = |methods: &[&'static str]| {
        let interval = |method: &&'static str| content::Interval {
            low: 0.0,
            high: 1.0,
            level: 0.95,
            method,
            target: None,
        };
        let intervals: Vec<content::Interval> = methods.iter().map(interval).collect();
        methods::Judged::of(intervals.iter()).in_words("means", "fold")
    };
    use analysis::arms::{CORRECTED, KENWARD_ROGER, SATTERTHWAITE};

    assert!(of(&[KENWARD_ROGER]).contains("seeds, with Kenward and Roger's degrees of freedom;"));
    assert!(of(&[SATTERTHWAITE]).contains("seeds, with Satterthwaite's degrees of freedom;"));
    assert!(of(&[KENWARD_ROGER, SATTERTHWAITE]).contains("or Satterthwaite's where"));
    assert!(of(&[CORRECTED]).starts_with("means per fold were judged"));
    let some = of(&[KENWARD_ROGER, CORRECTED]);
    assert!(some.starts_with("where seeds could be told from folds, means were judged"), "{some}");
    assert!(some.contains("elsewhere means per fold were judged with the variance"), "{some}");
}
