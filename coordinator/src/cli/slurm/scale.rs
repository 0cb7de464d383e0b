//! `coordinator slurm scale`: keeps the number of agents in step with the waiting trials.
//!
//! It remembers nothing that the queue and the coordinator do not say: started again, it goes on.
//!
//! Floor: wiring.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use common::wire::message::{Request, Response, StudyState};
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{self, Fleet};
use super::up::JobArgs;
use crate::cli::Target;
use crate::cli::output::{Output, duration, parse_duration};
use crate::cli::signal::interrupted;
use crate::client::{Client, ClientError};
use crate::peers::jittered;
use crate::slurm::scale::{Action, Agent, Limits, Moment, Scaler, Seen, Trouble, Why};

/// Keep the number of agents in step with the waiting trials, until Ctrl-C.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    coordinator slurm scale --max 32 --idle 5m --gpus-per-agent 1 --time 4:00:00\n  \
    coordinator slurm scale --max 200 --trials-per-agent 16 --script mine.sbatch")]
pub struct ScaleArgs {
    /// The most agents there may be, waiting in the queue or running.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max: u32,
    /// The fewest; they are there although nothing waits.
    #[arg(long, value_name = "N", default_value_t = 0)]
    min: u32,
    /// An agent that trained nothing for so long is given back.
    #[arg(long, default_value = "5m", value_parser = parse_duration, value_name = "TIME")]
    idle: Duration,
    /// How many trials one agent is there for [default: as many as it trains at once].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    trials_per_agent: Option<u32>,
    /// How often coordinator and queue are asked.
    #[arg(long, default_value = "30s", value_parser = parse_duration, value_name = "TIME")]
    every: Duration,
    #[command(flatten)]
    jobs: JobArgs,
}

/// What was done until Ctrl-C.
#[derive(Default)]
struct Done {
    submitted: u64,
    cancelled: u64,
}

/// `coordinator slurm scale`.
pub async fn scale(args: ScaleArgs, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    if args.min > args.max {
        bail!("--min {} is more than --max {}", args.min, args.max);
    }
    if args.every.is_zero() {
        bail!("--every must be at least 1s: Slurm is asked each time");
    }
    let fleet = args.jobs.fleet.fleet()?;
    let text = args.jobs.text(&fleet)?;
    let client = fleet::client(target).await?;
    let script = args.jobs.prepare(&fleet, &text)?;
    if let Some(warning) = fleet.tell(&client, args.jobs.token_ttl()).await? {
        output.warn(warning);
    }
    let (min, max, idle_ms) = (args.min, args.max, args.idle.as_millis() as u64);
    let limits = Limits { min, max, idle_ms, trials_per_agent: args.trials_per_agent };
    let mut scaling = Scaling {
        scaler: Scaler::new(limits),
        fleet,
        client,
        script,
        ttl: args.jobs.token_ttl(),
        began: Instant::now(),
        done: Done::default(),
        output,
    };
    tokio::select! {
        () = scaling.go_on(args.every) => {}
        () = interrupted() => {}
    }
    let Done { submitted, cancelled } = scaling.done;
    let text = format!(
        "{submitted} agents were submitted, {cancelled} given back; those that are there stay: \
         `coordinator slurm down` ends them"
    );
    let answer = json!({ "submitted": submitted, "cancelled": cancelled });
    output.answer(&text, "seedsweep.slurm_scale/1", answer);
    Ok(ExitCode::SUCCESS)
}

struct Scaling<'a> {
    scaler: Scaler,
    fleet: Fleet,
    client: Client,
    script: std::path::PathBuf,
    ttl: Duration,
    began: Instant,
    done: Done,
    output: &'a Output,
}

