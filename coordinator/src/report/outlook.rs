//! "What would more runs bring?": what the best seed is worth, whether a difference matters and would
//! come again, and which design is worth its cost.
//!
//! Floor: core.

use common::study::Study;

use super::choice;
use super::content::{
    ComparisonPart, Gain, LotteryPart, Money, NextBlock, Outlook, PlannedDesign, Report,
    VerdictKind,
};
use super::figures;
use super::monitor;
use super::number::{beside, chance, counted, duration, percent, significant, significant_short};
use super::page::{Block, Sheet, columns, legend};

/// The section of the page; nothing where there is no comparison and no seed to be lucky.
pub fn blocks(report: &Report) -> Vec<Block> {
    let pairs: Vec<(&ComparisonPart, &Outlook)> = (report.comparisons.iter())
        .filter_map(|pair| Some((pair, pair.outlook.as_ref()?)))
        .collect();
    let mut list = Vec::new();
    if !report.lottery.is_empty() {
        let gains: Vec<(&LotteryPart, &Gain)> =
            (report.lottery.iter()).filter_map(|part| Some((part, part.gain.as_ref()?))).collect();
        list.push(Block::Heading("How lucky is the best seed?".into()));
        list.extend(gains.iter().map(|(part, gain)| Block::Text(luck(report, part, gain))));
        list.extend(figures::winner(report).map(Block::Figure));
        if !gains.is_empty() {
            list.push(Block::Sheet(lottery(&gains)));
        }
        list.extend(super::lottery::blocks(report));
    }
    if !pairs.is_empty() {
        list.push(Block::Heading("What would more runs bring?".into()));
        let few = pairs.iter().take(PAIRS_SPELLED);
        list.extend(few.map(|(pair, outlook)| Block::Text(in_words(report, pair, outlook))));
        list.push(Block::Sheet(chances(&pairs)));
        list.extend(figures::replication(report).map(Block::Figure));
        list.extend(figures::tradeoff(report).map(Block::Figure));
        list.extend(figures::worth(report).map(Block::Figure));
        if let [(pair, outlook)] = pairs.as_slice() {
            list.push(Block::Sheet(designs(pair, outlook)));
        }
    }
    if let Some(part) = &report.stop {
        let asked = if part.ended { "Why did it stop there?" } else { "Which arms were dropped?" };
        list.push(Block::Heading(asked.into()));
        list.push(Block::Text(format!("{} {}", part.words, part.saved_in_words())));
    }
    if let Some(part) = &report.monitor {
        list.push(Block::Heading("Might one have stopped earlier?".into()));
        let larger = report.study.goal == "larger is better";
        list.push(Block::Text(monitor::sentence(part, larger)));
        list.extend(figures::sequential(report).map(Block::Figure));
    }
    list
}

fn luck(report: &Report, part: &LotteryPart, lead: &Gain) -> String {
    let scale = lead.expected_gain / 10.0;
    let gain = |value: f64| beside(value, scale);
    let luck = if lead.shrunken_gain < lead.observed_gain / 2.0 {
        "Most of that is luck with the rows it was tested on: trained again with another seed, the arm \
         should be expected at its average."
    } else {
        "Much of that stays with that very model; an arm trained again has a new seed, and should be \
         expected at its average."
    };
    format!(
        "{}: the best of {} looks {} better in {} than the average one; of as many seeds the best is \
         expected to look {} better, and {} if all were the same. Of its lead {} is left when what luck \
         gives is taken away. {luck}",
        part.arm,
        counted(part.seeds, "seed"),
        gain(lead.observed_gain),
        report.study.metric,
        gain(lead.expected_gain),
        gain(lead.noise_gain),
        gain(lead.shrunken_gain),
    )
}

fn lottery(gains: &[(&LotteryPart, &Gain)]) -> Sheet {
    let row = |(part, lead): &(&LotteryPart, &Gain)| {
        let gain = |value: f64| beside(value, lead.expected_gain / 10.0);
        vec![
            part.arm.clone(),
            part.best_seed.clone(),
            gain(lead.observed_gain),
            gain(lead.expected_gain),
            gain(lead.noise_gain),
            gain(lead.shrunken_gain),
        ]
    };
    Sheet {
        title: "Leads of the best seeds".into(),
        columns: columns(
            &["Arm", "Best seed", "Its lead", "Expected", "By noise", "What is left"],
            1,
        ),
        rows: gains.iter().map(row).collect(),
        legend: legend(&[
            ("Its lead", "The best seed's mean over all folds, beyond the arm's mean."),
            (
                "Expected",
                "The lead that the best of so many seeds has on average, by their spread.",
            ),
            ("By noise", "The same if no seed were better than another in truth."),
            (
                "What is left",
                "The lead to be expected of the same model on other rows: the best linear unbiased prediction.",
            ),
        ]),
    }
}

