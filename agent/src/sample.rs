//! A small study for tests, with its rows.
//!
//! Floor: shell.

use common::id::Digest;
use common::metric::Metric;
use common::seed::Stream;
use common::space::Config;
use common::study::{
    Arm, ArmConfig, Budget, Data, Format, Hyper, Missing, Model, Outer, OuterKind, SeedFactor,
    Seeds, Study, Task,
};

pub const ROWS: &[u8] = b"x,y,class\n0.5,1,a\n1.5,2,b\n0.25,3,a\n2.5,4,b\n0.75,5,a\n3.5,6,b\n";

/// A study of the bytes of a table such as [`ROWS`]: 1,000 seeds in two folds.
pub fn study(rows: &[u8]) -> Study {
    Study {
        name: "sample".to_string(),
        notes: String::new(),
        metrics: vec![Metric::Accuracy],
        data: Data {
            path: "tables/sample.csv".to_string(),
            format: Format::Csv,
            digest: Digest::of(rows),
            bytes: rows.len() as u64,
            target: "class".to_string(),
            task: Task::Classification { classes: vec!["a".to_string(), "b".to_string()] },
            drop: Vec::new(),
            group: None,
            leave_out: None,
            missing: Missing::Refuse,
            rows: rows.iter().filter(|&&byte| byte == b'\n').count() as u64 - 1,
        },
        outer: Outer {
            kind: OuterKind::KFold,
            partitions: 1,
            folds: 2,
            stratify: true,
            inner: None,
        },
        seeds: Seeds {
            factors: vec![SeedFactor {
                name: "seed".to_string(),
                streams: Stream::TRAINING.to_vec(),
                count: 1_000,
            }],
        },
        arms: vec![Arm {
            name: "linear".to_string(),
            model: Model::Linear,
            written: "model = \"linear\"".to_string(),
            configs: vec![ArmConfig {
                point: Config::default(),
                hyper: Hyper { epochs: 1, hidden: Vec::new(), ..Hyper::default() },
            }],
            learned: None,
            halving: None,
            race: None,
            requires: Default::default(),
        }],
        budget: Budget::default(),
    }
}
