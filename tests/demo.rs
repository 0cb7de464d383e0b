//! `coordinator demo`: the first thing that anybody runs.
//!
//! Floor: wiring.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::study::Format;
use common::table::Table;
use serde_json::Value;

use crate::cluster::without_looks;
use crate::process::{Program, Site};

#[test]
fn the_demonstration_ends_in_a_report_that_makes_sense() {
    let site = Site::new();
    let began = Instant::now();
    let answer = site.run(Program::Coordinator, &["demo", "--out", "wdbc"]).done();
    assert!(began.elapsed() < PROMISED, "{:?}", began.elapsed());
    for name in FILES {
        let path = PathBuf::from("wdbc").join(name);
        assert!(site.path("wdbc").join(name).is_file(), "{name}");
        assert!(answer.stdout.contains(path.to_str().expect("text")), "{name}: {answer}");
    }

    let report = report(&site);
    for key in KEYS {
        assert!(!report[key].is_null(), "report.json lacks {key}");
    }
    assert_eq!(report["schema"], "seedsweep.report/1");
    let design = &report["design"];
    assert!(design["complete"].as_u64() >= Some(1_000), "{design}");
    assert_eq!(design["complete"], design["planned"]);
    assert_eq!(design["failed"], 0);
    assert_eq!((&design["partitions"], &design["outer_folds"]), (&2.into(), &5.into()));
    let arms = report["arms"].as_array().expect("a list");
    let names: Vec<&Value> = arms.iter().map(|arm| &arm["arm"]).collect();
    assert_eq!(names, ["mlp", "logistic"]);
    for arm in arms {
        let mean = arm["mean"].as_f64().expect("a mean");
        assert!((0.98..1.0).contains(&mean), "{}: {mean}", arm["arm"]);
        let interval = |edge: &str| arm["ci_t2"][edge].as_f64().expect("an interval");
        assert!(interval("low") < mean && mean < interval("high"), "{arm}");
    }
    shares_are_whole(&report);

    let bytes = fs::read(site.path("wdbc/trials.parquet")).expect("readable");
    let trials = Table::read(Format::Parquet, &bytes).expect("a table");
    assert_eq!(Some(trials.rows as u64), design["complete"].as_u64());
    let page = fs::read_to_string(site.path("wdbc/report.html")).expect("readable");
    assert!(page.contains("<svg"));
    for other in ["src=", "<link", "@import", "url("] {
        assert!(!page.contains(other), "the page is one file, without {other}");
    }
}

#[test]
fn a_second_run_trains_nothing_and_writes_the_same_report() {
    let site = Site::new();
    let demo = ["demo", "--out", "here", "--json"];
    let first = site.run(Program::Coordinator, &demo).done().json();
    assert_eq!(first["trained"], first["complete"]);
    let text = |name| fs::read_to_string(site.path("here").join(name)).expect("readable");
    let files = |looks: &str| {
        let pages = ["report.html", "report.md"].map(|name| page_without_looks(&text(name), looks));
        let trials = fs::read(site.path("here/trials.parquet")).expect("readable");
        (pages, without_looks(&text("report.json")), trials)
    };
    let before = files("First look at the test folds.");
    let again = site.run(Program::Coordinator, &demo).done().json();
    assert_eq!((&again["trained"], &again["complete"]), (&0.into(), &first["complete"]));
    assert_eq!(again["study"], first["study"]);
    let after = files("1 look at the test folds before this one.");
    assert!(before == after, "but for the looks the report is a function of the outcomes");
    let looks = &serde_json::from_str::<Value>(&text("report.json")).expect("JSON")["ledger"];
    let said = ["looks", "this"].map(|key| looks[key].as_u64());
    assert_eq!(said, [2, 2].map(Some), "{looks}");
    assert_eq!((&looks["first"]["purpose"], &looks["last"]["look"]), (&"run".into(), &2.into()));
}