impl Scaling<'_> {
    async fn go_on(&mut self, every: Duration) {
        let mut silent = false;
        loop {
            match self.step().await {
                Ok(()) => silent = false,
                // Nothing is known, so nothing is done; said once, not every half minute.
                Err(error) if !silent => {
                    silent = true;
                    self.output.warn(format!("nothing is changed for now: {error:#}"));
                }
                Err(_) => {}
            }
            tokio::time::sleep(jittered(every)).await;
        }
    }

    async fn step(&mut self) -> anyhow::Result<()> {
        let seen = self.look().await?;
        let moment = self.moment();
        let (actions, trouble) = self.scaler.step(&seen, moment);
        if let Some(trouble) = trouble {
            self.say_trouble(trouble, &seen, moment);
        }
        let (mut cancelled, mut wanted) = (Vec::new(), None);
        for action in actions {
            match action {
                Action::Cancel { job, why } => {
                    let why = match why {
                        Why::Surplus => "enough without it",
                        Why::Idle => "it trained nothing for long",
                    };
                    self.output.say(format!("{job} is cancelled: {why}"));
                    cancelled.push(job);
                }
                Action::Submit { agents } => wanted = Some(agents),
            }
        }
        let jobs = cancelled.clone();
        if let Err(error) = self.fleet.ask(move |fleet| Ok(fleet.queue.cancel(&jobs)?)).await {
            self.scaler.not_cancelled(&cancelled);
            return Err(error);
        }
        self.done.cancelled += cancelled.len() as u64;
        match wanted {
            Some(agents) => self.submit(agents, &seen).await,
            None => Ok(()),
        }
    }

    async fn submit(&mut self, agents: u32, seen: &Seen) -> anyhow::Result<()> {
        // Addresses and token may have changed since the last time.
        self.fleet.tell(&self.client, self.ttl).await?;
        let script = self.script.clone();
        let asked = self.fleet.ask(move |fleet| Ok(fleet.queue.submit_agents(&script, agents)?));
        match asked.await {
            Ok(job) => {
                self.scaler.accepted();
                self.done.submitted += u64::from(agents);
                let (waiting, leased) = (seen.waiting, seen.leased);
                self.output.say(format!(
                    "{waiting} trials wait and {leased} are trained: {agents} agents as job {job}"
                ));
            }
            Err(error) => {
                let moment = self.moment();
                self.scaler.rejected(moment);
                self.output.warn(format!("{agents} agents were not taken: {error:#}"));
                self.say_trouble(Trouble::Rejected, seen, moment);
            }
        }
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<Seen> {
        let Response::Status { studies } = self.client.ask(Request::Status { study: None }).await?
        else {
            return Err(ClientError::Unexpected.into());
        };
        let active = || studies.iter().filter(|study| study.state == StudyState::Active);
        let agents = fleet::connected(&self.client)
            .await?
            .into_iter()
            .map(|(name, agent)| (name, Agent { leased: agent.leased, lanes: agent.about.lanes }));
        Ok(Seen {
            waiting: active().map(|study| study.waiting).sum(),
            // Of a paused one too: its trials go on to their ends.
            leased: studies.iter().map(|study| study.leased).sum(),
            agents: agents.collect(),
            jobs: self.fleet.ask(|fleet| Ok(fleet.queue.agent_jobs()?)).await?,
        })
    }

    fn say_trouble(&self, trouble: Trouble, seen: &Seen, moment: Moment) {
        let logs = self.fleet.path("logs");
        let what = match trouble {
            Trouble::Rejected => "no more are submitted".to_string(),
            Trouble::NeverJoined => {
                format!("jobs ended before their agents had joined (see {})", logs.display())
            }
            Trouble::Useless => format!(
                "agents were idle although {} trials wait (`coordinator explain` says why)",
                seen.waiting
            ),
        };
        let left = self.scaler.paused_until_ms().saturating_sub(moment.ms) / 1_000;
        self.output.warn(format!("{what}; the next try is in {}", duration(left)));
    }

    fn moment(&self) -> Moment {
        // Between 0.5 and 1.5 of a second.
        let random = jittered(Duration::from_secs(1)).as_secs_f64() - 0.5;
        Moment { ms: self.began.elapsed().as_millis() as u64, random }
    }
}
