//! The report's pages as blocks: one order and one wording, which HTML and Markdown both render.
//!
//! All text here is plain; escaping is the renderer's duty, so none can be forgotten in between.
//!
//! Floor: core.

use super::content::{
    ArmPart, ComparisonPart, ComponentPart, Contrast, Interval, Report, Target, VerdictKind,
};
use super::figures::{self, Figure};
use super::looks;
use super::number::{beside, count, counted, decimals, duration, p, percent, places, significant};
use super::{
    calibrated, case_model, checklists, choice, controls, leakage, other_rows, outlook, selection,
    shape, spreads, trust,
};

/// One piece of a page.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    Verdict {
        kind: VerdictKind,
        text: String,
        basis: String,
    },
    Heading(String),
    Text(String),
    /// Words with their values.
    Facts(Vec<(String, String)>),
    Sheet(Sheet),
    Figure(Figure),
    /// What only some readers want: folded up on a screen, open in print.
    Further {
        title: String,
        blocks: Vec<Block>,
    },
    /// Text to be typed as it stands.
    Command(String),
    List(Vec<String>),
}

/// A table with a title and the meaning of its columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sheet {
    pub title: String,
    /// Title, and whether the column holds numbers.
    pub columns: Vec<(String, bool)>,
    pub rows: Vec<Vec<String>>,
    /// Column or word, and what it means in one sentence.
    pub legend: Vec<(String, String)>,
}

/// Every block after the title, in reading order.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut list = vec![Block::Verdict {
        kind: report.verdict.kind,
        text: report.verdict.text.clone(),
        basis: report.verdict.basis.clone(),
    }];
    if !report.study.notes.is_empty() {
        list.push(Block::Text(report.study.notes.clone()));
    }
    list.push(Block::Facts(facts(report)));
    list.push(Block::Heading("How good is each arm?".into()));
    list.extend(figures::distribution(report).map(Block::Figure));
    list.push(Block::Sheet(arms(report)));
    list.push(Block::Sheet(intervals(report)));
    list.extend(remarks(report).map(Block::List));
    list.extend(choice::configs(report).map(Block::Sheet));
    list.extend(choice::cheap_configs(report));
    list.extend(also(report).map(Block::Sheet));
    if !report.comparisons.is_empty() {
        list.push(Block::Heading("Is one better than another?".into()));
        let few = report.comparisons.len() <= PAIRS_SPELLED;
        let unsaid = report.comparisons.iter().filter(|pair| few && pair.verdict != report.verdict);
        list.extend(unsaid.map(|pair| {
            Block::Text(format!("{}. {}", pair.verdict.kind.title(), pair.verdict.text))
        }));
        list.extend(figures::contrast_forest(report).map(Block::Figure));
        list.push(Block::Sheet(comparisons(report)));
        list.push(Block::Sheet(other_intervals(report)));
        list.extend(shape::sheet(report).map(Block::Sheet));
        list.push(Block::Sheet(won(report)));
        list.extend(figures::posterior(report).map(Block::Figure));
        list.extend(figures::ranks(report).map(Block::Figure));
        list.extend(spreads::ranking(report));
    }
    list.extend(other_rows::blocks(report));
    list.extend(controls::blocks(report));
    list.push(Block::Heading("Where does the spread come from?".into()));
    list.extend(figures::variance(report).map(Block::Figure));
    if !report.components.is_empty() {
        list.push(Block::Sheet(components(report)));
    }
    list.extend(spreads::agreement(report).map(Block::Sheet));
    list.extend(not_estimable(report).map(Block::List));
    list.extend(figures::caterpillar(report).map(Block::Figure));
    list.extend(figures::no_seed_effect(report).map(Block::Text));
    list.extend(spreads::blocks(report));
    list.extend(case_model::blocks(report));
    list.extend(selection::blocks(report));
    list.extend(outlook::blocks(report));
    let curves = figures::curves(report);
    if !curves.is_empty() {
        list.push(Block::Heading("How did the trainings go?".into()));
        list.extend(curves.into_iter().map(Block::Figure));
    }
    list.extend(trust::blocks(report));
    list.extend(leakage::blocks(report));
    list.extend(looks::blocks(report));
    list.extend(further(report));
    list.push(Block::Heading("Methods".into()));
    list.push(Block::Text(report.methods.clone()));
    list.extend(calibrated::blocks(report));
    list.extend(checklists::block(report));
    list.push(Block::List(report.references.iter().map(ToString::to_string).collect()));
    list.push(Block::Heading("Do it again".into()));
    list.push(Block::Command(report.reproduce.clone()));
    list
}

