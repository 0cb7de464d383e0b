//! One value of everything that crosses a socket or a disk: the golden bytes' meaning, and what the
//! fuzz targets begin from.
//!
//! Every enum is listed by a `match` without a wildcard, so that a new variant does not build until
//! it has a value here. Numbers are chosen so that fields of one type differ.
//!
//! Floor: wiring.

mod agents;
mod log;
mod operators;
mod peers;

use std::fmt::Debug;
use std::num::NonZeroU64;

use common::curve::{Quantity, Trace};
use common::id::{Digest, LeaseId, ReplicaId, StudyId, TrialIndex};
use common::label::Requires;
use common::plan::Method;
use common::space::{Axis, Condition, Config, Constraint, Form, Space, Value};
use common::study::{
    Arm, ArmConfig, Budget, Data, Halving, Hyper, Inner, Learned, Model, Outer, OuterKind, Program,
    ProgramFile, Race, Select, Stop, StopWorth, Study, check,
};
use common::trial::{Attempt, Ending, FailReason, Outcome, Report};
use common::wire::codec;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use agents::{connection, from_agent, to_agent};
pub use log::{disk, entries, spool, state, states};
pub use operators::{answers, asks, responses};
pub use peers::{parts, peer_messages, raft_messages};

/// One value and its bytes.
pub struct Sample {
    /// Such as `FromAgent.Offer`.
    pub name: String,
    pub bytes: Vec<u8>,
    /// Whether these bytes read back as the value.
    pub is: IsValue,
}

pub type IsValue = Box<dyn Fn(&[u8]) -> bool>;

impl Sample {
    pub fn of<T>(name: impl Into<String>, value: T) -> Self
    where
        T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
    {
        let bytes = codec::encode(&value).expect("has an encoding");
        let is = move |bytes: &[u8]| codec::decode::<T>(bytes).is_ok_and(|back| back == value);
        Self { name: name.into(), bytes, is: Box::new(is) }
    }
}

/// Names the variants of an enum. Does not build when one is missing.
macro_rules! variants {
    ($function:ident, $of:ident: $($variant:ident)*) => {
        fn $function(value: &$of) -> &'static str {
            match value { $($of::$variant { .. } => stringify!($variant),)* }
        }

        #[allow(non_upper_case_globals)]
        mod $function {
            pub const ALL: &[&str] = &[$(stringify!($variant)),*];
        }
    };
}

pub(crate) use variants;

/// A sample of each value, named by its variant; every variant must be among them.
fn named<T>(
    of: &str,
    all: &[&str],
    name: impl Fn(&T) -> &'static str,
    values: Vec<T>,
) -> Vec<Sample>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug + 'static,
{
    for variant in all {
        let is_there = values.iter().any(|value| name(value) == *variant);
        assert!(is_there, "{of}::{variant} has no value");
    }
    let mut samples: Vec<Sample> = Vec::new();
    for value in values {
        let base = format!("{of}.{}", name(&value));
        let again = samples.iter().filter(|sample| sample.name.starts_with(&base)).count();
        let name = if again == 0 { base } else { format!("{base}.{}", again + 1) };
        samples.push(Sample::of(name, value));
    }
    samples
}

/// A small study with everything in it that a study can have, except controls.
pub fn study() -> Study {
    let study = controlled();
    Study { arms: study.judged().to_vec(), ..study }
}

/// The same with a constant and with permuted controls.
pub fn controlled() -> Study {
    let csv = rows();
    let text = STUDY.replace("[data]", "controls = { permuted = 2 }\n[data]");
    match check(&text, &mut |_| Ok(csv.clone().into_bytes())) {
        Ok(checked) => checked.study,
        Err(findings) => panic!("the sample study is valid: {findings}"),
    }
}

/// The first with configs that are chosen on inner folds, by two seeds for all.
pub fn nested() -> Study {
    let flat = study();
    let inner = Inner { kind: OuterKind::KFold, folds: 3, tune: Some(2), select: Select::OneSe };
    Study { outer: Outer { inner: Some(inner), ..flat.outer }, ..flat }
}

/// The first with limits and a rule that stops it.
pub fn limited() -> Study {
    let flat = study();
    let worth = StopWorth { point_value: 250.0, hour_price: 2.0 };
    let stop = Stop { rope: Some(0.01), worth: Some(worth), first: 4, ..Stop::default() };
    let budget = Budget { hours: Some(8.0), stop: Some(stop), ..flat.budget };
    Study { budget, ..flat }
}

/// The nested one with the first arm's rate searched for.
pub fn learned() -> Study {
    let mut study = nested();
    let arm = &mut study.arms[0];
    let on = Condition {
        axis: "momentum".to_string(),
        on: "optimizer".to_string(),
        values: vec![Value::Text("sgd".to_string())],
    };
    let least = Constraint { form: Form::Product, axes: vec!["lr".to_string()], most: 0.5 };
    let words = Axis::List(["sgd", "adam"].map(|word| Value::Text(word.to_string())).to_vec());
    let axes = [
        ("lr", Axis::LogRange { low: 0.001, high: 1.0 }),
        ("optimizer", words),
        ("momentum", Axis::LinearRange { low: 0.0, high: 0.9 }),
        ("epochs", Axis::Int { low: 2, high: 8, step: 3 }),
        ("dropout", Axis::Linear { low: 0.0, high: 0.5, points: 3 }),
        ("weight_decay", Axis::Log { low: 0.001, high: 0.1, points: 3 }),
    ];
    let axes = axes.map(|(name, axis)| (name.to_string(), axis)).to_vec();
    let space = Space { axes, conditions: vec![on], constraints: vec![least] };
    let fixed = arm.configs[0].hyper.clone();
    arm.learned = Some(Box::new(Learned::new(Method::Tpe, space, fixed)));
    study
}

