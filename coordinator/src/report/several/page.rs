//! The page of a report over several studies, as blocks.
//!
//! Floor: core.

use common::time::Timestamp;

use super::super::figures::{self, spelled};
use super::super::looks::date;
use super::super::number::{beside, count, counted, decimals, p, percent, places};
use super::super::page::{Block, Sheet, columns, legend};
use super::TARGET;
use super::content::{ArmPart, FriedmanPart, PairPart, Several, StudyPart};

/// Every block after the title, in reading order.
pub fn blocks(report: &Several) -> Vec<Block> {
    let mut list = vec![
        Block::Verdict {
            kind: report.verdict.kind,
            text: report.verdict.text.clone(),
            basis: report.verdict.basis.clone(),
        },
        Block::Facts(facts(report)),
    ];
    if !report.remarks.is_empty() {
        list.push(Block::List(report.remarks.clone()));
    }
    list.push(Block::Heading("How good is each arm over all studies?".into()));
    list.push(Block::Figure(figures::estimates(report)));
    list.push(Block::Sheet(arms(report)));
    list.push(Block::Figure(figures::profile(report)));
    list.push(Block::Heading("Does one arm beat another when trained again?".into()));
    list.push(Block::Sheet(pairs(report)));
    list.push(Block::Heading("Would that hold on other data sets?".into()));
    match &report.friedman {
        Some(test) => {
            list.push(Block::Text(friedman(report, test)));
            list.extend(figures::critical(report).map(Block::Figure));
        }
        None => list.extend(report.friedman_absent.clone().map(Block::Text)),
    }
    list.push(Block::Heading("What did each study score?".into()));
    list.push(Block::Sheet(scores(report)));
    list.push(Block::Sheet(scales(report)));
    if report.studies.iter().any(|study| study.ledger.is_some()) {
        list.push(Block::Heading("How often were the test folds looked at?".into()));
        list.push(Block::Sheet(looks(report)));
    }
    list.push(Block::Heading("Methods".into()));
    list.push(Block::Text(report.methods.clone()));
    list.push(Block::List(report.references.iter().map(ToString::to_string).collect()));
    list.push(Block::Heading("Do it again".into()));
    list.push(Block::Command(report.reproduce.clone()));
    list
}

fn facts(report: &Several) -> Vec<(String, String)> {
    let fact = |word: &str, value: String| (word.to_string(), value);
    let arms: Vec<&str> = report.arms.iter().map(|arm| arm.arm.as_str()).collect();
    let mut list = vec![
        fact("Studies", count(report.studies.len() as u64)),
        fact("Metric", format!("{} ({})", report.metric, report.goal)),
        fact("Arms in all", arms.join(", ")),
    ];
    list.extend(report.left_out.iter().map(|left| {
        fact("Left out", format!("{}, which {} lacks", left.arm, left.lacking.join(" and ")))
    }));
    list.push(fact("Scale", format!("0 is {}, 1 is {}", report.scale.zero, report.scale.one)));
    list
}

fn arms(report: &Several) -> Sheet {
    let row = |arm: &ArmPart| {
        vec![
            arm.arm.clone(),
            count(arm.runs),
            spelled(arm.iqm, arm.iqm_ci.as_ref()),
            spelled(arm.optimality_gap, arm.optimality_gap_ci.as_ref()),
            decimals(arm.mean_rank, 2),
            format!("{} of {}", arm.first_in, report.studies.len()),
        ]
    };
    Sheet {
        title: "Arms over all studies, on the common scale".into(),
        columns: columns(&["Arm", "Runs", "IQM", "Optimality gap", "Mean rank", "First in"], 1),
        rows: report.arms.iter().map(row).collect(),
        legend: legend(&[
            ("Runs", "One a seed and study, averaged over folds."),
            (
                "IQM",
                "The mean of the middle half of all runs of all studies, with its 95 % interval for new seeds; larger is better.",
            ),
            (
                "Optimality gap",
                &format!(
                    "How far runs fall short of {}, on average; smaller is better.",
                    decimals(TARGET, 0)
                ),
            ),
            ("Mean rank", "1 where the arm's mean was the best of a study, averaged over studies."),
            ("First in", "Studies in which no arm had a better mean; ties count for each."),
        ]),
    }
}

