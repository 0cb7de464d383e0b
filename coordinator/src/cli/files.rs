//! `coordinator report` and `export`, and the files of an output folder.
//!
//! The report is computed here, from the outcomes; the coordinator only keeps them.
//!
//! Floor: wiring.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use common::id::{Digest, MemberId, StudyId};
use common::ledger::Purpose;
use common::name::is_name;
use common::stats::worth::Stakes;
use common::study::Study;
use common::table::Dataset;
use common::wire::message::{OutcomeRow, Request, Response, RowEnd, StudyStatus};
use serde_json::{Value, json};

use super::output::Output;
use super::{Fresh, Target, connect, studies};
use crate::client::{Client, Entered, Shown, StoredStudy};
use crate::report::stopped::Bought;
use crate::report::{self, Looks, Material, Report};

/// Write a study's report.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator report wdbc --out results\n  coordinator report wdbc --format md\n  coordinator report wdbc --point-value 5000 --hour-price 2.50\n  coordinator report --studies wdbc,iris,wine --out together"
)]
pub struct ReportArgs {
    /// Name or id of the study; default: the latest.
    study: Option<String>,
    /// One report over these finished studies, which share arms by name and a metric.
    #[arg(long, value_name = "A,B,…", value_delimiter = ',', conflicts_with = "study")]
    studies: Vec<String>,
    /// One form on stdout (or in --out); default: all files in a folder.
    #[arg(long)]
    format: Option<Format>,
    /// Folder for all files, or the file for one form; default: the study's name, or `studies`.
    #[arg(long, value_name = "PATH")]
    out: Option<PathBuf>,
    /// The study's data file, for what outcomes alone do not tell: which row is whose. With it the
    /// report has intervals for other test rows, the lottery of seeds, rows beside trainings as
    /// sources of spread, and all checks for leaks.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    #[command(flatten)]
    stakes: StakesArgs,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

/// What further runs are weighed by.
#[derive(Clone, Copy, Debug, Args)]
pub struct StakesArgs {
    /// What a score better by 0.01 is worth, in money: the report then says which further runs are
    /// worth their price.
    #[arg(long, value_name = "MONEY", value_parser = money, allow_negative_numbers = true, requires = "hour_price")]
    point_value: Option<f64>,
    /// What an hour of training costs, in the same money.
    #[arg(long, value_name = "MONEY", value_parser = money, allow_negative_numbers = true, requires = "point_value")]
    hour_price: Option<f64>,
}

impl StakesArgs {
    pub fn told(&self) -> Option<Stakes> {
        let (point, hour) = self.point_value.zip(self.hour_price)?;
        Some(Stakes { value_per_unit: 100.0 * point, uses: 1.0, price_per_hour: hour })
    }
}

fn money(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() && value >= 0.0 => Ok(value),
        _ => Err("a sum of money is a number that is not below 0, such as 250".to_string()),
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Html,
    Md,
    Tex,
    Json,
}

/// Write a study's outcomes as a table, a row a trial.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("form").required(true))]
#[command(
    after_help = "Examples:\n  coordinator export wdbc --parquet trials.parquet\n  coordinator export wdbc --csv - | head"
)]
pub struct ExportArgs {
    /// Name or id of the study; default: the latest.
    study: Option<String>,
    /// Write Parquet to this file; `-` is stdout.
    #[arg(long, value_name = "FILE", group = "form")]
    parquet: Option<PathBuf>,
    /// Write CSV to this file; `-` is stdout.
    #[arg(long, value_name = "FILE", group = "form")]
    csv: Option<PathBuf>,
    #[command(flatten)]
    fresh: Fresh,
    #[command(flatten)]
    target: Target,
}

/// What a report is for, and the study's rows where they are at hand.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub purpose: Purpose,
    pub table: Option<&'a Dataset>,
    /// What further runs are weighed by.
    pub stakes: Option<Stakes>,
}

/// What was written.
pub struct Written {
    pub paths: Vec<PathBuf>,
    /// Of the report's verdict.
    pub kind: Value,
    pub report: Report,
}

