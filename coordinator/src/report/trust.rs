//! "Can these numbers be trusted?": how seeds were used, what is missing and why, and whether the
//! same training gave the same outcome.
//!
//! Deliberately absent: advice on the machines themselves; the report knows them by name alone.
//!
//! Floor: core.

use common::design::Design;
use common::wire::message::Violation;

use super::Material;
use super::content::{Determinism, Missing, Report, ViolationPart};
use super::figures;
use super::number::{count, counted, duration, listed, percent};
use super::page::{Block, Sheet, columns, legend};

/// What of the outcomes came again as another one. In order, whatever order they are given in.
pub fn determinism(material: &Material<'_>) -> Determinism {
    let design = Design::of(material.study);
    let mut sorted: Vec<&Violation> = material.violations.iter().collect();
    sorted.sort_by_key(|violation| (violation.trial, violation.digests, violation.agent));
    let part = |violation: &Violation| {
        let (stands, later) = violation.digests;
        let key = design.key(violation.trial);
        ViolationPart {
            trial: violation.trial.0,
            cell: key.map(|key| key.in_words(material.study)).unwrap_or_default(),
            stands: format!("{stands:016x}"),
            later: format!("{later:016x}"),
            agent: violation.agent.to_string(),
        }
    };
    let trials: Vec<ViolationPart> = sorted.into_iter().map(part).collect();
    Determinism { violations: material.differing.max(trials.len() as u64), trials }
}

/// The section of the page.
pub fn blocks(report: &Report) -> Vec<Block> {
    let mut list = vec![
        Block::Heading("Can these numbers be trusted?".into()),
        Block::Text(seed_use(report)),
        Block::Text(completeness(report)),
    ];
    if shows_map(report) {
        list.extend(figures::missingness(report).map(Block::Figure));
    }
    list.extend(missing(report).map(Block::Sheet));
    if report.determinism.violations > 0 {
        list.push(Block::Text(differing(&report.determinism)));
        list.push(Block::Sheet(violations(&report.determinism)));
    }
    list
}

/// Whether the map of the cells has anything to show that belongs before all other figures.
pub fn shows_map(report: &Report) -> bool {
    !report.design.missing.is_empty() || report.design.diverged > 0
}

fn seed_use(report: &Report) -> String {
    let used = &report.seed_use;
    let mut text = format!("Use of seeds, in Bethard's classes: {}. {}", used.class, used.why);
    if let Some(mend) = &used.mend {
        text += &format!(" {mend}");
    }
    if let Some(cost) = &used.mend_cost {
        text += &format!(
            " That is {} more, about {} of training.",
            counted(cost.trials, "trial"),
            duration(cost.agent_seconds)
        );
    }
    text
}

fn completeness(report: &Report) -> String {
    let design = &report.design;
    let ended = design.complete + design.failed;
    let mut text = if design.complete == design.planned && design.undefined == 0 {
        "Every planned trial has a score.".to_string()
    } else {
        format!("{} of {} planned trials have ended.", count(ended), count(design.planned))
    };
    if design.diverged > 0 {
        text += &format!(
            " {} diverged ({} of those that ended); they are {}.",
            counted(design.diverged, "run"),
            percent(design.diverged as f64 / ended.max(1) as f64),
            design.diverged_policy
        );
    }
    if design.undefined > 0 {
        text += &format!(
            " In {} the metric is not defined on the test rows; they are left out.",
            counted(design.undefined, "run")
        );
    }
    text
}

fn missing(report: &Report) -> Option<Sheet> {
    let missing = &report.design.missing;
    let row = |part: &Missing| {
        vec![part.arm.clone(), part.config.clone(), reason(part), count(part.trials)]
    };
    let mut meanings = legend(&[(
        "Trials",
        "Cells of the design that no number above has seen; harmless only if the reason has nothing to do with the score.",
    )]);
    if missing.iter().any(|part| !part.named.is_empty()) {
        meanings.extend(legend(&[(
            "Poison",
            "The agent that trained it died, every time, even when it trained nothing else. \"coordinator explain\" with its number tells when and where, \"coordinator retry\" tries it again.",
        )]));
    }
    (!missing.is_empty()).then(|| Sheet {
        title: "Trials without a score".into(),
        columns: columns(&["Arm", "Config", "Reason", "Trials"], 3),
        rows: missing.iter().map(row).collect(),
        legend: meanings,
    })
}

/// The reason, with the trials that are named: `poison (trials 17 and 40)`.
fn reason(part: &Missing) -> String {
    if part.named.is_empty() {
        return part.reason.clone();
    }
    let mut numbers: Vec<String> = part.named.iter().map(ToString::to_string).collect();
    let more = part.trials.saturating_sub(part.named.len() as u64);
    if more > 0 {
        numbers.push(format!("{} more", count(more)));
    }
    let word = if part.trials == 1 { "trial" } else { "trials" };
    format!("{} ({word} {})", part.reason, listed(&numbers))
}

fn differing(determinism: &Determinism) -> String {
    format!(
        "{} when a trial was trained again. On one kind of processor and with one version the same \
         training gives the same bits, so one of the machines differs from the others: in its \
         processor, its version, or by a fault of its memory. Every number above rests on the first \
         outcome of each trial, whichever machine gave it. See with \"coordinator agents\" what the \
         agents below run on; if one of them is faulty, take it out with \"coordinator members \
         remove\", and run the study anew in another data folder.",
        match determinism.violations {
            1 => "1 outcome was another one".to_string(),
            many => format!("{} outcomes were other ones", count(many)),
        }
    )
}

fn violations(determinism: &Determinism) -> Sheet {
    let row = |part: &ViolationPart| {
        vec![
            part.trial.to_string(),
            part.cell.clone(),
            part.stands.clone(),
            part.later.clone(),
            part.agent.clone(),
        ]
    };
    let mut meanings = legend(&[
        ("Stands", "First 16 hex digits of the digest of the outcome that counts: the first one."),
        ("Came later", "Those of the outcome that came again, which counts nowhere."),
        ("From", "The agent that gave the later one."),
    ]);
    let named = determinism.trials.len() as u64;
    if determinism.violations > named {
        let more = counted(determinism.violations - named, "further outcome");
        meanings.push(("Not named".to_string(), format!("{more} that differed as well.")));
    }
    Sheet {
        title: "Trials whose outcome was another one when trained again".into(),
        columns: columns(&["Trial", "Cell", "Stands", "Came later", "From"], 5),
        rows: determinism.trials.iter().map(row).collect(),
        legend: meanings,
    }
}

/// Of one arm and config.
pub const POISON_NAMED: usize = 20;