/// Figures for whom the tables and the figures above are not enough.
fn further(report: &Report) -> Option<Block> {
    let map = figures::missingness(report).filter(|_| !trust::shows_map(report));
    let list = [
        figures::arms_forest(report),
        figures::interaction(report),
        figures::zeta(report),
        figures::residual_quantiles(report),
        figures::effect_quantiles(report),
        map,
    ];
    let blocks: Vec<Block> = list.into_iter().flatten().map(Block::Figure).collect();
    (!blocks.is_empty()).then(|| Block::Further { title: "Further figures".into(), blocks })
}

/// A number beside the spread that decides its digits.
pub(super) fn score(value: f64, scale: Option<f64>) -> String {
    beside(value, scale.unwrap_or(0.0))
}

pub(super) fn span(interval: Option<&Interval>, scale: Option<f64>) -> String {
    match interval {
        Some(interval) => {
            format!("{} to {}", score(interval.low, scale), score(interval.high, scale))
        }
        None => "–".to_string(),
    }
}

fn facts(report: &Report) -> Vec<(String, String)> {
    let (study, design) = (&report.study, &report.design);
    let seeds: Vec<String> = design
        .seeds
        .iter()
        .map(|(name, levels)| match name.as_str() {
            "seed" => levels.to_string(),
            stream => format!("{levels} {stream}"),
        })
        .collect();
    let fact = |word: &str, value: String| (word.to_string(), value);
    let mut list = vec![
        fact(
            "Question",
            format!(
                "{} of {}, judged by {} ({})",
                study.task, study.target, study.metric, study.goal
            ),
        ),
        fact("Metric", study.metric_meaning.clone()),
        fact("Data", format!("{}, {}", study.data, counted(study.rows, "row"))),
    ];
    list.extend(study.classes.iter().map(|classes| fact("Classes", classes.clone())));
    list.push(fact("Empty cells", study.empty_cells.to_string()));
    if !study.dropped.is_empty() {
        list.push(fact("Not features", study.dropped.join(", ")));
    }
    list.push(fact("Features", study.features.to_string()));
    if let Some(column) = &study.groups {
        list.push(fact("Groups", format!("rows of one {column} stay together")));
    }
    list.extend([fact("Split", study.split.clone()), fact("Seeds", seeds.join(" × "))]);
    list.extend(design.choosing.iter().map(|choosing| fact("Configs", choosing.clone())));
    list.extend(report.arms.iter().map(|arm| {
        let mut chosen = report.selection.iter().filter(|_| design.choosing.is_some());
        let configs = match chosen.find(|part| part.arm == arm.arm) {
            Some(part) => format!("one of {} at a time", counted(part.configs, "config")),
            None => counted(arm.configs.len() as u64, "config"),
        };
        fact("Arm", format!("{}: {}; {configs}", arm.arm, arm.training))
    }));
    let controls = report.controls.as_ref().and_then(controls::fact);
    list.extend(controls.map(|controls| fact("Controls", controls)));
    list.extend([
        fact(
            "Trials",
            format!(
                "{} planned, {} complete, {} failed ({} diverged), {} cancelled",
                count(design.planned),
                count(design.complete),
                count(design.failed),
                count(design.diverged),
                count(design.cancelled)
            ),
        ),
        fact("Training time", training_time(report)),
    ]);
    list
}

fn training_time(report: &Report) -> String {
    let cost = &report.cost;
    let chose =
        cost.choosing_seconds.map(|seconds| format!(", {} to choose configs", duration(seconds)));
    let whole = duration(cost.agent_seconds) + &chose.unwrap_or_default();
    match cost.gpu_seconds {
        none if none <= 0.0 => whole,
        card => format!("{whole}, of these {} on graphics cards", duration(card)),
    }
}