/// `coordinator report STUDY`.
pub async fn report(args: ReportArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let stakes = args.stakes.told();
    if !args.studies.is_empty() {
        if stakes.is_some() {
            bail!("--point-value and --hour-price weigh the runs of one study, not of several");
        }
        return studies::report(&client, &args.studies, args.format, args.out, output).await;
    }
    let status = connect::find_study(&client, args.study.as_deref()).await?;
    let stored = client.study(status.id).await?;
    // Before the look, which would count although nothing was shown.
    let table = args.table.as_ref().map(|path| read_table(path, &stored)).transpose()?;
    let Some(format) = args.format else {
        let out = args.out.unwrap_or_else(|| own_folder(status.id, &status.name));
        let asked = Asked { purpose: Purpose::Report, table: table.as_ref(), stakes };
        let written = write_all(&client, status.id, asked, &out, output).await?;
        let verdict = &written.report.verdict.text;
        let text = format!("{verdict}\n{}", naming(&written.paths));
        let answer = json!({
            "files": written.paths,
            "verdict": verdict,
            "verdict_kind": written.kind,
        });
        output.answer(&text, "seedsweep.files/1", answer);
        return Ok(ExitCode::SUCCESS);
    };
    let shown = client.look(status.id, Purpose::Report).await?;
    let material = Material { data: table.as_ref(), stakes, ..material(&stored, &shown, &status) };
    let built = report::build(&material);
    let text = match format {
        Format::Html => report::html(&built),
        Format::Md => report::markdown(&built),
        Format::Tex => report::latex(&built),
        Format::Json => report::json(&built),
    };
    write_to(args.out.as_deref(), text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The rows of a study from its data file, which must be the one that it was checked with.
fn read_table(path: &Path, stored: &StoredStudy) -> anyhow::Result<Dataset> {
    let bytes = link::folder::read(path, link::memory::free())
        .with_context(|| format!("cannot read {}", path.display()))?;
    if Digest::of(&bytes) != stored.study.data.digest {
        bail!(
            "{} is not the data file of {}: its digest is another one",
            path.display(),
            stored.study.name
        );
    }
    Dataset::read(&stored.study.data, &bytes).map_err(anyhow::Error::msg)
}

/// A study's folder has its name, unless that name, which came over a network, would lead elsewhere.
fn own_folder(id: StudyId, name: &str) -> PathBuf {
    if is_name(name) { PathBuf::from(name) } else { PathBuf::from(id.to_string()) }
}

/// `coordinator export STUDY --parquet FILE | --csv FILE`.
pub async fn export(args: ExportArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?.fresh(args.fresh.fresh);
    let status = connect::find_study(&client, args.study.as_deref()).await?;
    let stored = client.study(status.id).await?;
    let shown = client.look(status.id, Purpose::Export).await?;
    let material = material(&stored, &shown, &status);
    let (bytes, path) = match (&args.parquet, &args.csv) {
        (Some(path), _) => (report::parquet(&material)?, path),
        (None, Some(path)) => (report::csv(&material)?, path),
        (None, None) => bail!("say which form: --parquet FILE or --csv FILE; `-` is stdout"),
    };
    let to_stdout = path.as_os_str() == "-";
    write_to(Some(path.as_path()).filter(|_| !to_stdout), &bytes)?;
    if !to_stdout {
        let trials = shown.rows.len();
        let text = format!("{trials} trials in {}", path.display());
        output.answer(&text, "seedsweep.files/1", json!({ "files": [path], "trials": trials }));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes every file of a study's output folder.
pub async fn write_all(
    client: &Client,
    id: StudyId,
    asked: Asked<'_>,
    out: &Path,
    output: &Output,
) -> anyhow::Result<Written> {
    let stored = client.study(id).await?;
    let status = connect::status_of(client, id).await?;
    let shown = client.look(id, asked.purpose).await?;
    let Asked { table: data, stakes, .. } = asked;
    let material = Material { data, stakes, ..material(&stored, &shown, &status) };
    let rows = &shown.rows;
    if rows.len() > REPORT_SLOW_ROWS {
        output.say(format!("computing the report of {} trials", rows.len()));
    }
    let built = report::build(&material);
    let environment = environment(client, &stored.study, id, rows).await?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let mut paths = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| {
        let path = out.join(name);
        replace(&path, bytes)?;
        paths.push(path);
        anyhow::Ok(())
    };
    write("report.html", report::html(&built).as_bytes())?;
    write("report.json", report::json(&built).as_bytes())?;
    write("report.md", report::markdown(&built).as_bytes())?;
    write("report.tex", report::latex(&built).as_bytes())?;
    write("trials.parquet", &report::parquet(&material)?)?;
    write("environment.json", format!("{environment:#}\n").as_bytes())?;
    let study_file = out.join("study.toml");
    if std::fs::read_to_string(&study_file).ok().as_deref() != Some(stored.text.as_str()) {
        let name = if study_file.exists() { "study-as-run.toml" } else { "study.toml" };
        write(name, stored.text.as_bytes())?;
    }
    let kind = serde_json::to_value(built.verdict.kind)?;
    Ok(Written { paths, kind, report: built })
}

pub fn material<'a>(
    stored: &'a StoredStudy,
    shown: &'a Shown,
    status: &StudyStatus,
) -> Material<'a> {
    let StoredStudy { study, violations, decided, seeds, .. } = stored;
    let StudyStatus { cancelled, differing, .. } = *status;
    let looks = shown.ledger.as_ref().map(|(this, entered)| {
        let Entered { ledger, sealing } = entered;
        Looks { ledger, this: *this, sealing: Some(sealing) }
    });
    let bought = study.budget.is_limited().then_some(Bought { study, decided, seeds });
    Material { cancelled, differing, violations, looks, bought, ..Material::of(study, &shown.rows) }
}

/// Where and with what the outcomes were made. Apart from the report, which depends on them alone.
async fn environment(
    client: &Client,
    study: &Study,
    id: StudyId,
    rows: &[OutcomeRow],
) -> anyhow::Result<Value> {
    // A report is not given up for want of its agents' names.
    let agents = match client.ask(Request::Agents).await {
        Ok(Response::Agents { agents }) => agents,
        _ => Vec::new(),
    };
    let agents: Vec<Value> = agents
        .iter()
        .map(|agent| {
            json!({
                "member": agent.member.to_string(),
                "host": agent.about.host,
                "device": agent.about.device,
                "model": agent.about.model,
                "lanes": agent.about.lanes,
                "version": agent.about.version,
            })
        })
        .collect();
    Ok(json!({
        "schema": "seedsweep.environment/1",
        "study": { "name": study.name, "id": id.to_string() },
        "data": {
            "path": study.data.path,
            "bytes": study.data.bytes,
            "digest": study.data.digest.hex(),
        },
        "seedsweep": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "architecture": std::env::consts::ARCH,
        "agents": agents,
        "outcomes": records(rows),
    }))
}

/// What the outcomes were made on and with, each record once: how many, and by which members. Their
/// data stand above, once for all: every row lies under its study, which names them by digest, and
/// an agent that has other bytes trains nothing.
fn records(rows: &[OutcomeRow]) -> Vec<Value> {
    let mut records: BTreeMap<&str, (u64, BTreeSet<MemberId>)> = BTreeMap::new();
    for OutcomeRow { agent, end, .. } in rows {
        if let RowEnd::Complete(outcome) = end {
            let (count, agents) = records.entry(&outcome.device).or_default();
            *count += 1;
            agents.insert(*agent);
        }
    }
    let record = |(record, (count, agents)): (&str, (u64, BTreeSet<MemberId>))| {
        let agents: Vec<String> = agents.iter().map(ToString::to_string).collect();
        json!({ "record": record, "trials": count, "agents": agents })
    };
    records.into_iter().map(record).collect()
}

/// The files by name, a line each.
pub fn naming(paths: &[PathBuf]) -> String {
    let lines: Vec<String> = paths.iter().map(|path| format!("  {}", path.display())).collect();
    format!("wrote\n{}", lines.join("\n"))
}

/// Writes beside and renames, so that a reader never sees half a file.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("writing");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

pub fn write_to(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match path {
        Some(path) => replace(path, bytes),
        None => {
            let mut stdout = std::io::stdout();
            match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
                // A reader that went away (`| head`) has what it wanted.
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(error).context("cannot write to stdout")
                }
                _ => Ok(()),
            }
        }
    }
}