fn in_words(report: &Report, pair: &ComparisonPart, outlook: &Outlook) -> String {
    let names = format!("{} and {}", pair.a, pair.b);
    let again = &outlook.replication;
    let mut text = format!(
        "{names}: a second study of the same size would see the same arm ahead with a chance of {}, \
         and show a difference by itself with {}; one new run of the better arm beats one of the other \
         with {}.",
        chance(again.same_sign),
        chance(again.significant_again),
        chance(again.fresh_run)
    );
    if let Some(size) = outlook.standardized {
        text += &format!(
            " The difference is {} standard deviations of a single run's luck.",
            significant_short(size.abs())
        );
    }
    if let Some(paper) = again.one_seed {
        text += &format!(
            " If it is what it looks like, a paper that trains each arm once and tests both on {} would \
             report p < 0.05 with a chance of {}, and with one of {} for the wrong arm.",
            counted(paper.rows, "row"),
            chance(paper.significant),
            chance(paper.wrong)
        );
    }
    let scale = outlook.precision.half_width_now / 10.0;
    if let Some(detectable) = outlook.precision.detectable {
        text += &format!(
            " This design finds a true difference of {} in 80 of 100 studies.",
            beside(detectable, scale)
        );
    }
    if let Some(floor) = outlook.precision.floor.filter(|floor| *floor > 0.0) {
        text += &format!(
            " However many seeds are trained on these folds, the interval stays at ± {} or wider.",
            beside(floor, scale)
        );
    }
    let settled = matches!(pair.verdict.kind, VerdictKind::Clear | VerdictKind::Equivalent);
    text += &match &outlook.precision.advice {
        _ if settled => String::new(),
        Some(design) => format!(
            " If the difference is what it looks like, {} on {} would be enough to show it in 80 of \
             100 studies, about {} of training for both arms.",
            counted(u64::from(design.seeds), "seed"),
            folds(report, design.folds),
            duration(design.cost)
        ),
        None => {
            " No design of a sensible size would show it in 80 of 100 studies; it takes more rows."
                .to_string()
        }
    };
    format!("{text} {}", outlook.worth.verdict).trim_end().to_string()
}

/// Folds as a study file has them: whole partitions.
fn folds(report: &Report, folds: u32) -> String {
    let each = report.design.outer_folds;
    let partitions = folds.div_ceil(each.max(1));
    if each < 2 || partitions < 2 {
        return counted(u64::from(folds), "fold");
    }
    format!("{} ({partitions} partitions of {each})", counted(u64::from(partitions * each), "fold"))
}

/// Fills in whether further runs are worth it.
pub fn judge_worth(study: &Study, pairs: &mut [ComparisonPart]) {
    let metric = study.primary().to_string();
    for pair in pairs {
        let Some(contrast) = &pair.contrast else { continue };
        let (se, lead) = (contrast.se, contrast.difference.abs());
        let leader = leader(study, pair);
        let Some(outlook) = &mut pair.outlook else { continue };
        outlook.worth.verdict = worth(&metric, outlook);
        if let Some(gain) = &outlook.worth.gain {
            let more = if gain.seconds < 120.0 {
                format!("{} s", significant(gain.seconds))
            } else {
                duration(gain.seconds)
            };
            let lead = beside(lead, se);
            outlook.worth.verdict +=
                &format!(" {leader} leads by {lead} and takes {more} more to train.");
            outlook.worth.verdict += &choice::price_of_lead(gain, se);
        }
    }
}

fn leader(study: &Study, pair: &ComparisonPart) -> String {
    let sign = if study.primary().larger_is_better() { 1.0 } else { -1.0 };
    let ahead = pair.contrast.as_ref().is_some_and(|contrast| contrast.difference * sign > 0.0);
    if ahead { pair.a.clone() } else { pair.b.clone() }
}

/// Whether further runs are worth it, in the metric's own unit and in money where that was told.
fn worth(metric: &str, outlook: &Outlook) -> String {
    let worth = &outlook.worth;
    let loss = worth.expected_loss;
    let best = (worth.blocks.iter())
        .filter(|block| block.cost > 0.0)
        .max_by(|x, y| saved_per_second(loss, x).total_cmp(&saved_per_second(loss, y)));
    let Some(block) = best else { return unknown(metric, loss) };
    let larger = if loss - block.expected_loss < HARDLY * loss {
        "neither twice the seeds nor twice the folds would change that much".to_string()
    } else {
        format!(
            "{} on {} would bring that to {}, for {} more of training",
            counted(u64::from(block.seeds), "seed"),
            counted(u64::from(block.folds), "fold"),
            significant(block.expected_loss),
            duration(block.cost)
        )
    };
    let mut text = format!(
        "Choosing the leader now is expected to lose {} in {metric}, since it may be the wrong one; \
         {larger}.",
        significant(loss),
    );
    text += &match &worth.money {
        Some(money) => in_money(money),
        None if loss > 0.0 && worth.frontier.is_empty() => {
            " No larger design would lower that by much.".to_string()
        }
        None if loss < outlook.rope.width / NEXT_TO_NOTHING => {
            " That is next to nothing beside the width that is held for none: more runs are not worth it \
             for this choice."
                .to_string()
        }
        None => String::new(),
    };
    text
}

