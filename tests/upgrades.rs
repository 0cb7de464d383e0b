//! Upgrades: folders of released versions are read as ever, and while some replicas may do more than
//! others, all goes on and what not all can do is refused.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use common::id::ClusterId;
use coordinator::scheduler::command::{BUYING_LEVEL, LEVEL, NESTED_LEVEL};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::cluster::{Asked, Cluster, DATA, start_agent, told, write_study};
use crate::group::Group;
use crate::process::{Answer, Program, Running, Site, eventually};

#[test]
fn a_rolling_upgrade_holds_back_what_not_every_replica_can_do_and_can_be_rolled_back() {
    let held = NESTED_LEVEL.to_string();
    let mut group = Group::start_with(3, &["--level", &held]);
    let _agents = [group.agent("one", &[0, 1, 2]), group.agent("two", &[2, 1, 0])];
    let study = group.at(0).submit(&write_study(&group.site, "long", 40, LONG));
    let limited = write_limited(&group.site);
    let limited = limited.to_str().expect("text");
    let refusal = |group: &Group, at: usize| group.at(at).run(&["submit", limited]).failed(1);
    let said = refusal(&group, 0);
    assert!(said.contains(&format!("needs level {BUYING_LEVEL}: upgrade r1, r2, r3")), "{said}");

    let held_back = std::mem::take(&mut group.further);
    restart(&mut group, 0);
    // One that was upgraded goes back: nothing that it cannot read was written meanwhile.
    group.further = held_back.clone();
    restart(&mut group, 0);
    group.further.clear();
    for at in [0, 1] {
        restart(&mut group, at);
        let left: Vec<&str> = (at + 1..3).map(|at| group.replicas[at].id.as_str()).collect();
        let left = left.join(", ");
        let said = eventually("a word of who holds the cluster back", || {
            // The one that leads may not have heard of all others yet.
            let said = refusal(&group, 2);
            said.contains(&format!("upgrade {left}, or start {left} without --level"))
                .then_some(said)
        });
        assert!(!said.contains("upgrade r1, r2, r3"), "{said}");
        assert!(group.at(2).status(&study).waiting > 0, "the study goes on all the time");
    }
    restart(&mut group, 2);
    eventually("the new level", || {
        group.at(0).run(&["submit", limited]).status.success().then_some(())
    });
    // From here there is no way back.
    assert!(group.stop(1).success());
    group.further = held_back;
    group.begin_again(1);
    let old = group.replicas[1].running.as_mut().expect("it ran");
    assert_eq!(old.ends().code(), Some(1));
    old.says("start it without --level");
    group.replicas[1].running = None;
    group.further.clear();
    group.start_again(1);
    group.all_vote();
    group.at(1).finish(&study).is_whole();
    let status = group.at(1).ask(&["status", &study, "--fresh"]);
    assert_eq!(status["studies"][0]["failures"], json!({}), "{status}");
}

#[test]
fn a_folder_of_every_released_version_is_read_and_its_studies_go_on() {
    let mut versions = 0;
    for version in fs::read_dir(released()).expect("tests/data/released") {
        let kept = version.expect("readable").path();
        let site = Site::new();
        unpack(&kept, &site);
        let read = |name: &str| fs::read_to_string(kept.join(name)).expect("readable");
        let expected: Value = serde_json::from_str(&read("expected.json")).expect("JSON");

        let start = ["start", "--data", DATA, "--listen", "127.0.0.1:0", "--json"];
        let coordinator = site.spawn(Program::Coordinator, &start, &[]);
        let address = told(&coordinator)["address"].as_str().expect("text").to_string();
        let old = Old { coordinator, site };
        assert_eq!(known(&old), expected, "{}", kept.display());
        let sealed = old.run(&["report", "first", "--format", "json"]).done();
        assert!(sealed.stdout.len() > 1_000, "{sealed}");

        let token = old.ask(&["token", "create"])["token"].as_str().expect("text").to_string();
        let _agent = start_agent(&old.site, &address, &token, "new", &[]);
        old.run(&["resume", "second"]).done();
        old.finish("second").is_whole();
        let kept_outcomes = expected["outcomes"]["second"].as_object().expect("an object");
        let all = old.outcomes("second");
        let stand = kept_outcomes.iter().all(|(t, digest)| all.get(t).is_some_and(|d| digest == d));
        assert!(stand && all.len() > kept_outcomes.len(), "{}", kept.display());
        drop(old.coordinator);
        let look = ["verify-log", "--data", DATA, "--json"];
        assert_eq!(old.site.run(Program::Coordinator, &look).done().json()["sound"], true);
        versions += 1;
    }
    assert!(versions > 0, "there is a released version");
}

