//! Three coordinators and four agents, and something goes wrong every two seconds.
//!
//! Real processes, each in a network of its own where the system permits it. Afterwards everything
//! heals, and the study must end as if nothing had happened: every trial complete and counted once,
//! with the outcomes of an undisturbed run, and the same state on every replica. What goes wrong is
//! drawn from a seed, which is printed; the order of events is that of the machine, so a seed repeats
//! the faults and not the run.
//!
//! `SEEDSWEEP_CHAOS_SECONDS` says for how long (180), `SEEDSWEEP_CHAOS_SEED` from which seed.
//!
//! Floor: wiring.

mod faults;
mod network;
mod state;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::study::Format;
use common::table::Table;

use crate::cluster::{Asked, Status, outcomes, write_study};
use crate::group::{Group, Place};
use crate::process::{Program, Running, Site, last_lines};
use crate::small_disk::SmallDisk;

use faults::{Draw, Fault, Means};
use network::{Loss, Network};

#[test]
fn three_coordinators_and_four_agents_end_a_study_whatever_goes_wrong() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("SEEDSWEEP_CHAOS_SECONDS").unwrap_or(SECONDS);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock");
    let seed = number("SEEDSWEEP_CHAOS_SEED").unwrap_or(now.as_millis() as u64 % 1_000_000);
    println!("chaos of {seconds} s from seed {seed}");
    let mut chaos = Chaos::begin(seed);
    println!("{}", chaos.means());
    chaos.rage(Duration::from_secs(seconds));
    chaos.heal();
    let last = chaos.finish();
    last.is_whole();
    let counts: Vec<String> =
        chaos.counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!("{} trials through {}", last.planned, counts.join(", "));
    let outcomes = chaos.compare_replicas();
    assert_eq!(outcomes.len() as u64, last.planned);
    let quiet = chaos.quiet(last.planned);
    assert!(outcomes == quiet, "outcomes are not those of a quiet run");
}

/// Everything there is, and what is wrong with it now.
struct Chaos {
    // Before the group, whose site goes last; the network after all processes.
    agents: Vec<Agent>,
    growing: Option<Running>,
    /// The same study in one process, to which nothing happens.
    quiet: Running,
    group: Group,
    network: Network,
    disk: Option<SmallDisk>,
    draw: Draw,
    study: String,
    began: Instant,
    /// What is to end, and when.
    ends: Vec<(Instant, End)>,
    full_again: bool,
    asleep: [bool; PROCESSES],
    told: Vec<String>,
    counts: BTreeMap<&'static str, u32>,
    /// Where each process wrote its stderr, life by life.
    lives: BTreeMap<String, Vec<PathBuf>>,
}

struct Agent {
    name: String,
    place: Place,
    running: Option<Running>,
}

/// The end of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Start(usize),
    Wake(usize),
    Heal(u64),
    Free,
}

impl Chaos {
    fn begin(seed: u64) -> Self {
        let mut draw = Draw::new(seed, COORDINATORS, PROCESSES);
        let mut network = Network::new();
        let site = Site::new();
        let small = draw.below(COORDINATORS);
        let names = ["first", "replica-1", "replica-2"];
        let disk = SmallDisk::at(&site.path(names[small]));
        let further = ["--snapshot-entries", "1000", "--log", "info,coordinator=debug"];
        let mut group = Group::found(site, network.host(names[0]), &further);
        for (via, name) in names.iter().skip(1).enumerate() {
            group.join(via, network.host(name));
        }
        group.all_vote();
        let study = group.at(0).submit(&write_study(&group.site, "chaos", SEEDS, EPOCHS));
        let agents = (0..PROCESSES - COORDINATORS).map(|n| {
            let name = format!("agent-{n}");
            let place = network.host(&name);
            let running = group.begin_agent(place.netns.as_deref(), &name, &[n % COORDINATORS]);
            Agent { name, place, running: Some(running) }
        });
        let agents: Vec<Agent> = agents.collect();
        let quiet = begin_quiet(&group.site, SEEDS, &["--threads", "1"]);
        let mut chaos = Self {
            agents,
            growing: None,
            quiet,
            group,
            network,
            disk,
            draw,
            study,
            began: Instant::now(),
            ends: Vec::new(),
            full_again: false,
            asleep: [false; PROCESSES],
            told: Vec::new(),
            counts: BTreeMap::new(),
            lives: BTreeMap::new(),
        };
        chaos.tell(format!("{} has the small disk", names[small]));
        (0..PROCESSES).for_each(|process| chaos.note_life(process));
        chaos
    }

    fn means(&self) -> Means {
        Means { network: self.network.can_lose(), disk: self.disk.is_some() }
    }

    /// Something new goes wrong again and again.
    fn rage(&mut self, length: Duration) {
        let until = Instant::now() + length;
        let mut next = Instant::now() + EVERY;
        while Instant::now() < until {
            self.end_what_is_due();
            if Instant::now() >= next {
                next += EVERY;
                let (fault, length) = self.draw.fault(self.means());
                self.begin_fault(fault, length);
                self.keep_busy();
            }
            self.nobody_gave_up();
            std::thread::sleep(STEP);
        }
    }

