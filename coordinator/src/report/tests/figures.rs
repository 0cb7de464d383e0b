//! Claims about what the figures show: numbers behind them, and when there is none.
//!
//! Floor: core.

mod curves;

use common::stats::monitor::{Sequence, confidence_sequence};

use super::super::figures::{self, Figure, Planner};
use super::*;

/// Every figure of a report, in any order.
fn all(report: &Report) -> Vec<Option<Figure>> {
    vec![
        figures::arms_forest(report),
        figures::caterpillar(report),
        figures::contrast_forest(report),
        figures::distribution(report),
        figures::effect_quantiles(report),
        figures::interaction(report),
        figures::missingness(report),
        figures::posterior(report),
        figures::ranks(report),
        figures::replication(report),
        figures::residual_quantiles(report),
        figures::sequential(report),
        figures::tradeoff(report),
        figures::variance(report),
        figures::winner(report),
        figures::worth(report),
    ]
}

fn cell<'a>(figure: &'a Figure, row: usize, column: &str) -> &'a str {
    let place = figure.sheet.columns.iter().position(|(title, _)| title == column).expect(column);
    &figure.sheet.rows[row][place]
}

#[test]
fn every_figure_has_marks_a_caption_and_a_table_in_both_widths() {
    let study = study(&[("a", 2), ("b", 1), ("c", 1)], 6, 2, 3);
    let report = built(
        &study,
        &rows(&study, |key| {
            let seed = 0.02 * f64::from(key.seeds[0]);
            jagged(key).map(|score| 0.05 * score + seed + 0.01 * f64::from(key.fold))
        }),
    );

    let figures: Vec<Figure> =
        all(&report).into_iter().map(|found| found.expect("drawn")).collect();

    let mut names: Vec<&str> = figures.iter().map(|figure| figure.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), figures.len(), "a name is that of one figure");
    for figure in &figures {
        for (svg, width) in [(&figure.wide, "0 0 720 "), (&figure.narrow, "0 0 360 ")] {
            assert!(svg.contains(width) && svg.matches("<title>").count() > 0, "{}", figure.name);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", figure.name);
        }
        assert!(figure.caption.ends_with('.') && !figure.sheet.rows.is_empty(), "{}", figure.name);
        let whole = |row: &Vec<String>| row.len() == figure.sheet.columns.len();
        assert!(figure.sheet.rows.iter().all(whole), "{}", figure.name);
        assert!(html(&report).contains(&format!("<figure id=\"{}\">", figure.name)));
        let title = format!("### {}\n", figure.sheet.title);
        assert!(markdown(&report).replace('\\', "").contains(&title), "{}", figure.name);
    }
    assert!(html(&report).contains("<summary>Further figures</summary>"));
    assert!(markdown(&report).contains("## Further figures\n"));
    assert!(latex(&report).contains("\\section*{Further figures}"));
}

#[test]
fn what_a_study_does_not_have_is_not_drawn() {
    let lone = study(&[("a", 1)], 1, 1, 2);
    let drawn = |report: &Report| -> Vec<&'static str> {
        all(report).into_iter().flatten().map(|figure| figure.name).collect()
    };
    assert_eq!(drawn(&built(&lone, &[])), ["cells"]);
    assert_eq!(drawn(&built(&lone, &rows(&lone, jagged))), ["arms", "distribution", "cells"]);
    let two = study(&[("a", 1), ("b", 1)], 1, 1, 4);
    let names = drawn(&built(&two, &rows(&two, jagged)));
    for absent in ["monitor", "ranks", "winner", "effects"] {
        assert!(!names.contains(&absent), "{absent}: one seed, two arms");
    }
    assert!(names.contains(&"differences") && names.contains(&"posterior"), "{names:?}");
}

#[test]
fn planned_widths_of_the_map_are_those_of_the_table() {
    let study = study(&[("a", 1), ("b", 1)], 4, 2, 3);
    let report = built(&study, &rows(&study, jagged));

    let planner = Planner::of(&report).expect("planned");
    let table = &report.comparisons[0].outlook.as_ref().expect("outlook").precision.table;

    assert!(table.len() > 4);
    for design in table {
        let found = planner.half_width(design.seeds, design.folds).expect("told");
        near(found, design.half_width.expect("shown"));
    }
    let curve = figures::replication(&report).expect("drawn");
    let again = report.comparisons[0].outlook.as_ref().expect("outlook").replication;
    let now = curve.sheet.rows.iter().position(|row| row[0] == "4" && row[1] == "6").expect("now");
    assert_eq!(cell(&curve, now, "Found again"), number::percent(again.significant_again));
    assert_eq!(cell(&curve, now, "Same arm ahead"), number::percent(again.same_sign));
}