/// The nested one with the first arm's configs halved: of four rungs of one.
pub fn halved() -> Study {
    let mut study = nested();
    let arm = &mut study.arms[0];
    let whole = arm.configs[0].clone();
    let hyper = Hyper { until: Some(3), ..whole.hyper.clone() };
    let rung = ArmConfig { point: whole.point.clone(), hyper };
    arm.configs = vec![rung.clone(), rung, whole.clone(), whole];
    arm.halving = Some(Halving { configs: 2, rungs: 2, factor: 2, at_once: false });
    study
}

/// The same, each config going on as soon as it may.
pub fn halved_at_once() -> Study {
    let mut study = halved();
    study.arms[0].halving = Some(Halving { configs: 2, rungs: 2, factor: 2, at_once: true });
    study
}

/// The nested one with the first arm's configs racing over its tuning seeds.
pub fn raced() -> Study {
    let mut study = nested();
    study.arms[0].race = Some(Race { first: 2, alpha: 0.05 });
    study
}

/// The first with labels that its first arm requires.
pub fn labelled() -> Study {
    let mut study = study();
    study.arms[0].requires = requires();
    study
}

pub fn requires() -> Requires {
    let mut requires = Requires::default();
    requires.insert("site".to_string(), ["east", "west"].map(String::from).into());
    requires
}

/// The first in order of a column.
pub fn ordered() -> Study {
    let flat = study();
    let kind = OuterKind::Ordered { share: Some(0.25) };
    let outer = Outer { kind, partitions: 1, folds: 1, stratify: false, inner: None };
    let data = Data { leave_out: Some("day".to_string()), ..flat.data };
    Study { outer, data, ..flat }
}

/// The same with an arm that runs a program.
pub fn programmed() -> Study {
    let program = Program {
        command: vec!["python".to_string(), "train.py".to_string(), "{lr}".to_string()],
        env: vec![("LEVEL".to_string(), "{depth}".to_string())],
        fixed: vec![("depth".to_string(), Value::Int(3))],
        files: vec![ProgramFile {
            path: "train.py".to_string(),
            bytes: b"print(1)\n\xff".to_vec(),
        }],
        time_limit_s: 600,
        memory_mib: 2_048,
    };
    let config = |(files, lr): (&[ProgramFile], f64)| ArmConfig {
        point: Config { values: vec![("lr".to_string(), Value::Float(lr))] },
        hyper: Hyper {
            program: Some(Program { files: files.to_vec(), ..program.clone() }),
            ..Hyper::none()
        },
    };
    let configs = [(program.files.as_slice(), 0.1), (&[], 0.25)].map(config).to_vec();
    let written = "command = [\"python\", \"train.py\", \"{lr}\"]".to_string();
    let arm = Arm {
        name: "own".to_string(),
        model: Model::Program,
        written,
        configs,
        learned: None,
        halving: None,
        race: None,
        requires: Default::default(),
    };
    Study { arms: vec![arm], ..study() }
}

/// The rows that [`STUDY`] names.
pub fn rows() -> String {
    let row = |n: u32| format!("{},{}.5,{},{},g{}\n", n, n * 7 % 13, n % 5, n % 2, n % 8);
    format!("id,x,z,y,g\n{}", (0..40).map(row).collect::<String>())
}

fn attempt(trial: u64) -> Attempt {
    let lease = LeaseId { term: 3, counter: 300 + trial };
    Attempt { study: StudyId(0x0102_0304_0506), trial: TrialIndex(trial), lease }
}

fn outcome() -> Outcome {
    Outcome {
        metrics: vec![0.75, -1.5, 1e300],
        rows: vec![0.5, -0.25],
        epochs: 60,
        duration_us: 1_234_567,
        device: "cpu".to_string(),
        curve: None,
    }
}

fn outcome_with_curve() -> Outcome {
    let mut trace = Trace::default();
    (1..=60).for_each(|at| trace.push(at, 1.0 / f64::from(at), Some(0.5)));
    Outcome { curve: trace.curve(Quantity::Loss).map(Box::new), ..outcome() }
}

fn endings() -> Vec<Ending> {
    let failed = |reason| Ending::Failed { reason, detail: format!("as {reason:?}") };
    let reasons =
        [FailReason::Diverged, FailReason::Error, FailReason::AgentCrashed, FailReason::AgentLost];
    let mut endings = vec![Ending::Complete(outcome())];
    endings.extend(reasons.map(failed));
    endings
}

fn reports() -> Vec<Report> {
    let report = |(trial, ending)| Report { attempt: attempt(trial), ending };
    (7..).zip(endings()).map(report).collect()
}

fn report_with_curve() -> Report {
    Report { attempt: attempt(1), ending: Ending::Complete(outcome_with_curve()) }
}

fn digest(byte: u8) -> Digest {
    Digest([byte; 32])
}

fn replica(number: u64) -> ReplicaId {
    ReplicaId(NonZeroU64::new(number).expect("not zero"))
}

pub const STUDY: &str = r#"[study]
name = "sample"
notes = "Does it hold?"
metric = "auroc"
also = ["accuracy", "log_loss"]

[data]
path = "rows.csv"
target = "y"
task = "classification"
drop = ["id"]
group = "g"
missing = "mean"

[split]
outer = { folds = 2, repeats = 2, stratify = true }

[seeds]
apart = { init = 2, order = 3 }

[arms.mlp]
model = "mlp"
epochs = 2
hidden = [8, 4]
optimizer = "sgd"
space = { lr = { log = [0.001, 0.1], points = 3 }, dropout = [0.0, 0.25] }

[arms.linear]
model = "linear"
epochs = 2
batch = 16
lr = 0.01

[budget]
attempts = 2
diverged = "worst"
"#;
