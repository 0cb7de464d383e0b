//! What people do with several coordinators: join, stop, remove, lose and bring back.
//!
//! Floor: wiring.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cluster::{Asked, without_looks, write_study};
use crate::group::{Group, Place};
use crate::process::{Program, eventually};

#[test]
fn a_replica_joins_by_any_other_votes_and_answers_and_agents_need_one_address() {
    let mut group = Group::start(2);
    // The second one follows: it sends the joiner on.
    let third = group.join(1, Place::loopback());
    group.all_vote();
    let members = group.at(third).members().expect("an answer");
    assert_eq!(members.iter().filter(|r| r["role"] == "follower").count(), 2, "{members:?}");
    let _agents = [group.agent("one", &[third]), group.agent("two", &[1])];
    let study = group.at(third).submit(&write_study(&group.site, "shared", 5, SHORT));
    group.at(0).finish(&study).is_whole();

    let export = ["export", &study, "--fresh", "--csv", "-"];
    let rows = group.at(0).run(&export).done().stdout;
    assert_eq!(rows.lines().count(), 101, "a head and a line a trial");
    for at in [1, third] {
        assert_eq!(group.at(at).run(&export).done().stdout, rows, "fresh from replica {at}");
        assert_eq!(group.at(at).run(&["export", &study, "--csv", "-"]).done().stdout, rows);
        let fresh = group.at(at).ask(&["status", &study, "--fresh"]);
        assert_eq!(
            (&fresh["studies"][0]["complete"], &fresh["studies"][0]["state"]),
            (&100.into(), &"finished".into())
        );
    }
    let report = |at: usize, out: &str| {
        group.at(at).run(&["report", &study, "--fresh", "--format", "json", "--out", out]).done();
        without_looks(&fs::read_to_string(group.site.path(out)).expect("written"))
    };
    assert_eq!(report(0, "leader.json"), report(third, "follower.json"));
}

#[test]
fn a_leader_that_is_stopped_hands_over_and_nothing_is_trained_twice() {
    let mut group = Group::start(3);
    let _agents = [group.agent("one", &[0]), group.agent("two", &[2])];
    let study = group.at(0).submit(&write_study(&group.site, "handed", 15, LONG));
    group.at(0).reach(&study, 60);
    let leader = group.leader();
    let stopping = Instant::now();
    assert!(group.stop(leader).success());
    let stopped = stopping.elapsed();
    let next = group.leader();
    assert_ne!(next, leader);
    assert!(stopped < HANDED_OVER, "{stopped:?}");
    let then = group.at(next).status(&study).complete;
    eventually("further outcomes", || {
        (group.at(next).status(&study).complete > then).then_some(())
    });

    group.at(next).finish(&study).is_whole();
    let status = group.at(next).ask(&["status", &study, "--fresh"]);
    assert_eq!(status["studies"][0]["failures"], serde_json::json!({}), "{status}");
    group.start_again(leader);
    group.all_vote();
}

#[test]
fn a_removed_replica_ends_and_comes_back_only_as_another_one() {
    let mut group = Group::start(3);
    let removed = &group.replicas[2].id.clone();
    group.at(1).run(&["members", "remove", removed]).done();
    let gone = group.replicas[2].running.as_mut().expect("it ran");
    assert_eq!(gone.ends().code(), Some(1));
    gone.says("this replica was removed from the cluster");
    assert_eq!(
        group.replicas[2].running.take().map(|r| r.stderr().contains("panicked")),
        Some(false)
    );

    group.begin_again(2);
    let again = group.replicas[2].running.as_mut().expect("it ran");
    assert_eq!(again.ends().code(), Some(1), "its folder is of no use any more");
    again.says("start it in an empty folder");
    group.replicas.pop();

    fs::remove_dir_all(group.site.path("replica-2")).expect("emptied");
    let new = group.join(0, Place::loopback());
    assert_ne!(&group.replicas[new].id, removed);
    group.all_vote();
    let members = group.at(0).members().expect("an answer");
    assert!(members.iter().all(|replica| replica["replica"] != removed.as_str()), "{members:?}");
}

#[test]
fn a_replica_that_comes_back_with_an_empty_disk_is_a_new_one() {
    let mut group = Group::start(3);
    let study = group.at(0).submit(&write_study(&group.site, "kept", 5, SHORT));
    let _agent = group.agent("one", &[0]);
    group.at(0).finish(&study).is_whole();
    group.kill(2);
    let lost = group.replicas.pop().expect("three");
    fs::remove_dir_all(group.site.path(&lost.name)).expect("emptied");

    let new = group.join(1, Place::loopback());
    assert_ne!(group.replicas[new].id, lost.id);
    group.all_vote();
    group.at(new).status(&study).is_whole();
    group.at(new).run(&["members", "remove", &lost.id]).done();
    eventually("three voters", || {
        let members = group.at(new).members()?;
        (members.len() == 3 && members.iter().all(|r| r["role"] != "leaving")).then_some(())
    });
}