fn pairs(report: &Several) -> Sheet {
    let row = |pair: &PairPart| {
        let span = pair.p_a_beats_b_ci.as_ref();
        let wide = pair.p_a_beats_b_adjusted.as_ref();
        let written = |ci: &super::super::content::Interval| {
            format!("{} to {}", percent(ci.low), percent(ci.high))
        };
        vec![
            format!("{} over {}", pair.a, pair.b),
            percent(pair.p_a_beats_b),
            span.map_or("–".into(), written),
            wide.map_or("–".into(), written),
            format!("{} : {} : {}", pair.a_wins, pair.ties, pair.b_wins),
        ]
    };
    Sheet {
        title: "Probability of improvement, and studies won".into(),
        columns: columns(
            &["Arms", "First beats second", "95 % interval", "Adjusted", "Won : tied : lost"],
            1,
        ),
        rows: report.improvement.iter().map(row).collect(),
        legend: legend(&[
            (
                "First beats second",
                "Chance that a run of the first arm scores better than one of the second in the same study, ties half; studies count alike.",
            ),
            (
                "95 % interval",
                "If all were trained again with new seeds on the same rows and folds (T1).",
            ),
            ("Adjusted", "The same, widened for the number of pairs (Bonferroni)."),
            ("Won : tied : lost", "Studies by their mean scores, as the first arm sees them."),
        ]),
    }
}

fn friedman(report: &Several, test: &FriedmanPart) -> String {
    let f = test.f.map_or("without bound".to_string(), |f| decimals(f, 2));
    let alike: Vec<String> = test.alike.iter().map(|group| group.join(", ")).collect();
    let alike = match alike.as_slice() {
        [] => "Every pair of arms lies further apart than that.".to_string(),
        groups => format!("Not told apart: {}.", groups.join("; ")),
    };
    format!(
        "Over {}, Friedman's test gives p {} (F {f} with {} and {} degrees of freedom, Iman and \
         Davenport; chi-square {}, p {}). Arms differ where their mean ranks are {} or more apart (Nemenyi's \
         critical difference). {alike}",
        counted(report.studies.len() as u64, "data set"),
        p(test.p_f),
        decimals(test.df[0], 0),
        decimals(test.df[1], 0),
        decimals(test.chi_square, 2),
        p(test.p_chi_square),
        decimals(test.critical_difference, 2),
    )
}

fn scores(report: &Several) -> Sheet {
    let row = |study: &StudyPart| {
        let digits = places((study.one - study.zero).abs() / 20.0);
        let mut cells = vec![study.study.clone()];
        cells.extend(study.scores.iter().map(|score| {
            format!("{} ({})", decimals(score.mean, digits), beside(score.normalised, 0.05))
        }));
        cells
    };
    let mut heads = vec![("Study".to_string(), false)];
    heads.extend(report.arms.iter().map(|arm| (arm.arm.clone(), true)));
    Sheet {
        title: format!("Mean {} of each arm (normalised in brackets)", report.metric),
        columns: heads,
        rows: report.studies.iter().map(row).collect(),
        legend: legend(&[(
            "Mean",
            "Of the runs, on the folds that all arms of this table share in the study.",
        )]),
    }
}

fn scales(report: &Several) -> Sheet {
    let row = |study: &StudyPart| {
        let digits = places((study.one - study.zero).abs() / 20.0);
        vec![
            study.study.clone(),
            study.data.clone(),
            count(study.rows),
            count(study.seeds),
            count(study.folds),
            format!("{} of {}", count(study.failed), count(study.complete + study.failed)),
            decimals(study.zero, digits),
            decimals(study.one, digits),
        ]
    };
    Sheet {
        title: "Studies and their scales".into(),
        columns: columns(
            &["Study", "Data", "Rows", "Seeds", "Folds", "Failed", "Scale's 0", "Scale's 1"],
            2,
        ),
        rows: report.studies.iter().map(row).collect(),
        legend: legend(&[
            ("Failed", "Trials that gave no score, of all that ended."),
            ("Scale's 0", &format!("In the study's own scores: {}.", report.scale.zero)),
            ("Scale's 1", &format!("In the study's own scores: {}.", report.scale.one)),
        ]),
    }
}

fn looks(report: &Several) -> Sheet {
    let row = |study: &StudyPart| {
        let ledger = study.ledger.as_ref()?;
        Some(vec![
            study.study.clone(),
            count(ledger.this.saturating_sub(1)),
            date(Timestamp(ledger.first.at_unix_ms)),
            ledger.head.get(..HEAD_SHOWN).unwrap_or_default().to_string(),
        ])
    };
    Sheet {
        title: "Looks before this report".into(),
        columns: vec![
            ("Study".into(), false),
            ("Looks before".into(), true),
            ("First look".into(), false),
            ("Head".into(), false),
        ],
        rows: report.studies.iter().filter_map(row).collect(),
        legend: legend(&[
            (
                "Looks before",
                "Reports, exports and runs that showed outcomes before this one, which counts as one more of each study.",
            ),
            (
                "Head",
                "The start of the hash to which all looks at the study are chained; report.json has the whole.",
            ),
        ]),
    }
}

/// Digits of a hash that tell it from others.
const HEAD_SHOWN: usize = 16;
