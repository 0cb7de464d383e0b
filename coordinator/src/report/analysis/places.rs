//! Where rows lie: which row of the table tests in which fold, and what belongs together.
//!
//! With the table at hand the study's partitions are drawn again, as every agent drew them. Without
//! it a row has no name beyond its place in its fold, so that rows can be told apart within one
//! partition alone. Deliberately absent: features.
//!
//! Floor: core.

use common::split::{partition, training_rows};
use common::study::{OuterKind, Study};
use common::table::{Dataset, Target};

use super::super::Material;

/// The test rows of every block: an outer fold of a partition.
#[derive(Clone, Debug)]
pub struct Places<'a> {
    folds: u32,
    kind: OuterKind,
    known: Option<Known<'a>>,
}

#[derive(Clone, Debug)]
struct Known<'a> {
    data: &'a Dataset,
    /// By block, in the fold's order.
    rows: Vec<Vec<u32>>,
}

impl<'a> Places<'a> {
    /// The table counts as at hand only if it is the one that the study was checked with.
    pub fn of(material: &Material<'a>) -> Self {
        let study = material.study;
        let same = |data: &&Dataset| {
            data.digest == study.data.digest && data.rows() as u64 == study.data.rows
        };
        let known = material.data.filter(same).map(|data| Known { data, rows: drawn(study, data) });
        Self { folds: study.outer.folds, kind: study.outer.kind.clone(), known }
    }

    /// The table, where it is at hand.
    pub fn data(&self) -> Option<&'a Dataset> {
        self.known.as_ref().map(|known| known.data)
    }

    /// Test rows of each block; empty where the table is not at hand.
    pub fn blocks(&self) -> &[Vec<u32>] {
        self.known.as_ref().map_or(&[], |known| &known.rows)
    }

    /// The rows that train where `test` tests; empty where the table is not at hand.
    pub fn training(&self, test: &[u32]) -> Vec<u32> {
        let Some(known) = &self.known else { return Vec::new() };
        let labels = known.data.labels(false);
        training_rows(&self.kind, &labels, 0..labels.rows, test)
    }

    /// Whether rows are known across partitions. Else only those of the first have names.
    pub fn across_partitions(&self) -> bool {
        self.known.is_some()
    }

    /// Name of the row at `place` of `block`: one number a row. Without the table blocks of the first
    /// partition alone have rows.
    pub fn row(&self, block: u32, place: usize) -> Option<u64> {
        match &self.known {
            Some(known) => known.rows.get(block as usize)?.get(place).map(|row| u64::from(*row)),
            None => (block < self.folds).then_some((u64::from(block) << 32) | place as u64),
        }
    }

    /// What the row belongs to: its group, or its value of the left-out column. `None` where rows
    /// stand for themselves, or nobody knows.
    pub fn cluster(&self, row: u64) -> Option<u32> {
        let leaves_out = matches!(self.kind, OuterKind::LeaveOut);
        match &self.known {
            Some(known) => {
                let left_out = known.data.leave_out.as_ref().filter(|_| leaves_out);
                let codes = known.data.groups.as_ref().or(left_out)?;
                codes.get(row as usize).copied()
            }
            // Each left-out value is one fold.
            None => leaves_out.then_some((row >> 32) as u32),
        }
    }

    /// Class of each row of a block; `None` without the table, or for a regression.
    pub fn classes(&self, block: u32) -> Option<Vec<u32>> {
        let known = self.known.as_ref()?;
        let Target::Classes { labels, .. } = &known.data.target else { return None };
        let rows = known.rows.get(block as usize)?;
        Some(rows.iter().map(|row| labels[*row as usize]).collect())
    }

    /// Target of each row of a block; `None` without the table, or for a classification.
    pub fn targets(&self, block: u32) -> Option<Vec<f64>> {
        let known = self.known.as_ref()?;
        let Target::Values(values) = &known.data.target else { return None };
        let rows = known.rows.get(block as usize)?;
        Some(rows.iter().map(|row| f64::from(values[*row as usize])).collect())
    }
}

/// Why what the table alone tells is missing.
pub const NO_TABLE: &str =
    "the table was not at hand; give it with \"coordinator report --table FILE\"";

fn drawn(study: &Study, data: &Dataset) -> Vec<Vec<u32>> {
    let labels = data.labels(study.outer.stratify);
    let all = 0..study.outer.partitions;
    all.flat_map(|number| partition(&study.outer, &labels, &data.digest, number)).collect()
}
