//! Rows of a Parquet file, one row group at a time: what a model needs of a table too long to hold.
//!
//! Only the columns that are asked for are decoded, and text becomes codes as it comes, so that no
//! cell is a string of its own. A row in which one of them is missing is left out and counted.
//! Deliberately absent: other formats, which [`super::Table`] reads whole.
//!
//! Floor: common.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::basic::{ConvertedType, Type as Physical};
use parquet::column::reader::{ColumnReader, get_column_reader};
use parquet::file::reader::{ChunkReader, FileReader, RowGroupReader, SerializedFileReader};
use parquet::schema::types::ColumnDescPtr;

use super::parquet::{Cells, Sober, cells, chunk};
use super::{TableError, WHOLE_MAX, name_of};

/// What a column is read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    Numbers,
    Levels,
    /// Text and truth values as levels, all else as numbers.
    AsStored,
}

/// The whole rows of one row group, by column.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    Numbers(Vec<f64>),
    /// Codes of `names`, which grow from part to part.
    Levels {
        codes: Vec<u32>,
        names: Vec<String>,
    },
}

/// How many rows went through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Streamed {
    pub rows: usize,
    /// Rows in which a wanted cell is missing.
    pub left_out: usize,
}

/// Gives `each` the wanted columns of every row group, in the file's order, until one is refused.
///
/// Memory is that of one row group. Errors: a column that is not there or not of the wanted kind, or
/// a damaged file; and what `each` returns.
pub fn parquet_rows<R: ChunkReader + 'static, E: From<TableError>>(
    file: R,
    wanted: &BTreeMap<String, Wanted>,
    mut each: impl FnMut(&BTreeMap<&str, Part>) -> Result<(), E>,
) -> Result<Streamed, E> {
    let mut groups = sober(|| Groups::open(file, wanted))?;
    while let Some(parts) = sober(|| groups.next())? {
        each(&parts)?;
    }
    Ok(groups.streamed)
}

/// What the library does with a file: it asserts here and there what a damaged one does not keep.
/// What a caller does is none of it, and its panics are its own.
fn sober<T>(read: impl FnOnce() -> Result<T, TableError>) -> Result<T, TableError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(TableError::Damaged))
}

/// The row groups that are still to be read.
struct Groups<'a, R: ChunkReader + 'static> {
    reader: SerializedFileReader<R>,
    descriptors: Vec<ColumnDescPtr>,
    wanted: &'a BTreeMap<String, Wanted>,
    places: BTreeMap<&'a str, usize>,
    codings: BTreeMap<&'a str, Coding>,
    group: usize,
    streamed: Streamed,
}

impl<'a, R: ChunkReader + 'static> Groups<'a, R> {
    fn open(file: R, wanted: &'a BTreeMap<String, Wanted>) -> Result<Self, TableError> {
        let reader =
            SerializedFileReader::new(file).map_err(|source| TableError::Parquet { source })?;
        let descriptors = reader.metadata().file_metadata().schema_descr().columns().to_vec();
        let name = |column: &ColumnDescPtr| column.path().parts().join(".");
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for column in wanted.keys() {
            let found = descriptors.iter().position(|known| name(known) == *column);
            let known = || descriptors.iter().map(name).collect::<Vec<_>>().join(", ");
            let place = found
                .ok_or_else(|| TableError::NoColumn { column: column.clone(), known: known() })?;
            places.insert(column, place);
        }
        let (codings, group, streamed) = (BTreeMap::new(), 0, Streamed::default());
        Ok(Self { reader, descriptors, wanted, places, codings, group, streamed })
    }

    /// The whole rows of the next row group that has any.
    fn next(&mut self) -> Result<Option<BTreeMap<&'a str, Part>>, TableError> {
        while self.group < self.reader.num_row_groups() {
            let read = self.read(self.group)?;
            self.group += 1;
            if let Some(parts) = read {
                return Ok(Some(parts));
            }
        }
        Ok(None)
    }

    fn read(&mut self, group: usize) -> Result<Option<BTreeMap<&'a str, Part>>, TableError> {
        let group =
            self.reader.get_row_group(group).map_err(|source| TableError::Parquet { source })?;
        let rows = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let mut read: BTreeMap<&'a str, Read> = BTreeMap::new();
        for (&column, &place) in &self.places {
            let descriptor = &self.descriptors[place];
            let text = matches!(
                descriptor.physical_type(),
                Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY | Physical::BOOLEAN
            );
            let levels = match self.wanted[column] {
                Wanted::Levels => true,
                Wanted::Numbers => false,
                Wanted::AsStored => text,
            };
            let coding = levels.then(|| self.codings.entry(column).or_default());
            read.insert(column, part(&*group, place, descriptor, (column, rows, coding))?);
        }
        let whole: Vec<bool> =
            (0..rows).map(|row| read.values().all(|column| column.has(row))).collect();
        let kept = whole.iter().filter(|whole| **whole).count();
        self.streamed.rows += kept;
        self.streamed.left_out += rows - kept;
        if kept == 0 {
            return Ok(None);
        }
        let part = |(column, read): (&'a str, Read)| {
            let part = match read {
                Read::Numbers(numbers) => Part::Numbers(filtered(numbers, &whole)),
                Read::Codes(codes) => Part::Levels {
                    codes: filtered(codes, &whole),
                    names: self.codings.get(column).map_or_else(Vec::new, |c| c.names.clone()),
                },
            };
            (column, part)
        };
        Ok(Some(read.into_iter().map(part).collect()))
    }
}

