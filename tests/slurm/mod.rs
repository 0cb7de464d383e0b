//! A real Slurm starts agents and coordinators: studies end whatever becomes of their jobs.
//!
//! Floor: wiring.

mod installed;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Asked, Cluster, DATA, Status, write_study};
use crate::process::{Answer, Program, Running, Site, eventually};

use installed::{CARDS, Slurm};

#[test]
fn a_study_of_500_trials_ends_on_agents_that_slurm_starts_whatever_becomes_of_their_jobs() {
    let slurm = Slurm::start();
    let cluster = Cluster::start_at(Site::new(), "5s");
    let study = cluster.submit(&write_study(&cluster.site, "many", 25, 9_000));
    let up = ["up", "--agents", "5", "--gpus-per-agent", "1", "--cpus-per-agent", "1"];
    let further = ["--time", "10", "--again", "--json", "--", "--device=cpu"];
    let up = [&up[..], &further, &ONE_THREAD].concat();
    let told = on(&slurm, &cluster, &up).done().json();
    let job = told["job"].as_str().expect("a job").to_string();
    let element = |number: u32| format!("{job}_{number}");

    let cards = CARDS.len();
    eventually("an agent on every card", || (slurm.count("R") == cards).then_some(()));
    assert_eq!(slurm.count("PD"), 5 - cards, "one agent a card: {:?}", slurm.jobs());
    // Slurm looks every half minute for what has less than two minutes left.
    slurm.tell("scontrol", &["update", &format!("JobId={}", element(3)), "TimeLimit=1"]);
    cluster.reach(&study, 10);
    holds_the_secret_for_its_owner(&cluster, &job);
    // Each makes room for one that waits.
    slurm.tell("scancel", &[&element(1)]);
    ends(&slurm, &cluster, &study, &element(1));
    slurm.tell("scontrol", &["requeue", &element(2)]);
    begins(&cluster, &job, 4, 1);
    // No signal that an agent could hear.
    slurm.tell("scancel", &["--signal=KILL", &element(4)]);
    ends(&slurm, &cluster, &study, &element(4));
    begins(&cluster, &job, 3, 2);
    let log = log(&cluster, &format!("agent-{}.log", element(3)));
    assert!(log.contains("ended with status 0"), "it left before its time was over: {log}");
    begins(&cluster, &job, 2, 2);
    let status = cluster.status(&study);
    assert!(status.waiting > 0, "the study is too short to be met in its middle: {status:?}");

    in_parts(&cluster, &study, 500);
    let status = cluster.finish(&study);
    status.is_whole();
    assert_eq!(status.planned, 500);
    assert_eq!(cluster.outcomes(&study).len(), 500);
    // A requeued job is the same agent as before.
    let agents = cluster.ask(&["agents"]);
    let hosts: Vec<&str> = agents["agents"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|a| a["host"].as_str())
        .collect();
    assert_eq!(hosts.len(), hosts.iter().collect::<BTreeSet<_>>().len(), "{hosts:?}");

    let shown = on(&slurm, &cluster, &["status", "--json"]).done().json();
    let running = shown["agents"].as_array().expect("a list").iter();
    let done = running.filter_map(|job| job["complete"].as_u64()).sum::<u64>();
    assert!(done > 0, "{shown}");
    on(&slurm, &cluster, &["down"]).done();
    eventually("an empty queue", || slurm.jobs().is_empty().then_some(()));
    assert!(!folder(&cluster.site).join("token").exists(), "nobody joins any more");
}

#[test]
fn the_number_of_agents_follows_the_trials_up_and_back_to_none() {
    let slurm = Slurm::start();
    let cluster = Cluster::start_at(Site::new(), "5s");
    slurm.tell("scontrol", &["update", "PartitionName=main", "State=DRAIN"]);
    let first = cluster.submit(&write_study(&cluster.site, "first", 10, 1_500));
    let scale = ["scale", "--max", "4", "--idle", "4s", "--every", "1s", "--cpus-per-agent", "1"];
    let scaling = begin(&slurm, &cluster, &[&scale[..], &["--json", "--"], &ONE_THREAD].concat());
    scaling.says("were not taken");
    scaling.says("the next try is in");
    slurm.tell("scontrol", &["update", "PartitionName=main", "State=UP"]);

    let most = up_and_down(&slurm, &cluster, &first);
    assert!((1..=4).contains(&most), "{most} agents");
    // Of another length: outcomes of equal trials would be taken over.
    let second = cluster.submit(&write_study(&cluster.site, "second", 5, 1_400));
    let most = up_and_down(&slurm, &cluster, &second);
    assert!((1..=4).contains(&most), "{most} agents");

    scaling.interrupt();
    let done =
        eventually("its last word", || serde_json::from_str::<Value>(&scaling.stdout()).ok());
    let (submitted, cancelled) = (done["submitted"].as_u64(), done["cancelled"].as_u64());
    assert!(submitted >= Some(2) && submitted == cancelled, "{done}");
}