pub(super) fn columns(titles: &[&str], text: usize) -> Vec<(String, bool)> {
    titles.iter().enumerate().map(|(place, title)| (title.to_string(), place >= text)).collect()
}

/// Rows whose first cell is written only where it changes, as in a printed table.
pub(super) fn unrepeated(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    for place in (1..rows.len()).rev() {
        if rows[place][0] == rows[place - 1][0] {
            rows[place][0].clear();
        }
    }
    rows
}

pub(super) fn legend(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(word, meaning)| (word.to_string(), meaning.to_string())).collect()
}

fn arms(report: &Report) -> Sheet {
    let row = |arm: &ArmPart| {
        let mut cells = vec![arm.arm.clone(), count(arm.n)];
        match &arm.scores {
            Some(s) => cells.extend([
                score(s.mean, s.sd),
                s.sd.map_or("–".into(), significant),
                score(s.median, s.sd),
                score(s.iqm, s.sd),
                format!("{} to {}", score(s.min, s.sd), score(s.max, s.sd)),
                match (s.seed_min, s.seed_max) {
                    (Some(low), Some(high)) => {
                        format!("{} to {}", score(low, s.sd), score(high, s.sd))
                    }
                    _ => "–".into(),
                },
            ]),
            None => cells.extend(vec!["–".to_string(); 6]),
        }
        cells
    };
    Sheet {
        title: format!("Scores of each arm ({}, {})", report.study.metric, report.study.goal),
        columns: columns(
            &["Arm", "Runs", "Mean", "SD", "Median", "IQM", "Runs' range", "Seeds' range"],
            1,
        ),
        rows: report.arms.iter().map(row).collect(),
        legend: legend(&[
            ("Runs", "Trainings with a score, over all seeds, folds and configs."),
            (
                "Mean",
                "The average score; over several configs, that of a typical config of the space.",
            ),
            ("SD", "How far a single run lies from the mean, typically."),
            ("Median", "Half of the runs scored below it."),
            ("IQM", "The mean of the middle half of the runs, which extremes do not move."),
            ("Runs' range", "The worst and the best single run."),
            (
                "Seeds' range",
                "The worst and the best seed, each averaged over folds and configs: what a lucky seed can look like.",
            ),
        ]),
    }
}

fn intervals(report: &Report) -> Sheet {
    let row = |arm: &ArmPart| {
        let s = arm.scores.as_ref();
        let scale = s.and_then(|s| s.sd).map(|sd| sd / 3.0);
        vec![
            arm.arm.clone(),
            s.map_or("–".into(), |s| score(s.mean, scale)),
            span(s.and_then(|s| s.ci_t1.as_ref()), scale),
            span(s.and_then(|s| s.ci_t2.as_ref()), scale),
            span(s.and_then(|s| s.next_run.as_ref()), scale),
        ]
    };
    let left_out = report.study.left_out.as_deref();
    let t2 = left_out.map_or("T2: new samples".to_string(), |column| format!("T2: a new {column}"));
    let drawn = match left_out {
        Some(column) => format!(
            "95 % interval of the mean for a new {column} like these, which the trainings have not seen."
        ),
        None => "95 % interval of the mean if another sample of the same size were drawn: the claim most papers make, and the wider one.".to_string(),
    };
    let mut meanings = legend(&[
        (
            "T1: new seeds",
            "95 % interval of the mean if the same rows and folds were trained with other seeds.",
        ),
        (&t2, &drawn),
        ("One more run", &next_run(report)),
    ]);
    if report.arms.iter().filter_map(|arm| arm.scores.as_ref()).any(|scores| scores.cut) {
        meanings.push((
            "Cut".into(),
            format!(
                "An interval that would go beyond what {} can be ends where the metric ends.",
                report.study.metric
            ),
        ));
    }
    Sheet {
        title: "How sure is the mean?".into(),
        columns: columns(&["Arm", "Mean", "T1: new seeds", &t2, "One more run"], 1),
        rows: report.arms.iter().map(row).collect(),
        legend: meanings,
    }
}

