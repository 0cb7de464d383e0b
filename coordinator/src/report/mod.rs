//! The report: outcomes → table → analysis → figures → HTML, Markdown, LaTeX, JSON, Parquet,
//! CSV.
//!
//! A pure function of the outcomes and of the ledger of looks at them: the same ones give the same
//! bytes, in whatever order they come and whoever trained them. Agents and durations show in costs
//! and in the exports alone, in words where of two equal arms the cheaper one is named, and an agent's
//! name where an outcome that came again was another one. With the study's table at hand the report
//! says more, and nothing else.
//! Deliberately absent: files, clocks, and any claim that the design cannot carry.
//!
//! Floor: core.

mod analysis;
pub mod calibrated;
mod case_model;
mod checklists;
mod choice;
mod cited;
pub mod content;
mod controls;
mod drawn;
mod export;
mod figures;
mod html;
mod latex;
mod leakage;
mod looks;
mod lotteries;
mod lottery;
mod markdown;
mod methods;
mod monitor;
mod number;
mod other_rows;
mod outlook;
mod page;
mod planned;
mod refits;
mod searches;
mod selection;
pub mod several;
mod shape;
mod spreads;
pub mod stopped;
mod subject;
mod table;
pub mod tabled;
#[cfg(test)]
mod tests;
mod trust;
mod verdict;

use common::metric::Metric;
use common::stats::worth::Stakes;
use common::study::{Arm, Study, Task};
use common::table::Dataset;
use common::trial::POISON;
use common::wire::message::{OutcomeRow, Violation};

pub use content::Report;
pub use export::{ExportError, csv, parquet};
pub use html::html;
pub use latex::latex;
pub use looks::{Looks, date};
pub use lotteries::{LotteryRow, lottery_rows, lottery_table};
pub use markdown::markdown;
pub use planned::{Detectable, detectable, picture};

use analysis::by_row::ByRow;
use analysis::components::Decomposition;
use cited::More;
use content::{
    ArmCost, ArmPart, ComparisonPart, ComponentPart, Cost, DesignPart, Drawn, LotteryPart, Missing,
    NotEstimable, SCHEMA, SelectionPart, StudyPart,
};
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
    /// The study's rows, where they are at hand: outcomes alone do not say which row is whose.
    pub data: Option<&'a Dataset>,
    /// What a better score and an hour of training are worth, where that was said.
    pub stakes: Option<Stakes>,
    /// What of a study with limits was bought.
    pub bought: Option<stopped::Bought<'a>>,
}

impl<'a> Material<'a> {
    /// Outcomes alone, none of them cancelled or given twice.
    pub fn of(study: &'a Study, rows: &'a [OutcomeRow]) -> Self {
        Self {
            study,
            rows,
            cancelled: 0,
            differing: 0,
            violations: &[],
            looks: None,
            data: None,
            stakes: None,
            bought: None,
        }
    }
}

/// Analyses the outcomes. Works for any number of them, none included.
pub fn build(material: &Material<'_>) -> Report {
    let stop = stopped::part(material);
    let Some(study) = material.bought.and_then(|bought| bought.cut(material.study)) else {
        return Report { stop, ..of_whole(material) };
    };
    let report = of_whole(&Material { study: &study, ..*material });
    let study = StudyPart { digest: material.study.digest().hex(), ..report.study };
    Report { study, stop, ..report }
}

/// Of a study whose design is what was to be trained.
fn of_whole(material: &Material<'_>) -> Report {
    let selection = analysis::selection::of_all(material);
    let Some(refits) = refits::Refits::of(material) else {
        return built(material, material, selection);
    };
    let mut report = built(&refits.material(material), material, selection);
    for missing in &mut report.design.missing {
        missing.named.iter_mut().for_each(|trial| *trial = refits.number(*trial));
    }
    let study = StudyPart { digest: material.study.digest().hex(), ..report.study };
    let choosing = refits.choosing_seconds(material);
    let agent_seconds = report.cost.agent_seconds + choosing.0;
    let gpu_seconds = report.cost.gpu_seconds + choosing.1;
    let choosing_seconds = Some(choosing.0);
    let cost = Cost { agent_seconds, gpu_seconds, choosing_seconds, ..report.cost };
    Report { study, cost, ..report }
}

