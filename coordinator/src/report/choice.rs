//! Verdicts for choosing: two arms that are equal for all that matters, and one arm's best seed.
//!
//! Deliberately absent: money; costs are seconds of training.
//!
//! Floor: core.

use common::stats::distribution::expected_max;
use common::study::{Arm, Study};

use super::analysis::arms::CONFIGS_JUDGED;
use super::analysis::choice::seconds_of_arm;
use super::analysis::estimate;
use super::content::{
    ArmDrawn, ArmPart, CheapestConfig, ComparisonPart, ConfigPart, Gain, GainPrice, LotteryPart,
    Report, Rope, Verdict, VerdictKind,
};
use super::number::{beside, count, counted, duration, percent, significant};
use super::page::{Block, Sheet, columns, legend, score, span, unrepeated};
use super::table::Table;
use super::verdict::{drawn_anew, left_out, typical};

/// Calls pairs equivalent whose difference is smaller than what counts, with probability 0.95 at
/// least: also those that clearly differ by less than that.
pub fn judge_equal(study: &Study, table: &Table, pairs: &mut [ComparisonPart]) {
    for pair in pairs {
        let Some(rope) = pair.outlook.as_ref().map(|outlook| outlook.rope) else { continue };
        let seeds = pair.contrast.as_ref().map_or(0, |contrast| contrast.seeds);
        // With one seed its luck is in every number, and nothing tells how much.
        let judged =
            matches!(pair.verdict.kind, VerdictKind::Clear | VerdictKind::NotShown) && seeds > 1;
        if judged && rope.width > 0.0 && rope.p_equal >= EQUAL_AT_LEAST {
            let text = equal(study, table, pair, rope);
            pair.verdict = Verdict { kind: VerdictKind::Equivalent, text, ..pair.verdict.clone() };
        }
    }
}

fn equal(study: &Study, table: &Table, pair: &ComparisonPart, rope: Rope) -> String {
    let (a, b) = (&pair.a, &pair.b);
    let (metric, width) = (study.primary(), rope.width);
    let probability = if rope.p_equal > 0.999 {
        "above 0.999".to_string()
    } else {
        format!("{:.3}", rope.p_equal)
    };
    let mut text = format!(
        "If less than {width} in {metric} does not matter, {a} and {b} are equivalent: on {} their \
         difference is smaller than that (probability {probability}; {width} is assumed, not asked for).",
        drawn_anew(study)
    );
    if let (VerdictKind::Clear, Some(contrast)) = (pair.verdict.kind, &pair.contrast) {
        let better = (contrast.difference > 0.0) == metric.larger_is_better();
        text += &format!(
            " That {} is ahead, by {}, is clear, and less than that.",
            if better { a } else { b },
            beside(contrast.difference.abs(), contrast.se)
        );
    }
    let arms: Vec<&Arm> =
        study.judged().iter().filter(|arm| arm.name == *a || arm.name == *b).collect();
    text + &cheaper(study, table, (a, b)) + &typical(&arms)
}

/// Which of two costs less to train, by what this study's trainings took.
fn cheaper(study: &Study, table: &Table, (a, b): (&str, &str)) -> String {
    let seconds = |name: &str| {
        let arm = study.judged().iter().position(|arm| arm.name == name)?;
        seconds_of_arm(table, arm)
    };
    let Some((of_a, of_b)) = seconds(a).zip(seconds(b)) else { return String::new() };
    let (name, low, high) = if of_a <= of_b { (a, of_a, of_b) } else { (b, of_b, of_a) };
    if !saves(low, high) {
        return " They cost about the same to train.".to_string();
    }
    format!(
        " Choose the cheaper one: {name} takes {} less time to train ({} instead of {}, on the \
         machines of this study).",
        percent(1.0 - low / high),
        seconds_in_words(low),
        seconds_in_words(high)
    )
}

fn seconds_in_words(seconds: f64) -> String {
    if seconds < 0.1 { format!("{:.1} ms", seconds * 1e3) } else { duration(seconds) }
}