/// What the range of one more run is a range of.
fn next_run(report: &Report) -> String {
    let on_new_rows = report.arms.iter().any(|arm| {
        let next = arm.scores.as_ref().and_then(|scores| scores.next_run.as_ref());
        next.is_some_and(|next| next.target == Some(Target::T2))
    });
    let drawn = match (on_new_rows, report.study.left_out.as_deref()) {
        (true, None) => "each with a new seed on a new fold.".to_string(),
        (true, Some(column)) => format!("each with a new seed, tested on a new {column}."),
        (false, _) => "on the same test rows, each with a new seed (T1); no spread between test sets was seen, so other rows may move a run further.".to_string(),
    };
    format!("Where 95 of 100 further single runs are expected, {drawn}")
}

fn remarks(report: &Report) -> Option<Vec<String>> {
    let list: Vec<String> = report
        .arms
        .iter()
        .flat_map(|arm| arm.remarks.iter().map(move |remark| format!("{}: {remark}", arm.arm)))
        .collect();
    (!list.is_empty()).then_some(list)
}

fn also(report: &Report) -> Option<Sheet> {
    let rows: Vec<Vec<String>> = report
        .arms
        .iter()
        .flat_map(|arm| {
            arm.also.iter().map(move |also| {
                vec![
                    arm.arm.clone(),
                    also.metric.clone(),
                    count(also.n),
                    score(also.mean, also.sd),
                    also.sd.map_or("–".into(), significant),
                ]
            })
        })
        .collect();
    (!rows.is_empty()).then(|| Sheet {
        title: "Other metrics".into(),
        columns: columns(&["Arm", "Metric", "Runs", "Mean", "SD"], 2),
        rows: unrepeated(rows),
        legend: legend(&[(
            "Metric",
            "Reported beside the primary one; verdicts rest on the primary metric alone.",
        )]),
    })
}

/// The least standard error of all comparisons: one number of digits for a whole table.
pub(super) fn least_se(report: &Report, se: impl Fn(&Contrast) -> f64) -> Option<f64> {
    report.comparisons.iter().filter_map(|pair| pair.contrast.as_ref()).map(se).reduce(f64::min)
}

fn comparisons(report: &Report) -> Sheet {
    let scale = least_se(report, |contrast| contrast.se);
    let row = |pair: &ComparisonPart| {
        let mut cells = vec![format!("{} − {}", pair.a, pair.b)];
        match &pair.contrast {
            Some(c) => cells.extend([
                score(c.difference, scale),
                span(Some(&c.ci), scale),
                p(c.p),
                p(c.p_holm),
                percent(c.p_a_beats_b),
            ]),
            None => cells.extend(vec!["–".to_string(); 5]),
        }
        cells.push(pair.verdict.kind.title().to_string());
        cells
    };
    let drawn = match report.study.left_out.as_deref() {
        Some(column) => format!("a new {column}"),
        None => "new samples of this size".to_string(),
    };
    Sheet {
        title: format!("Differences in {} (first arm minus second)", report.study.metric),
        columns: columns(
            &["Arms", "Difference", "95 % interval", "p", "p, Holm", "First wins", "Verdict"],
            1,
        ),
        rows: report.comparisons.iter().map(row).collect(),
        legend: legend(&[
            (
                "Difference",
                "Mean difference on the same folds and seeds; with several seeds by the mixed model.",
            ),
            (
                "95 % interval",
                &format!(
                    "Where the difference lies for {drawn} (T2). It allows for what seeds and folds add by chance, and for folds that share training rows."
                ),
            ),
            ("p", "How often luck alone would give a difference this large, if there were none."),
            (
                "p, Holm",
                "The same, allowing for the number of comparisons made; the verdict rests on it.",
            ),
            (
                "First wins",
                "Share of pairs with the same seed and fold in which the first arm had the better score; ties count half.",
            ),
        ]),
    }
}

