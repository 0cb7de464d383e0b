//! "Is it the row or the training?": how a single row's score divides, in words.
//!
//! Floor: core.

use super::content::{CaseArm, CaseComponent, CaseModelPart, Report};
use super::number::{count, counted, decimals, listed, percent, places};
use super::page::{Block, Sheet, columns, legend};

/// The section of the page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let part = &report.case_model;
    if report.arms.iter().all(|arm| arm.scores.is_none()) {
        return Vec::new();
    }
    let mut list = vec![Block::Heading("Is it the row or the training?".into())];
    if let Some(why) = &part.missing {
        list.push(Block::Text(format!(
            "How the spread of a single row's score divides between rows and trainings is not shown: \
             {why}."
        )));
        return list;
    }
    let spelled = part.arms.iter().take(ARMS_SPELLED).map(|arm| Block::Text(of_arm(arm)));
    list.extend(spelled);
    list.extend(jointly(part).map(Block::Text));
    list.push(Block::Sheet(sheet(report)));
    list.push(Block::Text(limits(part, report.design.partitions)));
    let dropped = part.not_estimable.iter().map(|left| {
        let arm = left.arm.as_deref().unwrap_or("all arms");
        match &left.factor {
            Some(factor) => format!("{arm}: {factor} is left out: {}.", left.why),
            None => format!("{arm}: {}.", left.why),
        }
    });
    let dropped: Vec<String> = dropped.collect();
    if !dropped.is_empty() {
        list.push(Block::List(dropped));
    }
    list
}

impl CaseModelPart {
    /// What the methods say of it.
    pub fn sentences(&self) -> &'static str {
        match (self.missing.is_some() || self.arms.is_empty(), self.joint.is_empty()) {
            (true, _) => "",
            (false, true) => {
                "The spread of single rows' scores was divided by mixed models with rows, folds and \
                 runs as random factors (REML). "
            }
            (false, false) => {
                "The spread of single rows' scores was divided by mixed models with rows, folds and \
                 runs as random factors and, over all arms, rows that suit one arm more than another \
                 (REML). "
            }
        }
    }
}

/// One or two sentences that need no table.
fn of_arm(arm: &CaseArm) -> String {
    let parts: Vec<String> = arm
        .components
        .iter()
        .map(|part| format!("{} is {}", percent(part.share), means(&part.factor)))
        .collect();
    let mut text =
        format!("{}: of the spread of a single row's score, {}.", arm.arm, listed(&parts));
    let of = |factor: &str| arm.components.iter().find(|part| part.factor == factor);
    if let (Some(_), Some(run), Some(residual)) = (of("row"), of("run"), of("residual")) {
        let retrained = (run.variance + residual.variance).sqrt();
        let each = residual.levels as f64 / run.levels as f64;
        let of_mean = (run.variance + residual.variance / each).sqrt();
        text += &format!(
            " Train again, and the score of one row moves by {}, typically, and the mean over the rows \
             of one fold by {}.",
            decimals(retrained, places(retrained)),
            decimals(of_mean, places(of_mean))
        );
    }
    text
}

fn jointly(part: &CaseModelPart) -> Option<String> {
    let of = |wanted: &dyn Fn(&str) -> bool| {
        let mut parts = part.joint.iter().filter(|part| wanted(&part.factor)).peekable();
        parts.peek()?;
        Some(parts.map(|part| part.share).sum::<f64>())
    };
    let own = of(&|factor| factor.starts_with("arm:") && factor != "arm:config")?;
    let common = of(&|factor| !RESERVED.contains(&factor) && !factor.starts_with("arm:"))?;
    Some(format!(
        "Over all arms, {} of that spread is rows that are hard, or easy, for every arm, which cancel \
         when arms are compared on the same rows; {} is rows that suit one arm more than another, \
         which do not.",
        percent(common),
        percent(own)
    ))
}

/// As in "71 % is …".
fn means(factor: &str) -> String {
    match factor {
        "row" => "which row it is".to_string(),
        "fold" | "partition:fold" => "which fold it is tested in".to_string(),
        "config" | "arm:config" => "which config was trained".to_string(),
        "run" => "which training it met, over all rows alike".to_string(),
        "residual" => {
            "what is left: one training does better on this row, another on that".to_string()
        }
        column => format!("which {column} the row belongs to"),
    }
}

