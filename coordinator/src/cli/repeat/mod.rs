//! `coordinator verify`: trains some complete trials again and compares.
//!
//! On one kind of processor outcomes are the same to the last bit, whoever trains; a difference is a
//! finding. On cards they may differ, and by how much is told. No score is shown, only distances: it
//! is no look at the test folds.
//!
//! Floor: wiring.

#[cfg(feature = "embedded")]
mod here;
mod told;

use std::collections::BTreeMap;
#[cfg(feature = "embedded")]
use std::num::NonZeroU32;
use std::path::Path;
#[cfg(feature = "embedded")]
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use common::id::TrialIndex;
#[cfg(feature = "embedded")]
use common::label::Label;
use common::repeat::{Again, REPEATS_MAX};
use common::wire::message::{Repeat, RepeatState, Repeats, Request, Response, StudyStatus};
use indicatif::ProgressBar;

use super::output::Output;
use super::{Target, connect};
use crate::client::{Client, ClientError};

/// Train complete trials again.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  coordinator verify wdbc --trials 20\n  coordinator verify study.toml --out results\n\nExit status 1 when an outcome differs that was made on the same kind of device, or cannot be made again.\nWhat stands is never changed; an outcome that differs is told as a finding in the study's report."
)]
pub struct VerifyArgs {
    /// Name or id of the study, or a study file that `coordinator run` ran; default: the latest.
    study: Option<String>,
    /// Trials to train again, from all arms alike; all if there are fewer.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(REPEATS_MAX)))]
    trials: u32,
    /// Draws which ones.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The output folder of a `coordinator run`, to train in this process.
    #[cfg(feature = "embedded")]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["data", "coordinator"])]
    out: Option<PathBuf>,
    /// With an output folder: let the study's programs run here, as this user
    #[arg(long)]
    allow_programs: bool,
    /// With an output folder: threads that train; default: one a core.
    #[cfg(feature = "embedded")]
    #[arg(long, value_name = "N")]
    threads: Option<NonZeroU32>,
    /// With an output folder: a label that the study requires, such as gpu=a100; once for each.
    #[cfg(feature = "embedded")]
    #[arg(long, value_name = "KEY=VALUE")]
    label: Vec<Label>,
    #[command(flatten)]
    target: Target,
}

/// What is to be verified.
struct Wish {
    trials: u32,
    seed: u64,
}

/// How each trial ended that was trained again.
type Ended = BTreeMap<TrialIndex, RepeatState>;

/// `coordinator verify STUDY`.
pub async fn verify(args: VerifyArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let wish = Wish { trials: args.trials, seed: args.seed };
    let file = args.study.as_deref().map(Path::new).filter(|path| path.is_file());
    #[cfg(feature = "embedded")]
    if args.out.is_some() || file.is_some() {
        let place = here::Place { study: args.study.as_deref(), file, out: args.out.as_deref() };
        let (threads, programs) = (args.threads, args.allow_programs);
        let labels = args.label;
        let how = super::run::How { threads, programs, labels, ..super::run::How::default() };
        return here::verify(place, &how, &wish, output).await;
    }
    if let Some(file) = file {
        bail!("this program trains nothing itself; name the study in {}", file.display());
    }
    let client = connect::client(&args.target).await?;
    let status = connect::find_study(&client, args.study.as_deref()).await?;
    verify_at(&client, &status, &wish, output).await
}

async fn verify_at(
    client: &Client,
    status: &StudyStatus,
    wish: &Wish,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let stored = client.study(status.id).await?;
    let ended = train_again(client, status, wish, output).await?;
    Ok(told::told(status, &stored.study, wish, &ended, output))
}

/// Asks until every trial has ended. What was told once is not asked for again, so that a leader that
/// took over meanwhile begins with what is lacking.
async fn train_again(
    client: &Client,
    study: &StudyStatus,
    wish: &Wish,
    output: &Output,
) -> anyhow::Result<Ended> {
    let mut ended = Ended::new();
    let mut trials = Again::Drawn { count: wish.trials, seed: wish.seed };
    let mut voice = Voice { bar: None, last: Instant::now(), began: Instant::now(), alone: false };
    loop {
        let request = Request::Repeat { study: study.id, number: client.id().0, trials };
        let Response::Repeats(repeats) = client.ask(request).await? else {
            return Err(ClientError::Unexpected.into());
        };
        let Repeats { agents, held, trials: answered } = *repeats;
        let mut left = Vec::new();
        for Repeat { trial, state } in answered {
            match state {
                RepeatState::Waiting | RepeatState::Leased { .. } => left.push(trial),
                state => drop(ended.insert(trial, state)),
            }
        }
        voice.says(ended.len(), left.len(), held.as_deref(), agents, output);
        if left.is_empty() {
            voice.ends();
            return Ok(ended);
        }
        trials = Again::These(left);
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
}

/// Tells people how far it is.
struct Voice {
    bar: Option<ProgressBar>,
    last: Instant,
    began: Instant,
    /// It was said that there is no agent.
    alone: bool,
}

impl Voice {
    fn says(
        &mut self,
        ended: usize,
        left: usize,
        held: Option<&str>,
        agents: u64,
        output: &Output,
    ) {
        let all = ended + left;
        let bar = self.bar.get_or_insert_with(|| output.bar(all as u64));
        let message = match (held, agents) {
            (Some(why), _) => why,
            (None, 0) => "waiting for agents",
            (None, _) => "again",
        };
        bar.set_position(ended as u64);
        bar.set_message(message.to_string());
        if agents == 0 && held.is_none() && !self.alone && self.began.elapsed() >= ALONE_AFTER {
            self.alone = true;
            bar.suspend(|| output.say(NO_AGENT));
        }
        if bar.is_hidden() && left > 0 && self.last.elapsed() >= BETWEEN_LINES {
            self.last = Instant::now();
            output.say(format!("{ended}/{all} trainings  {message}"));
        }
    }

    fn ends(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

const NO_AGENT: &str = "no agent is connected, and the trials wait for one; `coordinator token \
                        create` prints how one joins";

const BETWEEN_LOOKS: Duration = Duration::from_millis(150);
const BETWEEN_LINES: Duration = Duration::from_secs(5);
/// After a change of leaders agents need a moment to come.
const ALONE_AFTER: Duration = Duration::from_secs(3);
