//! Verdicts in plain words: what the numbers carry, and what they do not.
//!
//! Nothing is called significant; each verdict names its target, and what it rests on. Deliberately
//! absent: verdicts on a config. The one with the best score was found on the test rows.
//!
//! Floor: core.

use std::collections::{BTreeMap, BTreeSet};

use common::stats::seed_use::{self, Class, Enough, Mend, Practice, Purpose};
use common::study::{Arm, Diverged, OuterKind, Study};

use super::analysis::comparisons::Compared;
use super::content::{
    ArmPart, ComparisonPart, ComponentPart, Contrast, Interval, MendCost, SeedUse, Target, Verdict,
    VerdictKind,
};
use super::looks;
use super::number::{beside, count, counted, decimals, listed, percent, places};
use super::table::Table;

/// The verdict on one pair of arms.
pub fn on_pair(study: &Study, compared: &Compared, basis: &str) -> ComparisonPart {
    let (a, b) = (study.arms[compared.a].name.clone(), study.arms[compared.b].name.clone());
    let (kind, text) = match &compared.contrast {
        Ok(contrast) if contrast.p_holm < ALPHA => {
            (VerdictKind::Clear, clear(study, compared, contrast))
        }
        Ok(contrast) => (VerdictKind::NotShown, not_shown(study, compared, contrast)),
        Err(why) => (VerdictKind::NotEstimable, format!("{a} and {b} cannot be compared: {why}.")),
    };
    ComparisonPart {
        a,
        b,
        cells: compared.cells,
        folds: compared.folds,
        contrast: compared.contrast.clone().ok(),
        outlook: compared.outlook.clone(),
        other_rows: None,
        verdict: Verdict { kind, text, basis: basis.to_string() },
    }
}

/// Whether a run diverged in a study that declares that this fails it.
pub fn declared_failed(study: &Study, table: &Table) -> bool {
    study.budget.diverged == Diverged::Fail && table.diverged > 0
}

/// The verdict on the study.
pub fn on_study(
    study: &Study,
    table: &Table,
    arms: &[ArmPart],
    components: &[ComponentPart],
    pairs: &[ComparisonPart],
    basis: &str,
) -> Verdict {
    let verdict = |kind, text| Verdict { kind, text, basis: basis.to_string() };
    if declared_failed(study, table) {
        let text = format!(
            "{} diverged, and this study declares that a diverged run fails it. The numbers below \
             are those of the other runs.",
            counted(table.diverged, "run")
        );
        return verdict(VerdictKind::NotEstimable, text);
    }
    let silent: Vec<&str> =
        arms.iter().filter(|arm| arm.scores.is_none()).map(|arm| arm.arm.as_str()).collect();
    match (arms, pairs) {
        _ if silent.len() == arms.len() => verdict(
            VerdictKind::NotEstimable,
            "No trial has ended with a score, so there is nothing to judge yet.".to_string(),
        ),
        ([arm], _) => {
            let (kind, text) = described(study, arm, components);
            verdict(kind, text)
        }
        (_, [pair]) => verdict(pair.verdict.kind, pair.verdict.text.clone()),
        _ => several(study, arms, pairs, verdict),
    }
}

/// What every verdict rests on. `rows`: how many, and whose.
pub fn basis(
    study: &Study,
    table: &Table,
    cancelled: u64,
    seed_use: &SeedUse,
    reach: Option<Target>,
    looks: Option<looks::Looks<'_>>,
    rows: &str,
) -> String {
    let ended = table.complete + table.failed;
    let seeds: Vec<String> = study
        .seeds
        .factors
        .iter()
        .map(|factor| match factor.name.as_str() {
            "seed" => counted(u64::from(factor.count), "seed"),
            stream => format!("{} of {stream}", counted(u64::from(factor.count), "seed")),
        })
        .collect();
    let mut text = format!(
        "{} {rows}, {}, {}; {} failed{}.",
        target_in_words(study, reach),
        seeds.join(" × "),
        folds_in_words(study),
        counted(table.failed, "run"),
        match table.diverged {
            0 => String::new(),
            diverged if diverged == table.failed => ", all by diverging".to_string(),
            diverged => format!(", {} of them by diverging", count(diverged)),
        },
    );
    if ended < table.planned {
        let open = table.planned - ended;
        text += &format!(
            " Only {} of {} trials have ended{}: read this as an interim look, whose intervals do \
             not allow for looking early.",
            count(ended),
            count(table.planned),
            if cancelled == open { " and the rest were cancelled" } else { "" }
        );
    }
    if let Some(looks) = &looks {
        text += &format!(" {}", looks::in_basis(looks));
    }
    text + &format!(" Seed use: {}.", seed_use.class)
}

