//! One score a test row, as a program leaves them beside its results: `rows.csv` or `rows.parquet`.
//!
//! A CSV file is a number a line, or a table with a column `score`. Their meaning is that of an
//! outcome's rows: the probability of the true class, or prediction minus truth.
//!
//! Floor: shell.

use std::fs;
use std::path::Path;

use common::study::Format;
use common::table::{Table, Values};

/// The scores in `folder`, in the order of the test rows; none where there is no file.
///
/// Errors: what was expected and what was found.
pub fn read(folder: &Path, test_rows: usize) -> Result<Vec<f32>, String> {
    for (name, format) in [("rows.csv", Format::Csv), ("rows.parquet", Format::Parquet)] {
        let path = folder.join(name);
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if !about.is_file() || about.len() > BYTES_MAX {
            return Err(format!("{name} is no file of at most {BYTES_MAX} bytes"));
        }
        let bytes = fs::read(&path).map_err(|error| format!("{name} cannot be read: {error}"))?;
        let scores = scores(format, &bytes).map_err(|found| {
            format!("expected {name} to have a number a line or a column `score`; found {found}")
        })?;
        if scores.len() != test_rows {
            let count = scores.len();
            return Err(format!(
                "expected {name} to have {test_rows} scores, one a test row; found {count}"
            ));
        }
        return Ok(scores);
    }
    Ok(Vec::new())
}

fn scores(format: Format, bytes: &[u8]) -> Result<Vec<f32>, String> {
    if format == Format::Csv
        && let Some(plain) = plain(bytes)
    {
        return plain;
    }
    let table = Table::read(format, bytes)
        .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))?;
    let names: Vec<&str> =
        table.columns.iter().take(8).map(|column| column.name.as_str()).collect();
    let place = table.find("score").ok_or(format!("the columns {}", names.join(", ")))?;
    match &table.columns[place].values {
        Values::Numbers(numbers) => numbers.iter().map(|&number| finite(number)).collect(),
        Values::Text(_) => Err("text in the column `score`".to_string()),
    }
}

/// A number a line; `None` when the first line is no number.
fn plain(bytes: &[u8]) -> Option<Result<Vec<f32>, String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty()).peekable();
    lines.peek().is_none_or(|first| first.parse::<f64>().is_ok()).then(|| {
        let number = |line: &str| {
            let parsed = line.parse().map_err(|_| format!("{line:?} among numbers"));
            parsed.and_then(finite)
        };
        lines.map(number).collect()
    })
}

fn finite(number: f64) -> Result<f32, String> {
    let short = number as f32;
    if short.is_finite() { Ok(short) } else { Err(format!("{number} among the scores")) }
}

const BYTES_MAX: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, rows: usize) -> Result<Vec<f32>, String> {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("rows.csv"), text).expect("written");
        read(dir.path(), rows)
    }

    #[test]
    fn scores_are_a_number_a_line_or_a_column() {
        assert_eq!(of("0.5\n1e-3\n", 2), Ok(vec![0.5, 0.001]));
        assert_eq!(of("row,score\n7,0.25\n9,1\n", 2), Ok(vec![0.25, 1.0]));
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read(dir.path(), 5), Ok(Vec::new()));
    }

    #[test]
    fn wrong_scores_say_what_was_found() {
        for (text, found) in [
            ("0.5\n", "2 scores, one a test row; found 1"),
            ("0.5\nx\n", "\"x\" among numbers"),
            ("0.5\nnan\n", "NaN among the scores"),
            ("a,b\n1,2\n3,4\n", "found the columns a, b"),
            ("score\nx\ny\n", "text in the column"),
        ] {
            let said = of(text, 2).expect_err(text);
            assert!(said.contains(found), "{said}");
        }
    }
}