/// Trials above which the report takes longer than a moment.
const REPORT_SLOW_ROWS: usize = 100_000;

#[cfg(test)]
mod tests {
    use common::id::TrialIndex;
    use common::time::Timestamp;
    use common::trial::Outcome;

    use super::*;

    #[test]
    fn every_record_is_listed_once_with_its_trials_and_who_made_them() {
        let row = |trial: u64, agent: u64, device: &str| {
            let device = device.to_string();
            let outcome = Outcome {
                metrics: vec![],
                rows: vec![],
                epochs: 1,
                duration_us: 1,
                device,
                curve: None,
            };
            let (agent, ended) = (MemberId(agent), Timestamp(1));
            OutcomeRow { trial: TrialIndex(trial), ended, agent, end: RowEnd::Complete(outcome) }
        };
        let failed = RowEnd::Failed { reason: "error".to_string(), detail: String::new() };
        let rows = [
            row(0, 17, "cpu; a"),
            row(1, 18, "cpu; b"),
            row(2, 19, "cpu; a"),
            OutcomeRow { end: failed, ..row(3, 17, "") },
        ];
        let expected = json!([
            { "record": "cpu; a", "trials": 2, "agents": [MemberId(17).to_string(), MemberId(19).to_string()] },
            { "record": "cpu; b", "trials": 1, "agents": [MemberId(18).to_string()] },
        ]);
        assert_eq!(json!(records(&rows)), expected);
    }
}