/// The widest target that anything in the report reaches.
pub fn reach(arms: &[ArmPart], compared: &[Compared]) -> Option<Target> {
    let scores = || arms.iter().filter_map(|arm| arm.scores.as_ref());
    let contrasts = compared.iter().any(|pair| pair.contrast.is_ok());
    let alone = compared.is_empty() && scores().any(|scores| scores.ci_t2.is_some());
    if contrasts || alone {
        return Some(Target::T2);
    }
    scores().any(|scores| scores.ci_t1.is_some()).then_some(Target::T1)
}

fn target_in_words(study: &Study, reach: Option<Target>) -> String {
    match (reach, left_out(study)) {
        (Some(Target::T2), None) => {
            "Target T2: the same training on a new sample of the same size.".to_string()
        }
        (Some(Target::T2), Some(column)) => {
            format!("Target T2: the same training, tested on a new {column}.")
        }
        (Some(Target::T1), _) => {
            "Target T1 at most: the same test rows with new seeds. Nothing here reaches \
             trainings on other rows."
                .to_string()
        }
        (Some(Target::T3), _) => {
            "Target T3 at most: these very trained models on new test rows. Nothing here reaches \
             other seeds or trainings."
                .to_string()
        }
        (None, _) => {
            "No target: neither seeds nor test sets show a spread to judge by.".to_string()
        }
    }
}

/// The column whose values are tested one after another.
pub fn left_out(study: &Study) -> Option<&str> {
    match study.outer.kind {
        OuterKind::LeaveOut => Some(study.data.leave_out.as_deref().unwrap_or("left-out value")),
        OuterKind::KFold | OuterKind::Holdout { .. } | OuterKind::Ordered { .. } => None,
    }
}

/// What T2 would draw anew: as in "for …".
pub fn drawn_anew(study: &Study) -> String {
    match left_out(study) {
        Some(column) => format!("a new {column}"),
        None => "new samples of this size".to_string(),
    }
}

/// What one test set is: a fold, or a value of the left-out column.
fn test_set(study: &Study) -> &str {
    left_out(study).unwrap_or("fold")
}

/// Class of seed use after Bethard (2022), from the seeds and folds that have scores.
pub fn seed_use(study: &Study, table: &Table) -> SeedUse {
    let practice = practice(study, table);
    let Some(found) = seed_use::seed_use(&practice, ENOUGH) else {
        return SeedUse {
            class: "none yet",
            risky: false,
            why: "No run has a score.".into(),
            mend: None,
            mend_cost: None,
        };
    };
    let (class, why) = class_in_words(found.class);
    let mut why = why.to_string();
    if !found.held.is_empty() {
        let names: Vec<String> = found.held.iter().map(|held| held.name().to_string()).collect();
        why += &format!(" One value of {} lies under every score.", listed(&names));
    }
    let per_trial = table.judged_seconds / table.judged_complete.max(1) as f64;
    SeedUse {
        class,
        risky: found.class.is_risky(),
        why,
        mend: found.mend.map(mend_in_words),
        mend_cost: found.mend.map(|mend| MendCost {
            trials: mend.runs,
            agent_seconds: mend.runs as f64 * per_trial,
        }),
    }
}

fn practice(study: &Study, table: &Table) -> Practice {
    let runs = || table.judged(study).iter().flatten();
    let seeds: BTreeSet<&Vec<u32>> = runs().map(|run| &run.seeds).collect();
    let blocks: BTreeSet<u32> = runs().map(|run| run.block(study)).collect();
    let mut streams = BTreeMap::new();
    for (place, factor) in study.seeds.factors.iter().enumerate() {
        let values: BTreeSet<u32> = runs().map(|run| run.seeds[place]).collect();
        streams.extend(factor.streams.iter().map(|stream| (*stream, values.len() as u32)));
    }
    // Folds still to come are paid for already.
    let (partitions, folds) = match blocks.len() {
        0 | 1 => (1, blocks.len() as u32),
        _ => (study.outer.partitions, study.outer.folds),
    };
    Practice {
        purpose: Purpose::Report,
        arms: study.judged().len() as u32,
        configs: study.judged().iter().map(|arm| arm.configs.len() as u64).sum(),
        seeds: seeds.len() as u32,
        streams,
        partitions,
        folds,
        modelled: true,
    }
}

