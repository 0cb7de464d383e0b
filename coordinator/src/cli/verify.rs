//! `coordinator verify-log`: whether everything in a data folder is as it was written.
//!
//! Floor: wiring.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};

use super::connect::data_folder;
use super::output::{Output, bytes};
use crate::disk::{self, DiskError, Finding, Progress, Verdict};

/// Read a data folder that no coordinator uses, and say whether all of it is sound.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator verify-log\n  coordinator verify-log --data /srv/seedsweep --json\n\nNothing is written. While a coordinator runs, copy its folder and look at the copy:\n  cp -r /srv/seedsweep /tmp/copy && coordinator verify-log --data /tmp/copy\nA copy that was made while outcomes arrived may be torn by that alone: copy again before believing it."
)]
pub struct VerifyLogArgs {
    /// The data folder; default: that of this user's coordinator.
    #[arg(long, env = "SEEDSWEEP_DATA", value_name = "DIR")]
    data: Option<PathBuf>,
}

/// `coordinator verify-log`.
pub async fn verify_log(args: VerifyLogArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let folder = data_folder(args.data.as_deref())?;
    let verdict = match look(&folder, output).await? {
        Err(DiskError::Locked { path }) => bail!(
            "a coordinator uses {}: stop it first, or copy the folder and name the copy with --data",
            path.display()
        ),
        Err(DiskError::Absent { path }) => {
            bail!("{} holds no coordinator's log; name its data folder with --data", path.display())
        }
        looked => looked?,
    };
    output.answer(&in_words(&folder, &verdict), "seedsweep.verify-log/1", for_programs(&verdict));
    Ok(if verdict.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Looks on a thread of its own, with a bar when that takes its time.
async fn look(folder: &Path, output: &Output) -> anyhow::Result<Result<Verdict, DiskError>> {
    let progress = Arc::new(Progress::default());
    let (path, seen) = (folder.to_path_buf(), Arc::clone(&progress));
    // redb asserts its invariants. On a damaged file that is a finding, and told as one.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let mut looking = tokio::task::spawn_blocking(move || disk::verify(&path, &seen));
    let began = Instant::now();
    let mut bar = None;
    let looked = loop {
        if let Ok(looked) = tokio::time::timeout(BETWEEN_LOOKS, &mut looking).await {
            break looked;
        }
        let (done, total) = progress.now();
        if began.elapsed() >= PATIENCE {
            bar.get_or_insert_with(|| output.bytes_bar(total, "reading")).set_position(done);
        }
    };
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    std::panic::set_hook(loud);
    looked.context("the folder could not be looked at; this is a fault of the program")
}

fn in_words(folder: &Path, verdict: &Verdict) -> String {
    let unknown = || "unknown".to_string();
    let (cluster, replica) = match verdict.identity {
        Some(own) => (own.cluster.to_string(), own.replica.to_string()),
        None => (unknown(), unknown()),
    };
    let log = match (verdict.base, verdict.entries) {
        (None, entries) => format!("{entries} entries"),
        (Some(base), 0) => format!("no entries after entry {base}"),
        (Some(base), entries) => {
            format!("{entries} entries, from {} to {}", base + 1, verdict.last)
        }
    };
    let vote = match verdict.vote {
        Some(vote) => format!("{} marked as committed, term {}", vote.commit, vote.term),
        None => "commit mark and term unknown".to_string(),
    };
    let snapshot = match verdict.snapshot {
        Some((index, _)) => format!("of everything up to entry {index}"),
        None => unknown(),
    };
    let mut text = format!(
        "{}\ncluster   {cluster}, replica {replica}\nlog       {log}; {vote}\nsnapshot  {snapshot}\n\
         studies   {}\noutcomes  {}\ndatabase  {}\ndata      {} files\n",
        folder.display(),
        verdict.studies.map_or_else(unknown, |studies| studies.to_string()),
        outcomes(verdict),
        bytes(verdict.bytes),
        verdict.data_files,
    );
    if verdict.is_sound() {
        return text + "OK: all of it is as it was written";
    }
    text += &match verdict.findings.len() as u64 + verdict.more {
        1 => "DAMAGED: 1 finding\n".to_string(),
        many => format!("DAMAGED: {many} findings\n"),
    };
    text + &findings(verdict)
}

fn outcomes(verdict: &Verdict) -> String {
    match (verdict.outcomes, verdict.in_log_alone) {
        (there, 0) => there.to_string(),
        (there, more) => format!("{there}, and {more} in the log alone until its next commit"),
    }
}

/// Each finding, and once after those that it mends, what to do.
fn findings(verdict: &Verdict) -> String {
    let mut mends: Vec<&str> = Vec::new();
    for mend in verdict.findings.iter().map(Finding::mend) {
        if !mends.contains(&mend) {
            mends.push(mend);
        }
    }
    let mut text = String::new();
    for mend in mends {
        for finding in verdict.findings.iter().filter(|finding| finding.mend() == mend) {
            text += &format!("- {finding}\n");
        }
        if verdict.more > 0 && verdict.findings.last().is_some_and(|last| last.mend() == mend) {
            text += &format!("- and {} more\n", verdict.more);
        }
        text += &format!("  What to do: {mend}.\n");
    }
    text.trim_end().to_string()
}

fn for_programs(verdict: &Verdict) -> Value {
    let findings = verdict.findings.iter().map(|finding| {
        json!({ "finding": finding.name(), "what": finding.to_string(), "mend": finding.mend() })
    });
    json!({
        "sound": verdict.is_sound(),
        "cluster": verdict.identity.map(|own| own.cluster.to_string()),
        "replica": verdict.identity.map(|own| own.replica.to_string()),
        "format": verdict.identity.map(|own| own.format),
        "term": verdict.vote.map(|vote| vote.term),
        "commit": verdict.vote.map(|vote| vote.commit),
        "base": verdict.base,
        "last": verdict.last,
        "entries": verdict.entries,
        "snapshot": verdict.snapshot.map(|(index, _)| index),
        "level": verdict.snapshot.and_then(|(_, level)| level),
        "studies": verdict.studies,
        "outcomes": verdict.outcomes,
        "outcomes_in_log_alone": verdict.in_log_alone,
        "data_files": verdict.data_files,
        "bytes": verdict.bytes,
        "findings": findings.collect::<Vec<_>>(),
        "findings_more": verdict.more,
    })
}

const BETWEEN_LOOKS: Duration = Duration::from_millis(100);
/// What takes no longer needs no bar.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_finding_has_its_line_and_every_mend_stands_once() {
        let gap = |index| Finding::Gap { index };
        let authority = Finding::Authority { why: "it is missing".to_string() };
        let findings = vec![gap(3), authority, gap(9)];
        let verdict = Verdict { findings, more: 2, ..Verdict::default() };

        let text = in_words(Path::new("/srv"), &verdict);

        assert!(text.contains("DAMAGED: 5 findings\n- entry 3 is missing"), "{text}");
        let (first, second) = text.split_once("  What to do: with other").expect("the first mend");
        assert!(first.contains("- and 2 more\n"), "{text}");
        assert!(second.contains("authority") && second.contains("What to do: copy the folder"));
        assert_eq!(text.matches("members remove").count(), 1, "{text}");
        assert_eq!(for_programs(&verdict)["findings"][1]["finding"], "authority");
    }

    #[test]
    fn a_sound_folder_says_so_in_one_word() {
        let text = in_words(Path::new("/srv"), &Verdict::default());
        assert!(text.starts_with("/srv\n") && text.ends_with("OK: all of it is as it was written"));
    }
}
