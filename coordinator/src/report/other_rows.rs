//! "Would other rows say the same?": T3 in words, beside T1 and T2.
//!
//! Floor: core.

use common::study::Study;

use super::analysis::other_rows::units_in_words;
use super::content::{Interval, OtherRows, OtherRowsPart, Report};
use super::number::{beside, count, counted};
use super::page::{Block, Sheet, columns, legend};

/// The section of the page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let rows = rows(report);
    if rows.is_empty() && report.arms.iter().all(|arm| arm.scores.is_none()) {
        return Vec::new();
    }
    let mut list = vec![Block::Heading("Would other rows say the same?".into())];
    match &report.t3.missing {
        Some(why) => list.push(Block::Text(format!(
            "How far these very trained models would move with other test rows (T3) is not shown: \
             {why}."
        ))),
        None => list.extend([Block::Text(in_words(&report.t3)), Block::Sheet(sheet(report, rows))]),
    }
    list
}

fn in_words(part: &OtherRowsPart) -> String {
    let drawn = match part.unit.as_str() {
        "row" => "Rows were drawn again".to_string(),
        column => format!("All rows of one {column} were drawn together"),
    };
    let models = match part.partitions {
        1 => "the models".to_string(),
        partitions => format!("the models of all {} partitions", count(u64::from(partitions))),
    };
    let left_out = match part.left_out {
        0 => String::new(),
        many => {
            format!(" Left out, having come without a score of each row: {}.", counted(many, "run"))
        }
    };
    format!(
        "T3 keeps {models} as they were trained and asks how their scores would move with \
         other test rows of the same kind. {drawn} ({}), the same ones for every run. An interval for \
         T3 alone says nothing of a method: trained once more, with another seed or on other rows, \
         it would give another model.{left_out}",
        units_in_words(part)
    )
}

/// The rows of the study as a verdict's basis names them: with what they belong to, where it is known.
pub fn rows_in_basis(study: &Study, part: &OtherRowsPart) -> String {
    let rows = counted(study.data.rows, "row");
    match &study.data.group {
        Some(column) if part.unit == *column && part.rows == study.data.rows => {
            format!("{rows} of {} of {column}", counted(part.units, "value"))
        }
        _ => rows,
    }
}

/// One line an arm's mean or a difference that has an interval for T3.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let line = |name: String, found: &OtherRows, t1: Option<&Interval>, t2: Option<&Interval>| {
        let span = |interval: &Interval| {
            format!("{} to {}", beside(interval.low, found.se), beside(interval.high, found.se))
        };
        let or_dash = |interval: Option<&Interval>| interval.map_or("–".to_string(), span);
        let estimate = beside(found.estimate, found.se);
        vec![name, estimate, or_dash(t1), or_dash(t2), span(&found.ci)]
    };
    let of_arms = report.arms.iter().filter_map(|arm| {
        let found = arm.other_rows.as_ref()?;
        let scores = arm.scores.as_ref();
        let t1 = scores.and_then(|scores| scores.ci_t1.as_ref());
        Some(line(arm.arm.clone(), found, t1, scores.and_then(|scores| scores.ci_t2.as_ref())))
    });
    let of_pairs = report.comparisons.iter().filter_map(|pair| {
        let found = pair.other_rows.as_ref()?;
        let contrast = pair.contrast.as_ref();
        let t1 = contrast.and_then(|contrast| contrast.ci_t1.as_ref());
        let name = format!("{} − {}", pair.a, pair.b);
        Some(line(name, found, t1, contrast.map(|contrast| &contrast.ci)))
    });
    of_arms.chain(of_pairs).collect()
}

fn sheet(report: &Report, rows: Vec<Vec<String>>) -> Sheet {
    let first = report.t3.partitions < report.design.partitions;
    let estimate = match first {
        true => {
            "Of the first partition alone: without the table nobody knows which row of another \
             partition is the same one."
        }
        false => "The mean, or the mean difference, of these models.",
    };
    let mut meanings = legend(&[
        ("Estimate", estimate),
        ("T1: new seeds", "95 % interval if these rows and folds were met by other seeds."),
        ("T2: new samples", "95 % interval if the method were trained and tested on other rows."),
        (
            "T3: new test rows",
            "95 % interval if the models stayed and only test rows were others; most papers show this one and claim T2.",
        ),
    ]);
    let normal = report.arms.iter().filter_map(|arm| arm.other_rows.as_ref());
    if let Some(found) = normal.map(|found| found.ci.method).next() {
        meanings.push(("Method".to_string(), format!("{found}.")));
    }
    Sheet {
        title: format!("Three questions, three intervals ({})", report.study.metric),
        columns: columns(
            &["Of", "Estimate", "T1: new seeds", "T2: new samples", "T3: new test rows"],
            1,
        ),
        rows,
        legend: meanings,
    }
}
