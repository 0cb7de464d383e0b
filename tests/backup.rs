//! A cluster is lost altogether and comes back from its backup: studies, outcomes, looks and agents.
//!
//! Floor: wiring.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::cluster::{Asked, Cluster, DATA, start_agent, told, write_study};
use crate::process::{Answer, Program, Running, Site, eventually};

#[test]
fn a_study_half_done_is_restored_its_agents_come_back_and_no_outcome_is_lost() {
    let cluster = Cluster::start();
    let file = write_study(&cluster.site, "kept", 15, LONG);
    let study = cluster.submit(&file);
    let agents = ["one", "two"].map(|name| cluster.agent(name));
    cluster.reach(&study, 60);
    let before = cluster.outcomes(&study);
    let looks = cluster.ask(&["ledger", &study])["looks"].clone();
    let made = cluster.ask(&["backup", "--out", "all.seedsweep"]);
    assert_eq!((&made["schema"], &made["studies"]), (&"seedsweep.backup/1".into(), &1.into()));
    assert!(made["outcomes"].as_u64() >= Some(before.len() as u64), "{made}");
    let backup = cluster.site.path("all.seedsweep");
    let mode = fs::metadata(&backup).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "it holds the cluster's key");
    assert!(!cluster.site.path("all.seedsweep.part").exists());
    let again = cluster.run(&["backup", "--out", "all.seedsweep"]).failed(1);
    assert!(again.contains("is there already"), "{again}");
    let offline = cluster.run(&["backup", "--out", "other.seedsweep", "--offline"]).failed(1);
    assert!(offline.contains("leave --offline away"), "{offline}");
    // Who is let in and what is acknowledged from now on is lost; it is trained again.
    let late = cluster.agent("late");
    cluster.reach(&study, made["outcomes"].as_u64().expect("a number") + 20);

    let dead = cluster.kill();
    fs::remove_dir_all(dead.site.path(DATA)).expect("lost");
    let restore = ["restore", "all.seedsweep", "--data", DATA, "--json"];
    let restored = dead.site.run(Program::Coordinator, &restore).done().json();
    assert_eq!((&restored["outcomes"], &restored["replica"]), (&made["outcomes"], &"r1002".into()));
    assert_eq!(restored["members"], 2, "both agents");
    let anew = Anew::start(dead.site, &dead.address);
    let ledger = anew.ask(&["ledger", &study]);
    assert_eq!((&ledger["looks"], &ledger["chain_holds"]), (&looks, &true.into()), "{ledger}");
    let after = anew.outcomes(&study);
    let kept = before.iter().all(|(trial, digest)| after.get(trial) == Some(digest));
    assert!(kept, "{} outcomes before the backup, {} after", before.len(), after.len());
    anew.finish(&study).is_whole();
    for agent in &agents {
        let joined = agent.stderr().matches("joined as").count();
        assert!(joined >= 2, "with the certificate that it had: {}", agent.stderr());
    }

    late.says("no longer has this machine as a member");
    let token = anew.ask(&["token", "create"])["token"].as_str().expect("a token").to_string();
    let further = start_agent(&anew.site, &anew.address(), &token, "further", &[]);
    further.says("joined as");

    // The same study undisturbed.
    let other = Cluster::start();
    let _agent = other.agent("one");
    let file = write_study(&other.site, "kept", 15, LONG);
    let undisturbed = other.submit(&file);
    assert_eq!(undisturbed, study);
    other.finish(&study).is_whole();
    // Of reports nothing else differs than how long trainings took.
    assert_eq!(anew.outcomes(&study), other.outcomes(&study));
}

#[test]
fn a_folder_is_backed_up_without_its_coordinator_and_nothing_else_is_restored() {
    let cluster = Cluster::start();
    let _agent = cluster.agent("one");
    let study = cluster.submit(&write_study(&cluster.site, "small", 2, 2));
    cluster.finish(&study).is_whole();
    let rows = cluster.run(&["export", &study, "--csv", "-"]).done().stdout;
    let dead = cluster.kill();
    let run = |arguments: &[&str]| dead.site.run(Program::Coordinator, arguments);
    run(&["backup", "--out", "b", "--offline", "--data", DATA]).done();
    let absent = run(&["backup", "--out", "c", "--offline", "--data", "nowhere"]).failed(1);
    assert!(absent.contains("holds no coordinator's log"), "{absent}");
    assert!(!dead.site.path("c.part").exists());
    let sound = run(&["verify-log", "--data", DATA, "--json"]).done().json();
    assert_eq!(sound["sound"], true, "a backup changes nothing: {sound}");

    let full = run(&["restore", "b", "--data", DATA]).failed(1);
    assert!(full.contains("is not empty"), "{full}");
    let none = run(&["restore", "rows.csv", "--data", "anew"]).failed(1);
    assert!(none.contains("is no backup of seedsweep"), "{none}");
    let whole = fs::read(dead.site.path("b")).expect("readable");
    fs::write(dead.site.path("cut"), &whole[..whole.len() / 2]).expect("written");
    let cut = run(&["restore", "cut", "--data", "anew"]).failed(1);
    assert!(cut.contains("damaged or cut short"), "{cut}");
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(dead.site.path("changed"), &changed).expect("written");
    let damaged = run(&["restore", "changed", "--data", "anew"]).failed(1);
    assert!(damaged.contains("nothing was restored"), "{damaged}");
    assert!(!dead.site.path("anew").exists());

    run(&["restore", "b", "--data", "anew"]).done();
    let sound = run(&["verify-log", "--data", "anew", "--json"]).done().json();
    assert_eq!((&sound["sound"], &sound["outcomes"]), (&true.into(), &40.into()), "{sound}");
    assert_eq!(sound["data_files"], 1);
    fs::rename(dead.site.path(DATA), dead.site.path("lost")).expect("renamed");
    fs::rename(dead.site.path("anew"), dead.site.path(DATA)).expect("renamed");
    let anew = Anew::start(dead.site, "127.0.0.1:0");
    anew.status(&study).is_whole();
    assert_eq!(anew.run(&["export", &study, "--csv", "-"]).done().stdout, rows);

    // A study goes on growing where it was restored.
    let token = anew.ask(&["token", "create"])["token"].as_str().expect("a token").to_string();
    let _new = start_agent(&anew.site, &anew.address(), &token, "new", &[]);
    anew.run(&["extend", &study, "--seeds", "3"]).done();
    eventually("further seeds", || (anew.status(&study).complete == 60).then_some(()));
}

/// A coordinator on a folder that was restored.
struct Anew {
    // Before the site, whose folder goes last.
    coordinator: Running,
    site: Site,
}

impl Anew {
    fn start(site: Site, listen: &str) -> Self {
        let start = ["start", "--data", DATA, "--listen", listen, "--json"];
        let coordinator = site.spawn(Program::Coordinator, &start, &[]);
        told(&coordinator);
        Self { coordinator, site }
    }

    fn address(&self) -> String {
        told(&self.coordinator)["address"].as_str().expect("text").to_string()
    }
}

impl Asked for Anew {
    fn run(&self, arguments: &[&str]) -> Answer {
        self.site.run_with(Program::Coordinator, arguments, &[("SEEDSWEEP_DATA", DATA)])
    }
}

/// Epochs of a trial of some twenty milliseconds.
const LONG: u32 = 600;
