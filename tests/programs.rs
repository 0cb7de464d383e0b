//! Studies that run programs, from the study file to the report: the examples that users are shown,
//! on one machine and on agents.
//!
//! Floor: wiring.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use common::study::Format;
use common::table::{Table, Values};

use crate::cluster::{Asked, Cluster};
use crate::process::{Program, Site, eventually};

#[test]
fn the_shell_example_runs_to_its_report_only_where_it_is_allowed() {
    let site = example("shell");
    let refused = site.run(Program::Coordinator, &["run", "study.toml", "--out", "out"]).failed(1);
    assert!(refused.contains("--allow-programs") && refused.contains("nearest"), "{refused}");
    assert!(!site.path("out").exists(), "nothing was begun");

    let run = ["run", "study.toml", "--out", "out", "--allow-programs", "--json"];
    let answer = site.run(Program::Coordinator, &run).done().json();
    // Three columns, five folds twice; and the constant in each fold.
    assert_eq!((&answer["complete"], &answer["failed"]), (&40.into(), &0.into()), "{answer}");
    let trials = trials(&site);
    let accuracy = numbers(&trials, "accuracy");
    let arm = &trials.columns[trials.find("arm").expect("a column")];
    let own = |row: &usize| arm.text(*row).as_deref() == Some("nearest");
    let own: Vec<f64> = (0..trials.rows).filter(own).map(|row| accuracy[row]).collect();
    assert_eq!(own.len(), 30);
    // The first column tells the label, the others do not.
    assert!(own.iter().copied().fold(0.0, f64::max) > 0.8, "{own:?}");
    let report = fs::read_to_string(site.path("out/report.html")).expect("readable");
    assert!(report.contains("nearest"));
    let again = site.run(Program::Coordinator, &run).done().json();
    assert_eq!(again["trained"], 0);
    let left = fs::read_dir(site.path("out/.seedsweep/agent/programs/work")).expect("there");
    assert_eq!(left.count(), 0, "no folder of an attempt stays");
}

