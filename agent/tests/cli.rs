//! The program `agent` as a user meets it: answers on stdout, talk on stderr, and exit status.
//!
//! Floor: wiring.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use link::JoinToken;
use serde_json::Value;

fn agent(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("SEEDSWEEP_TOKEN")
        .env_remove("RUST_LOG");
    // The default folder lies below these.
    command.env("HOME", folder).env_remove("XDG_DATA_HOME");
    command
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    agent(arguments, folder).output().expect("runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn token() -> String {
    JoinToken::mint([3; 32]).expect("randomness").expose()
}

#[test]
fn devices_are_one_json_object() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(&["devices", "--json"], dir.path());
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["schema"], "seedsweep.devices/1");
    assert_eq!(answer["devices"][0]["device"], "cpu");
    assert!(answer["devices"][0]["threads"].as_u64() >= Some(1));
    assert!(output.status.success());
}

#[test]
fn devices_tell_how_large_the_next_cohorts_are() {
    let dir = tempfile::tempdir().expect("a folder");
    let kind = "mlp of 30, hidden 64, batch 32";
    let tried = r#"{"4": [2, 90000.0], "8": [2, 150000.0]}"#;
    let found = format!(r#"{{"{kind}": {{"tried": {tried}, "no_room": null}}}}"#);
    fs::write(dir.path().join("widths.json"), found).expect("written");
    let output = run(&["devices", "--folder", "."], dir.path());
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].ends_with("of up to 8 trials each"), "{said}");
    let expected = format!("  {kind}: 16 lanes next, not settled (4: 90 k, 8: 150 k rows/s)");
    assert_eq!(lines[1], expected);
    let expected =
        "  cohorts of up to 16 trials from the next start on, unless --lanes says otherwise: .";
    assert_eq!(lines[2], expected);
    assert!(lines[3].starts_with("labels: arch="), "{said}");
    assert!(lines[3].contains(" device=cpu ") && lines.len() == 4, "{said}");
    let output = run(&["devices", "--json", "--folder", "."], dir.path());
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["devices"][0]["cohort_lanes"], 8);
    let agents = serde_json::json!([{ "folder": ".", "cohort_lanes": 16 }]);
    assert_eq!(answer["devices"][0]["agents"], agents);
}