/// What the numbers rest on, and do not reach.
fn limits(part: &CaseModelPart, partitions: u32) -> String {
    let mut text = format!("This rests on {} and {}.", counted(part.rows, "row"), runs(part));
    if let Some(rows) = part.joint_rows.filter(|rows| *rows < part.rows) {
        text += &format!(
            " Over all arms it is of {} of these rows, taken evenly to keep the work small.",
            count(rows)
        );
    }
    if part.partitions < partitions {
        text += " It is of the first partition alone: without the table nobody knows which row of \
                 another partition is the same one.";
    }
    if part.linear_probability {
        text += " A row's score is 0 or 1 here, or ½ between, and the model takes it for any other \
                 number (a linear probability model): read the shares as rough where nearly all rows \
                 are right, or nearly all wrong.";
    }
    if part.left_out > 0 {
        text += &format!(
            " Left out, having come without a score of each row: {}.",
            counted(part.left_out, "run")
        );
    }
    text
}

fn runs(part: &CaseModelPart) -> String {
    let of = |taken: u64| match taken == part.runs_with_rows {
        true => counted(taken, "run"),
        false => format!(
            "{} of {}, taken evenly from each fold to keep the work small",
            count(taken),
            counted(part.runs_with_rows, "run")
        ),
    };
    match part.joint_runs {
        Some(joint) if joint != part.runs && !part.arms.is_empty() => {
            format!("{}; over all arms on {}", of(part.runs), of(joint))
        }
        Some(joint) => of(joint),
        None => of(part.runs),
    }
}

fn sheet(report: &Report) -> Sheet {
    let part = &report.case_model;
    let of_arms = part.arms.iter().map(|arm| (arm.arm.as_str(), &arm.components));
    let joint = Some(("all arms", &part.joint)).filter(|_| !part.joint.is_empty());
    let all: Vec<(&str, &Vec<CaseComponent>)> = of_arms.chain(joint).collect();
    let residuals = all.iter().flat_map(|(_, parts)| parts.iter());
    let residuals = residuals.filter(|part| part.factor == "residual");
    let digits = places(residuals.map(|part| part.sd).fold(f64::INFINITY, f64::min)) + 1;
    let mut rows = Vec::new();
    let mut meanings: Vec<(String, String)> = Vec::new();
    for (arm, parts) in all {
        for (place, part) in parts.iter().enumerate() {
            rows.push(vec![
                if place == 0 { arm.to_string() } else { String::new() },
                part.factor.clone(),
                count(part.levels),
                decimals(part.sd, digits),
                percent(part.share),
            ]);
            if meanings.iter().all(|(factor, _)| *factor != part.factor) {
                meanings.push((part.factor.clone(), meaning(&part.factor)));
            }
        }
    }
    meanings.extend(legend(&[
        ("SD", "How far this source alone moves the score of a single row."),
        ("Share", "Its part of the variance of a single row's score in a single run."),
    ]));
    let score = part.arms.first().map(|arm| format!("Each row is scored by {}.", arm.score));
    meanings.extend(score.map(|score| ("Score".to_string(), score)));
    Sheet {
        title: "Where the spread of a single row's score comes from (REML)".into(),
        columns: columns(&["Arm", "Source", "Levels", "SD", "Share"], 2),
        rows,
        legend: meanings,
    }
}

fn meaning(factor: &str) -> String {
    match factor {
        "row" => "Rows that are hard, or easy, whichever training meets them.".to_string(),
        "arm:row" => "Rows that suit one arm more than another.".to_string(),
        "fold" | "partition:fold" => {
            "Folds whose rows are harder, or easier, all of them and for every training."
                .to_string()
        }
        "config" | "arm:config" => "Which config of the space is trained.".to_string(),
        "run" => "Trainings that are better, or worse, on all rows of their fold.".to_string(),
        "residual" => {
            "What one training does to one row; another training does something else, and \
                       the mean over rows hides it."
                .to_string()
        }
        name => match name.strip_prefix("arm:") {
            Some(column) => format!("A {column} whose rows suit one arm more than another."),
            None => format!("A {name} whose rows are hard, or easy, all of them."),
        },
    }
}

/// Sources that are neither rows nor what rows belong to.
const RESERVED: [&str; 5] = ["fold", "partition:fold", "config", "run", "residual"];

/// Arms whose division is told in words.
const ARMS_SPELLED: usize = 3;