/// The verdict on a study of one arm, with what its best seed is worth.
///
/// On one test set seeds are all that varied, so theirs is the verdict; else a sentence is added. A
/// study that `failed`, as it declares of diverged runs, keeps its own.
pub fn judge_best_seed(
    study: &Study,
    verdict: Verdict,
    drawn: &[ArmDrawn],
    lottery: &[LotteryPart],
    failed: bool,
) -> Verdict {
    let ([arm], [part]) = (drawn, lottery) else { return verdict };
    if failed {
        return verdict;
    }
    if arm.seeds.len() < SEEDS_MIN {
        return verdict;
    }
    let several = study.outer.partitions * study.outer.folds > 1;
    match (verdict.kind, &part.gain) {
        (VerdictKind::Described, Some(gain)) => {
            let text = format!("{} {}", verdict.text, of_seeds(study, part, gain));
            Verdict { text, ..verdict }
        }
        (VerdictKind::NotEstimable, _) if !several => match on_one_test_set(study, arm, part) {
            Some(text) => Verdict { kind: VerdictKind::Lottery, text, ..verdict },
            None => verdict,
        },
        _ => verdict,
    }
}

fn of_seeds(study: &Study, part: &LotteryPart, gain: &Gain) -> String {
    let scale = gain.expected_gain / 10.0;
    format!(
        "The best of {} looks {} better in {} than the average one; of as many seeds with this spread \
         the best is expected to look {} better. A retrained model should be expected at the average.",
        counted(part.seeds, "seed"),
        beside(gain.observed_gain, scale),
        study.primary(),
        beside(gain.expected_gain, scale),
    )
}

/// `None` where all seeds score the same.
fn on_one_test_set(study: &Study, arm: &ArmDrawn, part: &LotteryPart) -> Option<String> {
    let means: Vec<f64> = arm.seeds.iter().map(|(_, mean)| *mean).collect();
    let (mean, sd) = (estimate::mean(&means), estimate::sd(&means).filter(|sd| *sd > 0.0)?);
    let larger = study.primary().larger_is_better();
    let far = |best: f64, value: f64| if larger { best.max(value) } else { best.min(value) };
    let best = means.iter().copied().reduce(far)?;
    let (looks, luck) = ((best - mean).abs(), expected_max(means.len() as u64) * sd);
    let judged = if looks <= luck * BEYOND_LUCK {
        "This is what luck alone gives"
    } else {
        "That is more than the luck of such a spread usually gives, and seeds are all that differ"
    };
    let scale = luck / 10.0;
    Some(format!(
        "The best of {} of {} (seed {}) looks {} better in {} than the average one. {judged} (expected \
         {}). A retrained model should be expected at the average, {}. There was one test set, so \
         nothing says how far that would move with other rows{}.",
        counted(part.seeds, "training"),
        part.arm,
        part.best_seed,
        beside(looks, scale),
        study.primary(),
        beside(luck, scale),
        beside(mean, sd),
        left_out(study).map_or(String::new(), |column| format!(" or another {column}")),
    ))
}

/// Every config's mean and how sure it is; `None` where no arm has several.
pub fn configs(report: &Report) -> Option<Sheet> {
    let several = || report.arms.iter().filter(|arm| arm.configs.len() > 1);
    let row = |arm: &ArmPart, config: &ConfigPart| {
        let scale = config.sd.map(|sd| sd / 3.0);
        vec![
            arm.arm.clone(),
            config.config.clone(),
            count(config.n),
            config.mean.map_or("–".into(), |mean| score(mean, config.sd)),
            config.sd.map_or("–".into(), significant),
            span(config.errors.ci_t1.as_ref(), scale),
            span(config.errors.ci_t2.as_ref(), scale),
        ]
    };
    let rows: Vec<Vec<String>> =
        several().flat_map(|arm| arm.configs.iter().map(move |config| row(arm, config))).collect();
    let mut meanings = legend(&[
        (
            "Config",
            "No config is named the best: the one that leads here was seen on the test rows, and its mean would flatter it. Choosing one honestly takes inner folds.",
        ),
        (
            "T1, T2",
            "95 % intervals of the config's mean, as for an arm: with other seeds on the same rows, and on another sample. They say how sure each mean is; whether two configs differ they do not say.",
        ),
    ]);
    if several().any(|arm| arm.configs.len() > CONFIGS_JUDGED) {
        let first = format!("Of each arm the first {CONFIGS_JUDGED} configs have intervals.");
        meanings.push(("Many configs".into(), first));
    }
    let titles = ["Arm", "Config", "Runs", "Mean", "SD", "T1: new seeds", "T2: new samples"];
    (!rows.is_empty()).then(|| Sheet {
        title: "Configs, in the order of the study file".into(),
        columns: columns(&titles, 2),
        rows: unrepeated(rows),
        legend: meanings,
    })
}