#[test]
fn coordinators_in_jobs_are_replaced_one_by_one_and_find_each_other_when_all_have_moved() {
    let slurm = Slurm::start();
    let site = Site::new();
    let start = ["coordinators", "--replicas", "3", "--time", "12", "--renew", RENEW, "--json"];
    let ran = run_on(&slurm, &site, &start).done().json();
    assert_eq!(ran["jobs"].as_array().map(Vec::len), Some(3), "{ran}");
    let jobs = Jobs { slurm: &slurm, site: &site };
    jobs.all_vote();
    let study = jobs.submit(&write_study(&site, "kept", 15, 15_000));
    let agents = ["up", "--agents", "2", "--cpus-per-agent", "1", "--time", "10", "--json", "--"];
    let told = run_on(&slurm, &site, &[&agents[..], &ONE_THREAD].concat()).done().json();
    let agents = told["job"].as_str().expect("a job").to_string();
    jobs.reach(&study, 10);

    // The first one's successor takes over long before its predecessor's end.
    let before = jobs.running(1);
    let after =
        eventually("the successor", || jobs.running(1).filter(|now| before.as_ref() != Some(now)));
    let words = fs::read_to_string(folder(&site).join("logs/replica-1.log")).expect("a log");
    assert!(words.contains("hands over") && words.contains("ended with status 0"), "{words}");
    jobs.all_vote();
    let then = jobs.status(&study).complete;
    jobs.reach(&study, then + 10);

    // All at once, to other addresses: nobody is where the log says.
    let old: Vec<String> = (1..=3).filter_map(|replica| jobs.running(replica)).collect();
    assert!(old.len() == 3 && old.contains(&after), "{old:?}");
    old.iter().for_each(|job| drop(slurm.tell("scancel", &[job])));
    jobs.begin_successors("replica");
    eventually("three others", || {
        let now = (1..=3).filter_map(|replica| jobs.running(replica)).collect::<Vec<_>>();
        (now.len() == 3 && now.iter().all(|job| !old.contains(job))).then_some(())
    });
    jobs.all_vote();
    slurm.tell("scontrol", &["requeue", &agents]);
    in_parts(&jobs, &study, 300);
    let last = jobs.finish(&study);
    last.is_whole();
    assert_eq!(last.planned, 300);

    // The first one's folder is lost. It founded the cluster, and joins it now.
    let first = jobs.running(1).expect("it runs");
    slurm.tell("scancel", &[&first]);
    eventually("its end", || slurm.jobs().iter().all(|job| job.id != first).then_some(()));
    fs::remove_dir_all(folder(&site).join("replica-1")).expect("lost");
    jobs.begin_successors("replica-1");
    let data = folder(&site).join("replica-1").display().to_string();
    let members = eventually("a fourth replica", || {
        let answer = jobs.run(&["members", "--data", &data, "--json"]);
        let members = answer.status.success().then(|| answer.json())?;
        (members["replicas"].as_array()?.len() == 4).then_some(members)
    });
    assert_eq!(members["replicas"][3]["replica"], "r4", "{members}");
    let answer = jobs.run(&["status", &study, "--data", &data, "--json"]).done().json();
    assert_eq!(answer["studies"][0]["complete"], 300, "the same cluster: {answer}");
    run_on(&slurm, &site, &["down", "--coordinators"]).done();
    eventually("an empty queue", || slurm.jobs().is_empty().then_some(()));
}

/// Waits for one tenth after another: all of it may take longer than one waits for anything.
fn in_parts(cluster: &impl Asked, study: &str, planned: u64) {
    for part in 1..10 {
        eventually(&format!("{part} tenths of the study"), || {
            (cluster.status(study).complete >= planned * part / 10).then_some(())
        });
    }
}

