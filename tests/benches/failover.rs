//! From SIGKILL of the leader to the next outcome that is accepted, again and again.
//!
//! Three coordinators and four agents as processes on loopback, with a long study of short trials.
//! Both survivors are asked every few milliseconds; an outcome counts when the new leader has
//! applied it, so that nothing counts which the old one had under way. The parts of the time are told
//! beside it. `SEEDSWEEP_FAILOVERS` says how often (20).
//!
//! Floor: wiring.

use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use common::id::ClientId;
use common::wire::message::peer::Leadership;
use common::wire::message::{AgentStatus, Answer, Ask, Open, Request, Response};
use link::{Identity, Link, LinkError};
use tokio::runtime::Runtime;

use tests::cluster::{Asked, write_study};
use tests::group::Group;

/// When things had happened, after the kill.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    /// A survivor says that another one leads.
    elected: Option<Duration>,
    /// The new leader answers as such.
    leads: Option<Duration>,
    first_agent: Option<Duration>,
    /// It has applied an outcome that it was told.
    outcome: Option<Duration>,
    all_agents: Option<Duration>,
}

fn main() -> anyhow::Result<()> {
    let rounds = std::env::var("SEEDSWEEP_FAILOVERS").ok().and_then(|text| text.parse().ok());
    let runtime = Runtime::new()?;
    let mut group = Group::start(3);
    let names: Vec<String> = (0..AGENTS).map(|n| format!("agent-{n}")).collect();
    let _agents: Vec<_> =
        names.iter().enumerate().map(|(n, name)| group.agent(name, &[n % 3])).collect();
    let study = group.at(0).submit(&write_study(&group.site, "failover", SEEDS, EPOCHS));
    group.at(0).reach(&study, 100);
    let mut all = Vec::new();
    for round in 0..rounds.unwrap_or(ROUNDS) {
        // Until everybody listens to everybody again.
        thread::sleep(SETTLED);
        let leader = group.leader();
        let survivors: Vec<usize> = group.up().filter(|at| *at != leader).collect();
        let links = runtime.block_on(links(&group, &survivors))?;
        let marks = Mutex::new(Marks::default());
        let killed = Instant::now();
        group.kill(leader);
        runtime.block_on(watch(&links, killed, &marks))?;
        let marks = marks.into_inner()?;
        println!("{:>3}. {}", round + 1, in_words(&marks));
        all.push(marks);
        group.start_again(leader);
        group.all_vote();
    }
    println!("from SIGKILL of the leader, {} times, in seconds: median, worst", all.len());
    for (what, of) in PARTS {
        let mut seconds: Vec<f64> =
            all.iter().filter_map(of).map(|after| after.as_secs_f64()).collect();
        seconds.sort_by(f64::total_cmp);
        let (median, worst) = (seconds[seconds.len() / 2], seconds[seconds.len() - 1]);
        println!("  {what:<32} {median:>6.3} {worst:>6.3}");
    }
    Ok(())
}

async fn links(group: &Group, survivors: &[usize]) -> anyhow::Result<Vec<Link>> {
    let mut links = Vec::new();
    for at in survivors {
        let replica = &group.replicas[*at];
        let folder = group.site.path(&replica.name).join("operator");
        let identity = Identity::load(&folder)?.ok_or_else(|| anyhow::anyhow!("no operator"))?;
        links.push(link::connect(&replica.address, &identity).await?);
    }
    Ok(links)
}

/// Asks both survivors until one of them has accepted an outcome and all agents are back.
async fn watch(links: &[Link], killed: Instant, marks: &Mutex<Marks>) -> anyhow::Result<()> {
    let [one, other] = links else { anyhow::bail!("two survive") };
    let all = async {
        tokio::select! {
            done = ask_again(one, killed, marks) => done,
            done = ask_again(other, killed, marks) => done,
            done = listen(one, killed, marks) => done,
            done = listen(other, killed, marks) => done,
        }
    };
    tokio::time::timeout(WITHIN, all).await??;
    Ok(())
}

/// Ends when everything is back. What one replica does not know the other will.
async fn ask_again(link: &Link, killed: Instant, marks: &Mutex<Marks>) -> Result<(), LinkError> {
    for number in 1.. {
        let ask = Ask {
            client: ClientId(7),
            number,
            at_least: 0,
            fresh: false,
            request: Request::Agents,
        };
        let (mut sender, mut receiver) = link.open(&Open::Ask).await?;
        sender.send(&ask).await?;
        sender.finish().await?;
        let answer = receiver.receive::<Answer>().await?;
        if let Some(Answer { response: Response::Agents { agents }, .. }) = answer
            && note(&agents, killed.elapsed(), marks)
        {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
    }
    Ok(())
}

fn note(agents: &[AgentStatus], after: Duration, marks: &Mutex<Marks>) -> bool {
    let mut marks = marks.lock().expect("nobody panics while it is held");
    let connected = agents.iter().filter(|agent| agent.connected).count();
    let accepted = agents.iter().any(|agent| agent.complete > 0);
    let at = |mark: &mut Option<Duration>, happened: bool| {
        if happened {
            mark.get_or_insert(after);
        }
    };
    at(&mut marks.leads, true);
    at(&mut marks.first_agent, connected > 0);
    at(&mut marks.outcome, accepted);
    at(&mut marks.all_agents, connected == AGENTS);
    marks.outcome.is_some() && marks.all_agents.is_some()
}

/// Never ends well by itself: it only notes who leads.
async fn listen(link: &Link, killed: Instant, marks: &Mutex<Marks>) -> Result<(), LinkError> {
    let (_sender, mut receiver) = link.open(&Open::Watch).await?;
    let mut before: Option<Leadership> = None;
    while let Some(now) = receiver.receive::<Leadership>().await? {
        let new = before.as_ref().is_some_and(|old| now.term > old.term && now.leader.is_some());
        if new {
            let mut marks = marks.lock().expect("nobody panics while it is held");
            marks.elected.get_or_insert(killed.elapsed());
        }
        before.get_or_insert(now);
    }
    std::future::pending().await
}

fn in_words(marks: &Marks) -> String {
    let part = |(what, of): &(&str, Part)| match of(marks) {
        Some(after) => format!("{what} {:.3}", after.as_secs_f64()),
        None => format!("{what} -"),
    };
    PARTS.iter().map(part).collect::<Vec<_>>().join(", ")
}

type Part = fn(&Marks) -> Option<Duration>;

const PARTS: [(&str, Part); 5] = [
    ("elected", |marks| marks.elected),
    ("leads", |marks| marks.leads),
    ("first agent", |marks| marks.first_agent),
    ("next outcome", |marks| marks.outcome),
    ("all agents", |marks| marks.all_agents),
];
const AGENTS: usize = 4;
const ROUNDS: usize = 20;
/// 200,000 trials of a few milliseconds: more than are trained in twenty rounds.
const SEEDS: u32 = 10_000;
const EPOCHS: u32 = 100;
const SETTLED: Duration = Duration::from_secs(3);
const BETWEEN_LOOKS: Duration = Duration::from_millis(3);
const WITHIN: Duration = Duration::from_secs(60);
