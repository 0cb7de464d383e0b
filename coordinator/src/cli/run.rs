//! `coordinator run`: coordinator and agent in one process, to the report.
//!
//! Ctrl-C stops cleanly; the same command goes on where it stopped, since the log lies in the
//! output folder.
//!
//! Floor: wiring.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use common::id::StudyId;
use common::label::Label;
use common::ledger::Purpose;
use common::stats::worth::Stakes;
use common::study::Model;
use common::wire::message::{Decided, StudyStatus, Why};
use serde_json::json;

use super::files::StakesArgs;
use super::output::{Output, duration};
use super::signal::interrupted;
use super::study::ReadStudy;
use super::{files, labels, register, study, watch};
use crate::client::Client;
use crate::cluster::{self, Opening};

/// Run a study file in this process.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator run study.toml --out results\n  coordinator run study.toml --allow-programs\n  coordinator run study.toml --claim \"wide beats narrow in AUROC\"\n\nCtrl-C stops cleanly; the same command goes on where it stopped."
)]
pub struct RunArgs {
    /// The study file.
    study: PathBuf,
    /// Folder for the report; default: the study's name.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Threads that train; default: one a core.
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// Run the study's own programs on this machine, with the rights of this user.
    #[arg(long)]
    allow_programs: bool,
    /// A label that the study may require, such as gpu=a100; give it once for each. This machine has besides
    /// device (cpu or cuda), host and arch.
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    /// Train, and show no score until what the study should show is registered with --claim.
    #[arg(long)]
    sealed: bool,
    /// Register what the study should show, before any of its scores is.
    #[arg(long, value_name = "TEXT", value_parser = register::claim)]
    claim: Option<String>,
    #[command(flatten)]
    stakes: StakesArgs,
}

/// Become a program under limits; for this program's own use.
pub use agent::program::{ExecArgs, exec};

/// `coordinator run STUDY [--out DIR]`.
pub async fn run(args: RunArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(read) = study::read(&args.study, output)? else { return Ok(ExitCode::from(1)) };
    let name = &read.checked.study.name;
    let out = args.out.unwrap_or_else(|| default_out(&args.study, name));
    let study = &read.checked.study;
    if study.has_programs() && !args.allow_programs {
        let names = study.arms.iter().filter(|arm| arm.model == Model::Program);
        let names: Vec<&str> = names.map(|arm| arm.name.as_str()).collect();
        bail!(
            "this study runs programs (arms {}): to run them on this machine, with the rights of \
             this user, add --allow-programs",
            names.join(", ")
        );
    }
    labels::check_here(study, &args.label)?;
    let stakes = args.stakes.told();
    let (threads, programs) = (args.threads, args.allow_programs);
    let labels = args.label;
    let how = How { threads, programs, labels, stakes, sealed: args.sealed, claim: args.claim };
    run_study(read, &out, how, output).await
}

/// The study file's own folder when it is called as the study is, else a folder called so.
pub fn default_out(study: &Path, name: &str) -> PathBuf {
    let folder = match study.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let own = folder.canonicalize().ok().is_some_and(|whole| whole.ends_with(name));
    if own { folder.to_path_buf() } else { PathBuf::from(name) }
}

/// How the agent in this process trains.
#[derive(Default)]
pub struct How {
    /// One a core where not said.
    pub threads: Option<NonZeroU32>,
    pub programs: bool,
    /// What it is known by, beside what it finds out itself.
    pub labels: Vec<Label>,
    /// What the report weighs further runs by.
    pub stakes: Option<Stakes>,
    /// No score is shown before a claim.
    pub sealed: bool,
    pub claim: Option<String>,
}

/// A folder of `run`, with everything that trains in it.
pub struct Opened {
    pub cluster: cluster::Cluster,
    pub agent: crate::embedded::LocalAgent,
    pub client: Client,
}

/// Opens the output folder `out`, and begins one where there is none.
pub async fn open(out: &Path, how: &How) -> anyhow::Result<Opened> {
    let data_folder = data_folder(out);
    let cluster = cluster::open(&data_folder, Opening::default())
        .await
        .with_context(|| format!("in {}", data_folder.display()))?;
    let agent_folder = data_folder.join("agent");
    let labels = how.labels.clone();
    let agent =
        crate::embedded::start(&cluster.handle, &agent_folder, how.threads, how.programs, labels)?;
    let client = Client::here(cluster.handle.clone());
    Ok(Opened { cluster, agent, client })
}

/// Where an output folder keeps its log.
pub fn data_folder(out: &Path) -> PathBuf {
    out.join(".seedsweep")
}

/// Runs a checked study to its report in `out`, and answers.
pub async fn run_study(
    read: ReadStudy,
    out: &Path,
    how: How,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let Some(Ran { status, why, trained, took, written }) =
        to_report(read, out, how, output).await?
    else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    if let Some(why) = why.as_ref().filter(|why| why.why == Why::Spent) {
        output.warn(format!("{}; the same command goes on with as many more", why.words));
    }
    let Some(written) = written else {
        let answer = json!({
            "study": status.id.to_string(),
            "name": status.name,
            "complete": status.complete,
            "failed": status.failed,
            "trained": trained,
            "seconds": took.as_secs_f64(),
            "sealed": true,
        });
        output.answer(&sealed_in_words(&status.name), "seedsweep.run/1", answer);
        return Ok(watch::exit_code(&status, why.as_ref()));
    };
    let verdict = &written.report.verdict.text;
    let stop = written.report.stop.as_ref();
    let stopped =
        stop.map_or(String::new(), |stop| format!("{} {}\n", stop.words, stop.saved_in_words()));
    let text = format!("{verdict}\n{stopped}{}", files::naming(&written.paths));
    let answer = json!({
        "stop": stop,
        "study": status.id.to_string(),
        "name": status.name,
        "complete": status.complete,
        "failed": status.failed,
        "trained": trained,
        "seconds": took.as_secs_f64(),
        "verdict": verdict,
        "verdict_kind": written.kind,
        "files": written.paths,
    });
    output.answer(&text, "seedsweep.run/1", answer);
    Ok(watch::exit_code(&status, why.as_ref()))
}

