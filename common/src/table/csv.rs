//! Tables from comma- and tab-separated text.
//!
//! The bytes are read twice, first for the kind of each column, so that no cell is kept as text
//! that ends as a number.
//!
//! Floor: common.

use csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord, Trim};

use super::{
    Column, LISTED_MAX, ROWS_MAX, Table, TableError, Values, WHOLE_MAX, is_missing, name_errors,
};

pub(super) fn read(bytes: &[u8], delimiter: u8) -> Result<Table, Vec<TableError>> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let names = header(bytes, delimiter).map_err(|error| vec![error])?;
    let surveyed = survey(bytes, delimiter, names.len());
    if let Some(error) = separated(delimiter, &names, &surveyed) {
        return Err(vec![error]);
    }
    let mut errors = name_errors(&names);
    match surveyed {
        Ok(survey) if errors.is_empty() => {
            return fill(bytes, delimiter, names, &survey).map_err(|error| vec![error]);
        }
        Ok(_) => {}
        Err(error) => errors.push(error),
    }
    Err(errors)
}

/// What one reading of all cells tells.
struct Survey {
    rows: usize,
    numeric: Vec<bool>,
}

fn reader(bytes: &[u8], delimiter: u8) -> Reader<&[u8]> {
    ReaderBuilder::new().delimiter(delimiter).flexible(true).trim(Trim::All).from_reader(bytes)
}

fn header(bytes: &[u8], delimiter: u8) -> Result<Vec<String>, TableError> {
    let mut reader = reader(bytes, delimiter);
    let names: Vec<String> = reader.headers().map_err(refused)?.iter().map(String::from).collect();
    if names.is_empty() { Err(TableError::Empty) } else { Ok(names) }
}

fn survey(bytes: &[u8], delimiter: u8, width: usize) -> Result<Survey, TableError> {
    let mut reader = reader(bytes, delimiter);
    let mut record = StringRecord::new();
    let mut survey = Survey { rows: 0, numeric: vec![true; width] };
    let (mut ragged, mut ragged_lines) = (0, Vec::new());
    while reader.read_record(&mut record).map_err(refused)? {
        survey.rows += 1;
        if record.len() != width {
            ragged += 1;
            if ragged_lines.len() < LISTED_MAX {
                ragged_lines.push(record.position().map_or(0, |at| line_of(bytes, at)));
            }
        }
        for (numeric, cell) in survey.numeric.iter_mut().zip(&record) {
            *numeric = *numeric && (is_missing(cell) || number_of(cell).is_some());
        }
    }
    if ragged > 0 {
        let (lines, count, rows) = (ragged_lines, ragged, survey.rows);
        return Err(TableError::Ragged { expected: width, lines, count, rows });
    }
    match survey.rows {
        0 => Err(TableError::NoRows),
        rows if rows > ROWS_MAX => Err(TableError::TooLong { rows }),
        _ => Ok(survey),
    }
}

/// Why the file seems to be separated otherwise: another separator is in the header, and most lines
/// have not its cells, or it has one.
fn separated(
    delimiter: u8,
    names: &[String],
    survey: &Result<Survey, TableError>,
) -> Option<TableError> {
    let torn = matches!(survey, Err(TableError::Ragged { count, rows, .. }) if count * 2 > *rows);
    if names.len() > 1 && !torn {
        return None;
    }
    let others: &[(char, &str, &str)] = if delimiter == b'\t' { &IN_TSV } else { &IN_CSV };
    let is_in_header = |mark: char| names.iter().any(|name| name.contains(mark));
    let (_, found, advice) = *others.iter().find(|(mark, ..)| is_in_header(*mark))?;
    Some(TableError::Separated { found, advice })
}

fn fill(
    bytes: &[u8],
    delimiter: u8,
    names: Vec<String>,
    survey: &Survey,
) -> Result<Table, TableError> {
    let empty = |&numeric: &bool| match numeric {
        true => Values::Numbers(Vec::with_capacity(survey.rows)),
        false => Values::Text(Vec::with_capacity(survey.rows)),
    };
    let mut values: Vec<Values> = survey.numeric.iter().map(empty).collect();
    let mut reader = reader(bytes, delimiter);
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(refused)? {
        for (values, cell) in values.iter_mut().zip(&record) {
            match values {
                Values::Numbers(numbers) => numbers.push(number_of(cell).unwrap_or(f64::NAN)),
                Values::Text(texts) => texts.push((!is_missing(cell)).then(|| cell.to_string())),
            }
        }
    }
    let columns =
        names.into_iter().zip(values).map(|(name, values)| Column { name, values }).collect();
    Ok(Table { columns, rows: survey.rows })
}

/// The line a record is on. A record's position is before the blank lines in front of it.
fn line_of(bytes: &[u8], position: &Position) -> u64 {
    let before = bytes.get(position.byte() as usize..).unwrap_or_default();
    let blank = before.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    position.line() + blank.filter(|&&byte| byte == b'\n').count() as u64
}