#[test]
fn write_only_writes_and_runs_nothing() {
    let site = Site::new();
    let demo = ["demo", "--write-only", "--out", "here", "--json"];
    let answer = site.run(Program::Coordinator, &demo).done().json();
    let mut there: Vec<String> = fs::read_dir(site.path("here"))
        .expect("made")
        .map(|entry| entry.expect("readable").file_name().into_string().expect("text"))
        .collect();
    there.sort();
    assert_eq!(there, ["SOURCE.md", "breast-cancer.csv", "study.toml"]);
    assert_eq!(answer["files"].as_array().map(Vec::len), Some(3));
    let check =
        site.run(Program::Coordinator, &["check", "here/study.toml", "--json"]).done().json();
    assert_eq!((&check["valid"], &check["rows"]), (&true.into(), &569.into()));
    assert!(check["trials"].as_u64() >= Some(1_000));
}

/// Fewer seeds and epochs than the demonstration has: what was changed by hand is used as it is.
#[test]
fn the_seed_lottery_ends_in_a_table_of_both_designs() {
    let site = Site::new();
    let written = site
        .run(Program::Coordinator, &["demo", "phantom", "--write-only", "--json"])
        .done()
        .json();
    assert_eq!(written["files"].as_array().map(Vec::len), Some(3));
    for name in ["holdout", "folds"] {
        let path = site.path("phantom").join(format!("{name}.toml"));
        let text = fs::read_to_string(&path).expect("readable");
        let small = text.replace("count = 50", "count = 3").replace("epochs = 20", "epochs = 1");
        assert_ne!(small, text);
        fs::write(path, small).expect("written");
    }
    let answer = site.run(Program::Coordinator, &["demo", "phantom", "--json"]).done().json();
    assert_eq!(answer["schema"], "seedsweep.lottery/1");
    let rows = answer["lottery"].as_array().expect("a list");
    let told: Vec<[Option<u64>; 2]> =
        rows.iter().map(|row| ["seeds", "rows"].map(|key| row[key].as_u64())).collect();
    assert_eq!(told, [[Some(3), Some(27)], [Some(3), Some(108)]]);
    assert_eq!([&rows[0]["played_on"], &rows[1]["played_on"]], ["hold-out", "cross-validation"]);
    for row in rows {
        let number = |key: &str| row[key].as_f64().expect("a number");
        assert!(number("worst") < number("best") && number("sd") > 0.0, "{row}");
        assert!((0.0..=1.0).contains(&number("beats_share_t")), "{row}");
    }
    let table = fs::read_to_string(site.path("phantom/lottery.md")).expect("readable");
    assert!(table.contains("phantom-holdout") && table.contains("cross-validation"), "{table}");
    for name in ["holdout/report.html", "folds/report.html"] {
        assert!(site.path("phantom").join(name).is_file(), "{name}");
    }
}

/// A page without the section on looks, and without what the verdicts say of them.
fn page_without_looks(page: &str, looks: &str) -> String {
    assert!(page.contains(looks), "{looks}");
    let page = page.replace(looks, "");
    let (before, section) =
        page.split_once("How often were the test folds looked at?").expect("a section");
    let (_, after) = section.split_once("Methods").expect("a section behind it");
    format!("{before}{after}")
}

/// The shares of each model's components are parts of one whole.
fn shares_are_whole(report: &Value) {
    let components = report["components"].as_array().expect("a list");
    for arm in ["mlp", "logistic"] {
        let own = components.iter().filter(|component| component["arm"] == arm);
        let (mut whole, mut factors) = (0.0, Vec::new());
        for component in own {
            whole += component["share"].as_f64().expect("a share");
            factors.push(component["factor"].as_str().expect("a name"));
        }
        assert!((whole - 1.0_f64).abs() < 1e-9, "{arm}: {whole} over {factors:?}");
        assert!(factors.contains(&"seed") && factors.len() >= 3, "{arm}: {factors:?}");
    }
}

fn report(site: &Site) -> Value {
    let text = fs::read_to_string(site.path("wdbc/report.json")).expect("readable");
    serde_json::from_str(&text).expect("JSON")
}

/// What the demonstration promises of two processors.
const PROMISED: Duration = Duration::from_secs(60);

const FILES: [&str; 6] =
    ["report.html", "report.json", "report.md", "report.tex", "trials.parquet", "environment.json"];

const KEYS: [&str; 12] = [
    "schema",
    "study",
    "design",
    "arms",
    "components",
    "comparisons",
    "seed_use",
    "ledger",
    "cost",
    "verdict",
    "methods",
    "reproduce",
];