/// `whole`: of the study as it was written, where `material` is of its refits.
fn built(material: &Material<'_>, whole: &Material<'_>, selection: Vec<SelectionPart>) -> Report {
    let (study, nested, table) = (material.study, whole.study, Table::open(material));
    let (parts, joint) = decomposed(study, &table);
    let mut arms = described(study, nested, &table, &parts);
    let (drawn, by_row) = (drawn(material, &table, &parts), ByRow::open(material));
    let lottery = lotteries(study, &table, &parts, &by_row);
    let (components, not_estimable) = divided(parts.into_iter().chain([joint]));
    let seed_use = verdict::seed_use(study, &table);
    let stakes = (material.stakes, &refits::Choosing::of(whole));
    let compared = analysis::comparisons::of_all(study, &table, stakes);
    let (looks, resampled) = (material.looks, by_row.resampled());
    let (controls, determinism) = (controls::of_all(study, &table), trust::determinism(whole));
    let leakage =
        leakage::checks((study, nested), &table, &by_row.places, controls.as_ref(), &determinism);
    let reach = verdict::reach(&arms, &compared).or(resampled.reach());
    let rows = other_rows::rows_in_basis(study, &resampled.part);
    let basis = verdict::basis(study, &table, material.cancelled, &seed_use, reach, looks, &rows)
        + &(stopped::in_basis(whole) + &leakage::in_basis(&leakage));
    let mut comparisons = judged(study, &table, &compared, &basis);
    resampled.fill(&mut arms, &mut comparisons);
    let failed = verdict::declared_failed(study, &table);
    let verdict = verdict::on_study(study, &table, &arms, &components, &comparisons, &basis);
    let verdict = choice::judge_best_seed(study, verdict, &drawn.arms, &lottery, failed);
    let monitor = analysis::monitor::of_study(study, &analysis::comparisons::cells(study, &table));
    let done = methods::Done::of(study, &arms, &components, &compared, looks.is_some())
        .with_monitor(monitor.is_some());
    let spreads = analysis::spreads::of_all(study, &table);
    let ranks = analysis::ranks::of_all(study, &table, &components);
    let agreement = analysis::agreement::of_all(study, &table, &components);
    let more = More::of(&lottery, &resampled.part, spreads.as_ref(), ranks.as_ref(), &agreement)
        .with_papers(&comparisons);
    let case_model = by_row.model();
    let sentences = more.sentences()
        + case_model.sentences()
        + &selection::sentences(nested, &selection)
        + &controls::sentences(controls.as_ref());
    let further = [more.references(), selection::references(nested, &selection)].concat();
    let report = Report {
        schema: SCHEMA,
        study: study_part(study),
        design: design_part(material, &table, nested),
        verdict: controls::objected(verdict, controls.as_ref()),
        components,
        not_estimable,
        agreement,
        case_model,
        comparisons,
        ranks,
        spreads,
        t3: resampled.part,
        lottery,
        selection,
        monitor,
        stop: None,
        controls,
        curves: analysis::curves::of_all(material),
        seed_use,
        determinism,
        leakage,
        ledger: material.looks.as_ref().and_then(|looks| looks::part(looks, &arms)),
        cost: cost(study, &table),
        methods: methods::paragraph(study, nested, &done, &sentences),
        references: cited::in_order(done.references(), further),
        reproduce: REPRODUCE.to_string(),
        arms,
        drawn,
        checklists: Vec::new(),
    };
    Report { checklists: checklists::answered(&report), ..report }
}