/// One column of one row group; a missing cell is NaN, or [`MISSING`].
enum Read {
    Numbers(Vec<f64>),
    Codes(Vec<u32>),
}

impl Read {
    fn has(&self, row: usize) -> bool {
        match self {
            Read::Numbers(numbers) => numbers.get(row).is_some_and(|number| !number.is_nan()),
            Read::Codes(codes) => codes.get(row).is_some_and(|code| *code != MISSING),
        }
    }
}

/// Levels in the order in which they were first met.
#[derive(Default)]
struct Coding {
    codes: BTreeMap<Vec<u8>, u32>,
    names: Vec<String>,
    /// The last one, since rows of one level often follow each other.
    last: (Vec<u8>, u32),
}

impl Coding {
    /// `None` for bytes that are no text.
    fn code(&mut self, name: &[u8]) -> Option<u32> {
        if !self.names.is_empty() && self.last.0 == name {
            return Some(self.last.1);
        }
        let code = match self.codes.get(name) {
            Some(code) => *code,
            None => {
                let code = self.names.len() as u32;
                self.names.push(String::from_utf8(name.to_vec()).ok()?);
                self.codes.insert(name.to_vec(), code);
                code
            }
        };
        self.last.0.clear();
        self.last.0.extend_from_slice(name);
        self.last.1 = code;
        Some(code)
    }
}

fn part(
    group: &dyn RowGroupReader,
    place: usize,
    descriptor: &ColumnDescPtr,
    (name, rows, coding): (&str, usize, Option<&mut Coding>),
) -> Result<Read, TableError> {
    let refused = |source| TableError::Parquet { source };
    let other = |kind: &str| TableError::Kind { column: name.to_string(), kind: kind.to_string() };
    if descriptor.max_rep_level() > 0 {
        return Err(other("lists"));
    }
    let pages = group.get_column_page_reader(place).map_err(refused)?;
    let reader = get_column_reader(descriptor.clone(), Box::new(Sober { pages, rows }));
    let is_text = descriptor.converted_type() != ConvertedType::DECIMAL;
    let (reader, coding) = match (reader, coding) {
        (ColumnReader::ByteArrayColumnReader(reader), Some(coding)) if is_text => {
            let level = descriptor.max_def_level();
            let read = cells(reader, level, rows).map_err(refused)?;
            let codes: Option<Vec<u32>> = (read.iter())
                .map(|cell| match cell {
                    Some(value) => coding.code(value.data()),
                    None => Some(MISSING),
                })
                .collect();
            return codes.map(Read::Codes).ok_or_else(|| other("bytes that are not UTF-8"));
        }
        (reader, coding) => (reader, coding),
    };
    let read = chunk(reader, descriptor, (name, rows, usize::MAX))?;
    let Some(coding) = coding else {
        return match read {
            Cells::Numbers(cells) => Ok(numbers(cells.into_iter())),
            Cells::Whole(cells) => Ok(numbers(cells.into_iter().map(|n| n.map(|n| n as f64)))),
            Cells::Text(_) => Err(other("text where numbers are wanted")),
        };
    };
    let mut coded = |text: Option<String>| {
        text.map_or(Some(MISSING), |text| coding.code(text.as_bytes())).unwrap_or(MISSING)
    };
    Ok(Read::Codes(match read {
        Cells::Text(cells) => cells.into_iter().map(coded).collect(),
        Cells::Whole(cells) => {
            let text = |n: i64| match n.unsigned_abs() < WHOLE_MAX as u64 {
                true => name_of(n as f64),
                false => n.to_string(),
            };
            cells.into_iter().map(|cell| coded(cell.map(text))).collect()
        }
        Cells::Numbers(cells) => {
            let cells = cells.into_iter().map(|cell| cell.filter(|number| !number.is_nan()));
            cells.map(|cell| coded(cell.map(name_of))).collect()
        }
    }))
}

