//! `coordinator check`, and reading a study for every command that takes one.
//!
//! Floor: wiring.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use common::design::Design;
use common::study::{Arm, Checked, Finding, Findings, Study, Task};
use common::table::Target;
use miette::{Diagnostic, LabeledSpan, NamedSource, SourceCode};
use serde_json::json;

use super::output::Output;

/// Check a study file and its data.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  coordinator check study.toml")]
pub struct CheckArgs {
    /// The study file.
    study: PathBuf,
}

/// `coordinator check STUDY`: everything that is wrong, at once; nothing runs.
pub fn check(args: CheckArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(read) = read(&args.study, output)? else { return Ok(ExitCode::from(1)) };
    let Checked { study, notes, .. } = &read.checked;
    let design = Design::of(study);
    let trials = design.trained().unwrap_or_default();
    let chosen_by: u64 =
        (0u32..).zip(study.judged()).map(|(arm, _)| design.choosing_trials(arm)).sum();
    let configs: usize = study.judged().iter().map(Arm::alternatives).sum();
    let controls = controls(study);
    let of_controls: u64 = controls.iter().map(|(_, trials)| trials).sum();
    let seeds: Vec<String> = study
        .seeds
        .factors
        .iter()
        .map(|factor| match factor.name.as_str() {
            "seed" => counted(factor.count.into(), "seed"),
            stream => counted(factor.count.into(), &format!("{stream} seed")),
        })
        .collect();
    let mut text = format!(
        "{} is a valid study: {} rows, {} with {}, {}, {} of {}: {} trainings",
        args.study.display(),
        study.data.rows,
        counted(study.judged().len() as u64, "arm"),
        counted(configs as u64, "config"),
        seeds.join(" × "),
        counted(study.outer.partitions.into(), "partition"),
        counted(study.outer.folds.into(), "outer fold"),
        trials - of_controls,
    );
    text.push_str(&beside(chosen_by, &controls));
    text.push_str(&format!("\n{}: {}", study.data.target, target_in_words(&read.checked)));
    let features = &read.checked.dataset.names;
    let dataset = &read.checked.dataset;
    let shown = match features.as_slice() {
        [] => dataset.shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" × "),
        names => shortened(names),
    };
    text.push_str(&format!("\n{}: {shown}", counted(dataset.width as u64, "feature")));
    notes.iter().for_each(|note| text.push_str(&format!("\nnote: {note}")));
    let answer = json!({
        "valid": true,
        "name": study.name,
        "study": study.id().to_string(),
        "rows": study.data.rows,
        "arms": study.judged().len(),
        "configs": configs,
        "trials": trials,
        "choosing_trials": chosen_by,
        "controls": controls
            .iter()
            .map(|(name, trials)| json!({ "arm": name, "trials": trials }))
            .collect::<Vec<_>>(),
        "target": target_in_words(&read.checked),
        "features": features,
        "shape": dataset.shape,
        "notes": notes,
        "findings": [],
    });
    output.answer(&text, "seedsweep.check/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// The trainings that choose configs, and those of controls.
fn beside(chosen_by: u64, controls: &[(&str, u64)]) -> String {
    let mut text = String::new();
    if chosen_by > 0 {
        text +=
            &format!("; {} of these choose configs on inner folds", counted(chosen_by, "training"));
    }
    if !controls.is_empty() {
        let each: Vec<String> =
            controls.iter().map(|(name, trials)| format!("{name} {trials}")).collect();
        let trials = controls.iter().map(|(_, trials)| trials).sum();
        text += &format!("\nand {} of controls: {}", counted(trials, "training"), shortened(&each));
    }
    text
}

/// Each control by name, with its trials.
fn controls(study: &Study) -> Vec<(&str, u64)> {
    let design = Design::of(study);
    let trials = |number: u32, arm: &Arm| {
        let reported = if design.is_searched(number) { 1 } else { arm.configs.len() as u64 };
        design.cells_of(number) * reported + design.choosing_trials(number)
    };
    let all = (0u32..).zip(&study.arms).filter(|(_, arm)| arm.control().is_some());
    all.map(|(number, arm)| (arm.name.as_str(), trials(number, arm))).collect()
}

/// A study file that passed, with the bytes of its data.
pub struct ReadStudy {
    pub checked: Checked,
    pub data: Vec<u8>,
}

/// Reads and checks a study file; findings are printed and give `None`.
pub fn read(path: &Path, output: &Output) -> anyhow::Result<Option<ReadStudy>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the study file {}", path.display()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut data = Vec::new();
    let memory = link::memory::free();
    let mut read = |name: &str| {
        let bytes =
            link::folder::read(&folder.join(name), memory).map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => {
                    format!("there is no file {}", folder.join(name).display())
                }
                _ => error.to_string(),
            })?;
        data.clone_from(&bytes);
        Ok(bytes)
    };
    let checked = common::study::check_within(&text, &mut read, memory);
    match checked {
        Ok(checked) => Ok(Some(ReadStudy { checked, data })),
        Err(findings) => {
            print_findings(path, &text, &findings, output);
            Ok(None)
        }
    }
}