/// The number a cell writes; none for a whole number that `f64` would round.
pub(super) fn number_of(cell: &str) -> Option<f64> {
    let number = cell.parse::<f64>().ok().filter(|number| !number.is_nan())?;
    let digits = cell.strip_prefix(['+', '-']).unwrap_or(cell);
    let whole = digits.bytes().all(|byte| byte.is_ascii_digit());
    (!whole || number.abs() < WHOLE_MAX as f64).then_some(number)
}

fn refused(source: csv::Error) -> TableError {
    match source.kind() {
        ErrorKind::Utf8 { pos: Some(position), .. } => {
            TableError::Encoding { line: position.line() }
        }
        _ => TableError::Csv { source },
    }
}

/// Other separators, what they are called, and what to do about them.
const IN_CSV: [(char, &str, &str); 3] = [
    (';', "`;`", "write commas, and decimal points instead of decimal commas, or use .tsv"),
    ('\t', "tabs", "write commas, or name the file .tsv"),
    ('|', "`|`", "write commas, or use .tsv"),
];
const IN_TSV: [(char, &str, &str); 3] = [
    (';', "`;`", "write tabs, and decimal points instead of decimal commas"),
    ('|', "`|`", "write tabs"),
    (',', "commas", "write tabs, or name the file .csv"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        read(text.as_bytes(), b',').expect("a table")
    }

    fn errors(bytes: &[u8]) -> Vec<String> {
        let errors = read(bytes, b',').expect_err("refused");
        errors.iter().map(TableError::to_string).collect()
    }

    #[test]
    fn columns_are_numbers_where_every_cell_is_one() {
        let table = table("a,b,c\n1, x ,1e-3\n?,NA,-2\n");
        let text = |cell: &str| Some(cell.to_string());
        assert_eq!(table.rows, 2);
        assert!(
            matches!(&table.columns[0].values, Values::Numbers(n) if n[0] == 1.0 && n[1].is_nan())
        );
        assert_eq!(table.columns[1].values, Values::Text(vec![text("x"), None]));
        assert_eq!(table.columns[2].values, Values::Numbers(vec![0.001, -2.0]));
    }

    #[test]
    fn every_word_for_missing_is_missing() {
        let table = table("a,b\n1,x\n,x\nNA,x\nNaN,x\nnan,x\nnull,x\n?,x\n");
        let missing = (0..7).filter(|&row| table.columns[0].is_missing(row)).count();
        assert_eq!(missing, 6);
    }

    #[test]
    fn tabs_quotes_and_a_byte_order_mark_are_read() {
        let table = read("\u{feff}a\tb\n\"x\ty\"\t2\n".as_bytes(), b'\t').expect("a table");
        assert_eq!(table.columns[0].name, "a");
        assert_eq!(table.columns[0].values, Values::Text(vec![Some("x\ty".to_string())]));
    }

    #[test]
    fn long_whole_numbers_stay_apart_as_text() {
        let table = table("id\n9007199254740993\n9007199254740992\n");
        assert_ne!(table.columns[0].text(0), table.columns[0].text(1));
    }

    #[test]
    fn ragged_rows_and_repeated_names_are_told_at_once() {
        assert_eq!(
            errors(b"a,b,a\n1,2,3\n1,2\n\n1,2,3,4\n"),
            [
                "columns 1 and 3 are both named `a`; every column needs a name of its own",
                "2 lines have not 3 cells as the header has: 3, 5",
            ]
        );
    }

    #[test]
    fn another_separator_is_named_once() {
        let advice = "write commas, and decimal points instead of decimal commas, or use .tsv";
        let told = format!("the cells seem to be separated by `;`: {advice}");
        assert_eq!(errors(b"a;b;c\n1,5;2,5;x\n3,5;4;y\n"), [told.as_str()]);
        assert_eq!(errors(b"a;b\n1;2\n"), [told.as_str()]);
        assert_eq!(errors(b"a,b;a,b\n1,2;3,4,5\n"), [told.as_str()]);
        assert!(errors(b"a\tb\n1\t2\n")[0].contains("by tabs: write commas"));
        let tsv = read(b"a,b\n1,2\n", b'\t').expect_err("refused");
        assert!(tsv[0].to_string().contains("by commas: write tabs"), "{tsv:?}");
    }

    #[test]
    fn a_separator_within_a_name_is_none_while_most_lines_are_whole() {
        assert_eq!(table("a;b,c\n1,2\n").columns[0].name, "a;b");
        assert_eq!(
            errors(b"a;b,c\n1,2\n1,2\n3\n"),
            ["1 line has not 2 cells as the header has: 4"]
        );
    }

    #[test]
    fn a_file_without_rows_is_refused() {
        assert_eq!(errors(b"a,b\n"), ["the file has a header and no rows"]);
        assert_eq!(errors(b""), ["the file is empty; its first line must name the columns"]);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_refused_with_their_line() {
        assert_eq!(errors(b"a\n1\n\xe9\n"), ["line 3 is not UTF-8; save the file as UTF-8"]);
    }

    #[test]
    fn an_unnamed_index_is_refused() {
        let told = "column 1 has no name; name it, or write the file without its index";
        assert_eq!(errors(b",a\n0,1\n"), [told]);
    }
}
