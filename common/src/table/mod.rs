//! Tables: columns from CSV, TSV, Parquet or numpy's bytes, and the rows a study makes of them.
//!
//! A table that was read has named columns of equal length, no name twice, and at least one row.
//! Deliberately absent: files; bytes arrive as arguments.
//!
//! Floor: common.

mod copies;
mod csv;
mod dataset;
mod json_lines;
mod moments;
mod parquet;
mod places;
mod relabel;
mod stream;

use std::borrow::Borrow;
use std::collections::BTreeMap;

use thiserror::Error;

use crate::samples::{SampleError, npy_table};
use crate::study::{Arrays, Format};

pub use copies::Copies;
pub use dataset::{Dataset, Target};
pub(crate) use dataset::{LEVELS_MAX, codes, distinct, feature_columns, kept_rows, samples_kept};
pub(crate) use moments::ranks;
pub use places::places;
pub use relabel::{can_be_relabelled, relabelled};
pub use stream::{Part, Streamed, Wanted, parquet_rows};

/// Columns of equal length.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub values: Values,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// Missing cells are NaN.
    Numbers(Vec<f64>),
    Text(Vec<Option<String>>),
}

impl Table {
    /// Reads a whole file.
    ///
    /// CSV and TSV: UTF-8, one header line, cells trimmed; a cell that is empty, `NA`, `NaN`, `nan`,
    /// `null` or `?` is missing; a column is numeric when all its other cells are numbers. Whole
    /// numbers beyond 2^53 make a column text: they are names, and would be rounded as numbers.
    /// Parquet: numbers, booleans (read as the text `false` and `true`), strings, dates and times
    /// (read as text); nulls and NaN are missing; fields of a struct become columns `outer.inner`.
    ///
    /// Errors: everything that is wrong with the file, never an empty list.
    pub fn read(format: impl Borrow<Format>, bytes: &[u8]) -> Result<Self, Vec<TableError>> {
        match format.borrow() {
            Format::Csv => csv::read(bytes, b','),
            Format::Tsv => csv::read(bytes, b'\t'),
            Format::Parquet => parquet::read(bytes),
            Format::Npy => npy_table(bytes).map_err(|source| vec![TableError::Samples { source }]),
            Format::Npz(_) | Format::Idx(_) | Format::Images(_) | Format::Nifti(_) => {
                Err(vec![TableError::NoTable])
            }
        }
    }

    /// Reads a whole file of JSON lines: one flat object a line, a key that it lacks is a missing cell.
    ///
    /// Errors: what is wrong with the first bad line.
    pub fn read_json_lines(bytes: &[u8]) -> Result<Self, TableError> {
        json_lines::read(bytes)
    }

    /// Place of the column called `name`.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

impl Column {
    pub fn is_missing(&self, row: usize) -> bool {
        match &self.values {
            Values::Numbers(numbers) => numbers[row].is_nan(),
            Values::Text(texts) => texts[row].is_none(),
        }
    }