#[test]
fn without_a_coordinator_one_is_told_what_to_do_first() {
    let site = Site::new();
    let up = ["slurm", "up", "--agents", "1", "--time", "10", "--folder"];
    let path = folder(&site).display().to_string();
    let said = site.run(Program::Coordinator, &[&up[..], &[path.as_str()]].concat()).failed(3);
    for part in ["coordinator start", "coordinator slurm coordinators", "then run this again"] {
        assert!(said.contains(part), "{said}");
    }
    assert!(!folder(&site).exists(), "nothing was written");
}

#[test]
fn a_script_is_printed_without_anything_being_touched_and_an_edited_one_is_what_runs() {
    let slurm = Slurm::start();
    let cluster = Cluster::start();
    let print = ["up", "--agents", "1", "--cpus-per-agent", "1", "--time", "10", "--print", "--"];
    let script = on(&slurm, &cluster, &[&print[..], &ONE_THREAD].concat()).done().stdout;
    assert!(!folder(&cluster.site).exists(), "nothing was written");
    let mine = script.replace("#SBATCH --requeue", "#SBATCH --no-requeue\n#SBATCH --comment=mine");
    let path = cluster.site.write("mine.sbatch", &mine).display().to_string();
    on(&slurm, &cluster, &["up", "--agents", "1", "--script", &path]).done();
    eventually("the job", || (slurm.count("R") == 1).then_some(()));
    let shown = slurm.tell("scontrol", &["show", "job"]);
    assert!(shown.contains("Comment=mine") && shown.contains("Requeue=0"), "{shown}");
    eventually("its agent", || {
        let agents = cluster.ask(&["agents"]);
        agents["agents"].as_array().is_some_and(|agents| agents.len() == 1).then_some(())
    });
    let clash = ["up", "--agents", "1", "--script", &path, "--time", "5:00:00"];
    let said = on(&slurm, &cluster, &clash).failed(2);
    assert!(said.contains("cannot be used with"), "{said}");
}

/// The commands of `coordinator slurm`, as a user of the cluster runs them.
fn on(slurm: &Slurm, cluster: &Cluster, arguments: &[&str]) -> Answer {
    run_on(slurm, &cluster.site, arguments)
}

fn run_on(slurm: &Slurm, site: &Site, arguments: &[&str]) -> Answer {
    let (variables, arguments) = (variables(slurm, site), in_slurm(arguments));
    let borrowed: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    site.run_with(Program::Coordinator, &arguments, &borrowed)
}

fn begin(slurm: &Slurm, cluster: &Cluster, arguments: &[&str]) -> Running {
    let (variables, arguments) = (variables(slurm, &cluster.site), in_slurm(arguments));
    let borrowed: Vec<(&str, &str)> = variables.iter().map(|(n, v)| (*n, v.as_str())).collect();
    cluster.site.spawn(Program::Coordinator, &arguments, &borrowed)
}

fn in_slurm<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["slurm"], arguments].concat()
}

/// A coordinator that was started by hand is found by its folder; those in jobs find themselves.
fn variables(slurm: &Slurm, site: &Site) -> Vec<(&'static str, String)> {
    let folder = folder(site).display().to_string();
    let mut variables = vec![slurm.variable(), ("SEEDSWEEP_SLURM", folder)];
    if site.path(DATA).exists() {
        variables.push(("SEEDSWEEP_DATA", site.path(DATA).display().to_string()));
    }
    variables
}

/// What the jobs of a test share: where it is by itself, in the user's home.
fn folder(site: &Site) -> PathBuf {
    site.path(".local/share/seedsweep/slurm")
}

fn log(cluster: &Cluster, name: &str) -> String {
    fs::read_to_string(folder(&cluster.site).join("logs").join(name)).expect("a log")
}

/// Waits for the end of one job while the study goes on.
fn ends(slurm: &Slurm, cluster: &Cluster, study: &str, job: &str) {
    eventually(&format!("the end of {job}"), || {
        slurm.jobs().iter().all(|other| other.id != job).then_some(())
    });
    let status = cluster.status(study);
    assert!(status.waiting > 0, "the study is too short to be met in its middle: {status:?}");
}

/// Waits until one element of an array has begun so often.
fn begins(cluster: &Cluster, job: &str, element: u32, times: usize) {
    let path = folder(&cluster.site).join(format!("logs/agent-{job}_{element}.log"));
    eventually(&format!("begin {times} of element {element}"), || {
        let log = fs::read_to_string(&path).ok()?;
        (log.matches("begins on").count() >= times).then_some(())
    });
}

