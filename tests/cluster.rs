//! A coordinator with agents, as processes on loopback, and a small study for them.
//!
//! Floor: wiring.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::study::Format;
use common::table::Table;
use serde_json::Value;

use crate::process::{Answer, Program, Running, Site, eventually};

/// A coordinator process on a free port, and the folder of all that belongs to it.
pub struct Cluster {
    // Before the site, whose folder goes last.
    pub coordinator: Running,
    pub site: Site,
    pub address: String,
    /// For agents.
    pub token: String,
    lease: &'static str,
}

/// One study's line of `status --json`.
#[derive(Clone, Debug)]
pub struct Status {
    pub state: String,
    pub planned: u64,
    pub complete: u64,
    pub failed: u64,
    pub waiting: u64,
    pub leased: u64,
    pub differing: u64,
}

impl Cluster {
    pub fn start() -> Self {
        Self::start_at(Site::new(), "15s")
    }

    /// `lease`: how long an agent may be silent.
    pub fn start_at(site: Site, lease: &'static str) -> Self {
        let coordinator = start(&site, "127.0.0.1:0", lease);
        let told = told(&coordinator);
        let text = |key: &str| told[key].as_str().expect("text").to_string();
        Self { address: text("address"), token: text("token"), coordinator, site, lease }
    }

    /// Ends the coordinator with SIGKILL, unless it has ended already.
    pub fn kill(self) -> Dead {
        let Self { site, address, token, coordinator, lease } = self;
        drop(coordinator);
        Dead { site, address, token, lease }
    }

    /// An agent of one thread, in the folder `name`, which has joined.
    pub fn agent(&self, name: &str) -> Running {
        self.agent_with(name, &[])
    }

    pub fn agent_with(&self, name: &str, further: &[&str]) -> Running {
        let agent = start_agent(&self.site, &self.address, &self.token, name, further);
        agent.says("joined as");
        agent
    }
}

/// A coordinator that can be asked by the command line.
pub trait Asked {
    /// Runs `coordinator …` as this one's operator.
    fn run(&self, arguments: &[&str]) -> Answer;

    /// The JSON answer of a command that has to succeed.
    fn ask(&self, arguments: &[&str]) -> Value {
        let mut all = arguments.to_vec();
        all.push("--json");
        self.run(&all).done().json()
    }

    /// Submits a study file; its id.
    fn submit(&self, study: &Path) -> String {
        let answer = self.ask(&["submit", study.to_str().expect("text")]);
        answer["study"].as_str().expect("an id").to_string()
    }

    fn status(&self, study: &str) -> Status {
        Status::read(&self.ask(&["status", study])["studies"][0])
    }

    /// Waits until at least `complete` trials are, and asserts that the study still goes on.
    fn reach(&self, study: &str, complete: u64) -> Status {
        let reached = eventually(&format!("{complete} complete trials"), || {
            Some(self.status(study)).filter(|status| status.complete >= complete)
        });
        assert!(reached.waiting > 0, "the study is too short to be met in its middle: {reached:?}");
        reached
    }

    /// Waits until the study has ended.
    fn finish(&self, study: &str) -> Status {
        eventually("the end of the study", || {
            Some(self.status(study)).filter(|status| status.state == "finished")
        })
    }

    /// The outcomes so far: trial → outcome's digest.
    fn outcomes(&self, study: &str) -> BTreeMap<String, String> {
        outcomes(&self.export(study))
    }

    fn export(&self, study: &str) -> Table {
        let csv = self.run(&["export", study, "--csv", "-"]).done().stdout;
        Table::read(Format::Csv, csv.as_bytes()).expect("a table")
    }
}

impl Asked for Cluster {
    fn run(&self, arguments: &[&str]) -> Answer {
        self.site.run_with(Program::Coordinator, arguments, &[("SEEDSWEEP_DATA", DATA)])
    }
}

/// A cluster without a running coordinator.
pub struct Dead {
    pub site: Site,
    pub address: String,
    pub token: String,
    lease: &'static str,
}

impl Dead {
    /// Starts a coordinator on the same folder and port.
    pub fn start_again(self) -> Cluster {
        let Self { site, address, token, lease } = self;
        let coordinator = start(&site, &address, lease);
        let again = told(&coordinator);
        assert_eq!(again["address"], address.as_str());
        assert_eq!(again["token"], token.as_str(), "the token of the first start is still good");
        Cluster { site, address, token, coordinator, lease }
    }
}

impl Status {
    /// Of a study in `status --json`.
    pub fn read(study: &Value) -> Self {
        let number = |key: &str| study[key].as_u64().unwrap_or_else(|| panic!("{key} in {study}"));
        Self {
            state: study["state"].as_str().expect("a state").to_string(),
            planned: number("planned"),
            complete: number("complete"),
            failed: number("failed"),
            waiting: number("waiting"),
            leased: number("leased"),
            differing: number("differing"),
        }
    }

