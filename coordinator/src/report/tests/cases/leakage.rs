//! What a report says of leaks.
//!
//! Floor: core.

use common::table::{Dataset, Target as Truth};

use super::super::*;
use super::other_rows::{mae, outcomes, own, table, told};

/// The result and what was seen.
fn of<'a>(report: &'a Report, check: &str) -> (Option<bool>, &'a str) {
    let found = report.leakage.iter().find(|part| part.check == check).expect(check);
    (found.passed, &found.detail)
}

/// Errors that differ in every run.
fn error(key: &TrialKey, row: u32) -> f32 {
    own(row) + 0.01 * key.seeds[0] as f32
}

#[test]
fn without_a_table_what_needs_it_is_said_not_to_be_checked() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 5);
    let report = built(&study, &rows(&study, jagged));

    for check in [
        "no identical rows on both sides",
        "no label among the features",
        "no row numbers among the features",
    ] {
        let (passed, detail) = of(&report, check);
        assert!(passed.is_none() && detail.contains("--table FILE"), "{check}: {detail}");
    }
    for check in ["groups kept on one side", "shuffled labels at chance", "time order"] {
        assert_eq!(of(&report, check).0, None, "{check}");
    }
    for check in ["preprocessing within the fold", "seed is wired", "fold is wired"] {
        assert_eq!(of(&report, check).0, Some(true), "{check}");
    }
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("JSON");
    let first = &value["leakage"][0];
    assert_eq!((&first["check"], first.get("passed")), (&"groups kept on one side".into(), None));
    let page = markdown(&report);
    assert!(page.contains("Could something have leaked?"), "{page}");
    assert!(
        page.contains("None of the 5 checks made found anything. 8 could not be made"),
        "{page}"
    );
    assert!(!page.contains("Checks for leaks that failed"));
}

#[test]
fn copies_labels_and_row_numbers_are_found_in_the_table() {
    let mut study = mae(&[("a", 1)], 2, 1, 4, 40);
    study.data.group = Some("patient".into());
    let clean = table(&study, Some((0..40).map(|row| row / 4).collect()));
    let rows = outcomes(&study, &clean, error);
    let sound = told(&study, &rows, Some(&clean));
    // Of the second column: row 39 is a copy of row 0. The third is the target, stretched; the fourth
    // numbers rows.
    let cell = |row: u32| if row == 39 { 0.0 } else { row as f32 * 0.37 };
    let wide = |row: u32| [cell(row), 2.0 * row as f32 + 1.0, (row * 17 % 40) as f32];
    let dirty = Dataset {
        width: 3,
        names: ["x", "twice", "id"].map(String::from).into(),
        features: (0..40).flat_map(wide).collect(),
        ..clean.clone()
    };
    let once = |row: u32| [cell(row), if row == 39 { 1.0 } else { (row as f32 * 1.1).cos() }];
    let copied = Dataset { features: (0..40).flat_map(once).collect(), ..clean.clone() };

    assert_eq!(
        of(&sound, "groups kept on one side"),
        (Some(true), "no value of patient trains and tests in any of 4 splits")
    );
    assert_eq!(of(&sound, "no identical rows on both sides").0, Some(true));
    let found = told(&study, &rows, Some(&dirty));
    let (passed, detail) = of(&found, "no label among the features");
    assert_eq!((passed, detail), (Some(false), "alone, twice tells the target of every row"));
    let (passed, detail) = of(&found, "no row numbers among the features");
    // The stretched target of whole numbers is another one in every row, too.
    assert!(passed == Some(false) && detail.starts_with("twice and id have another"), "{detail}");
    let found = told(&study, &rows, Some(&copied));
    let (passed, detail) = of(&found, "no identical rows on both sides");
    assert!(passed == Some(false) && detail.starts_with("1 row with copies"), "{detail}");
    let basis = &found.verdict.basis;
    let said = "Checks for leaks that failed: no identical rows on both sides.";
    assert!(basis.ends_with(said), "{basis}");
    assert!(markdown(&found).contains("One check found something that must be looked into"));
}

#[test]
fn groups_that_the_split_tore_are_found() {
    let mut study = mae(&[("a", 1)], 2, 1, 4, 40);
    // Drawn without groups, looked at with them: what a wrong split would have done.
    let plain = table(&study, None);
    let rows = outcomes(&study, &plain, error);
    study.data.group = Some("patient".into());
    let torn = analysis::leakage::straddling(
        &(0..40).map(|row| row / 4).collect::<Vec<u32>>(),
        &common::split::partition(&study.outer, &plain.labels(false), &plain.digest, 0),
        |test| (0..40).filter(|row| !test.contains(row)).collect(),
    );

    assert!(torn.names > 5 && torn.blocks == 4, "{torn:?}");
    assert_eq!(
        of(&told(&study, &rows, None), "groups kept on one side"),
        (Some(true), "every split keeps rows of one patient on one side, by construction")
    );
}

#[test]
fn seeds_and_folds_that_do_not_arrive_are_found() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 3);
    let seedless = rows(&study, |key| Some(0.1 * f64::from(key.fold + key.arm)));
    let foldless = rows(&study, |key| Some(0.1 * f64::from(key.seeds[0] + key.arm)));

    let report = built(&study, &seedless);
    let (passed, detail) = of(&report, "seed is wired");
    assert!(passed == Some(false) && detail.starts_with("a and b have the very same"), "{detail}");
    assert_eq!(of(&report, "fold is wired").0, Some(true));
    let report = built(&study, &foldless);
    assert_eq!(of(&report, "seed is wired").0, Some(true));
    assert_eq!(of(&report, "fold is wired").0, Some(false));
}

#[test]
fn a_score_as_good_as_perfect_is_too_good() {
    let study = study(&[("a", 1), ("b", 1)], 2, 1, 3);
    let report = built(
        &study,
        &rows(&study, |key| {
            Some(if key.arm == 0 { 0.99995 } else { 0.9 + 0.01 * f64::from(key.fold) })
        }),
    );

    let (passed, detail) = of(&report, "score not too good");
    assert!(
        passed == Some(false) && detail.starts_with("a is as good as perfect in r2"),
        "{detail}"
    );
}

#[test]
fn classes_of_each_fold_are_told_by_their_shares() {
    let mut study = mae(&[("a", 1)], 2, 1, 4, 40);
    study.metrics = vec![Metric::Accuracy];
    study.data.task = Task::Classification { classes: vec!["no".into(), "yes".into()] };
    study.outer.stratify = true;
    let labels: Vec<u32> = (0..40).map(|row| u32::from(row % 4 == 0)).collect();
    let data = Dataset { target: Truth::Classes { labels, classes: 2 }, ..table(&study, None) };
    let rows = outcomes(&study, &data, |_, row| 0.9 - 0.1 * (row % 3) as f32);

    let (passed, detail) = {
        let report = told(&study, &rows, Some(&data));
        let (passed, detail) = of(&report, "every class on both sides");
        (passed, detail.to_string())
    };
    assert_eq!(passed, Some(true));
    assert!(detail.contains("has 20 % to 30 % of a test set's rows"), "{detail}");
}
