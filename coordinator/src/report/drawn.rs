//! What the further figures show beyond the tables: means of folds, ranks, residuals, and which cells
//! of the design have no score.
//!
//! Deliberately absent: how it is computed, which is in `analysis/drawn.rs`, and marks on a page.
//!
//! Floor: core.

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Further {
    /// Test rows over training rows of one outer fold.
    pub test_over_train: Option<f64>,
    pub folds: FoldMeans,
    /// `None` for fewer than three arms, or without two folds that all of them have.
    pub ranks: Option<Ranks>,
    /// Of each arm's model, one a run, in order of size; absent where none was fitted.
    pub residuals: Vec<(String, Vec<f64>)>,
    pub cells: Vec<ArmCells>,
}

/// Mean score of each arm in each outer fold, over the runs that it has there.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FoldMeans {
    /// `3`, or `1.3` for fold 3 of partition 1; counted from 0.
    pub folds: Vec<String>,
    /// Name of the arm, and one mean a fold.
    pub arms: Vec<(String, Vec<Option<f64>>)>,
}

/// How sure the order of the arms is for new samples.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranks {
    pub arms: Vec<String>,
    /// `[arm][rank - 1]`; rank 1 is best.
    pub chances: Vec<Vec<f64>>,
    /// The ranks, from 1, between which each arm lies with 95 %.
    pub intervals: Vec<(usize, usize)>,
    /// Folds that all arms have.
    pub folds: u64,
}

/// How the planned trials of one arm ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ArmCells {
    pub arm: String,
    /// Columns that one seed takes; 0 where seeds or folds share a column.
    pub folds: usize,
    /// One a config, or several configs together where they are many. Each holds a tile a seed
    /// and fold, seeds outermost, or several of these together.
    pub rows: Vec<Vec<Tile>>,
    /// What each row is: its config, or the first and the last of several.
    pub configs: Vec<String>,
}

/// How trials ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tile {
    pub complete: u32,
    pub failed: u32,
    pub diverged: u32,
    /// Complete, but the metric is not defined.
    pub undefined: u32,
    /// Not ended, or cancelled.
    pub open: u32,
}

impl ArmCells {
    pub fn total(&self) -> Tile {
        self.rows.iter().flatten().fold(Tile::default(), Tile::and)
    }
}

impl Tile {
    /// The trials of both.
    pub fn and(self, other: &Self) -> Self {
        Self {
            complete: self.complete + other.complete,
            failed: self.failed + other.failed,
            diverged: self.diverged + other.diverged,
            undefined: self.undefined + other.undefined,
            open: self.open + other.open,
        }
    }

    pub fn ended(&self) -> u64 {
        [self.complete, self.failed, self.diverged, self.undefined].map(u64::from).iter().sum()
    }
}
