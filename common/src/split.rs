//! Drawing partitions: which rows test in each outer fold.
//!
//! A partition depends on the `split` stream, the rows' labels and the study's split alone: every
//! arm, config and seed meets the same folds. Rows of one group never straddle a fold.
//!
//! Floor: common.

use crate::id::Digest;
use crate::study::Outer;

/// What a division of the rows may depend on. Each slice has one entry a row, or is absent.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'a> {
    pub rows: u32,
    /// Class index; for stratifying.
    pub strata: Option<&'a [u32]>,
    /// Rows with equal numbers stay together.
    pub groups: Option<&'a [u32]>,
    /// Value of the leave-out column.
    pub leave_out: Option<&'a [u32]>,
}

/// The test rows of every outer fold of partition number `partition`, each ascending.
///
/// k-fold: every row tests once. Holdout: one fold. Leave-out: one fold a value, in value order.
pub fn partition(
    outer: &Outer,
    labels: &Labels<'_>,
    data: &Digest,
    partition: u32,
) -> Vec<Vec<u32>> {
    let _ = (outer, labels, data, partition);
    Vec::new()
}