/// A control group of this machine with the time of one processor; removed when dropped.
#[cfg(target_os = "linux")]
struct OneProcessor(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl OneProcessor {
    fn new() -> Self {
        let name = format!("seedsweep-test-{}", std::process::id());
        let write = |path: std::path::PathBuf, text: &str| {
            fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        };
        // Groups of the first version where there are such, else of the second.
        let first = Path::new("/sys/fs/cgroup/cpu");
        let second = Path::new("/sys/fs/cgroup");
        let is_first = first.join("cgroup.procs").exists();
        let group = Self(if is_first { first.join(&name) } else { second.join(&name) });
        let made = fs::create_dir(&group.0);
        made.unwrap_or_else(|error| panic!("no group can be made here, as root can: {error}"));
        if is_first {
            write(group.0.join("cpu.cfs_period_us"), "100000");
            write(group.0.join("cpu.cfs_quota_us"), "100000");
        } else {
            write(second.join("cgroup.subtree_control"), "+cpu");
            write(group.0.join("cpu.max"), "100000 100000");
        }
        group
    }
}

#[cfg(target_os = "linux")]
impl Drop for OneProcessor {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
#[cfg(target_os = "linux")]
fn as_many_cohorts_train_at_once_as_the_control_group_has_processors() {
    let group = OneProcessor::new();
    let script = format!(
        "echo $$ > {}/cgroup.procs && exec {} devices --json",
        group.0.display(),
        env!("CARGO_BIN_EXE_agent")
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("sh runs");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(answer["devices"][0]["threads"], 1, "{answer}");
    assert_eq!(answer["labels"]["device"], "cpu");
}

#[test]
fn cards_are_refused_by_name_and_slots_go_with_no_other_number() {
    let dir = tempfile::tempdir().expect("a folder");
    let join = |words: &[&str]| {
        let output = run(&[&["join", "127.0.0.1:1"], words].concat(), dir.path());
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // No machine has a hundred.
    assert!(join(&["--device", "cuda:99,cuda:98"]).contains("cuda:99"));
    assert!(join(&["--device", "cuda:1,cuda:1"]).contains("named twice"));
    assert!(join(&["--device", "cuda"]).contains("several such as cuda:0,cuda:1"));
    let both = join(&["--slots-per-gpu", "2", "--threads", "2"]);
    assert!(both.contains("cannot be used with"), "{both}");
}

#[test]
fn one_trial_trains_by_hand_to_the_same_digest_twice() {
    let dir = tempfile::tempdir().expect("a folder");
    let rows: String = (0..40).map(|row| format!("{row},{},{}\n", row * 7 % 11, row % 2)).collect();
    fs::write(dir.path().join("rows.csv"), format!("a,b,class\n{rows}")).expect("written");
    let study = "[study]\nname = \"small\"\nmetric = \"accuracy\"\n\
                 controls = { constant = false }\n[data]\npath = \"rows.csv\"\ntarget = \"class\"\ntask = \"classification\"\n\
                 [split]\nouter = { folds = 2 }\n[seeds]\ncount = 2\n\
                 [arms.linear]\nmodel = \"linear\"\nepochs = 2\n";
    fs::create_dir(dir.path().join("deep")).expect("made");
    fs::write(dir.path().join("study.toml"), study).expect("written");
    let trial = r#"{"study": "../study.toml", "trial": 3}"#;
    fs::write(dir.path().join("deep/trial.json"), trial).expect("written");
    let train = || {
        let output = run(&["train", "deep/trial.json", "--json"], dir.path());
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_slice::<Value>(&output.stdout).expect("JSON")
    };
    let (first, second) = (train(), train());
    assert_eq!((&first["arm"], &first["fold"]), (&"linear".into(), &1.into()));
    assert!(first["metrics"]["accuracy"].is_f64());
    assert_eq!(first["digest"], second["digest"]);

    let beyond = r#"{"study": "../study.toml", "trial": 4}"#;
    fs::write(dir.path().join("deep/trial.json"), beyond).expect("written");
    let output = run(&["train", "deep/trial.json"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("the study has 4 trials"), "{}", stderr(&output));
}

#[test]
fn a_study_that_cannot_be_trained_is_refused_with_its_line() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("study.toml"), "[study]\nnamme = \"x\"\n").expect("written");
    let trial = r#"{"study": "study.toml", "trial": 0}"#;
    fs::write(dir.path().join("trial.json"), trial).expect("written");
    let output = run(&["train", "trial.json"], dir.path());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("study.toml:2:1: "), "{}", stderr(&output));
}

#[test]
fn joining_without_a_token_or_certificate_is_wrong_usage() {
    let dir = tempfile::tempdir().expect("a folder");
    let output = run(&["join", "127.0.0.1:1"], dir.path());
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--token-file"), "{}", stderr(&output));
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0, "no folder was made");
}

#[test]
fn an_address_or_token_that_is_none_is_wrong_usage_and_makes_no_folder() {
    let dir = tempfile::tempdir().expect("a folder");
    for (arguments, why) in [
        (["join", "http://127.0.0.1", "--token", &token()], "HOST:PORT"),
        (["join", "127.0.0.1:1", "--token", "SW2.a.b.c"], "begins with SW1."),
        (["join", "127.0.0.1:1", "--token", &token()[..30]], "begins with SW1."),
    ] {
        let output = run(&arguments, dir.path());
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(why), "{}", stderr(&output));
    }
    assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 0);
}

#[test]
fn the_line_that_the_coordinator_printed_serves_as_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let line = format!("agent join 127.0.0.1:1 --token {}\n", token());
    fs::write(dir.path().join("agent-join"), &line).expect("written");
    for given in [["--token-file", "agent-join"], ["--token", &line]] {
        let arguments = [&["join", "127.0.0.1:1", "--wait", "0s"][..], &given].concat();
        let output = run(&arguments, dir.path());
        assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    }
}

