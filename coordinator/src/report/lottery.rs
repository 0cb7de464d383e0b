//! The seed lottery in words: what a test over rows finds between two seeds of the same arm.
//!
//! Floor: core.

use super::content::{CaseLottery, LotteryPart, LotteryShares, Report};
use super::figures;
use super::number::{count, counted, percent};
use super::page::{Block, Sheet, columns, legend};

/// Of the section on the best seed, what rests on rows.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut list = Vec::new();
    for part in report.lottery.iter().take(ARMS_SPELLED) {
        list.extend(part.cases.as_ref().map(|cases| Block::Text(in_words(part, cases))));
    }
    list.extend(figures::lottery(report).map(Block::Figure));
    if report.lottery.iter().any(|part| part.cases.is_some()) {
        list.push(Block::Sheet(sheet(report)));
    }
    list.extend(missing(report).map(Block::Text));
    list
}

fn in_words(part: &LotteryPart, cases: &CaseLottery) -> String {
    let shares = &cases.shares;
    let on = match (cases.played_on, shares.plays) {
        ("hold-out", 1) => format!("the {} held out to test", counted(shares.rows, "row")),
        ("hold-out", plays) => {
            format!("{} of {}, on average", counted(plays, "hold-out set"), of_rows(shares))
        }
        (_, 1) => format!("all {} of the cross-validation", counted(shares.rows, "row")),
        (_, plays) => format!(
            "the {} of each of {}, on average",
            counted(shares.rows, "row"),
            counted(plays, "cross-validation")
        ),
    };
    let config = cases.case_config.as_ref().map(|config| format!(" ({config})"));
    let mut text = format!(
        "{}{}: compared on {on}, the best of {} \"beats\" {} of the other seeds with p < 0.05 in a \
         paired t-test over rows, and {} in Wilcoxon's signed-rank test; of all pairs of seeds, {} \
         differ.",
        part.arm,
        config.unwrap_or_default(),
        counted(shares.seeds_played, "seed"),
        percent(shares.beats_share_t),
        percent(shares.beats_share_wilcoxon),
        percent(shares.all_pairs_share),
    );
    if let Some(hold_out) = &cases.hold_out {
        text += &format!(
            " On single folds taken for hold-out sets ({}), the best beats {}.",
            of_rows(hold_out),
            percent(hold_out.beats_share_t)
        );
    }
    text += &meaning(cases);
    if shares.rows < ROWS_FEW {
        text += &format!(
            " With {} such a test hardly finds anything, so a small share here is no comfort.",
            counted(shares.rows, "row")
        );
    }
    text
}

fn of_rows(shares: &LotteryShares) -> String {
    counted(shares.rows, "row")
}

/// What the shares say of a p-value between two trainings.
fn meaning(cases: &CaseLottery) -> String {
    let shares = &cases.shares;
    let means = || cases.drawn.iter().map(|seed| seed.mean);
    if means().all(|mean| cases.drawn.first().is_some_and(|first| first.mean == mean)) {
        return " All seeds gave the same scores: there is nothing to win.".to_string();
    }
    let most = shares.beats_share_t.max(shares.beats_share_wilcoxon).max(shares.all_pairs_share);
    let verdict = if most > EXPECTED_BY_CHANCE {
        "Nothing but the seed differs between these trainings, so with one training of each of two \
         methods a test over rows would call seeds \"methods\" this often."
    } else {
        "Here a test over rows is not fooled by the seed more often than the 5 % it allows itself."
    };
    format!(" {verdict}")
}

fn sheet(report: &Report) -> Sheet {
    let row = |part: &LotteryPart, design: &str, shares: &LotteryShares| {
        vec![
            part.arm.clone(),
            design.to_string(),
            count(shares.rows),
            count(shares.seeds_played),
            percent(shares.beats_share_t),
            percent(shares.beats_share_wilcoxon),
            percent(shares.all_pairs_share),
            percent(shares.all_pairs_share_wilcoxon),
        ]
    };
    let mut rows = Vec::new();
    let mut drawn = false;
    for part in &report.lottery {
        let Some(cases) = &part.cases else { continue };
        rows.push(row(part, cases.played_on, &cases.shares));
        rows.extend(cases.hold_out.iter().map(|shares| row(part, "hold-out", shares)));
        drawn |= cases.shares.pairs_drawn || cases.hold_out.is_some_and(|s| s.pairs_drawn);
    }
    let mut meanings = legend(&[
        ("On", "All test rows of a cross-validation at once, or each fold as if it were held out."),
        (
            "Best beats, t",
            "Of the other seeds, those that the best one is better than with p < 0.05 in a paired t-test over rows (Åkesson et al., 2024).",
        ),
        ("Best beats, ranks", "The same by Wilcoxon's signed-rank test."),
        (
            "Pairs, t",
            "Of all pairs of seeds, those with p < 0.05, whichever is better; 5 % are expected where seeds do not matter.",
        ),
    ]);
    let scored = report.lottery.iter().find_map(|part| part.cases.as_ref());
    meanings.extend(scored.map(|cases| {
        let instead = match cases.case_score_is_the_metrics {
            true => String::new(),
            false => format!("; {} has no value for a single row", report.study.metric),
        };
        ("Rows".to_string(), format!("Each is scored by {}{instead}.", cases.case_score))
    }));
    if drawn {
        let what = "Where there are very many pairs, a part of them was drawn at random.";
        meanings.push(("Pairs".to_string(), what.to_string()));
    }
    Sheet {
        title: "Seeds against each other, row by row".into(),
        columns: columns(
            &[
                "Arm",
                "On",
                "Rows",
                "Seeds",
                "Best beats, t",
                "Best beats, ranks",
                "Pairs, t",
                "Pairs, ranks",
            ],
            2,
        ),
        rows,
        legend: meanings,
    }
}

/// Why some arm's seeds were not compared row by row.
fn missing(report: &Report) -> Option<String> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for part in &report.lottery {
        let Some(why) = &part.cases_missing else { continue };
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, arms)) => arms.push(part.arm.clone()),
            None => reasons.push((why, vec![part.arm.clone()])),
        }
    }
    let sentence = |(why, arms): &(&str, Vec<String>)| {
        format!("Seeds of {} were not compared row by row: {why}.", super::number::listed(arms))
    };
    let text: Vec<String> = reasons.iter().map(sentence).collect();
    (!text.is_empty()).then(|| text.join(" "))
}

/// Arms whose lottery is told in words.
const ARMS_SPELLED: usize = 3;

/// A share of pairs above this is more than a test at 5 % finds among equals.
const EXPECTED_BY_CHANCE: f64 = 0.075;

/// Rows below which a paired test finds little.
const ROWS_FEW: u64 = 20;