fn print_findings(path: &Path, text: &str, findings: &Findings, output: &Output) {
    let name = path.display().to_string();
    if output.is_json() {
        let list: Vec<_> = findings
            .0
            .iter()
            .map(|finding| {
                json!({
                    "line": finding.line,
                    "column": finding.column,
                    "message": finding.message,
                    "help": finding.help,
                })
            })
            .collect();
        let answer = json!({ "valid": false, "file": name, "findings": list });
        output.answer("", "seedsweep.check/1", answer);
        return;
    }
    let handler = miette::GraphicalReportHandler::new().with_width(100);
    for finding in &findings.0 {
        let mut rendered = String::new();
        let diagnostic = FindingDiagnostic {
            source: NamedSource::new(&name, text.to_string()),
            place: format!("{name}:{}:{}", finding.line, finding.column),
            finding: finding.clone(),
        };
        let printed = handler.render_report(&mut rendered, &diagnostic);
        match printed {
            Ok(()) => output.warn(rendered.trim_end()),
            Err(_) => output.warn(format!("{}: {}", diagnostic.place, finding.message)),
        }
    }
    let count = findings.0.len();
    let things = if count == 1 { "thing" } else { "things" };
    output.warn(format!("\n{name}: {count} {things} to mend; nothing was run"));
}

/// A finding as miette draws it, under the line it is about.
#[derive(Debug)]
struct FindingDiagnostic {
    source: NamedSource<String>,
    place: String,
    finding: Finding,
}

impl fmt::Display for FindingDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.finding.message)
    }
}

impl std::error::Error for FindingDiagnostic {}

impl Diagnostic for FindingDiagnostic {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.finding.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let span = self.finding.span.clone();
        Some(Box::new(std::iter::once(LabeledSpan::underline(span))))
    }
}

/// `2 classes: benign 357, malignant 212`, or the range of a number.
fn target_in_words(checked: &Checked) -> String {
    match (&checked.study.data.task, &checked.dataset.target) {
        (Task::Classification { classes }, Target::Classes { labels, .. }) => {
            let count =
                |class: usize| labels.iter().filter(|label| **label as usize == class).count();
            let each: Vec<String> = classes
                .iter()
                .enumerate()
                .map(|(class, name)| format!("{name} {}", count(class)))
                .collect();
            format!(
                "{}: {}",
                counted_as(classes.len() as u64, "class", "classes"),
                shortened(&each)
            )
        }
        (_, Target::Values(values)) => {
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            format!("numbers from {least} to {most}")
        }
        (Task::Segmentation { classes }, Target::Masks { labels, pixels, .. }) => {
            let count =
                |class: usize| labels.iter().filter(|label| usize::from(**label) == class).count();
            let all = labels.len().max(1) as f64;
            let share = |(class, name): (usize, &String)| {
                format!("{name} {:.1} %", 100.0 * count(class) as f64 / all)
            };
            let each: Vec<String> = classes.iter().enumerate().map(share).collect();
            format!("masks of {pixels} pixels: {}", shortened(&each))
        }
        _ => "numbers".to_string(),
    }
}

/// The first of many, and how many more.
fn shortened(names: &[String]) -> String {
    let first: Vec<&str> = names.iter().take(NAMES_SHOWN).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn counted_as(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn counted(count: u64, word: &str) -> String {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {word}{ending}")
}

const NAMES_SHOWN: usize = 12;