    fn begin_fault(&mut self, fault: Fault, length: Duration) {
        if !self.can(fault) {
            return;
        }
        self.tell(format!("{fault:?} for {:.1} s", length.as_secs_f64()));
        *self.counts.entry(fault.kind()).or_default() += 1;
        let name = |process: usize| self.name(process);
        let end = match fault {
            Fault::Kill { process } => {
                self.running(process).take().expect("it runs").kill();
                self.asleep[process] = false;
                End::Start(process)
            }
            Fault::CutLeader => {
                let Some(leader) = self.leader() else { return };
                self.tell(format!("the leader is {leader}"));
                End::Heal(self.network.lose(Loss::All(self.name(leader))))
            }
            Fault::Deaf { process } => End::Heal(self.network.lose(Loss::To(name(process)))),
            Fault::Mute { process } => End::Heal(self.network.lose(Loss::From(name(process)))),
            Fault::Lossy { process } => End::Heal(self.network.lose(Loss::Part(name(process)))),
            Fault::Apart { processes: [one, other] } => {
                End::Heal(self.network.lose(Loss::Between(name(one), name(other))))
            }
            Fault::Sleep { process } => {
                self.signal(process, "STOP");
                self.asleep[process] = true;
                End::Wake(process)
            }
            Fault::Full { again } => {
                self.full_again = again;
                self.disk.iter().for_each(SmallDisk::fill);
                End::Free
            }
        };
        self.ends.push((Instant::now() + length, end));
    }

    /// Whether it is not that way already.
    fn can(&mut self, fault: Fault) -> bool {
        match fault {
            Fault::Kill { process } => self.running(process).is_some(),
            Fault::Sleep { process } => self.running(process).is_some() && !self.asleep[process],
            Fault::Full { .. } => !self.ends.iter().any(|(_, end)| *end == End::Free),
            _ => true,
        }
    }

    fn end_what_is_due(&mut self) {
        let now = Instant::now();
        let due: Vec<(Instant, End)> = self.ends.extract_if(.., |(at, _)| *at <= now).collect();
        due.into_iter().for_each(|(_, end)| self.end(end));
        if self.full_again {
            self.disk.iter().for_each(SmallDisk::fill);
        }
    }

    fn end(&mut self, end: End) {
        self.tell(format!("{end:?}"));
        match end {
            End::Start(process) => self.start(process),
            End::Wake(process) if self.asleep[process] => {
                self.asleep[process] = false;
                self.signal(process, "CONT");
            }
            End::Wake(_) => {}
            End::Heal(loss) => self.network.heal(loss),
            End::Free => {
                self.full_again = false;
                self.disk.iter().for_each(SmallDisk::free);
            }
        }
    }

    fn heal(&mut self) {
        self.tell("all is well again".to_string());
        let all = std::mem::take(&mut self.ends);
        all.into_iter().for_each(|(_, end)| self.end(end));
        self.network.heal_all();
    }

    fn finish(&mut self) -> Status {
        if let Some(mut growing) = self.growing.take() {
            growing.ends();
        }
        let last = self.group.at(0).finish(&self.study);
        self.nobody_gave_up();
        self.group.all_vote();
        last
    }

    /// More trials, when those that wait would soon be gone.
    fn keep_busy(&mut self) {
        let done = self.growing.as_mut().is_none_or(|growing| growing.ended().is_some());
        if !done {
            return;
        }
        self.growing = None;
        let Some(status) = self.look(&["status", &self.study.clone(), "--json"]) else { return };
        let status = Status::read(&status["studies"][0]);
        self.tell(format!("{} complete, {} wait", status.complete, status.waiting));
        if status.waiting < WAITING_MIN {
            let seeds = (status.planned / TRIALS_A_SEED + MORE_SEEDS).to_string();
            let arguments = ["extend", &self.study, "--seeds", &seeds];
            let replica = &self.group.replicas[0];
            let env = [("SEEDSWEEP_DATA", replica.name.as_str())];
            let (netns, program) = (replica.netns.as_deref(), Program::Coordinator);
            self.growing = Some(self.group.site.spawn_in(netns, program, &arguments, &env));
        }
    }

    /// What some coordinator that is up says, if it says something soon.
    fn look(&mut self, arguments: &[&str]) -> Option<serde_json::Value> {
        let awake = (0..COORDINATORS).filter(|at| !self.asleep[*at]);
        let up: Vec<usize> =
            awake.filter(|at| self.group.replicas[*at].running.is_some()).collect();
        let at = *up.get(self.draw.below(up.len().max(1)))?;
        let replica = &self.group.replicas[at];
        let env = [("SEEDSWEEP_DATA", replica.name.as_str())];
        let (netns, program) = (replica.netns.as_deref(), Program::Coordinator);
        let answer = self.group.site.run_within(LOOK_WITHIN, netns, program, arguments, &env)?;
        answer.status.success().then(|| answer.json())
    }