#[test]
fn a_permuted_control_is_given_a_table_whose_training_rows_have_each_others_labels() {
    let site = Site::new();
    // The label is the column: whoever may read it scores 1, and with shuffled labels cannot.
    let rows: String = (0..60).map(|n| format!("{n},{}\n", n % 2)).collect();
    site.write("rows.csv", &format!("x,y\n{rows}"));
    let script = "data=$(sed -n 's/.*\"data\": \"\\(.*\\)\",*/\\1/p' \"$SEEDSWEEP_TRIAL\")\n\
                  [ \"$data\" = \"$1\" ] || exit 78\n\
                  agree() { awk -F, -v rows=\"$1\" 'BEGIN { while ((getline r < rows) > 0) want[r] = 1 } \
                  NR > 1 && (NR - 2) in want { n++; same += ($1 % 2 == $2) } END { print same / n }' \"$data\"; }\n\
                  folder=${SEEDSWEEP_TRIAL%/*}\n\
                  [ \"$(agree \"$folder/test-rows.txt\")\" = 1 ] || exit 78\n\
                  echo \"::metric auroc=$(agree \"$folder/train-rows.txt\")\"\n";
    site.write("train.sh", script);
    let study = "[study]\nname = \"own\"\nmetric = \"auroc\"\n\
                 controls = { constant = false, permuted = 2 }\n\
                 [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
                 [split]\nouter = { folds = 3 }\n[seeds]\ncount = 2\n\
                 [arms.own]\ncommand = [\"sh\", \"train.sh\", \"{data}\"]\nfiles = [\"train.sh\"]\n\
                 time_limit_s = 60\n";
    site.write("study.toml", study);

    let run = ["run", "study.toml", "--out", "out", "--allow-programs", "--json"];
    let answer = site.run(Program::Coordinator, &run).done().json();

    assert_eq!((&answer["complete"], &answer["failed"]), (&12.into(), &0.into()), "{answer}");
    let trials = trials(&site);
    let auroc = numbers(&trials, "auroc");
    let arm = &trials.columns[trials.find("arm").expect("a column")];
    let of = |name: &str| -> Vec<f64> {
        let own = (0..trials.rows).filter(|row| arm.text(*row).as_deref() == Some(name));
        own.map(|row| auroc[row]).collect()
    };
    assert_eq!(of("own"), [1.0; 6]);
    let permuted = of("own.permuted");
    assert_eq!(permuted.len(), 6);
    assert!(permuted.iter().all(|share| (0.2..0.8).contains(share)), "{permuted:?}");
}

#[test]
fn the_scikit_learn_example_runs_with_the_real_package() {
    let site = example("sklearn");
    let path = format!("{}:{}", sklearn().display(), std::env::var("PATH").unwrap_or_default());
    let run = ["run", "study.toml", "--out", "out", "--allow-programs", "--json"];
    let answer = site.run_with(Program::Coordinator, &run, &[("PATH", &path)]).done().json();
    // Two forests and a model in three seeds and five folds; the constant in each fold.
    assert_eq!((&answer["complete"], &answer["failed"]), (&50.into(), &0.into()), "{answer}");
    let trials = trials(&site);
    let auroc = numbers(&trials, "auroc");
    let arm = &trials.columns[trials.find("arm").expect("a column")];
    let mean = |name: &str| {
        let of = (0..trials.rows).filter(|row| arm.text(*row).as_deref() == Some(name));
        let values: Vec<f64> = of.map(|row| auroc[row]).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    assert!(
        mean("forest") > 0.85 && mean("logistic") > 0.85,
        "{} {}",
        mean("forest"),
        mean("logistic")
    );
    // A seed that is passed on decides: trained again a forest gives the same.
    let text = fs::read_to_string(site.path("out/report.json")).expect("readable");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(report["design"]["failed"], 0);
}

#[test]
fn an_agent_without_the_flag_is_given_no_program_and_what_one_wrote_can_be_read() {
    let cluster = Cluster::start();
    let script = "for n in 1 2 3; do echo \"{\\\"step\\\": $n, \\\"auroc\\\": 0.$n}\" >> \"$SEEDSWEEP_OUT\"; \
                  sleep 0.2; done\necho \"done with fold $1\"\n\
                  while [ $1 = 0 ] && [ ! -e \"$2\" ]; do sleep 0.1; done\n";
    let go = cluster.site.path("go");
    let study = own(&cluster.site, script, &format!("\"{{fold}}\", \"{}\"", go.display()));
    let plain = cluster.agent("plain");
    let id = cluster.submit(&study);
    let explained = eventually("the reason", || {
        let text = cluster.run(&["explain", &format!("{id}:0")]).done().stdout;
        text.contains("no agent allows programs").then_some(text)
    });
    assert!(explained.contains("--allow-programs"), "{explained}");
    let said = cluster.run(&["logs", &format!("{id}:0")]).failed(1);
    assert!(said.contains("no agent that runs programs is connected"), "{said}");
    assert_eq!(cluster.status(&id).leased, 0);

    let able = cluster.agent_with("able", &["--allow-programs"]);
    able.says("programs of studies run here");
    let log = eventually("what the first trial wrote", || {
        let answer = cluster.run(&["logs", &format!("{id}:0"), "--json"]);
        let answer = answer.status.success().then(|| answer.json())?;
        answer["log"].as_str().is_some_and(|log| log.contains("done")).then_some(answer)
    });
    assert_eq!((&log["state"], &log["said"]), (&"running".into(), &"step=3 auroc=0.3".into()));
    eventually("how far it is", || {
        let text = cluster.run(&["explain", &format!("{id}:0")]).done().stdout;
        text.contains("its program said last: step=3 auroc=0.3").then_some(())
    });
    fs::write(&go, "").expect("written");
    let status = cluster.finish(&id);
    status.is_whole();
    let log = cluster.run(&["logs", &format!("{id}:1")]).done();
    assert!(log.stdout.contains("done with fold 1") && log.stderr.contains("complete"), "{log}");
    drop(plain);
}

#[test]
fn a_program_that_asks_for_another_agent_is_given_one_and_a_bad_config_is_given_up() {
    let cluster = Cluster::start();
    let _one = cluster.agent_with("one", &["--allow-programs"]);
    let _two = cluster.agent_with("two", &["--allow-programs"]);
    let script = "[ $1 = 1 ] && exit 78\ncase $PWD in */one/*) exit 75;; esac\n\
                  echo '::metric auroc=0.5'\n";
    let study = own(&cluster.site, script, "\"{fold}\"");
    let id = cluster.submit(&study);
    let status = cluster.finish(&id);
    // Fold 1 of each seed fails at once, fold 0 wherever the second agent is.
    assert_eq!((status.complete, status.failed), (4, 4), "{status:?}");
    let failures = cluster.ask(&["status", &id])["studies"][0]["failures"].clone();
    assert!(failures.to_string().contains("bad config"), "{failures}");
    let explained = cluster.run(&["explain", &format!("{id}:1")]).done().stdout;
    assert!(explained.contains("exit status 78"), "{explained}");
}

#[test]
fn programs_that_are_ended_together_with_their_agent_have_not_failed() {
    let cluster = Cluster::start();
    let mut agent = cluster.agent_with("job", &["--allow-programs", "--grace", "20s"]);
    let running = cluster.site.path("running");
    let script = "echo $$ > \"$1\"; exec sleep 300\n";
    let study = own(&cluster.site, script, &format!("\"{}\"", running.display()));
    let id = cluster.submit(&study);
    let pid = eventually("a program", || {
        let text = fs::read_to_string(&running).ok()?;
        text.ends_with('\n').then(|| text.trim().to_string())
    });
    // A manager of machines signals to all processes of a job, in whatever order.
    let killed = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.is_ok_and(|status| status.success()));
    thread::sleep(Duration::from_millis(200));
    let told = Instant::now();
    agent.signal("TERM");
    assert!(agent.ends().success());
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let failures = cluster.ask(&["status", &id])["studies"][0]["failures"].clone();
    assert_eq!(failures, serde_json::json!({ "preempted": 1 }), "{}", agent.stderr());
}

/// A study of eight trials, four seeds in two folds, that runs `train.sh`.
fn own(site: &Site, script: &str, arguments: &str) -> PathBuf {
    let rows: String = (0..12).map(|n| format!("{n},{}\n", n % 2)).collect();
    site.write("rows.csv", &format!("x,y\n{rows}"));
    site.write("train.sh", script);
    let study = format!(
        "[study]\nname = \"own\"\nmetric = \"auroc\"\ncontrols = {{ constant = false }}\n\
         [data]\npath = \"rows.csv\"\ntarget = \"y\"\ntask = \"classification\"\n\
         [split]\nouter = {{ folds = 2 }}\n[seeds]\ncount = 4\n\
         [arms.own]\ncommand = [\"sh\", \"train.sh\", {arguments}]\nfiles = [\"train.sh\"]\n\
         time_limit_s = 60\n"
    );
    site.write("study.toml", &study)
}

/// An example of those in `deploy/examples`, with rows of which the first column tells the label.
fn example(name: &str) -> Site {
    let site = Site::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    for entry in fs::read_dir(folder.join("deploy/examples").join(name)).expect("an example") {
        let entry = entry.expect("readable");
        let text = fs::read_to_string(entry.path()).expect("text");
        site.write(entry.file_name().to_str().expect("text"), &text);
    }
    let row = |n: u32| {
        let (sick, noise) = (n % 2 == 1, f64::from(n * 37 % 101) / 100.0);
        let first = f64::from(u32::from(sick)) + noise;
        let label = if sick { "sick" } else { "well" };
        format!("{first:.3},{},{},{label}\n", n * 17 % 29, n * 7 % 13)
    };
    let rows: String = (0..120).map(row).collect();
    site.write("rows.csv", &format!("a,b,c,label\n{rows}"));
    site
}

fn trials(site: &Site) -> Table {
    let bytes = fs::read(site.path("out/trials.parquet")).expect("readable");
    Table::read(Format::Parquet, &bytes).expect("a table")
}

fn numbers(table: &Table, name: &str) -> Vec<f64> {
    match &table.columns[table.find(name).expect("a column")].values {
        Values::Numbers(numbers) => numbers.clone(),
        Values::Text(_) => panic!("{name} is text"),
    }
}

/// The folder of a Python that has scikit-learn; it is installed where it is missing, once.
fn sklearn() -> PathBuf {
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("program-venv");
    let python = venv.join("bin/python3");
    let has = |python: &Path| {
        let mut command = Command::new(python);
        command.args(["-c", "import sklearn"]).output().is_ok_and(|ran| ran.status.success())
    };
    if !has(&python) {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&venv).status();
        assert!(made.is_ok_and(|status| status.success()), "python3 with venv is needed");
        let install = ["-m", "pip", "install", "--quiet", "scikit-learn"];
        let installed = Command::new(&python).args(install).status();
        assert!(installed.is_ok_and(|status| status.success()), "scikit-learn is needed");
        assert!(has(&python), "scikit-learn cannot be imported");
    }
    venv.join("bin")
}
