//! `coordinator cancel`, `pause`, `resume`, `priority`, `retry` and `extend`: what may be done to a
//! study. Each is in the log, and done twice it is done once.
//!
//! Floor: wiring.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use common::id::TrialIndex;
use common::wire::message::{Control, Request, Response, StudyStatus, Which};
use serde_json::json;

use super::output::Output;
use super::{Target, connect, look};
use crate::client::{Client, ClientError};

/// Stop a study.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator cancel wdbc\n\nComplete trials are kept; `coordinator submit` takes the study up again."
)]
pub struct CancelArgs {
    /// Name or id of the study.
    study: String,
    #[command(flatten)]
    target: Target,
}

/// Start nothing more of a study.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator pause wdbc\n\nWhat is in training ends and is kept; `coordinator resume wdbc` goes on."
)]
pub struct PauseArgs {
    /// Name or id of the study.
    study: String,
    #[command(flatten)]
    target: Target,
}

/// Go on with a study that was paused.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  coordinator resume wdbc")]
pub struct ResumeArgs {
    /// Name or id of the study.
    study: String,
    #[command(flatten)]
    target: Target,
}

/// Serve a study before others, or after them.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator priority wdbc 5\n  coordinator priority wdbc -1\n\nStudies begin at 0; of equal ones the oldest is served first."
)]
pub struct PriorityArgs {
    /// Name or id of the study.
    study: String,
    /// Higher is served first.
    #[arg(allow_negative_numbers = true)]
    priority: i32,
    #[command(flatten)]
    target: Target,
}

/// Train failed trials again.
#[derive(Debug, Args)]
#[command(
    group(clap::ArgGroup::new("which").required(true)),
    after_help = "Examples:\n  coordinator retry wdbc --failed --dry-run\n  coordinator retry wdbc --trial 17,40-52"
)]
pub struct RetryArgs {
    /// Name or id of the study.
    study: String,
    /// Every trial that failed.
    #[arg(long, group = "which")]
    failed: bool,
    /// These trials, as far as they failed: numbers and ranges.
    #[arg(long, group = "which", value_name = "LIST", value_parser = ranges)]
    trial: Option<Which>,
    /// Say which trials would be trained again, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
}

/// Let a study grow.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  coordinator extend wdbc --seeds 40\n\nOnly what is new is trained. The study file with the new number is kept: `coordinator report` writes it."
)]
pub struct ExtendArgs {
    /// Name or id of the study.
    study: String,
    /// Seeds in all; never fewer than are trained. Of a study that its rule has ended these are bought outright.
    #[arg(long, value_name = "N")]
    seeds: u32,
    #[command(flatten)]
    target: Target,
}

/// `coordinator cancel STUDY`.
pub async fn cancel(args: CancelArgs, output: &Output) -> anyhow::Result<ExitCode> {
    simply(&args.target, &args.study, Control::Cancel, output).await
}

/// `coordinator pause STUDY`.
pub async fn pause(args: PauseArgs, output: &Output) -> anyhow::Result<ExitCode> {
    simply(&args.target, &args.study, Control::Pause, output).await
}

/// `coordinator resume STUDY`.
pub async fn resume(args: ResumeArgs, output: &Output) -> anyhow::Result<ExitCode> {
    simply(&args.target, &args.study, Control::Resume, output).await
}

/// `coordinator priority STUDY N`.
pub async fn priority(args: PriorityArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let control = Control::Priority { priority: args.priority };
    simply(&args.target, &args.study, control, output).await
}

async fn simply(
    target: &Target,
    study: &str,
    control: Control,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let client = connect::client(target).await?;
    let study = connect::find_study(&client, Some(study)).await?;
    client.ask(Request::Control { study: study.id, control }).await?;
    let after = connect::status_of(&client, study.id).await?;
    look::print_status(std::slice::from_ref(&after), &[], output);
    Ok(ExitCode::SUCCESS)
}

/// `coordinator retry STUDY --failed | --trial 17,40-52`.
pub async fn retry(args: RetryArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, Some(&args.study)).await?;
    let trials = args.trial.unwrap_or(Which::Failed);
    let request = if args.dry_run {
        Request::WouldRetry { study: study.id, trials }
    } else {
        Request::Control { study: study.id, control: Control::Retry { trials } }
    };
    let Response::Retried { trials, count } = client.ask(request).await? else {
        return Err(ClientError::Unexpected.into());
    };
    let will = if args.dry_run { "would be trained" } else { "will be trained" };
    let mut text = match count {
        0 => format!("{}: none of these trials failed; nothing to train again", study.name),
        1 => format!("{}: 1 trial {will} again", study.name),
        count => format!("{}: {count} trials {will} again", study.name),
    };
    if !trials.is_empty() {
        text.push_str(&format!(": {}", in_ranges(&trials, count)));
    }
    let numbers: Vec<u64> = trials.iter().map(|trial| trial.0).collect();
    let answer = json!({
        "study": study.id.to_string(),
        "name": study.name,
        "dry_run": args.dry_run,
        "count": count,
        "trials": numbers,
    });
    output.answer(&text, "seedsweep.retry/1", answer);
    Ok(ExitCode::SUCCESS)
}

