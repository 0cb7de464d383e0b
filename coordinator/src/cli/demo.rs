//! `coordinator demo`: a study on real data, or on made-up hearts, in a minute or a few.
//!
//! Floor: wiring.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{files, run, study, watch};
use crate::{phantom, report};

/// Write a demonstration study with its data and run it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator demo\n  coordinator demo --write-only --out my-first-study"
)]
pub struct DemoArgs {
    /// Which demonstration: a clinical table (wdbc), images (digits), or the seed lottery of
    /// segmentation, on made-up hearts (phantom).
    #[arg(default_value = "wdbc", value_parser = ["wdbc", "digits", "phantom"])]
    name: String,
    /// Folder for study, data and report; default: the demonstration's name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the study and its data, run nothing.
    #[arg(long)]
    write_only: bool,
    /// Threads that train; default: one a core.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
}

/// `coordinator demo [NAME] [--out DIR]`.
pub async fn demo(args: DemoArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let out = args.out.unwrap_or_else(|| PathBuf::from(&args.name));
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    if args.name == "phantom" {
        return phantom(&out, args.write_only, args.threads, output).await;
    }
    let demonstration = if args.name == "digits" { &DIGITS } else { &FILES };
    let written: Vec<PathBuf> = demonstration
        .iter()
        .map(|(name, content)| keep(&out, name, content, output))
        .collect::<Result<_, _>>()?;
    let study = out.join("study.toml");
    if args.write_only {
        let next = format!("coordinator run {} --out {}", study.display(), out.display());
        let text = format!("{}\nrun it with: {next}", files::naming(&written));
        output.answer(&text, "seedsweep.demo/1", json!({ "files": written }));
        return Ok(ExitCode::SUCCESS);
    }
    let Some(read) = study::read(&study, output)? else { return Ok(ExitCode::from(1)) };
    let how = run::How { threads: args.threads, ..run::How::default() };
    run::run_study(read, &out, how, output).await
}

/// The same network with 50 seeds, held out and cross-validated, and what a test over rows makes of
/// seeds under either design.
async fn phantom(
    out: &Path,
    write_only: bool,
    threads: Option<NonZeroU32>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let volumes = out.join("volumes");
    for folder in ["images", "labels"] {
        let folder = volumes.join(folder);
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
    }
    for (name, bytes) in phantom::volumes() {
        keep(&volumes, &name, &bytes, output)?;
    }
    let mut written = vec![volumes];
    for (name, content) in PHANTOM {
        written.push(keep(out, name, content, output)?);
    }
    if write_only {
        let studies =
            written[1..].iter().map(|study| format!("coordinator run {}", study.display()));
        let next = studies.collect::<Vec<_>>().join(", and: ");
        let text = format!("{}\nrun them with: {next}", files::naming(&written));
        output.answer(&text, "seedsweep.demo/1", json!({ "files": written }));
        return Ok(ExitCode::SUCCESS);
    }
    let (mut reports, mut paths, mut code) = (Vec::new(), Vec::new(), ExitCode::SUCCESS);
    for study in &written[1..] {
        let Some(read) = study::read(study, output)? else { return Ok(ExitCode::from(1)) };
        let how = run::How { threads, ..run::How::default() };
        let folder = study.with_extension("");
        let Some(ran) = run::to_report(read, &folder, how, output).await? else {
            return Ok(ExitCode::from(run::INTERRUPTED));
        };
        let Some(written) = ran.written else {
            bail!(
                "{} was sealed: open it with `coordinator run {} --claim \"…\"`",
                ran.status.name,
                study.display()
            )
        };
        if ran.status.failed > 0 {
            code = watch::exit_code(&ran.status, ran.why.as_ref());
        }
        paths.extend(written.paths);
        reports.push(written.report);
    }
    let rows = report::lottery_rows(&reports);
    let text = format!("{}\n\n{}\n", report::lottery_table(&rows), EXPLAINED);
    let table = out.join("lottery.md");
    files::replace(&table, text.as_bytes())?;
    paths.push(table);
    let answer = json!({ "lottery": rows, "files": paths });
    output.answer(&format!("{text}{}", files::naming(&paths)), "seedsweep.lottery/1", answer);
    Ok(code)
}

/// Writes a file of the demonstration; one that was changed by hand is left alone.
fn keep(out: &Path, name: &str, content: &[u8], output: &Output) -> anyhow::Result<PathBuf> {
    let path = out.join(name);
    match std::fs::read(&path) {
        Ok(there) if there == content => {}
        Ok(_) => output.say(format!("{} was changed and is used as it is", path.display())),
        Err(_) => std::fs::write(&path, content)
            .with_context(|| format!("cannot write {}", path.display()))?,
    }
    Ok(path)
}

const DIGITS: [(&str, &[u8]); 3] = [
    ("study.toml", include_bytes!("../../demo/digits/study.toml")),
    ("digits.npz", include_bytes!("../../demo/digits/digits.npz")),
    ("SOURCE.md", include_bytes!("../../demo/digits/SOURCE.md")),
];

const PHANTOM: [(&str, &[u8]); 2] = [
    ("holdout.toml", include_bytes!("../../demo/phantom/holdout.toml")),
    ("folds.toml", include_bytes!("../../demo/phantom/folds.toml")),
];

/// Beneath the table of the lottery.
const EXPLAINED: &str = "All trainings of a line differ in nothing but the seed. \"Best beats\": the share of the other \
seeds that\nthe best one is better than with p < 0.05, in a paired t-test over rows and in \
Wilcoxon's test; \"pairs\":\nof all pairs of seeds, those that differ; 5 % are expected where seeds \
do not matter. For a network of\nclinical use, Åkesson et al. (2024) saw 0 to 76 % on a hold-out and \
10 to 38 % in 5-fold cross-validation.";

const FILES: [(&str, &[u8]); 3] = [
    ("study.toml", include_bytes!("../../demo/wdbc/study.toml")),
    ("breast-cancer.csv", include_bytes!("../../demo/wdbc/breast-cancer.csv")),
    ("SOURCE.md", include_bytes!("../../demo/wdbc/SOURCE.md")),
];
