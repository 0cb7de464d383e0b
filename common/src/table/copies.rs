//! Which rows of a table are copies of each other.
//!
//! Deliberately absent: copies that are not exact, and what a copy means; it may be the same patient
//! twice, or the same measurement by chance.
//!
//! Floor: common.

use super::Dataset;

/// Which rows are copies of each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copies {
    /// Of each row, a number that its copies share and no other row has.
    number: Vec<u32>,
    told: bool,
}

impl Copies {
    /// Rows that agree in every feature, where a table like this has none by chance.
    ///
    /// Were columns independent, `n (n − 1) / 2 · Π_columns Σ_values share²` pairs of rows would agree.
    /// From one such pair on (a table of few categories), agreeing says nothing about whose rows
    /// they are, and none is called a copy.
    pub fn of(dataset: &Dataset) -> Self {
        let rows = dataset.rows();
        // Equal numbers are equal here, whatever the sign of a zero; an empty cell equals another.
        let bits = |row: u32, column: usize| {
            (dataset.features[row as usize * dataset.width + column] + 0.0).to_bits()
        };
        let each: Vec<u32> = (0..rows as u32).collect();
        if pairs_by_chance(rows, dataset.width, |column| {
            each.iter().map(|&row| bits(row, column)).collect()
        }) >= 1.0
        {
            return Self { number: each, told: false };
        }
        let columns = || 0..dataset.width;
        let mut sorted = each.clone();
        sorted.sort_by(|&a, &b| {
            let of = |row: u32| columns().map(move |column| bits(row, column));
            of(a).cmp(of(b)).then(a.cmp(&b))
        });
        let mut number = each;
        for pair in sorted.windows(2) {
            if columns().all(|column| bits(pair[0], column) == bits(pair[1], column)) {
                number[pair[1] as usize] = number[pair[0] as usize];
            }
        }
        Self { number, told: true }
    }

    /// Rows of the data set.
    pub fn rows(&self) -> usize {
        self.number.len()
    }

    /// A number that the row's copies share and no other row has.
    pub fn number(&self, row: u32) -> u32 {
        self.number[row as usize]
    }

    /// Whether copies can be told from rows that agree by chance.
    pub fn are_told(&self) -> bool {
        self.told
    }
}

/// Expected number of pairs of rows that agree in every column, were the columns independent.
fn pairs_by_chance(rows: usize, width: usize, column: impl Fn(usize) -> Vec<u32>) -> f64 {
    let count = rows as f64;
    let mut pairs = count * (count - 1.0) / 2.0;
    for place in 0..width {
        let mut values = column(place);
        values.sort_unstable();
        let squares: f64 =
            values.chunk_by(u32::eq).map(|alike| (alike.len() as f64 / count).powi(2)).sum();
        pairs *= squares;
    }
    pairs
}
