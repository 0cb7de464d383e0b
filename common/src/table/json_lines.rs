//! Tables from JSON lines: one flat object a line, its keys the columns.
//!
//! Numbers are read from their digits as CSV's are, so that the same table gives the same numbers in
//! every form. Deliberately absent: arrays and objects as values, which are no cells of a table.
//!
//! Floor: common.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;

use super::csv::number_of;
use super::{Column, ROWS_MAX, Table, TableError, Values, is_missing};

/// Reads a whole file. Blank lines are skipped; a key that a line lacks is a missing cell there.
///
/// Strings are text, `true` and `false` too, `null` is missing; a column is numeric when all its other
/// cells are numbers. Errors: everything that is wrong with the first bad line.
pub(super) fn read(bytes: &[u8]) -> Result<Table, TableError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut columns: Vec<(String, Vec<Cell>)> = Vec::new();
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut rows = 0;
    for (number, line) in (1..).zip(bytes.split(|byte| *byte == b'\n')) {
        let line = std::str::from_utf8(line).map_err(|_| TableError::Encoding { line: number })?;
        if line.trim().is_empty() {
            continue;
        }
        for (key, cell) in object(line.trim(), number)? {
            let place = *places.entry(key.clone()).or_insert(columns.len());
            if place == columns.len() {
                columns.push((key, Vec::new()));
            }
            let cells = &mut columns[place].1;
            if cells.len() > rows {
                let key = columns[place].0.clone();
                return Err(TableError::JsonTwice { line: number, key });
            }
            cells.resize_with(rows, || Cell::Missing);
            cells.push(cell);
        }
        rows += 1;
    }
    match rows {
        0 => return Err(TableError::JsonEmpty),
        rows if rows > ROWS_MAX => return Err(TableError::TooLong { rows }),
        _ => {}
    }
    if let Some(place) = columns.iter().position(|(name, _)| name.is_empty()) {
        return Err(TableError::Unnamed { column: place + 1 });
    }
    let columns = columns.into_iter().map(|(name, mut cells)| {
        cells.resize_with(rows, || Cell::Missing);
        Column { name, values: values(cells) }
    });
    Ok(Table { columns: columns.collect(), rows })
}

enum Cell {
    Missing,
    Number(f64),
    /// Text, or a number as it is written that `f64` would round.
    Text(String),
}

fn values(cells: Vec<Cell>) -> Values {
    if cells.iter().all(|cell| !matches!(cell, Cell::Text(_))) {
        let number = |cell: Cell| if let Cell::Number(value) = cell { value } else { f64::NAN };
        return Values::Numbers(cells.into_iter().map(number).collect());
    }
    let text = |cell: Cell| match cell {
        Cell::Missing => None,
        Cell::Number(value) => Some(super::name_of(value)),
        Cell::Text(text) => Some(text),
    };
    Values::Text(cells.into_iter().map(text).collect())
}

/// Keys and cells of one line, in its order.
fn object(line: &str, number: u64) -> Result<Vec<(String, Cell)>, TableError> {
    let refused = |source| TableError::Json { line: number, source };
    // Sound JSON first: what follows may then trust its brackets and quotes.
    serde_json::from_str::<IgnoredAny>(line).map_err(refused)?;
    let Some(inside) = line.strip_prefix('{').and_then(|line| line.strip_suffix('}')) else {
        return Err(TableError::JsonNoObject { line: number });
    };
    let mut cells = Vec::new();
    let mut rest = inside.trim_start();
    while !rest.is_empty() {
        let (key, after) = rest.split_at(token(rest));
        let key: String = serde_json::from_str(key).map_err(refused)?;
        let value = after.trim_start().trim_start_matches(':').trim_start();
        if value.starts_with(['{', '[']) {
            return Err(TableError::JsonNested { line: number, key });
        }
        let (value, after) = value.split_at(token(value));
        let cell = match value.as_bytes().first() {
            Some(b'"') => {
                let text: String = serde_json::from_str(value).map_err(refused)?;
                let text = text.trim();
                if is_missing(text) { Cell::Missing } else { Cell::Text(text.to_string()) }
            }
            Some(b't' | b'f') => Cell::Text(value.to_string()),
            Some(b'n') => Cell::Missing,
            _ => number_of(value).map_or_else(|| Cell::Text(value.to_string()), Cell::Number),
        };
        cells.push((key, cell));
        rest = after.trim_start().trim_start_matches(',').trim_start();
    }
    Ok(cells)
}

/// Length of the string, number or word that begins here.
fn token(text: &str) -> usize {
    if !text.starts_with('"') {
        return text.find([',', '}', ':', ' ', '\t', '\r']).unwrap_or(text.len());
    }
    let mut escaped = false;
    for (place, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return place + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_rows_and_keys_are_columns_in_any_order() {
        let text = "{\"arm\": \"a, \\\"b\\\"\", \"y\":0.1, \"n\": 3}\r\n\n{\"y\" : -2e-3 ,\"new\":true,\"arm\":null}\n";
        let table = read(text.as_bytes()).expect("a table");

        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        assert_eq!((names, table.rows), (vec!["arm", "y", "n", "new"], 2));
        assert_eq!(table.columns[0].values, Values::Text(vec![Some("a, \"b\"".into()), None]));
        assert_eq!(table.columns[1].values, Values::Numbers(vec![0.1, -0.002]));
        assert_eq!(table.columns[3].values, Values::Text(vec![None, Some("true".into())]));
        assert!(table.columns[2].is_missing(1));
    }

    #[test]
    fn a_number_is_the_nearest_to_its_digits_and_one_that_would_be_rounded_is_text() {
        let text = "{\"y\":0.6012095,\"id\":9007199254740993}";
        let table = read(text.as_bytes()).expect("a table");
        assert_eq!(table.columns[0].values, Values::Numbers(vec![0.6012095]));
        assert_eq!(table.columns[1].values, Values::Text(vec![Some("9007199254740993".into())]));
    }

    #[test]
    fn what_is_no_table_is_refused_by_line() {
        let said = |text: &str| read(text.as_bytes()).expect_err("refused").to_string();

        assert!(said("{\"a\":1}\n{\"a\":").starts_with("line 2 is not JSON"));
        assert!(said("[1]").contains("line 1 is not an object"));
        assert!(
            said("{\"a\":1}\n{\"a\":{\"b\":1}}").contains("line 2: `a` holds an array or object")
        );
        assert!(said("{\"a\":1,\"a\":2}").contains("line 1 names `a` twice"));
        assert!(said("\n \n").contains("no object in it"));
    }
}