/// The sentences on cheap configs; `None` where no arm has several.
pub fn cheap_configs(report: &Report) -> Option<Block> {
    let list = &report.cost.cheapest;
    let mut sentences: Vec<String> = list.iter().map(in_words).collect();
    if sentences.is_empty() {
        return None;
    }
    sentences.push(
        "Which config is best was seen on the test rows: this is a hint where to save, and no score."
            .to_string(),
    );
    Some(Block::Text(sentences.join(" ")))
}

fn in_words(part: &CheapestConfig) -> String {
    let CheapestConfig { arm, best, cheapest, behind, se, .. } = part;
    if best == cheapest || !saves(part.seconds_cheapest, part.seconds_best) {
        let text = format!(
            "{arm}: no config costs noticeably less than {best}, the best on these rows, and is within \
             one standard error of it."
        );
        return text + &by_what_counts(part);
    }
    let text = format!(
        "{arm}: {cheapest} is the cheapest config within one standard error of the best, {best}: {} \
         behind (standard error {}), for {} a training instead of {}.",
        beside(*behind, *se),
        beside(*se, *se),
        seconds_in_words(part.seconds_cheapest),
        seconds_in_words(part.seconds_best)
    );
    let price = part.gain.map_or(String::new(), |gain| price_of_lead(&gain, *se));
    text + &price + &by_what_counts(part)
}

/// The choice by differences that count, where there is such a width.
fn by_what_counts(part: &CheapestConfig) -> String {
    let Some(rope) = &part.rope else { return String::new() };
    let width = rope.width;
    match rope.cheapest != part.best && saves(rope.seconds, part.seconds_best) {
        false => format!(
            " None that costs noticeably less is behind it by less than {width} with a probability of \
             0.95 ({width} is assumed, not asked for)."
        ),
        true => format!(
            " If less than {width} does not matter ({width} is assumed, not asked for), {} is the \
             cheapest that will do, with a probability of 0.95 at least, for {} a training.",
            rope.cheapest,
            seconds_in_words(rope.seconds)
        ),
    }
}

/// Whether training in `low` seconds saves enough of `high` to choose by it.
fn saves(low: f64, high: f64) -> bool {
    1.0 - low / high >= SAVED_AT_LEAST
}

/// A sentence on what a lead costs, `se` being its error.
pub fn price_of_lead(gain: &GainPrice, se: f64) -> String {
    match gain.seconds_per_step {
        None => {
            " Luck alone could give such a lead; whether any of it comes from the longer training is \
                 not shown."
            .to_string()
        }
        Some(each) => format!(
            " Of that lead {} is left when luck is taken away: each {} of it costs {} more a training.",
            beside(gain.shrunken_gain, se),
            gain.step,
            seconds_in_words(each)
        ),
    }
}

/// Probability from which on two arms are called equivalent.
const EQUAL_AT_LEAST: f64 = 0.95;

/// Below this share of the dearer one's time there is nothing to choose by cost.
const SAVED_AT_LEAST: f64 = 0.05;

const SEEDS_MIN: usize = 3;

/// A lead of more than so many times the expected one is no usual luck.
const BEYOND_LUCK: f64 = 1.5;