fn other_intervals(report: &Report) -> Sheet {
    let scale = least_se(report, |contrast| contrast.se_naive);
    let row = |pair: &ComparisonPart| {
        let mut cells = vec![format!("{} − {}", pair.a, pair.b)];
        match &pair.contrast {
            Some(c) => cells.extend([
                span(Some(&c.ci_naive), scale),
                p(c.p_naive),
                span(Some(&c.ci_corrected), scale),
                span(c.ci_model.as_ref(), scale),
            ]),
            None => cells.extend(vec!["–".to_string(); 4]),
        }
        cells
    };
    Sheet {
        title: "What the same differences look like with less asked of them".into(),
        columns: columns(&["Arms", "Naive t", "p", "Corrected t", "Model alone"], 1),
        rows: report.comparisons.iter().map(row).collect(),
        legend: legend(&[
            (
                "Naive t, p",
                "What a plain paired t-test over folds claims: too narrow, and shown so that it can be recognised elsewhere.",
            ),
            (
                "Corrected t",
                "The corrected resampled t-test over fold means: it allows for shared training rows, and not for what the seeds add to every fold alike.",
            ),
            (
                "Model alone",
                "A mixed model with seeds and folds as sources of chance, folds taken for independent samples, which they are not quite.",
            ),
        ]),
    }
}

/// The difference over new seeds, and in how many seeds and folds the first arm did better.
fn won(report: &Report) -> Sheet {
    let scale = least_se(report, |contrast| contrast.se_naive);
    let row = |pair: &ComparisonPart| {
        let mut cells = vec![format!("{} − {}", pair.a, pair.b)];
        match &pair.contrast {
            Some(c) => cells.extend([
                span(c.ci_t1.as_ref(), scale),
                format!("{} of {}", c.seeds_a_better, c.seeds),
                format!("{} of {}", c.folds_a_better, pair.folds),
            ]),
            None => cells.extend(vec!["–".to_string(); 3]),
        }
        cells
    };
    Sheet {
        title: "On these very rows: new seeds, and what the first arm won".into(),
        columns: columns(&["Arms", "T1: new seeds", "Seeds won", "Folds won"], 1),
        rows: report.comparisons.iter().map(row).collect(),
        legend: legend(&[
            (
                "T1: new seeds",
                "95 % interval of the difference if these rows and folds were trained with other seeds: true of this data alone.",
            ),
            ("Seeds won", "Seeds in which the first arm did better, averaged over all folds."),
            ("Folds won", "Folds in which the first arm did better, averaged over all seeds."),
        ]),
    }
}

fn components(report: &Report) -> Sheet {
    let residuals = report.components.iter().filter(|part| part.factor == "residual");
    let digits = places(residuals.map(|part| part.sd).fold(f64::INFINITY, f64::min)) + 1;
    let row = |part: &ComponentPart| {
        vec![
            part.arm.clone().unwrap_or_else(|| "all arms".into()),
            part.factor.clone(),
            count(part.levels),
            decimals(part.sd, digits),
            part.ci_sd.as_ref().map_or("–".into(), |ci| match ci.low {
                0.0 => format!("at most {}", decimals(ci.high, digits)),
                low => format!("{} to {}", decimals(low, digits), decimals(ci.high, digits)),
            }),
            percent(part.share),
        ]
    };
    let mut meanings: Vec<(String, String)> = Vec::new();
    for part in &report.components {
        if meanings.iter().all(|(factor, _)| *factor != part.factor) {
            meanings.push((part.factor.clone(), part.meaning.clone()));
        }
    }
    meanings.push((
        "SD".into(),
        "How far this source alone moves a score, in the metric's own unit; 0 means that the data \
         cannot tell it from nothing; the interval, where there is one, says how large it could still be."
            .into(),
    ));
    meanings.push((
        "Share".into(),
        "Its part of the variance of a single run; shares of one arm add up to 100 %.".into(),
    ));
    Sheet {
        title: "Variance components (REML)".into(),
        columns: columns(&["Arm", "Source", "Levels", "SD", "95 % interval of SD", "Share"], 2),
        rows: unrepeated(report.components.iter().map(row).collect()),
        legend: meanings,
    }
}

fn not_estimable(report: &Report) -> Option<Vec<String>> {
    let list: Vec<String> = report
        .not_estimable
        .iter()
        .map(|part| {
            let arm = part.arm.as_deref().unwrap_or("all arms");
            match &part.factor {
                Some(factor) => format!("{arm}: {factor} is left out: {}.", part.why),
                None => format!("{arm}: {}.", part.why),
            }
        })
        .collect();
    (!list.is_empty()).then_some(list)
}

/// Comparisons up to which each has its verdict spelled out above the table.
const PAIRS_SPELLED: usize = 10;
