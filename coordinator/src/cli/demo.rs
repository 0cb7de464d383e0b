//! `coordinator demo`: a real study on real data, in a minute.
//!
//! Floor: wiring.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::output::Output;
use super::{files, run, study};

/// Write a demonstration study with its data and run it.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator demo\n  coordinator demo --write-only --out my-first-study"
)]
pub struct DemoArgs {
    /// Which demonstration: a clinical table (wdbc), or images (digits).
    #[arg(default_value = "wdbc", value_parser = ["wdbc", "digits"])]
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
    let demonstration = if args.name == "digits" { &DIGITS } else { &FILES };
    let written: Vec<PathBuf> = demonstration
        .iter()
        .map(|(name, content)| keep(&out, name, content, output))
        .collect::<Result<_, _>>()?;
    if args.write_only {
        let study = out.join("study.toml");
        let text = format!(
            "{}\nrun it with: coordinator run {} --out {}",
            files::naming(&written),
            study.display(),
            out.display()
        );
        output.answer(&text, "seedsweep.demo/1", json!({ "files": written }));
        return Ok(ExitCode::SUCCESS);
    }
    let study = out.join("study.toml");
    let Some(read) = study::read(&study, output)? else { return Ok(ExitCode::from(1)) };
    let how = run::How { threads: args.threads, programs: false };
    run::run_study(read, &out, how, output).await
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

const FILES: [(&str, &[u8]); 3] = [
    ("study.toml", include_bytes!("../../demo/wdbc/study.toml")),
    ("breast-cancer.csv", include_bytes!("../../demo/wdbc/breast-cancer.csv")),
    ("SOURCE.md", include_bytes!("../../demo/wdbc/SOURCE.md")),
];