/// `coordinator extend STUDY --seeds N`.
pub async fn extend(args: ExtendArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let client = connect::client(&args.target).await?;
    let study = connect::find_study(&client, Some(&args.study)).await?;
    let (gained, seeds) = grow(&client, &study, args.seeds).await?;
    let after = connect::status_of(&client, study.id).await?;
    let text = match gained {
        0 => format!("{} has {seeds} seeds already; nothing is new", study.name),
        _ => format!(
            "{} has {seeds} seeds now: {gained} trials are new, {} in all",
            study.name, after.planned
        ),
    };
    let answer = json!({
        "study": study.id.to_string(),
        "name": study.name,
        "seeds": seeds,
        "gained": gained,
        "planned": after.planned,
    });
    output.answer(&text, "seedsweep.extend/1", answer);
    Ok(ExitCode::SUCCESS)
}

async fn grow(client: &Client, study: &StudyStatus, seeds: u32) -> anyhow::Result<(u64, u32)> {
    let stored = client.study(study.id).await?;
    let [factor] = stored.study.seeds.factors.as_slice() else {
        bail!(
            "{} crosses several streams of seeds, and only one count of seeds can grow in place; \
             submit the grown file: what is known is taken over",
            study.name
        );
    };
    // Of a study that its rule has ended early more may be bought than it has, and no more than is written.
    let text = match seeds > factor.count {
        true => with_seeds(&stored.text, seeds)
            .with_context(|| format!("the file of study {} cannot be changed", study.name))?,
        false => stored.text.clone(),
    };
    let bought = stored.seeds.iter().copied().max().unwrap_or(factor.count);
    let control = Control::Extend { seeds, text };
    match client.ask(Request::Control { study: study.id, control }).await? {
        Response::Extended { gained } => Ok((gained, seeds.max(bought))),
        _ => Err(ClientError::Unexpected.into()),
    }
}

/// The study file with another number of seeds; everything else stays as it was written.
fn with_seeds(text: &str, seeds: u32) -> anyhow::Result<String> {
    let mut document: toml_edit::DocumentMut = text.parse()?;
    let table = document.get_mut("seeds").and_then(|item| item.as_table_like_mut());
    let table = table.context("it has no table [seeds]")?;
    let value = match table.get_mut("count") {
        Some(count) => count,
        None => {
            let apart = table.get_mut("apart").and_then(|item| item.as_table_like_mut());
            let only = apart.and_then(|apart| apart.iter_mut().next().map(|(_, value)| value));
            only.context("it has no count of seeds")?
        }
    };
    let old = value.as_value_mut().context("its count of seeds is no number")?;
    let decor = old.decor().clone();
    *old = i64::from(seeds).into();
    *old.decor_mut() = decor;
    Ok(document.to_string())
}

/// Reads `17,40-52`.
fn ranges(text: &str) -> Result<Which, String> {
    let wrong = || format!("{text:?} is no list of trials; write for example 17,40-52");
    let number = |text: &str| text.trim().parse().map(TrialIndex).map_err(|_| wrong());
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first)?, number(last)?);
        if first <= last { Ok((first, last)) } else { Err(wrong()) }
    };
    let ranges: Result<Vec<_>, String> = text.split(',').map(range).collect();
    Ok(Which::Ranges(ranges?))
}

/// `17, 40-52`, and how many are not named.
pub fn in_ranges(trials: &[TrialIndex], count: u64) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for TrialIndex(trial) in trials {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *trial => *last = *trial,
            _ => parts.push((*trial, *trial)),
        }
    }
    let shown = parts.iter().take(RANGES_SHOWN).map(|(first, last)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    });
    let mut text = shown.collect::<Vec<_>>().join(", ");
    let named: u64 = parts.iter().take(RANGES_SHOWN).map(|(first, last)| last - first + 1).sum();
    if named < count {
        text.push_str(&format!(" and {} more", count - named));
    }
    text
}

const RANGES_SHOWN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_trials_are_read_and_printed() {
        let one = |n| TrialIndex(n);
        let read = ranges("17,40-52").expect("a list");
        assert_eq!(read, Which::Ranges(vec![(one(17), one(17)), (one(40), one(52))]));
        for wrong in ["", "x", "5-3", "1,,2", "-1", "1-2-3"] {
            assert!(ranges(wrong).is_err(), "{wrong}");
        }
        let trials: Vec<TrialIndex> = [17, 40, 41, 42, 50].map(TrialIndex).to_vec();
        assert_eq!(in_ranges(&trials, 5), "17, 40-42, 50");
        assert_eq!(in_ranges(&trials, 9), "17, 40-42, 50 and 4 more");
    }

    #[test]
    fn more_seeds_leave_the_rest_of_the_file_as_it_was_written() {
        let text = "# mine\n[seeds]\ncount = 20   # enough?\n\n[arms.a]\nlr = 0.1\n";
        let grown = with_seeds(text, 40).expect("grows");
        assert_eq!(grown, text.replace("20", "40"));
        assert_eq!(
            with_seeds("seeds = { count = 3 }\n", 4).expect("grows"),
            "seeds = { count = 4 }\n"
        );
        let apart = with_seeds("[seeds]\napart = { init = 5 }\n", 9).expect("grows");
        assert_eq!(apart, "[seeds]\napart = { init = 9 }\n");
        assert!(with_seeds("[study]", 4).is_err());
    }
}