fn class_in_words(class: Class) -> (&'static str, &'static str) {
    match class {
        Class::Selection => (
            "1: selection",
            "Seeds vary while a config is chosen, on rows that no report is about.",
        ),
        Class::Ensemble => ("2: ensemble", "Seeds vary to be averaged into one predictor."),
        Class::Sensitivity => (
            "3: sensitivity to the seed",
            "One arm on one test set: the numbers describe how much the seed matters there, not \
             how the arm does on other rows.",
        ),
        Class::SingleSeed => (
            "4, risky: a single fixed seed",
            "Every score comes from one seed, so the luck of the seed is inside every number and \
             cannot be told from merit.",
        ),
        Class::SeedsAlone => (
            "5, risky: seeds are the only source varied",
            "Arms are compared over seeds on one and the same test set. More seeds narrow the \
             interval without making the claim hold for other rows.",
        ),
        Class::Modelled => (
            "6: seeds and data both varied and modelled",
            "Seeds and the rows trained on both vary, and each has its own variance component.",
        ),
    }
}

fn mend_in_words(mend: Mend) -> String {
    let seeds = mend.seeds.map(|seeds| format!("Train {seeds} seeds: [seeds] count = {seeds}."));
    let folds = mend
        .folds
        .map(|_| "Test on folds: [split] outer = { folds = 5, repeats = 2 }.".to_string());
    let changes: Vec<String> = seeds.into_iter().chain(folds).collect();
    changes.join(" ")
}

/// The split's folds: `10 folds (2 partitions of 5)`.
pub fn folds_in_words(study: &Study) -> String {
    let (partitions, folds) = (u64::from(study.outer.partitions), u64::from(study.outer.folds));
    if let Some(column) = left_out(study) {
        return format!("{} of {column}", counted(folds, "value"));
    }
    match (partitions, folds) {
        (1, 1) if matches!(study.outer.kind, OuterKind::Ordered { .. }) => "1 test set".to_string(),
        (partitions, 1) => counted(partitions, "drawn test set"),
        (1, folds) => counted(folds, "fold"),
        (partitions, folds) => {
            format!("{} folds ({partitions} partitions of {folds})", count(partitions * folds))
        }
    }
}

/// The contrast seen from the arm that did better: its name, the other's, and how much better.
struct Lead<'a> {
    leader: &'a str,
    other: &'a str,
    advantage: f64,
    se: f64,
    low: f64,
    high: f64,
    share: f64,
    seeds_won: u64,
}

fn lead_in<'a>(study: &'a Study, compared: &Compared, contrast: &Contrast) -> Lead<'a> {
    lead(study, (&study.arms[compared.a].name, &study.arms[compared.b].name), contrast)
}

fn lead<'a>(study: &Study, (a, b): (&'a str, &'a str), contrast: &Contrast) -> Lead<'a> {
    let sign = if study.primary().larger_is_better() { 1.0 } else { -1.0 };
    let a_leads = contrast.difference * sign >= 0.0;
    let flip = if a_leads { sign } else { -sign };
    let ends = (contrast.ci.low * flip, contrast.ci.high * flip);
    Lead {
        leader: if a_leads { a } else { b },
        other: if a_leads { b } else { a },
        advantage: contrast.difference.abs(),
        se: contrast.se,
        low: ends.0.min(ends.1),
        high: ends.0.max(ends.1),
        share: if a_leads { contrast.p_a_beats_b } else { 1.0 - contrast.p_a_beats_b },
        seeds_won: if a_leads { contrast.seeds_a_better } else { contrast.seeds_b_better },
    }
}

fn clear(study: &Study, compared: &Compared, contrast: &Contrast) -> String {
    let lead = lead_in(study, compared, contrast);
    format!(
        "{} did better than {}: its {} is better by {} (95 % interval {} to {}). Of 100 pairs \
         trained with the same seed and tested on the same {}, it won about {:.0}. Neither lucky seeds nor \
         a lucky split explains the difference.{}",
        lead.leader,
        lead.other,
        study.primary(),
        beside(lead.advantage, contrast.se),
        beside(lead.low, contrast.se),
        beside(lead.high, contrast.se),
        test_set(study),
        lead.share * 100.0,
        typical(&of_pair(study, compared)),
    )
}