#[test]
fn no_coordinator_is_status_3_and_no_log_has_the_token() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = token();
    let arguments = ["join", "127.0.0.1:1", "--wait", "0s", "--log", "trace"];
    let output =
        agent(&arguments, dir.path()).env("SEEDSWEEP_TOKEN", &token).output().expect("runs");
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("no coordinator reached"), "{said}");
    let secret = token.rsplit('.').next().expect("four parts");
    assert!(!said.contains(secret));
}

#[test]
fn why_it_fails_is_a_json_object_whatever_the_filter() {
    let dir = tempfile::tempdir().expect("a folder");
    let token = token();
    let join = ["join", "127.0.0.1:1", "--wait", "0s", "--token", &token, "--log-format", "json"];
    let last = |filter: &str, by_variable: bool, status: i32| -> Value {
        let mut command = match by_variable {
            true => agent(&join, dir.path()),
            false => agent(&[&join[..], &["--log", filter]].concat(), dir.path()),
        };
        if by_variable {
            command.env("RUST_LOG", filter);
        }
        let output = command.output().expect("runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(status), "{filter}: {said}");
        let object = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{filter}: {error}: {said}"))
        };
        said.lines().map(object).next_back().unwrap_or_else(|| panic!("{filter}: nothing said"))
    };
    for filter in ["info", "link=debug", "agent=off", "off", ""] {
        for by_variable in [false, true] {
            let last = last(filter, by_variable, 3);
            assert_eq!(last["level"], "ERROR", "{filter}: {last}");
            let why = last["message"].as_str().unwrap_or_default();
            assert!(why.contains("no coordinator reached"), "{filter}: {last}");
        }
    }
    for by_variable in [false, true] {
        let last = last("a=b=c", by_variable, 2);
        let why = last["message"].as_str().unwrap_or_default();
        assert!(last["level"] == "ERROR" && why.contains("--log"), "{last}");
    }
}

#[test]
fn two_agents_of_one_machine_take_two_folders_and_a_named_one_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("token"), token()).expect("written");
    let join = |more: &[&str]| {
        let arguments = [&["join", "127.0.0.1:1", "--token-file", "token"], more].concat();
        agent(&arguments, dir.path()).stderr(Stdio::piped()).spawn().expect("runs")
    };
    let (first, second) = (join(&[]), join(&[]));
    let folders = dir.path().join(".local/share/seedsweep");
    let both = ["agent-127.0.0.1-1", "agent-127.0.0.1-1-2"];
    wait_until(|| both.iter().all(|name| folders.join(name).join("spool.log").exists()));
    let named = folders.join(both[0]);
    let refused = join(&["--folder", &named.to_string_lossy()]).wait_with_output().expect("ends");
    assert_eq!(refused.status.code(), Some(1));
    assert!(stderr(&refused).contains("another agent uses"), "{}", stderr(&refused));
    for child in [first, second] {
        interrupt(&child, "-INT");
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
}

#[test]
fn sigterm_leaves_cleanly() {
    let dir = tempfile::tempdir().expect("a folder");
    for (folder, more, status) in [("kept", &[][..], 0), ("other", &["--left-status", "143"], 143)]
    {
        let arguments = ["join", "127.0.0.1:1", "--token", &token(), "--folder", folder];
        let arguments = [&arguments, more].concat();
        let child = agent(&arguments, dir.path()).stderr(Stdio::piped()).spawn().expect("runs");
        wait_until(|| dir.path().join(folder).join("spool.log").exists());
        interrupt(&child, "-TERM");
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(status), "{}", stderr(&output));
        assert!(stderr(&output).contains("leaving"), "{}", stderr(&output));
    }
}

fn interrupt(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(sent.expect("kill is there").success());
}

fn wait_until(what: impl Fn() -> bool) {
    let began = Instant::now();
    while !what() {
        assert!(began.elapsed() < Duration::from_secs(20), "in time");
        std::thread::sleep(Duration::from_millis(10));
    }
}