/// Of a design that says nothing of larger ones.
fn unknown(metric: &str, loss: f64) -> String {
    format!(
        "Choosing the leader now is expected to lose {} in {metric}, since it may be the wrong one; what \
         more runs would save cannot be told from this design.",
        significant(loss)
    )
}

fn in_money(money: &Money) -> String {
    let Money { value_of_a_hundredth, price_of_an_hour, seeds, folds, value, cost, .. } = money;
    let told = format!(
        " At {} for each 0.01 and {} for an hour of training,",
        significant_short(*value_of_a_hundredth),
        significant_short(*price_of_an_hour)
    );
    let design =
        format!("{} on {}", counted(u64::from(*seeds), "seed"), counted(u64::from(*folds), "fold"));
    let sums = format!("expected to save {} and cost {}", significant(*value), significant(*cost));
    if money.worth_it {
        format!("{told} more runs are worth it: {design} are {sums} more.")
    } else {
        format!("{told} more runs are not worth it: the nearest, {design}, are {sums} more.")
    }
}

fn saved_per_second(loss: f64, block: &NextBlock) -> f64 {
    (loss - block.expected_loss) / block.cost
}

fn chances(pairs: &[(&ComparisonPart, &Outlook)]) -> Sheet {
    let width = pairs.first().map_or(0.0, |(_, outlook)| outlook.rope.width);
    let row = |(pair, outlook): &(&ComparisonPart, &Outlook)| {
        let wins = outlook.p_a_beats_b_ci.as_ref();
        vec![
            format!("{} − {}", pair.a, pair.b),
            chance(outlook.rope.p_a),
            chance(outlook.rope.p_equal),
            chance(outlook.rope.p_b),
            wins.map_or("–".into(), |ci| format!("{} to {}", percent(ci.low), percent(ci.high))),
            chance(outlook.replication.same_sign),
            chance(outlook.replication.significant_again),
            chance(outlook.replication.fresh_run),
        ]
    };
    let equal = match width {
        0.0 => "The two are exactly equal: without a width that matters this has no probability."
            .to_string(),
        width => {
            format!("The difference is {width} at most, which is held for none, whoever is ahead.",)
        }
    };
    Sheet {
        title: "Chances".into(),
        columns: columns(
            &[
                "Arms",
                "First better",
                "Equal",
                "Second better",
                "First wins",
                "Same sign",
                "Shown by it",
                "One fresh run",
            ],
            1,
        ),
        rows: pairs.iter().map(row).collect(),
        legend: legend(&[
            (
                "First better",
                "Probability, after these data and a flat prior, that the first arm is better on new samples by more than what is held for equal (Bayesian correlated t-test; Corani and Benavoli, 2015).",
            ),
            ("Equal", &equal),
            (
                "First wins",
                "95 % interval of the share of pairs that the first arm wins, folds and seeds resampled whole; below 75 % a better arm is seldom worth a change (Bouthillier et al., 2021).",
            ),
            ("Same sign", "A second study of this design has the same arm ahead."),
            ("Shown by it", "It has, and its own interval leaves out zero."),
            (
                "One fresh run",
                "A single run of the better arm beats one of the other on the same new fold.",
            ),
        ]),
    }
}

/// A table of designs, without a legend.
pub fn designs_sheet<'a>(
    title: String,
    outlook: &Outlook,
    designs: impl Iterator<Item = &'a PlannedDesign>,
) -> Sheet {
    let scale = outlook.precision.half_width_now / 10.0;
    let row = |design: &PlannedDesign| {
        vec![
            design.seeds.to_string(),
            design.folds.to_string(),
            design.half_width.map_or("–".into(), |half| format!("± {}", beside(half, scale))),
            design.power.map_or("–".into(), percent),
            duration(design.cost),
        ]
    };
    Sheet {
        title,
        columns: columns(&["Seeds", "Folds", "95 % interval", "Found", "Training"], 0),
        rows: designs.map(row).collect(),
        legend: Vec::new(),
    }
}

fn designs(pair: &ComparisonPart, outlook: &Outlook) -> Sheet {
    let title = format!("Designs of other sizes, {} − {}", pair.a, pair.b);
    Sheet {
        legend: legend(&[
            (
                "95 % interval",
                "Half-width for new samples of this size (T2); folds of the same rows share them, so more folds help less than new rows.",
            ),
            ("Found", "Chance that the design shows a difference as large as the one seen here."),
            ("Training", "For both arms, at what this study's runs took."),
        ]),
        ..designs_sheet(title, outlook, outlook.precision.table.iter())
    }
}

/// A loss below this part of what counts is next to nothing.
pub const NEXT_TO_NOTHING: f64 = 100.0;

/// Less than this of a loss is hardly worth a word.
const HARDLY: f64 = 0.1;

/// Pairs whose outlook is told in words.
const PAIRS_SPELLED: usize = 3;