    /// The cell as a name, such as of a class: whole numbers without a decimal point.
    pub fn text(&self, row: usize) -> Option<String> {
        match &self.values {
            Values::Numbers(numbers) => (!numbers[row].is_nan()).then(|| name_of(numbers[row])),
            Values::Text(texts) => texts[row].clone(),
        }
    }
}

impl Format {
    pub const NAMES: [&'static str; 5] = ["csv", "tsv", "parquet", "npy", "npz"];

    /// By the end of the file's name, in any case.
    pub fn of_path(path: &str) -> Option<Self> {
        let (_, ending) = path.rsplit_once('.')?;
        match ending.to_ascii_lowercase().as_str() {
            "csv" => Some(Format::Csv),
            "tsv" => Some(Format::Tsv),
            "parquet" => Some(Format::Parquet),
            "npy" => Some(Format::Npy),
            "npz" => Some(Format::Npz(Arrays { x: "x".to_string(), tokens: false })),
            _ => None,
        }
    }

    /// Whether rows are those of a [`Table`].
    pub fn is_table(&self) -> bool {
        matches!(self, Format::Csv | Format::Tsv | Format::Parquet | Format::Npy)
    }
}

/// Why bytes are no table.
#[derive(Debug, Error)]
pub enum TableError {
    #[error("the table has no column {column:?}; it has {known}")]
    NoColumn { column: String, known: String },
    #[error("the file is empty; its first line must name the columns")]
    Empty,
    #[error("the file has a header and no rows")]
    NoRows,
    #[error("column {column} has no name; name it, or write the file without its index")]
    Unnamed { column: usize },
    #[error(
        "columns {first} and {second} are both named `{name}`; every column needs a name of its own"
    )]
    Repeated { name: String, first: usize, second: usize },
    #[error("{} not {expected} cells as the header has: {}", have(*.count, "line"), first(lines, *.count))]
    Ragged { expected: usize, lines: Vec<u64>, count: usize, rows: usize },
    #[error("the cells seem to be separated by {found}: {advice}")]
    Separated { found: &'static str, advice: &'static str },
    #[error("line {line} is not UTF-8; save the file as UTF-8")]
    Encoding { line: u64 },
    #[error("the file cannot be read as a table: {source}")]
    Csv { source: ::csv::Error },
    #[error("the file cannot be read as Parquet: {source}")]
    Parquet { source: ::parquet::errors::ParquetError },
    #[error("the file cannot be read as Parquet: it is damaged")]
    Damaged,
    #[error(
        "the file says it holds {rows} rows of {columns} columns, and has {bytes} bytes; write it as CSV"
    )]
    Claims { rows: usize, columns: usize, bytes: usize },
    #[error(
        "column `{column}` holds {kind}, which is not read; write the file without it, or as numbers or text"
    )]
    Kind { column: String, kind: String },
    #[error("column `{column}` has {rows} rows and the file says {expected}; the file is damaged")]
    Short { column: String, rows: usize, expected: usize },
    #[error("line {line} is not JSON: {source}")]
    Json { line: u64, source: serde_json::Error },
    #[error(
        "line {line} is not an object; write one object a line, such as {{\"arm\": \"a\", \"score\": 0.9}}"
    )]
    JsonNoObject { line: u64 },
    #[error(
        "line {line}: `{key}` holds an array or object; a cell is text, a number, true, false or null"
    )]
    JsonNested { line: u64, key: String },
    #[error("line {line} names `{key}` twice; name each column once")]
    JsonTwice { line: u64, key: String },
    #[error("the file has no object in it; write one a line")]
    JsonEmpty,
    #[error(transparent)]
    Samples { source: SampleError },
    #[error("the file is no table")]
    NoTable,
    #[error("the file has {rows} rows; at most {ROWS_MAX} can be used")]
    TooLong { rows: usize },
}

/// Whether a cell of text stands for no value.
pub(crate) fn is_missing(cell: &str) -> bool {
    matches!(cell, "" | "NA" | "NaN" | "nan" | "null" | "?")
}

/// Whether a cell of text is read as a number.
pub(crate) fn is_number(cell: &str) -> bool {
    csv::number_of(cell).is_some()
}

/// A number as a name: `3` for 3.0, and one zero.
pub(crate) fn name_of(number: f64) -> String {
    (number + 0.0).to_string()
}

/// `3, 7, 12`, and how many more there are.
pub(crate) fn first<T: ToString>(items: &[T], count: usize) -> String {
    let words: Vec<String> = items.iter().take(LISTED_MAX).map(T::to_string).collect();
    match count.saturating_sub(words.len()) {
        0 => words.join(", "),
        more => format!("{} and {more} more", words.join(", ")),
    }
}

fn have(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun} has") } else { format!("{count} {noun}s have") }
}

/// What is wrong with the columns' names.
fn name_errors(names: &[String]) -> Vec<TableError> {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let mut errors = Vec::new();
    for (number, name) in (1..).zip(names) {
        if errors.len() == LISTED_MAX {
            break;
        }
        if name.is_empty() {
            errors.push(TableError::Unnamed { column: number });
        } else if let Some(&first) = seen.get(name.as_str()) {
            errors.push(TableError::Repeated { name: name.clone(), first, second: number });
        } else {
            seen.insert(name, number);
        }
    }
    errors
}

/// Rows and lines named in a message.
pub(crate) const LISTED_MAX: usize = 10;
/// Rows are numbered by 32 bits.
pub(crate) const ROWS_MAX: usize = i32::MAX as usize;
/// From here on, neighbouring whole numbers are the same `f64`.
const WHOLE_MAX: i64 = 1 << 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_known_by_the_end_of_the_name() {
        assert_eq!(Format::of_path("a/b.CSV"), Some(Format::Csv));
        assert_eq!(Format::of_path("b.tsv"), Some(Format::Tsv));
        assert_eq!(Format::of_path("x.y.parquet"), Some(Format::Parquet));
        assert_eq!(Format::of_path("csv"), None);
    }

    #[test]
    fn lists_end_with_how_many_are_left() {
        assert_eq!(first(&[1, 2], 2), "1, 2");
        assert_eq!(first(&[1, 2], 5), "1, 2 and 3 more");
    }
}