fn numbers(cells: impl Iterator<Item = Option<f64>>) -> Read {
    Read::Numbers(cells.map(|cell| cell.unwrap_or(f64::NAN)).collect())
}

fn filtered<T: Copy>(values: Vec<T>, whole: &[bool]) -> Vec<T> {
    if whole.iter().all(|whole| *whole) {
        return values;
    }
    values.into_iter().zip(whole).filter(|(_, whole)| **whole).map(|(value, _)| value).collect()
}

/// The code of no level.
const MISSING: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::parquet::tests::written;
    use super::super::{Format, Table};
    use super::*;

    #[test]
    fn groups_come_one_by_one_as_the_whole_table_has_them() {
        let file = written(parquet::basic::Compression::SNAPPY);
        let table = Table::read(Format::Parquet, &file).unwrap();
        let wanted = BTreeMap::from([
            ("size".to_string(), Wanted::Numbers),
            ("stage".to_string(), Wanted::Levels),
            ("age".to_string(), Wanted::Levels),
        ]);
        let (mut sizes, mut stages, mut ages) = (Vec::new(), Vec::new(), Vec::new());
        let mut parts = 0;
        let streamed = parquet_rows(Bytes::from(file), &wanted, |part| {
            parts += 1;
            let Part::Numbers(numbers) = &part["size"] else { panic!() };
            sizes.extend(numbers.clone());
            for (name, into) in [("stage", &mut stages), ("age", &mut ages)] {
                let Part::Levels { codes, names } = &part[name] else { panic!() };
                into.extend(codes.iter().map(|code| names[*code as usize].clone()));
            }
            Ok::<(), TableError>(())
        })
        .unwrap();

        let whole: Vec<usize> = (0..table.rows)
            .filter(|row| !table.columns[table.find("stage").unwrap()].is_missing(*row))
            .collect();
        let text = |name: &str| -> Vec<String> {
            let column = &table.columns[table.find(name).unwrap()];
            whole.iter().map(|row| column.text(*row).unwrap()).collect()
        };
        assert_eq!(streamed, Streamed { rows: 4, left_out: 2 });
        assert_eq!((parts, sizes), (2, vec![0.1, 1e300, 0.1, 1e300]));
        assert_eq!((stages, ages), (text("stage"), text("age")));
    }

    #[test]
    #[should_panic(expected = "the caller's own")]
    fn a_callers_panic_is_no_damage_of_the_file() {
        let file = Bytes::from(written(parquet::basic::Compression::UNCOMPRESSED));
        let wanted = BTreeMap::from([("size".to_string(), Wanted::Numbers)]);
        let _ = parquet_rows(file, &wanted, |_| -> Result<(), TableError> {
            panic!("the caller's own")
        });
    }

    #[test]
    fn what_is_not_there_is_named_with_what_is() {
        let file = Bytes::from(written(parquet::basic::Compression::UNCOMPRESSED));
        let ask = |name: &str, wanted| {
            let wanted = BTreeMap::from([(name.to_string(), wanted)]);
            let none = |_: &BTreeMap<&str, Part>| Ok::<(), TableError>(());
            parquet_rows(file.clone(), &wanted, none).unwrap_err().to_string()
        };
        let absent = ask("weight", Wanted::Numbers);
        assert!(absent.contains("weight") && absent.contains("dose"), "{absent}");
        assert!(ask("stage", Wanted::Numbers).contains("text where numbers are wanted"));
    }
}