#[test]
fn the_monitor_is_a_confidence_sequence_over_complete_seeds() {
    let study = study(&[("a", 1), ("b", 1)], 7, 1, 3);
    // Seed 2 lacks a fold of one arm and is no complete block.
    let lost = |key: &TrialKey| key.seeds[0] == 2 && key.fold == 1 && key.arm == 1;
    let score = |key: &TrialKey| {
        let gain = if key.arm == 0 { 0.05 + 0.004 * f64::from(key.seeds[0] % 3) } else { 0.0 };
        0.5 + 0.1 * f64::from(key.fold) + gain
    };
    let rows = rows(&study, |key| if lost(key) { None } else { Some(score(key)) });

    let report = built(&study, &rows);

    let part = report.monitor.as_ref().expect("monitored");
    let differences = [0.05, 0.054, 0.05, 0.054, 0.058, 0.05];
    let seeds: Vec<&str> = part.looks.iter().map(|look| look.seed.as_str()).collect();
    assert_eq!(seeds, ["0", "1", "3", "4", "5", "6"]);
    let expected = confidence_sequence(&differences, 0.05, 10, Sequence::Student).expect("bounds");
    for (look, expected) in part.looks[1..].iter().zip(&expected) {
        near(look.mean, expected.mean);
        assert_eq!(look.low.is_some(), expected.bounds.is_some());
        if let (Some(low), Some((bound, _))) = (look.low, expected.bounds) {
            near(low, bound);
        }
    }
    let decided = expected.iter().position(|look| look.bounds.is_some_and(|b| b.0 > 0.0));
    assert_eq!(part.decided_after, decided.map(|place| place as u64 + 2));
    let value: serde_json::Value = serde_json::from_str(&json(&report)).expect("json");
    assert_eq!(value["monitor"]["target"], "T1");
    assert_eq!(value["monitor"]["looks"].as_array().map(Vec::len), Some(6));
    assert!(html(&report).contains("Might one have stopped earlier?"));
}

#[test]
fn residuals_are_what_the_model_leaves() {
    let study = study(&[("a", 1)], 3, 1, 3);
    let (seed, fold) = ([-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0]);
    let rest = [[0.5, -0.5, 0.0], [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0]];
    let report = built(
        &study,
        &rows(&study, |key| {
            let (s, f) = (key.seeds[0] as usize, key.fold as usize);
            Some(seed[s] + fold[f] + rest[s][f])
        }),
    );

    let (arm, residuals) = &report.drawn.further.residuals[0];

    // Balanced: an effect is predicted as its mean times n σ² / (n σ² + σ_e²), mean squares 3 and
    // 12 over a residual of 1/4.
    let (of_seed, of_fold) = (2.75 / 3.0, 11.75 / 12.0);
    let mut expected: Vec<f64> = (0..9)
        .map(|place| (place / 3, place % 3))
        .map(|(s, f)| seed[s] * (1.0 - of_seed) + fold[f] * (1.0 - of_fold) + rest[s][f])
        .collect();
    expected.sort_by(f64::total_cmp);
    assert_eq!(arm, "a");
    for (found, expected) in residuals.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-4, "{residuals:?} and {expected:?}");
    }
}

#[test]
fn the_map_holds_every_cell_once() {
    let study = study(&[("a", 3), ("b", 1)], 4, 2, 5);
    let lost = |key: &TrialKey| key.arm == 0 && key.config == 2 && key.fold == 3;
    let mut rows = rows(&study, |key| if lost(key) { None } else { jagged(key) });
    rows.truncate(150);

    let cells = &built(&study, &rows).drawn.further.cells;

    let (a, b) = (cells[0].total(), cells[1].total());
    assert_eq!(a.ended() + b.ended(), 150);
    assert_eq!((a.ended() + u64::from(a.open), b.ended() + u64::from(b.open)), (120, 40));
    // Forty columns, of which folds 3 and 8 of each seed have none of config 2.
    let diverged = cells[0].rows[2].iter().enumerate().filter(|(_, tile)| tile.diverged > 0);
    let diverged: Vec<usize> = diverged.map(|(column, _)| column % 5).collect();
    let third = &built(&study, &rows).arms[0].configs[2].config;
    assert_eq!((cells[0].configs.len(), &cells[0].configs[2]), (3, third));
    assert!(!diverged.is_empty() && diverged.iter().all(|fold| *fold == 3), "{diverged:?}");
    assert_eq!(cells[0].rows[0].iter().map(|tile| tile.diverged).sum::<u32>(), 0);
}

#[test]
fn a_map_of_many_trials_is_small_and_still_whole() {
    let study = study(&[("a", 70), ("b", 1)], 9, 2, 7);
    let report = built(&study, &rows(&study, jagged));

    let cells = &report.drawn.further.cells;

    assert_eq!(cells[0].configs.len(), cells[0].rows.len());
    let ends = [&cells[0].configs[0], &cells[0].configs[23]].map(|name| name.contains(" to "));
    assert_eq!(ends, [true, true], "{:?}", cells[0].configs);
    assert!(cells[0].rows.len() <= 24 && cells[0].rows[0].len() == 60);
    let sums: Vec<u64> = cells.iter().map(|arm| arm.total().ended()).collect();
    assert_eq!(sums, [70 * 126, 126]);
    assert_eq!(cells.iter().map(|arm| arm.total().open).sum::<u32>(), 0);
}