fn not_shown(study: &Study, compared: &Compared, contrast: &Contrast) -> String {
    let lead = lead_in(study, compared, contrast);
    let (advantage, low, high) = (
        beside(lead.advantage, contrast.se),
        beside(lead.low, contrast.se),
        beside(lead.high, contrast.se),
    );
    let metric = study.primary();
    let steady = contrast.ci_t1.as_ref().is_some_and(leaves_out_zero);
    let text = if contrast.p < ALPHA {
        format!(
            "{} looked better than {} by {advantage} in {metric} (95 % interval {low} to {high}), \
             and alone that interval would leave out zero; but this report makes several \
             comparisons, and allowing for that (Holm) it does not.",
            lead.leader, lead.other
        )
    } else if steady {
        let (met, more) = match left_out(study) {
            Some(column) => (
                format!("{} of {column}", counted(compared.folds, "value")),
                format!("more values of {column}"),
            ),
            None => (
                format!(
                    "{} in the same {}",
                    counted(study.data.rows, "row"),
                    counted(compared.folds, "fold")
                ),
                "more rows".to_string(),
            ),
        };
        format!(
            "{} looked better than {} in {} of {}, but every seed met the same {met}. On {} the \
             difference of {advantage} in {metric} is uncertain (95 % interval {low} to {high}). \
             More seeds will not settle this; {more} would help.",
            lead.leader,
            lead.other,
            count(lead.seeds_won),
            counted(contrast.seeds, "seed"),
            drawn_anew(study),
        )
    } else {
        format!(
            "{} was ahead of {} by {advantage} in {metric}, and luck with seeds and {} alone \
             can give that much (95 % interval {low} to {high}). This does not show that the two \
             are equal.",
            lead.leader,
            lead.other,
            left_out(study).map_or("folds".to_string(), |column| format!("values of {column}")),
        )
    };
    text + &typical(&of_pair(study, compared))
}

fn of_pair<'a>(study: &'a Study, compared: &Compared) -> [&'a Arm; 2] {
    [&study.arms[compared.a], &study.arms[compared.b]]
}

/// A reminder that an arm with several configs is judged by their mean.
pub fn typical(arms: &[&Arm]) -> String {
    let spaces: Vec<String> = arms
        .iter()
        .filter(|arm| arm.configs.len() > 1)
        .map(|arm| {
            format!("{} stands for a typical one of its {} configs", arm.name, arm.configs.len())
        })
        .collect();
    if spaces.is_empty() {
        return String::new();
    }
    let best = if spaces.len() == 1 { "its best" } else { "their best" };
    format!(" Here {}, not for {best}.", listed(&spaces))
}

fn described(study: &Study, arm: &ArmPart, components: &[ComponentPart]) -> (VerdictKind, String) {
    let Some(scores) = &arm.scores else {
        return (VerdictKind::NotEstimable, format!("{} has no score.", arm.arm));
    };
    let metric = study.primary();
    let mut text = match &scores.ci_t2 {
        Some(ci) => {
            let scale = (ci.high - ci.low) / 4.0;
            format!(
                "{} reached a mean {metric} of {} (95 % interval {} to {} for {}).",
                arm.arm,
                beside(scores.mean, scale),
                beside(ci.low, scale),
                beside(ci.high, scale),
                drawn_anew(study)
            )
        }
        None => format!(
            "{} reached a mean {metric} of {}. With one fold, nothing says how far that would move \
             with other rows.",
            arm.arm,
            beside(scores.mean, scores.sd.unwrap_or(0.0))
        ),
    };
    let named = components.iter().filter(|part| part.factor != "residual");
    if let Some(largest) = named.max_by(|x, y| x.share.total_cmp(&y.share)) {
        text += &format!(
            " Of the spread between runs, the largest named source is {} with {}.",
            largest.factor,
            percent(largest.share)
        );
    }
    let kind = match scores.ci_t2 {
        Some(_) => VerdictKind::Described,
        None => VerdictKind::NotEstimable,
    };
    (kind, text)
}