/// A study that ran to its end.
pub struct Ran {
    pub status: StudyStatus,
    /// What ended it early.
    pub why: Option<Decided>,
    /// Trials that ended in this run.
    pub trained: u64,
    pub took: Duration,
    /// Absent where the study is sealed.
    pub written: Option<files::Written>,
}

/// What is said instead of a sealed study's report.
pub fn sealed_in_words(name: &str) -> String {
    format!(
        "{name} is sealed: no score is shown until what it should show is registered; run the same \
         command with --claim \"…\" instead of --sealed"
    )
}

/// Runs a checked study to its report in `out`; `None` when it was interrupted, which is said.
pub async fn to_report(
    read: ReadStudy,
    out: &Path,
    how: How,
    output: &Output,
) -> anyhow::Result<Option<Ran>> {
    let started = Instant::now();
    let Opened { cluster, mut agent, client } = open(out, &how).await?;
    read.checked.notes.iter().for_each(|note| output.say(format!("note: {note}")));
    let name = read.checked.study.name.clone();
    let (id, known) = client.submit(read.checked.study, read.checked.text, &read.data).await?;
    let before = super::connect::status_of(&client, id).await?;
    register_first(&client, id, &how, output).await?;
    announce(&before, known, agent.device.threads.get(), output);
    let ended = tokio::select! {
        status = watch::follow(&client, id, output) => Ended::Study(Box::new(status?)),
        () = interrupted() => Ended::Interrupted,
        why = cluster.handle.ended() => Ended::Broken(why),
        why = agent.ended() => Ended::Broken(why),
    };
    let status = match ended {
        Ended::Study(status) => *status,
        Ended::Broken(why) => bail!("{why}"),
        Ended::Interrupted => {
            output.warn("stopping: the trainings under way end first; Ctrl-C again leaves at once");
            stop_early(agent, cluster, &client, before, output).await?;
            return Ok(None);
        }
    };
    let table = Some(&read.checked.dataset);
    let asked = files::Asked { purpose: Purpose::Run, table, stakes: how.stakes };
    let why = watch::why_it_ended(&client, id).await?;
    let closed = client.ledger(id).await.is_ok_and(|entered| entered.sealing.is_closed());
    let written = match closed {
        true => Ok(None),
        false => files::write_all(&client, id, asked, out, output).await.map(Some),
    };
    agent.stop().await?;
    cluster.handle.stop().await;
    crate::embedded::tidy(&data_folder(out).join("agent"));
    let written = written?;
    let seconds = started.elapsed().as_secs();
    let newly = status.complete + status.failed - before.complete - before.failed;
    if newly > 0 {
        output.say(format!("{name}: {newly} trainings in {}", duration(seconds)));
    } else {
        let again = if closed { "" } else { "; the report is written again" };
        output.say(format!("{name}: every training was done before{again}"));
    }
    Ok(Some(Ran { status, why, trained: newly, took: started.elapsed(), written }))
}

/// Seals and registers as asked for, before anything is trained or shown.
async fn register_first(
    client: &Client,
    study: StudyId,
    how: &How,
    output: &Output,
) -> anyhow::Result<()> {
    if how.sealed {
        register::sealed(client, study).await?;
    }
    if let Some(claim) = &how.claim {
        let claim = register::registered(client, study, claim.clone(), output).await?;
        output.say(format!("registered as {}", claim["hash"].as_str().unwrap_or_default()));
    }
    Ok(())
}

enum Ended {
    Study(Box<StudyStatus>),
    Interrupted,
    Broken(String),
}

fn announce(before: &StudyStatus, known: bool, threads: u32, output: &Output) {
    let done = before.complete + before.failed;
    let on = if threads == 1 { "1 thread".to_string() } else { format!("{threads} threads") };
    if known && done > 0 && done < before.planned {
        output.say(format!(
            "{}: going on after {done} of {} trainings, on {on}",
            before.name, before.planned
        ));
    } else if done > 0 && done < before.planned {
        output.say(format!(
            "{}: {done} of {} trainings are known from an earlier study; training the rest on {on}",
            before.name, before.planned
        ));
    } else if done < before.planned {
        output.say(format!("{}: {} trainings on {on}", before.name, before.planned));
    }
}

/// After a Ctrl-C: everything that was trained is kept.
async fn stop_early(
    agent: crate::embedded::LocalAgent,
    cluster: cluster::Cluster,
    client: &Client,
    before: StudyStatus,
    output: &Output,
) -> anyhow::Result<()> {
    tokio::select! {
        stopped = agent.stop() => stopped?,
        () = interrupted() => return Ok(()),
    }
    let status = super::connect::status_of(client, before.id).await?;
    cluster.handle.stop().await;
    let done = status.complete + status.failed;
    output.warn(format!(
        "stopped after {done} of {} trainings; the same command goes on from there",
        status.planned
    ));
    Ok(())
}

/// As shells report a program ended by Ctrl-C.
pub const INTERRUPTED: u8 = 130;