#[test]
fn a_follower_that_was_away_for_long_catches_up_by_a_snapshot() {
    let mut group = Group::start_with(3, &["--snapshot-entries", "100"]);
    let study = group.at(0).submit(&write_study(&group.site, "long", 20, SHORT));
    group.kill(2);
    let _agents = [group.agent("one", &[0]), group.agent("two", &[0])];
    group.at(0).finish(&study).is_whole();
    // Each is an entry of its own; how many the outcomes are is a matter of speed.
    (0..160).for_each(|n| drop(group.at(0).run(&["priority", &study, &n.to_string()]).done()));

    group.start_again(2);
    let late = group.replicas[2].running.as_ref().expect("it runs");
    late.says("the leader's snapshot is installed");
    group.all_vote();
    let export = ["export", &study, "--csv", "-"];
    let rows = |at: usize| group.at(at).run(&export).done().stdout;
    assert_eq!(rows(2), rows(0));
    assert_eq!(group.at(2).ask(&["status", &study])["studies"][0]["priority"], 159);
}

#[test]
fn a_replica_that_cannot_join_says_why() {
    let group = Group::start(1);
    let start = |further: &[&str]| {
        let mut arguments = vec!["start", "--data", "other", "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        group.site.run(Program::Coordinator, &arguments)
    };
    let address = group.replicas[0].address.as_str();
    let peers = group.peer_token(0);
    let said = start(&["--join", "127.0.0.1:1", "--token", &peers]).failed(3);
    assert!(said.contains("nothing listens"), "{said}");
    let said = start(&["--join", address]).failed(1);
    assert!(said.contains("token create --role peer"), "{said}");
    let said = start(&["--join", address, "--token", &group.token]).failed(1);
    assert!(said.contains("this token is for agents"), "{said}");
    start(&["--token", &peers]).failed(2);
    // A folder in which a join began is no new cluster.
    let said = start(&[]).failed(1);
    assert!(said.contains("began to join"), "{said}");
}

#[test]
fn without_a_majority_reads_are_old_writes_are_refused_and_later_all_goes_on() {
    let mut group = Group::start(3);
    let file = write_study(&group.site, "stuck", 10, LONG);
    let study = group.at(0).submit(&file);
    let _agent = group.agent("one", &[2]);
    group.at(0).reach(&study, 20);
    [0, 1].into_iter().for_each(|at| group.kill(at));

    assert!(group.at(2).status(&study).complete > 0, "what this replica has seen");
    let another = write_study(&group.site, "another", 5, SHORT);
    let refused = [
        vec!["status", &study, "--fresh"],
        vec!["pause", &study],
        vec!["submit", another.to_str().expect("text")],
        vec!["agents"],
    ];
    let data = ("SEEDSWEEP_DATA", group.replicas[2].name.as_str());
    let asked =
        refused.map(|arguments| group.site.spawn(Program::Coordinator, &arguments, &[data]));
    for mut asked in asked {
        assert_eq!(asked.ends().code(), Some(3), "{}", asked.stderr());
        asked.says("a majority of the replicas must be up");
    }

    [0, 1].into_iter().for_each(|at| group.start_again(at));
    let last = group.at(2).finish(&study);
    last.is_whole();
    assert_eq!(group.at(1).ask(&["list"])["studies"].as_array().map(Vec::len), Some(1));
}

#[test]
fn of_five_replicas_two_may_be_lost_the_leader_among_them() {
    let mut group = Group::start(5);
    let study = group.at(0).submit(&write_study(&group.site, "five", 15, LONG));
    let _agents = [group.agent("one", &[1]), group.agent("two", &[4])];
    group.at(0).reach(&study, 20);
    let leader = group.leader();
    let other = group.up().find(|at| *at != leader).expect("five run");
    [leader, other].into_iter().for_each(|at| group.kill(at));
    let left = group.up().next().expect("three run");
    group.at(left).finish(&study).is_whole();
}

#[test]
fn commands_under_way_when_the_leader_is_killed_are_done_once() {
    let mut group = Group::start(3);
    let files: Vec<PathBuf> =
        (0..8).map(|n| write_study(&group.site, &format!("s{n}"), 5, SHORT)).collect();
    let submit = |group: &Group, at: usize, file: &Path| {
        let data = ("SEEDSWEEP_DATA", group.replicas[at].name.as_str());
        let submit = ["submit", file.to_str().expect("text"), "--json"];
        group.site.spawn(Program::Coordinator, &submit, &[data])
    };
    let leader = group.leader();
    let others: Vec<usize> = group.up().filter(|at| *at != leader).collect();
    let mut asked = Vec::new();
    for (n, file) in files.iter().enumerate() {
        asked.push(submit(&group, others[n % 2], file));
        if n == files.len() / 2 {
            group.kill(leader);
        }
    }
    for asked in &mut asked {
        assert!(asked.ends().success(), "{}{}", asked.stdout(), asked.stderr());
        let answer: Value = serde_json::from_str(&asked.stdout()).expect("an answer");
        assert_eq!(answer["known"], false, "asked once, done once: {answer}");
    }
    let list = group.at(others[0]).ask(&["list", "--fresh"]);
    let mut names: Vec<&str> = list["studies"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|study| study["name"].as_str().expect("a name"))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"]);
    group.start_again(leader);
    group.all_vote();
}

/// Epochs of a trial of a millisecond, and of one of twenty.
const SHORT: u32 = 20;
const LONG: u32 = 600;
/// An election between two that are up, and the end of a process.
const HANDED_OVER: Duration = Duration::from_secs(3);
