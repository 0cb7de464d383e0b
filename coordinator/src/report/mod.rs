//! The report: outcomes → table → analysis → figures → HTML, Markdown, LaTeX, JSON, Parquet,
//! CSV.
//!
//! A pure function of the outcomes and of the ledger of looks at them: the same ones give the same
//! bytes, in whatever order they come and whoever trained them. Agents and durations show in costs
//! and in the exports alone,
//! and an agent's name where an outcome that came again was another one.
//! Deliberately absent: files, clocks, and any claim that the design cannot carry.
//!
//! Floor: core.

mod analysis;
pub mod content;
mod controls;
mod drawn;
mod export;
mod figures;
mod html;
mod latex;
mod looks;
mod markdown;
mod methods;
mod monitor;
mod number;
mod outlook;
mod page;
pub mod several;
mod subject;
mod table;
pub mod tabled;
#[cfg(test)]
mod tests;
mod trust;
mod verdict;

use common::metric::Metric;
use common::study::{Study, Task};
use common::trial::POISON;
use common::wire::message::{OutcomeRow, Violation};

pub use content::Report;
pub use export::{ExportError, csv, parquet};
pub use html::html;
pub use latex::latex;
pub use looks::{Looks, date};
pub use markdown::markdown;

use analysis::comparisons::Cells;
use analysis::components::Decomposition;
use content::{Cost, DesignPart, Drawn, Missing, SCHEMA, StudyPart};
use table::Table;

/// What a report is made of.
#[derive(Clone, Copy, Debug)]
pub struct Material<'a> {
    pub study: &'a Study,
    /// In any order.
    pub rows: &'a [OutcomeRow],
    /// Trials that were cancelled.
    pub cancelled: u64,
    /// Outcomes that came again and differed.
    pub differing: u64,
    /// The first of them.
    pub violations: &'a [Violation],
    /// Who has seen the outcomes; `None` where nobody counts.
    pub looks: Option<Looks<'a>>,
}

/// Analyses the outcomes. Works for any number of them, none included.
pub fn build(material: &Material<'_>) -> Report {
    let study = material.study;
    let table = Table::open(material);
    let parts: Vec<_> = (0..study.judged().len())
        .map(|arm| analysis::components::of_arm(study, &table, arm))
        .collect();
    let arms: Vec<_> = parts
        .iter()
        .enumerate()
        .map(|(arm, parts)| analysis::arms::describe(study, &table, arm, parts))
        .collect();
    let complete = analysis::comparisons::cells(study, &table);
    let drawn = drawn(material, &table, &parts, &complete);
    let lottery = (parts.iter().enumerate())
        .filter_map(|(arm, parts)| analysis::lottery::of_arm(study, arm, &table.arms[arm], parts))
        .collect();
    let joint = analysis::components::jointly(study, &table);
    let (mut components, mut not_estimable) = (Vec::new(), Vec::new());
    for part in parts.into_iter().chain([joint]) {
        components.extend(part.components);
        not_estimable.extend(part.dropped);
    }
    let seed_use = verdict::seed_use(study, &table);
    let compared = analysis::comparisons::of_all(study, &table);
    let reach = verdict::reach(&arms, &compared);
    let before = material.looks.map(|looks| looks.before());
    let basis = verdict::basis(study, &table, material.cancelled, &seed_use, reach, before);
    let comparisons: Vec<_> =
        compared.iter().map(|compared| verdict::on_pair(study, compared, &basis)).collect();
    let mut controls = analysis::controls::of_all(study, &table);
    if let Some(part) = &mut controls {
        controls::find(study, part);
    }
    let verdict = verdict::on_study(study, &table, &arms, &components, &comparisons, &basis);
    let monitor = analysis::monitor::of_study(study, &complete);
    let done = methods::Done::of(study, &arms, &components, &compared, before)
        .with_figures(monitor.is_some(), drawn.further.ranks.is_some());
    let methods = methods::paragraph(study, &done, &controls::sentences(controls.as_ref()));
    Report {
        schema: SCHEMA,
        study: study_part(study),
        design: design_part(material, &table),
        verdict: controls::objected(verdict, controls.as_ref()),
        arms,
        components,
        not_estimable,
        comparisons,
        lottery,
        monitor,
        controls,
        seed_use,
        determinism: trust::determinism(material),
        ledger: material.looks.as_ref().and_then(looks::part),
        cost: Cost { agent_seconds: table.agent_seconds },
        methods,
        references: done.references(),
        reproduce: REPRODUCE.to_string(),
        drawn,
    }
}

/// What only the figures show. `parts` are the decompositions of the judged arms, `complete` their
/// complete cells.
fn drawn(
    material: &Material<'_>,
    table: &Table,
    parts: &[Decomposition],
    complete: &[Cells],
) -> Drawn {
    let judged = table.judged(material.study).iter().enumerate();
    Drawn {
        arms: judged.map(|(arm, runs)| analysis::arms::drawn(material.study, arm, runs)).collect(),
        effects: parts.iter().flat_map(|parts| parts.effects.clone()).collect(),
        further: analysis::drawn::of_study(material, table, parts, complete),
    }
}

/// `report.json`, indented, with a line end.
pub fn json(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

fn study_part(study: &Study) -> StudyPart {
    StudyPart {
        name: study.name.clone(),
        notes: study.notes.clone(),
        digest: study.digest().hex(),
        metric: study.primary().to_string(),
        goal: goal(study.primary()),
        task: match study.data.task {
            Task::Classification { .. } => "classification",
            Task::Regression => "regression",
        },
        data: study.data.path.clone(),
        data_digest: study.data.digest.hex(),
        target: study.data.target.clone(),
        rows: study.data.rows,
        metric_meaning: subject::metric(study),
        classes: subject::classes(study),
        empty_cells: subject::empty_cells(study),
        dropped: study.data.drop.clone(),
        features: subject::FEATURES,
        groups: study.data.group.clone(),
        left_out: verdict::left_out(study).map(str::to_string),
        split: verdict::split_in_words(study),
    }
}

fn design_part(material: &Material<'_>, table: &Table) -> DesignPart {
    let study = material.study;
    let missing = |((arm, config, reason), trials): (&(u32, u32, String), &u64)| {
        let (number, arm) = (*arm, &study.arms[*arm as usize]);
        Missing {
            arm: arm.name.clone(),
            config: arm.configs[*config as usize].point.to_string(),
            reason: reason.clone(),
            trials: *trials,
            named: match table.poison.get(&(number, *config)) {
                Some(named) if reason == POISON => {
                    named.iter().take(trust::POISON_NAMED).map(|trial| trial.0).collect()
                }
                _ => Vec::new(),
            },
        }
    };
    DesignPart {
        arms: study.judged().len() as u64,
        configs: study.judged().iter().map(|arm| arm.configs.len() as u64).sum(),
        seeds: study.seeds.factors.iter().map(|f| (f.name.clone(), f.count)).collect(),
        partitions: study.outer.partitions,
        outer_folds: study.outer.folds,
        planned: table.planned,
        complete: table.complete,
        failed: table.failed,
        diverged: table.diverged,
        cancelled: material.cancelled,
        undefined: table.undefined,
        diverged_policy: methods::diverged_policy(study),
        missing: table.missing.iter().map(missing).collect(),
    }
}

fn goal(metric: Metric) -> &'static str {
    if metric.larger_is_better() { "larger is better" } else { "smaller is better" }
}

/// The study as it ran lies beside the report.
const REPRODUCE: &str = "coordinator run study.toml";