/// The token is in one file that nobody else reads, and in nothing that others see.
fn holds_the_secret_for_its_owner(cluster: &Cluster, job: &str) {
    let path = folder(&cluster.site).join("token");
    let mode = fs::metadata(&path).expect("a token").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let token = fs::read_to_string(&path).expect("readable");
    let secret = token.trim();
    let script = fs::read_to_string(folder(&cluster.site).join("agent.sbatch")).expect("a script");
    assert!(
        !script.contains(secret) && !log(cluster, &format!("agent-{job}_2.log")).contains(secret)
    );
    let mut seen = 0;
    for process in fs::read_dir("/proc").expect("processes").flatten() {
        let text = |name: &str| fs::read(process.path().join(name)).unwrap_or_default();
        let (words, variables) = (text("cmdline"), text("environ"));
        let has =
            |bytes: &[u8], part: &str| bytes.windows(part.len()).any(|w| w == part.as_bytes());
        if has(&words, &format!("slurm-{job}_")) {
            seen += 1;
        }
        assert!(!has(&words, secret) && !has(&variables, secret), "{:?}", process.path());
    }
    assert!(seen > 0, "no agent was looked at");
}

/// Waits for a study's end and then for an empty queue; the most jobs that there were.
fn up_and_down(slurm: &Slurm, cluster: &Cluster, study: &str) -> usize {
    let (mut most, began) = (0, Instant::now());
    loop {
        let jobs = slurm.jobs().iter().filter(|job| job.state != "CG").count();
        most = most.max(jobs);
        let status = cluster.status(study);
        if status.state == "finished" && jobs == 0 {
            status.is_whole();
            return most;
        }
        assert!(began.elapsed() < PATIENCE, "{jobs} jobs, {status:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Coordinators that run as jobs, asked as their user asks them.
struct Jobs<'a> {
    slurm: &'a Slurm,
    site: &'a Site,
}

impl Asked for Jobs<'_> {
    fn run(&self, arguments: &[&str]) -> Answer {
        self.site.run(Program::Coordinator, arguments)
    }

    /// They may just be changing their places.
    fn status(&self, study: &str) -> Status {
        let answer = eventually("an answer", || {
            let answer = self.run(&["status", study, "--json"]);
            answer.status.success().then(|| answer.json())
        });
        Status::read(&answer["studies"][0])
    }
}

impl Jobs<'_> {
    /// The job in which a replica runs now.
    fn running(&self, replica: u32) -> Option<String> {
        let name = format!("-replica-{replica}");
        let jobs = self.slurm.jobs().into_iter();
        let mut running = jobs.filter(|job| job.state == "R" && job.name.ends_with(&name));
        let job = running.next()?.id;
        // While one takes over from the other there are two.
        running.next().is_none().then_some(job)
    }

    fn begin_successors(&self, of: &str) {
        let jobs = self.slurm.jobs().into_iter();
        for job in jobs.filter(|job| job.name.contains(of) && job.state == "PD") {
            self.slurm.tell("scontrol", &["update", &format!("JobId={}", job.id), "StartTime=now"]);
        }
    }

    fn all_vote(&self) {
        eventually("three voters that are heard", || {
            let answer = self.run(&["members", "--json"]);
            let members = answer.status.success().then(|| answer.json())?;
            let replicas = members["replicas"].as_array()?.clone();
            let votes = |replica: &&Value| {
                matches!(replica["role"].as_str(), Some("leader" | "follower"))
                    && replica["silent_ms"].as_u64().is_some_and(|ms| ms < 3_000)
            };
            let leads = replicas.iter().any(|replica| replica["role"] == "leader");
            (leads && replicas.iter().filter(votes).count() == 3).then_some(())
        });
    }
}

/// For agents that share the processors of one machine.
const ONE_THREAD: [&str; 3] = ["--threads=1", "--lanes", "4"];
/// The first one's successor may begin 30 s after it, the others' after the test.
const RENEW: &str = "690s";
const PATIENCE: Duration = Duration::from_secs(150);

/// Where the tests of deployment look for the scripts that are embedded.
#[test]
fn the_scripts_are_sound_shell() {
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the root").join("deploy/slurm");
    for name in ["agent.sbatch", "coordinator.sbatch"] {
        let path = root.join(name).display().to_string();
        crate::process::run(std::process::Command::new("bash").args(["-n", &path]), "")
            .expect("sound");
    }
}