    fn leader(&mut self) -> Option<usize> {
        let members = self.look(&["members", "--json"])?;
        let members = members["replicas"].as_array()?;
        let leader = members.iter().find(|replica| replica["role"] == "leader")?;
        self.group.replicas.iter().position(|replica| leader["replica"] == replica.id.as_str())
    }

    fn start(&mut self, process: usize) {
        if process < COORDINATORS {
            self.group.begin_again(process);
        } else {
            let agent = &self.agents[process - COORDINATORS];
            let (netns, told) = (agent.place.netns.as_deref(), [process % COORDINATORS]);
            let running = self.group.begin_agent(netns, &agent.name, &told);
            self.agents[process - COORDINATORS].running = Some(running);
        }
        self.note_life(process);
    }

    /// No process may end by itself.
    fn nobody_gave_up(&mut self) {
        for process in 0..PROCESSES {
            let ended = self.running(process).as_mut().and_then(Running::ended);
            let name = self.name(process);
            assert!(ended.is_none(), "{name} ended by itself: {ended:?}");
        }
    }

    fn running(&mut self, process: usize) -> &mut Option<Running> {
        match process.checked_sub(COORDINATORS) {
            None => &mut self.group.replicas[process].running,
            Some(agent) => &mut self.agents[agent].running,
        }
    }

    fn name(&self, process: usize) -> String {
        match process.checked_sub(COORDINATORS) {
            None => self.group.replicas[process].name.clone(),
            Some(agent) => self.agents[agent].name.clone(),
        }
    }

    fn signal(&mut self, process: usize, name: &str) {
        self.running(process).as_ref().expect("it runs").signal(name);
    }

    fn note_life(&mut self, process: usize) {
        let name = self.name(process);
        let log = self.running(process).as_ref().map(|running| running.stderr_path().to_path_buf());
        self.lives.entry(name).or_default().extend(log);
    }

    fn tell(&mut self, what: String) {
        self.told.push(format!("{:7.2} s  {what}", self.began.elapsed().as_secs_f64()));
    }

    /// Every replica gives the same rows, and its log the same state; the outcomes.
    fn compare_replicas(&mut self) -> BTreeMap<String, String> {
        let export = ["export", &self.study.clone(), "--fresh", "--csv", "-"];
        let rows: Vec<String> =
            (0..COORDINATORS).map(|at| self.group.at(at).run(&export).done().stdout).collect();
        assert!(rows.iter().all(|own| *own == rows[0]), "replicas give different rows");
        for at in 0..COORDINATORS {
            assert!(self.group.stop(at).success(), "{} did not stop well", self.name(at));
        }
        let folders = self.group.replicas.iter().map(|r| self.group.site.path(&r.name));
        state::are_equal(&folders.collect::<Vec<_>>());
        outcomes(&Table::read(Format::Csv, rows[0].as_bytes()).expect("a table"))
    }

    /// The outcomes of one process to which nothing happened. What it has of the study before it grew
    /// is taken over.
    fn quiet(&mut self, planned: u64) -> BTreeMap<String, String> {
        self.agents.clear();
        assert!(self.quiet.ends_within(QUIET_WITHIN).success());
        let seeds = u32::try_from(planned / TRIALS_A_SEED).expect("few");
        self.quiet = begin_quiet(&self.group.site, seeds, &[]);
        assert!(self.quiet.ends_within(QUIET_WITHIN).success());
        let table = self.group.site.path("quiet/trials.parquet");
        let bytes = std::fs::read(table).expect("written");
        outcomes(&Table::read(Format::Parquet, &bytes).expect("a table"))
    }
}

fn begin_quiet(site: &Site, seeds: u32, further: &[&str]) -> Running {
    let study = write_study(site, "quiet", seeds, EPOCHS);
    let mut run = vec!["run", study.to_str().expect("text"), "--out", "quiet", "--json"];
    run.extend(further);
    site.spawn(Program::Coordinator, &run, &[])
}

impl Drop for Chaos {
    /// What happened, when it ended badly.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        eprintln!("what went wrong, and when:\n{}", self.told.join("\n"));
        for (name, logs) in &self.lives {
            for (life, log) in logs.iter().enumerate().skip(logs.len().saturating_sub(LIVES_SHOWN))
            {
                let text = std::fs::read(log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                eprintln!("--- {name}, life {}\n{}", life + 1, last_lines(&text));
            }
        }
    }
}

const COORDINATORS: usize = 3;
const PROCESSES: usize = 7;
const SECONDS: u64 = 180;
const EVERY: Duration = Duration::from_secs(2);
const STEP: Duration = Duration::from_millis(100);
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// Of the first study, and added whenever fewer trials than these wait.
const SEEDS: u32 = 100;
const MORE_SEEDS: u64 = 30;
const WAITING_MIN: u64 = 600;
const TRIALS_A_SEED: u64 = 20;
/// Epochs of a trial of ten milliseconds.
const EPOCHS: u32 = 300;
const LIVES_SHOWN: usize = 2;
/// Three minutes of two agents' work, on a machine that has other things to do.
const QUIET_WITHIN: Duration = Duration::from_secs(600);