/// Run by hand once for a release, with the version's own programs: writes the folder that every later
/// version has to read.
#[test]
#[ignore = "writes tests/data/released; for a release"]
fn keep_a_folder_of_this_version() {
    let site = Site::new();
    let start = ["start", "--data", DATA, "--listen", "127.0.0.1:0", "--json"];
    let start = [&start[..], &["--snapshot-entries", "100"]].concat();
    let coordinator = site.spawn(Program::Coordinator, &start, &[]);
    let at = told(&coordinator);
    let text = |key: &str| at[key].as_str().expect("text").to_string();
    let (address, token) = (text("address"), text("token"));
    let mut old = Old { coordinator, site };
    let _agent = start_agent(&old.site, &address, &token, "one", &[]);
    let first = old.submit(&write_study(&old.site, "first", 2, SHORT));
    old.finish(&first).is_whole();
    // Entries before the snapshot and after it.
    (0..120).for_each(|n| drop(old.run(&["priority", &first, &n.to_string()]).done()));
    old.run(&["export", &first, "--csv", "-"]).done();
    let second = old.submit(&write_study(&old.site, "second", 3, LONG));
    old.reach(&second, 8);
    old.run(&["pause", &second]).done();
    eventually("an agent without work", || (old.status(&second).leased == 0).then_some(()));
    let expected = known(&old);
    old.coordinator.signal("TERM");
    assert!(old.coordinator.ends().success());

    let kept = released().join(env!("CARGO_PKG_VERSION"));
    fs::create_dir_all(kept.join("data")).expect("made");
    let folder = old.site.path(DATA);
    let file = File::create(kept.join("log.redb.gz")).expect("made");
    let mut packed = GzEncoder::new(file, Compression::best());
    packed.write_all(&fs::read(folder.join("log.redb")).expect("readable")).expect("written");
    packed.finish().expect("written");
    for entry in fs::read_dir(folder.join("data")).expect("readable") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, kept.join("data").join(name)).expect("copied");
    }
    let expected = serde_json::to_string_pretty(&expected).expect("JSON") + "\n";
    fs::write(kept.join("expected.json"), expected).expect("written");
}

/// A coordinator on a folder of an earlier version.
struct Old {
    // Before the site, whose folder goes last.
    coordinator: Running,
    site: Site,
}

impl Asked for Old {
    fn run(&self, arguments: &[&str]) -> Answer {
        self.site.run_with(Program::Coordinator, arguments, &[("SEEDSWEEP_DATA", DATA)])
    }
}

/// What must not change of the two studies: their states, and every outcome.
fn known(old: &Old) -> Value {
    let list = old.ask(&["list", "--fresh"]);
    let mut studies = list["studies"].clone();
    for study in studies.as_array_mut().expect("a list") {
        let keep =
            ["id", "name", "state", "priority", "planned", "complete", "failed", "submitted"];
        let fields = study.as_object_mut().expect("an object");
        fields.retain(|key, _| keep.contains(&key.as_str()));
    }
    let outcomes: BTreeMap<&str, _> =
        ["first", "second"].into_iter().map(|name| (name, old.outcomes(name))).collect();
    json!({ "studies": studies, "outcomes": outcomes })
}

/// Puts a kept folder into a site. Its key is made here: none is kept with the sources.
fn unpack(kept: &Path, site: &Site) {
    let folder = site.path(DATA);
    fs::create_dir_all(folder.join("data")).expect("made");
    let file = File::open(kept.join("log.redb.gz")).expect("kept");
    let mut log = Vec::new();
    GzDecoder::new(file).read_to_end(&mut log).expect("whole");
    fs::write(folder.join("log.redb"), log).expect("written");
    for entry in fs::read_dir(kept.join("data")).expect("kept") {
        let path = entry.expect("readable").path();
        let name = path.file_name().expect("a name");
        fs::copy(&path, folder.join("data").join(name)).expect("copied");
    }
    let look = ["verify-log", "--data", DATA, "--json"];
    let told = site.run(Program::Coordinator, &look).json();
    let hex = told["cluster"].as_str().expect("a cluster");
    let number = u128::from_str_radix(hex, 16).expect("hexadecimal digits");
    let cluster = ClusterId(number.to_be_bytes());
    let authority = link::Authority::create(cluster, SystemTime::now()).expect("made");
    authority.save(&folder.join("ca")).expect("written");
}

fn released() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/released")
}

/// Stops one replica as a service does, and starts it again.
fn restart(group: &mut Group, at: usize) {
    assert!(group.stop(at).success());
    group.start_again(at);
    group.all_vote();
}

/// A study that needs a level above the one that the cluster is held at.
fn write_limited(site: &Site) -> PathBuf {
    let path = write_study(site, "limited", 2, SHORT);
    let text = fs::read_to_string(&path).expect("readable") + "\n[budget]\nhours = 5\n";
    fs::write(&path, text).expect("written");
    path
}

/// Epochs of a trial of a millisecond, and of one of twenty.
const SHORT: u32 = 20;
const LONG: u32 = 600;

#[test]
fn a_program_knows_the_levels_that_it_may_be_held_at() {
    let group = Cluster::start();
    let above = (LEVEL + 1).to_string();
    let start = ["start", "--data", "other", "--level", &above];
    let said = group.site.run(Program::Coordinator, &start).failed(2);
    assert!(said.contains(&format!("1..={LEVEL}")), "{said}");
}