/// Each judged arm; what it is in words is told of all its configs.
fn described(
    study: &Study,
    nested: &Study,
    table: &Table,
    parts: &[Decomposition],
) -> Vec<ArmPart> {
    let arm = |((arm, parts), written): ((usize, &Decomposition), &Arm)| {
        let training = subject::training(written);
        ArmPart { training, ..analysis::arms::describe(study, table, arm, parts) }
    };
    parts.iter().enumerate().zip(nested.judged()).map(arm).collect()
}

/// The verdict on each pair, and whether more runs of it are worth it.
fn judged(
    study: &Study,
    table: &Table,
    compared: &[analysis::comparisons::Compared],
    basis: &str,
) -> Vec<ComparisonPart> {
    let on_pair = |compared| verdict::on_pair(study, compared, basis);
    let mut comparisons: Vec<_> = compared.iter().map(on_pair).collect();
    choice::judge_equal(study, table, &mut comparisons);
    outlook::judge_worth(study, &mut comparisons);
    comparisons
}

/// The models of each judged arm, and of all arms together.
fn decomposed(study: &Study, table: &Table) -> (Vec<Decomposition>, Decomposition) {
    let mut parts: Vec<_> = (0..study.judged().len())
        .map(|arm| analysis::components::of_arm(study, table, arm))
        .collect();
    let mut joint = analysis::components::jointly(study, table);
    analysis::caution::apply(&mut parts, &mut joint);
    (parts, joint)
}

fn lotteries(
    study: &Study,
    table: &Table,
    parts: &[Decomposition],
    by_row: &ByRow,
) -> Vec<LotteryPart> {
    let of_arm = |(arm, parts): (usize, &Decomposition)| {
        analysis::lottery::of_arm(study, arm, &table.arms[arm], parts, by_row.lottery(arm))
    };
    parts.iter().enumerate().filter_map(of_arm).collect()
}

/// The components of all models, and what could not be divided.
fn divided(parts: impl Iterator<Item = Decomposition>) -> (Vec<ComponentPart>, Vec<NotEstimable>) {
    let (mut components, mut dropped) = (Vec::new(), Vec::new());
    for part in parts {
        components.extend(part.components);
        dropped.extend(part.dropped);
    }
    (components, dropped)
}

/// What only the figures show. `parts` are the decompositions of the judged arms.
fn drawn(material: &Material<'_>, table: &Table, parts: &[Decomposition]) -> Drawn {
    let judged = table.judged(material.study).iter().enumerate();
    Drawn {
        arms: judged.map(|(arm, runs)| analysis::arms::drawn(material.study, arm, runs)).collect(),
        effects: parts.iter().flat_map(|parts| parts.effects.clone()).collect(),
        further: analysis::drawn::of_study(material, table, parts),
        ended: table.ended.clone(),
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
            Task::Segmentation { .. } => "segmentation",
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

fn design_part(material: &Material<'_>, table: &Table, nested: &Study) -> DesignPart {
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
        inner_folds: nested.outer.inner.as_ref().map(|inner| inner.folds),
        choosing: selection::in_words(nested),
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

fn cost(study: &Study, table: &Table) -> Cost {
    let trained = study.judged().iter().enumerate().filter_map(|(arm, written)| {
        let seconds = analysis::choice::seconds_of_arm(table, arm)?;
        Some(ArmCost { arm: written.name.clone(), seconds })
    });
    Cost {
        agent_seconds: table.agent_seconds,
        gpu_seconds: table.gpu_seconds,
        choosing_seconds: None,
        kwh: None,
        kwh_absent: "agents do not measure energy",
        trainings: trained.collect(),
        cheapest: analysis::choice::cheapest(study, table),
    }
}

fn goal(metric: Metric) -> &'static str {
    if metric.larger_is_better() { "larger is better" } else { "smaller is better" }
}

/// The study as it ran lies beside the report.
const REPRODUCE: &str = "coordinator run study.toml";
