//! Spreads of seeds and the stability of ranks, in words.
//!
//! Floor: core.

use super::content::{AgreementPart, ArmRanks, EqualSpread, Report, SeedSpread, SpreadsPart};
use super::number::{count, counted, decimals, listed, p, percent, significant};
use super::page::{Block, Sheet, columns, legend};

/// How far seeds move each config; nothing where no config has two seeds.
pub fn blocks(report: &Report) -> Vec<Block> {
    let Some(part) = &report.spreads else { return Vec::new() };
    let mut list = vec![Block::Text(in_words(part))];
    if part.groups.len() > SPELLED {
        list.push(Block::Sheet(sheet(report, part)));
    }
    list
}

fn in_words(part: &SpreadsPart) -> String {
    let each: Vec<String> = part
        .groups
        .iter()
        .take(SPELLED)
        .map(|group| format!("{} by {}", named(group), significant(group.sd)))
        .collect();
    let mut text = format!("A new seed alone moves the mean of {}, typically", listed(&each));
    if part.groups.len() > SPELLED {
        text += "; all of them are below";
    }
    text += ".";
    match part.test {
        Some(EqualSpread { unequal: true, p: chance, .. }) => {
            text += &format!(
                " These spreads differ by more than luck gives (Brown and Forsythe's test, p {}): the \
                 model over all arms takes one spread for all, so trust each arm's own components.",
                with_sign(chance)
            );
        }
        Some(EqualSpread { p: chance, .. }) => {
            text += &format!(
                " Nothing shows that they differ (Brown and Forsythe's test, p {}).",
                with_sign(chance)
            );
        }
        None => {}
    }
    text
}

fn with_sign(chance: f64) -> String {
    let text = p(chance);
    if text.starts_with('<') { text } else { format!("= {text}") }
}

fn named(group: &SeedSpread) -> String {
    match &group.config {
        Some(config) => format!("{} ({config})", group.arm),
        None => group.arm.clone(),
    }
}

fn sheet(report: &Report, part: &SpreadsPart) -> Sheet {
    let row = |group: &SeedSpread| {
        let config = group.config.clone().unwrap_or_else(|| "–".to_string());
        vec![group.arm.clone(), config, count(group.seeds), significant(group.sd)]
    };
    Sheet {
        title: format!("How far a seed moves each config ({})", report.study.metric),
        columns: columns(&["Arm", "Config", "Seeds", "SD of seeds"], 2),
        rows: part.groups.iter().map(row).collect(),
        legend: legend(&[(
            "SD of seeds",
            "Standard deviation of the seeds' means over folds; luck within folds is still in it.",
        )]),
    }
}

/// How alike an arm's runs are; `None` where no spread was divided.
pub fn agreement(report: &Report) -> Option<Sheet> {
    let row = |part: &AgreementPart| {
        let of = |value: Option<f64>| value.map_or("–".to_string(), |value| decimals(value, 2));
        vec![
            part.arm.clone(),
            part.repeatability_sd.map_or("–".into(), significant),
            of(part.icc_seed),
            of(part.icc_fold),
            of(part.configs.map(|configs| configs.relative)),
            of(part.configs.map(|configs| configs.absolute)),
        ]
    };
    let titles = ["Arm", "Retrained, SD", "ICC, seed", "ICC, fold", "Order kept", "Level kept"];
    (!report.agreement.is_empty()).then(|| Sheet {
        title: format!("How alike are single runs? ({})", report.study.metric),
        columns: columns(&titles, 1),
        rows: report.agreement.iter().map(row).collect(),
        legend: legend(&[
            (
                "Retrained, SD",
                "How far a run lies from the mean of runs that differ in nothing but the seed: the repeatability of one run. Told of arms with one config.",
            ),
            (
                "ICC",
                "Intraclass correlation: how alike two runs are that share a seed, or a fold, from 0 (not at all) to 1.",
            ),
            (
                "Order kept, level kept",
                "Generalizability coefficients of the arm's configs, from 0 to 1: at least how well this many folds tell configs apart, and how well a config's mean stands for its own (E ρ² and Φ; Brennan, 2001).",
            ),
        ]),
    })
}

/// The ranking's stability; nothing for fewer than three arms, whose one comparison says it all.
pub fn ranking(report: &Report) -> Vec<Block> {
    let Some(part) = report.ranks.as_ref().filter(|_| report.arms.len() > 2) else {
        return Vec::new();
    };
    if let Some(why) = &part.missing {
        return vec![Block::Text(format!("How stable the ranking is is not shown: {why}."))];
    }
    let first = part.arms.iter().max_by(|x, y| x.chances[0].total_cmp(&y.chances[0]));
    let mut text = String::new();
    if let Some(first) = first {
        text = format!(
            "Ranking: if the arms are as good as they look, {} would come first in {} of 100 repetitions \
             of this study on new samples, and lie between rank {} and rank {} in 95.",
            first.arm,
            decimals(100.0 * first.chances[0], 0),
            first.low,
            first.high
        );
    }
    vec![Block::Text(text), Block::Sheet(rank_sheet(&part.arms))]
}

fn rank_sheet(arms: &[ArmRanks]) -> Sheet {
    let shown = arms.len().min(RANKS_SHOWN);
    let mut titles = vec!["Arm".to_string(), "Mean rank".into(), "95 % of ranks".into()];
    titles.extend((1..=shown).map(|rank| format!("Rank {rank}")));
    let row = |arm: &ArmRanks| {
        let mut cells = vec![
            arm.arm.clone(),
            decimals(arm.mean_rank, 1),
            format!("{} to {}", arm.low, arm.high),
        ];
        cells.extend(arm.chances.iter().take(shown).map(|chance| percent(*chance)));
        cells
    };
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    Sheet {
        title: "How stable is the ranking?".into(),
        columns: columns(&titles, 1),
        rows: arms.iter().map(row).collect(),
        legend: legend(&[(
            "Rank 1",
            &format!(
                "The chance of being the best of {} when all are trained and tested on new samples (T2): their means drawn again from the fitted model.",
                counted(arms.len() as u64, "arm")
            ),
        )]),
    }
}

/// Groups told in words.
const SPELLED: usize = 4;

/// Ranks with a column of their own.
const RANKS_SHOWN: usize = 8;