    /// Asserts that every trial has its one outcome.
    pub fn is_whole(&self) {
        let counts = (self.complete, self.failed, self.waiting, self.leased, self.differing);
        assert_eq!(counts, (self.planned, 0, 0, 0, 0), "{self:?}");
    }
}

/// An agent that may not have joined yet; its token travels as a variable, as in a container.
pub fn start_agent(
    site: &Site,
    address: &str,
    token: &str,
    name: &str,
    further: &[&str],
) -> Running {
    start_agent_in(site, None, &[address], token, name, further)
}

/// As [`start_agent`], given several addresses and perhaps in a network namespace.
pub fn start_agent_in(
    site: &Site,
    netns: Option<&str>,
    addresses: &[&str],
    token: &str,
    name: &str,
    further: &[&str],
) -> Running {
    let mut arguments = vec!["join"];
    arguments.extend(addresses);
    arguments.extend(["--folder", name, "--name", name, "--threads", "1", "--lanes", LANES]);
    arguments.extend(further);
    site.spawn_in(netns, Program::Agent, &arguments, &[("SEEDSWEEP_TOKEN", token)])
}

/// Writes `rows.csv` and a study of 20 × `seeds` trials, `epochs` long each.
pub fn write_study(site: &Site, name: &str, seeds: u32, epochs: u32) -> PathBuf {
    site.write("rows.csv", &rows());
    let study = format!(
        "[study]\nname = \"{name}\"\nmetric = \"auroc\"\nalso = [\"accuracy\"]\n\
         controls = {{ constant = false }}\n\n\
         [data]\npath = \"rows.csv\"\ntarget = \"label\"\ntask = \"classification\"\n\n\
         [split]\nouter = {{ folds = 5, stratify = true }}\n\n\
         [seeds]\ncount = {seeds}\n\n\
         [arms.mlp]\nmodel = \"mlp\"\nhidden = [16]\nepochs = {epochs}\nbatch = 16\n\
         space = {{ lr = {{ log = [0.001, 0.1], points = 3 }} }}\n\n\
         [arms.linear]\nmodel = \"linear\"\nepochs = {epochs}\nbatch = 16\nlr = 0.01\n"
    );
    site.write(&format!("{name}.toml"), &study)
}

/// Trial → digest of its outcome, of an exported table.
pub fn outcomes(table: &Table) -> BTreeMap<String, String> {
    let column = |name: &str| &table.columns[table.find(name).expect("a column")];
    let (trial, digest) = (column("trial"), column("digest"));
    let row = |row| Some((trial.text(row)?, digest.text(row).expect("an outcome")));
    (0..table.rows).map(|at| row(at).expect("a trial")).collect()
}

/// What `report.json` says but for the looks at the study, of which each report is another one.
pub fn without_looks(report: &str) -> Value {
    let mut report: Value = serde_json::from_str(report).expect("JSON");
    let ledger = report.as_object_mut().expect("an object").remove("ledger");
    assert!(ledger.is_some(), "looks are counted");
    forget_looks(&mut report);
    report
}

fn forget_looks(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(forget_looks),
        Value::Object(object) => {
            if let Some(basis) = object.get_mut("verdict_basis") {
                let text = basis.as_str().expect("text");
                let (said, seeds) = text.split_once(" Seed use: ").expect("both");
                let (rest, looks) = said.rsplit_once(". ").expect("two sentences");
                assert!(looks.contains("at the test folds"), "{text}");
                *basis = format!("{rest}. {seeds}").into();
            }
            object.values_mut().for_each(forget_looks);
        }
        _ => {}
    }
}

/// 240 rows of eight numbers and a label that three of them tell in part.
fn rows() -> String {
    let mut state = 1u64;
    let mut draw = || {
        // Knuth's MMIX generator; its high bits are good enough for made-up rows.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / f64::from(1 << 24) - 0.5
    };
    let mut text = "a,b,c,d,e,f,g,h,label\n".to_string();
    for _ in 0..240 {
        let cells: Vec<f64> = (0..8).map(|_| draw()).collect();
        let sick = cells[0] + 0.5 * cells[1] - 0.7 * cells[2] + draw() > 0.0;
        cells.iter().for_each(|cell| text.push_str(&format!("{cell:.4},")));
        text.push_str(if sick { "sick\n" } else { "well\n" });
    }
    text
}

fn start(site: &Site, listen: &str, lease: &str) -> Running {
    let arguments = ["start", "--data", DATA, "--listen", listen, "--lease", lease, "--json"];
    site.spawn(Program::Coordinator, &arguments, &[])
}

/// What `start --json` tells once it listens.
pub fn told(coordinator: &Running) -> Value {
    eventually("the coordinator's start", || serde_json::from_str(&coordinator.stdout()).ok())
}

/// The coordinator's folder, in its site.
pub const DATA: &str = "coordinator";

/// Few, so that many cohorts make a study and a kill meets it between two.
const LANES: &str = "4";