/// The verdict on more than two arms: clear when one arm did better than every other.
fn several(
    study: &Study,
    arms: &[ArmPart],
    pairs: &[ComparisonPart],
    verdict: impl Fn(VerdictKind, String) -> Verdict,
) -> Verdict {
    let of = |kind: VerdictKind| pairs.iter().filter(move |pair| pair.verdict.kind == kind);
    let open = of(VerdictKind::NotShown).count();
    let equal = of(VerdictKind::Equivalent).count();
    let clear: Vec<Lead<'_>> = of(VerdictKind::Clear)
        .filter_map(|pair| Some(lead(study, (&pair.a, &pair.b), pair.contrast.as_ref()?)))
        .collect();
    let wins = |arm: &ArmPart| clear.iter().filter(|lead| lead.leader == arm.arm).count();
    let ahead = arms.iter().find(|arm| wins(arm) + 1 == arms.len());
    let mut text = match ahead {
        Some(arm) => format!("{} did better than every other arm. ", arm.arm),
        None if equal == pairs.len() => {
            "No two arms differ by as much as counts here. ".to_string()
        }
        None if clear.is_empty() && equal > 0 => {
            "No arm was shown to be better than another by as much as counts here. ".to_string()
        }
        None if clear.is_empty() => "No arm was shown to be better than another. ".to_string(),
        None => "Some differences are clear, but no arm was shown to be better than every other. "
            .to_string(),
    };
    let counts: Vec<String> = [
        (clear.len(), "clear"),
        (equal, "equivalent"),
        (open, "not shown"),
        (pairs.len() - clear.len() - equal - open, "not estimable"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, word)| format!("{} {word}", are(number)))
    .collect();
    text += &format!(
        "Of {}, {}, allowing for how many were made.",
        counted(pairs.len() as u64, "comparison"),
        listed(&counts)
    );
    let digits = clear.iter().map(|lead| places(lead.se)).max().unwrap_or(0);
    let spelled: Vec<String> = clear
        .iter()
        .take(PAIRS_SPELLED)
        .map(|lead| {
            format!(
                "{} did better than {} by {} ({} to {})",
                lead.leader,
                lead.other,
                decimals(lead.advantage, digits),
                decimals(lead.low, digits),
                decimals(lead.high, digits)
            )
        })
        .collect();
    if !spelled.is_empty() {
        let metric = study.primary();
        text += &format!(" In {metric}, with 95 % intervals: {}.", spelled.join("; "));
    }
    text += &typical(&study.judged().iter().collect::<Vec<_>>());
    let kind = match (ahead, clear.len(), open + equal) {
        (Some(_), _, _) => VerdictKind::Clear,
        (None, ..) if equal == pairs.len() => VerdictKind::Equivalent,
        (None, 0, 0) => VerdictKind::NotEstimable,
        (None, 0, _) => VerdictKind::NotShown,
        (None, _, _) => VerdictKind::PartlyClear,
    };
    verdict(kind, text)
}

fn are(number: usize) -> String {
    if number == 1 { "1 is".to_string() } else { format!("{number} are") }
}

fn leaves_out_zero(interval: &Interval) -> bool {
    interval.low > 0.0 || interval.high < 0.0
}

/// The split in a sentence.
pub fn split_in_words(study: &Study) -> String {
    let outer = &study.outer;
    let strata = if outer.stratify { ", stratified by the target" } else { "" };
    let groups = match &study.data.group {
        Some(column) => format!("; rows of one {column} never part"),
        None => String::new(),
    };
    let kind = match (&outer.kind, outer.partitions) {
        (OuterKind::KFold, 1) => format!("{}-fold cross-validation", outer.folds),
        (OuterKind::KFold, partitions) => {
            format!("{}-fold cross-validation, drawn {partitions} times", outer.folds)
        }
        (OuterKind::Holdout { share }, partitions) => format!(
            "{} of the rows held out to test, drawn {}",
            percent(*share),
            counted(u64::from(partitions), "time")
        ),
        (OuterKind::LeaveOut, _) => format!(
            "each of the {} values of {} left out to test in turn",
            outer.folds,
            study.data.leave_out.as_deref().unwrap_or("the column")
        ),
        (OuterKind::Ordered { share }, _) => {
            let column = study.data.leave_out.as_deref().unwrap_or("time");
            match share {
                None => format!(
                    "forward chaining over {column}: {} folds, each trained on all earlier rows",
                    outer.folds
                ),
                Some(share) => format!(
                    "the latest {} of the rows by {column} held out to test, all earlier ones trained",
                    percent(*share)
                ),
            }
        }
    };
    format!("{kind}{strata}{groups}")
}

/// Below this a difference is called clear, after Holm's adjustment.
const ALPHA: f64 = 0.05;

/// What the advice asks for; 10 folds are 5 drawn twice.
const ENOUGH: Enough = Enough { seeds: 10, folds: 10 };

/// Clear comparisons spelled out in the verdict on a study of many arms.
const PAIRS_SPELLED: usize = 3;
