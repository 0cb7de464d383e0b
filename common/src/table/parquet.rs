//! Tables from Parquet, column by column.
//!
//! Deliberately absent: Arrow, and columns of lists and maps, which are no cells of a table.
//!
//! Floor: common.

use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::Bytes;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit};
use parquet::column::page::{Page, PageMetadata, PageReader};
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::DataType;
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor};

use super::{Column, ROWS_MAX, Table, TableError, Values, WHOLE_MAX, name_errors};

/// The library asserts here and there what a damaged file does not keep: then it is refused too.
pub(super) fn read(bytes: &[u8]) -> Result<Table, Vec<TableError>> {
    let reading = AssertUnwindSafe(|| read_sound(bytes));
    catch_unwind(reading).unwrap_or_else(|_| Err(vec![TableError::Damaged]))
}

fn read_sound(bytes: &[u8]) -> Result<Table, Vec<TableError>> {
    let whole = |source| vec![TableError::Parquet { source }];
    let reader = SerializedFileReader::new(Bytes::copy_from_slice(bytes)).map_err(whole)?;
    let metadata = reader.metadata().file_metadata();
    let descriptors = metadata.schema_descr().columns();
    let names: Vec<String> =
        descriptors.iter().map(|column| column.path().parts().join(".")).collect();
    let mut errors = name_errors(&names);
    let rows = usize::try_from(metadata.num_rows()).unwrap_or(0);
    if rows == 0 {
        errors.push(TableError::NoRows);
    } else if rows > ROWS_MAX {
        errors.push(TableError::TooLong { rows });
    }
    let room = ROOM_ALWAYS.saturating_add(bytes.len().saturating_mul(ROOM_EACH));
    if rows.saturating_mul(names.len()) > room {
        // Nothing is made on the file's word: a few bytes can stand for as many nulls as one likes.
        errors.push(TableError::Claims { rows, columns: names.len(), bytes: bytes.len() });
        return Err(errors);
    }
    let mut columns = Vec::new();
    for (place, (descriptor, name)) in descriptors.iter().zip(names).enumerate() {
        match column(&reader, place, descriptor, (&name, rows, room)) {
            Ok(values) if length(&values) == rows => columns.push(Column { name, values }),
            Ok(values) => errors.push(TableError::Short {
                column: name,
                rows: length(&values),
                expected: rows,
            }),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(Table { columns, rows }) } else { Err(errors) }
}

fn length(values: &Values) -> usize {
    match values {
        Values::Numbers(numbers) => numbers.len(),
        Values::Text(texts) => texts.len(),
    }
}

/// A column's cells as they are stored.
pub(super) enum Cells {
    Whole(Vec<Option<i64>>),
    Numbers(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

/// A column of at most `rows` cells, which have at most `room` bytes of text.
fn column(
    file: &SerializedFileReader<Bytes>,
    place: usize,
    descriptor: &ColumnDescPtr,
    (name, rows, room): (&str, usize, usize),
) -> Result<Values, TableError> {
    let refused = |source| TableError::Parquet { source };
    if descriptor.max_rep_level() > 0 {
        return Err(TableError::Kind { column: name.to_string(), kind: "lists".to_string() });
    }
    let mut numbers = Vec::new();
    let mut texts: Vec<Option<String>> = Vec::new();
    let mut wholes = Vec::new();
    for group in 0..file.num_row_groups() {
        let group = file.get_row_group(group).map_err(refused)?;
        let pages = group.get_column_page_reader(place).map_err(refused)?;
        let pages = Box::new(Sober { pages, rows });
        let reader = get_column_reader(descriptor.clone(), pages);
        let left = rows.saturating_sub(numbers.len() + texts.len() + wholes.len());
        match chunk(reader, descriptor, (name, left, room))? {
            Cells::Whole(cells) => wholes.extend(cells),
            Cells::Numbers(cells) => numbers.extend(cells),
            Cells::Text(cells) => texts.extend(cells),
        }
    }
    // Of a column, every chunk has one kind: the descriptor's.
    if !texts.is_empty() {
        return Ok(Values::Text(texts));
    }
    if !wholes.iter().flatten().all(|whole: &i64| whole.unsigned_abs() < WHOLE_MAX as u64) {
        return Ok(Values::Text(wholes.iter().map(|cell| cell.map(|n| n.to_string())).collect()));
    }
    numbers.extend(wholes.into_iter().map(|cell| cell.map(|whole| whole as f64)));
    Ok(Values::Numbers(numbers.into_iter().map(|cell| cell.unwrap_or(f64::NAN)).collect()))
}

/// Pages that hold what they claim to: room is made for a page's values before they are read.
pub(super) struct Sober {
    pub pages: Box<dyn PageReader>,
    pub rows: usize,
}

impl PageReader for Sober {
    fn get_next_page(&mut self) -> Result<Option<Page>, ParquetError> {
        let page = self.pages.get_next_page()?;
        if let Some(page) = &page {
            // No value of a dictionary has less than a byte; a page's values may all be one.
            let most = if matches!(page, Page::DictionaryPage { .. }) {
                page.buffer().len()
            } else {
                self.rows
            };
            if page.num_values() as usize > most {
                return Err(ParquetError::General("a page has not what it claims".to_string()));
            }
        }
        Ok(page)
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>, ParquetError> {
        self.pages.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<(), ParquetError> {
        self.pages.skip_next_page()
    }

    fn at_record_boundary(&mut self) -> Result<bool, ParquetError> {
        self.pages.at_record_boundary()
    }
}

impl Iterator for Sober {
    type Item = Result<Page, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

/// The cells of one row group.
pub(super) fn chunk(
    reader: ColumnReader,
    descriptor: &ColumnDescriptor,
    (name, rows, room): (&str, usize, usize),
) -> Result<Cells, TableError> {
    let refused = |source| TableError::Parquet { source };
    let level = descriptor.max_def_level();
    let scale = 10f64.powi(descriptor.type_scale().max(0));
    let is_decimal = descriptor.converted_type() == ConvertedType::DECIMAL;
    match reader {
        ColumnReader::BoolColumnReader(reader) => {
            let cells = cells(reader, level, rows).map_err(refused)?;
            Ok(Cells::Text(map(cells, |value| value.to_string())))
        }
        ColumnReader::Int32ColumnReader(reader) => {
            let cells = map(cells(reader, level, rows).map_err(refused)?, |value| {
                if is_unsigned(descriptor) { i64::from(value as u32) } else { i64::from(value) }
            });
            Ok(wholes(cells, descriptor, scale))
        }
        ColumnReader::Int64ColumnReader(reader) => {
            let cells = cells(reader, level, rows).map_err(refused)?;
            if is_unsigned(descriptor) && cells.iter().flatten().any(|&value| value < 0) {
                return Ok(Cells::Text(map(cells, |value| (value as u64).to_string())));
            }
            Ok(wholes(cells, descriptor, scale))
        }
        ColumnReader::Int96ColumnReader(reader) => {
            let cells = cells(reader, level, rows).map_err(refused)?;
            Ok(Cells::Text(map(cells, |value| {
                Field::TimestampMillis(value.to_millis()).to_string()
            })))
        }
        ColumnReader::FloatColumnReader(reader) => {
            Ok(Cells::Numbers(map(cells(reader, level, rows).map_err(refused)?, f64::from)))
        }
        ColumnReader::DoubleColumnReader(reader) => {
            Ok(Cells::Numbers(cells(reader, level, rows).map_err(refused)?))
        }
        ColumnReader::ByteArrayColumnReader(reader) if !is_decimal => {
            let cells = cells(reader, level, rows).map_err(refused)?;
            let bytes: usize = cells.iter().flatten().map(|value| value.len()).sum();
            if bytes > room {
                return Err(kind(name, "more text than a file of this length stands for"));
            }
            let text = |cell: Option<parquet::data_type::ByteArray>| {
                cell.map(|value| value.as_utf8().map(String::from)).transpose()
            };
            let texts: Result<Vec<Option<String>>, ParquetError> =
                cells.into_iter().map(text).collect();
            texts.map(Cells::Text).map_err(|_| kind(name, "bytes that are not UTF-8"))
        }
        ColumnReader::ByteArrayColumnReader(_) => Err(kind(name, "decimals kept as bytes")),
        ColumnReader::FixedLenByteArrayColumnReader(_) => Err(kind(name, "bytes of fixed length")),
    }
}

fn kind(column: &str, kind: &str) -> TableError {
    TableError::Kind { column: column.to_string(), kind: kind.to_string() }
}

/// All cells of a chunk; where the definition level falls short of `level`, the cell is null.
pub(super) fn cells<T: DataType>(
    mut reader: ColumnReaderImpl<T>,
    level: i16,
    rows: usize,
) -> Result<Vec<Option<T::T>>, ParquetError> {
    let mut cells = Vec::new();
    loop {
        let (mut values, mut levels) = (Vec::new(), Vec::new());
        let (records, _, _) =
            reader.read_records(RECORDS_AT_ONCE, Some(&mut levels), None, &mut values)?;
        if records == 0 {
            return Ok(cells);
        }
        if records > rows.saturating_sub(cells.len()) {
            return Err(ParquetError::General("a column has more rows than the file".to_string()));
        }
        if level == 0 {
            cells.extend(values.into_iter().map(Some));
            continue;
        }
        let mut values = values.into_iter();
        cells.extend(levels.iter().map(|&at| if at == level { values.next() } else { None }));
    }
}

fn map<A, B>(cells: Vec<Option<A>>, change: impl Fn(A) -> B) -> Vec<Option<B>> {
    cells.into_iter().map(|cell| cell.map(&change)).collect()
}

fn is_unsigned(descriptor: &ColumnDescriptor) -> bool {
    matches!(
        descriptor.converted_type(),
        ConvertedType::UINT_8
            | ConvertedType::UINT_16
            | ConvertedType::UINT_32
            | ConvertedType::UINT_64
    )
}

/// Whole numbers, or what they stand for: decimals, dates and times.
fn wholes(cells: Vec<Option<i64>>, descriptor: &ColumnDescriptor, scale: f64) -> Cells {
    let nanoseconds = matches!(
        descriptor.logical_type_ref(),
        Some(LogicalType::Timestamp(stamp)) if stamp.unit == TimeUnit::NANOS
    );
    let text = |field: fn(i64) -> Field, cells| Cells::Text(map(cells, |n| field(n).to_string()));
    match descriptor.converted_type() {
        ConvertedType::DECIMAL => Cells::Numbers(map(cells, |whole| whole as f64 / scale)),
        ConvertedType::DATE => text(|days| Field::Date(days as i32), cells),
        ConvertedType::TIME_MILLIS => text(|ms| Field::TimeMillis(ms as i32), cells),
        ConvertedType::TIME_MICROS => text(Field::TimeMicros, cells),
        ConvertedType::TIMESTAMP_MILLIS => text(Field::TimestampMillis, cells),
        ConvertedType::TIMESTAMP_MICROS => text(Field::TimestampMicros, cells),
        _ if nanoseconds => text(|ns| Field::TimestampMicros(ns / 1000), cells),
        _ => Cells::Whole(cells),
    }
}

const RECORDS_AT_ONCE: usize = 65_536;

/// Cells, and bytes of a column's text, that any file may hold, and for each of its bytes: equal rows
/// pack well, and more than that no table of measurements does.
const ROOM_ALWAYS: usize = 1_000_000;
const ROOM_EACH: usize = 1_000;

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use parquet::basic::{Compression, ZstdLevel};
    use parquet::data_type::{
        BoolType, ByteArray, ByteArrayType, DoubleType, FloatType, Int32Type, Int64Type,
    };
    use parquet::file::properties::WriterProperties;
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const SCHEMA: &str = "message rows {
        REQUIRED DOUBLE size;
        OPTIONAL FLOAT dose;
        REQUIRED INT32 age;
        OPTIONAL INT64 patient;
        REQUIRED BOOLEAN smoker;
        OPTIONAL BYTE_ARRAY stage (UTF8);
        REQUIRED INT32 seen (DATE);
    }";

    pub fn written(compression: Compression) -> Vec<u8> {
        let schema = Arc::new(parse_message_type(SCHEMA).expect("a schema"));
        let properties = WriterProperties::builder().set_compression(compression).build();
        let mut file =
            SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties)).expect("a writer");
        // Two row groups of three rows.
        for _ in 0..2 {
            let mut group = file.next_row_group().expect("a row group");
            for place in 0..7 {
                let mut column = group.next_column().expect("a column").expect("one more");
                let some = Some(&[1i16, 0, 1][..]);
                let count = match place {
                    0 => column.typed::<DoubleType>().write_batch(&[0.1, -2.5, 1e300], None, None),
                    1 => column.typed::<FloatType>().write_batch(&[1.5, 2.5], some, None),
                    2 => column.typed::<Int32Type>().write_batch(&[40, 41, -1], None, None),
                    3 => column.typed::<Int64Type>().write_batch(&[7, 1 << 60], some, None),
                    4 => column.typed::<BoolType>().write_batch(&[true, false, true], None, None),
                    5 => {
                        let stages = ["II", "é"].map(ByteArray::from);
                        column.typed::<ByteArrayType>().write_batch(&stages, some, None)
                    }
                    _ => column.typed::<Int32Type>().write_batch(&[0, 1, 365], None, None),
                };
                assert!(count.expect("written") > 0);
                column.close().expect("closed");
            }
            group.close().expect("closed");
        }
        file.into_inner().expect("bytes")
    }

    fn texts<const N: usize>(cells: [Option<&str>; N]) -> Values {
        Values::Text(cells.repeat(2).into_iter().map(|cell| cell.map(String::from)).collect())
    }

    #[test]
    fn what_was_written_is_read_whatever_the_compression() {
        let zstd = Compression::ZSTD(ZstdLevel::default());
        let gzip = Compression::GZIP(parquet::basic::GzipLevel::default());
        for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, zstd, gzip] {
            let table = read(&written(compression)).expect("a table");
            let values = |name: &str| &table.columns[table.find(name).expect("a column")].values;
            assert_eq!(table.rows, 6);
            assert_eq!(values("size"), &Values::Numbers([0.1, -2.5, 1e300].repeat(2)));
            assert_eq!(values("age"), &Values::Numbers([40.0, 41.0, -1.0].repeat(2)));
            assert!(
                matches!(values("dose"), Values::Numbers(n) if n[0] == 1.5 && n[1].is_nan() && n[5] == 2.5)
            );
            let patients = texts([Some("7"), None, Some("1152921504606846976")]);
            assert_eq!(values("patient"), &patients);
            assert_eq!(values("smoker"), &texts([Some("true"), Some("false"), Some("true")]));
            assert_eq!(values("stage"), &texts([Some("II"), None, Some("é")]));
            let days = ["1970-01-01", "1970-01-02", "1971-01-01"].map(Some);
            assert_eq!(values("seen"), &texts(days));
        }
    }

    #[test]
    fn a_table_written_by_pandas_is_read() {
        let table =
            read(include_bytes!("../../../tests/data/table/pandas.parquet")).expect("table");
        let cells = |name: &str| -> Vec<Option<String>> {
            let column = &table.columns[table.find(name).expect("a column")];
            (0..table.rows).map(|row| column.text(row)).collect()
        };
        let texts = |cells: [&str; 4]| cells.map(|c| (c != "-").then(|| c.to_string())).to_vec();
        assert_eq!(cells("age"), texts(["61", "-", "47", "52"]));
        assert_eq!(cells("dose"), texts(["0.5", "-", "0.001", "2"]));
        assert_eq!(cells("smoker"), texts(["true", "false", "-", "true"]));
        assert_eq!(cells("stage"), texts(["II", "-", "I", "II"]));
        assert_eq!(cells("note"), texts(["é", "", "b", "a"]));
        assert!(cells("seen")[0].as_ref().is_some_and(|day| day.starts_with("2020-02-29")));
        assert_eq!(cells("seen")[2], None);
    }

    #[test]
    fn damaged_files_are_refused() {
        let mut bytes = written(Compression::SNAPPY);
        bytes.truncate(bytes.len() - 9);
        assert!(read(&bytes).is_err());
        assert!(read(b"PAR1").is_err());
        assert!(read(b"a,b\n1,2\n").is_err());
    }

    #[test]
    fn columns_of_lists_are_refused_by_name() {
        let schema = parse_message_type("message rows { REPEATED INT32 visits; }").expect("schema");
        let mut file = SerializedFileWriter::new(Vec::new(), Arc::new(schema), Arc::default())
            .expect("writer");
        let mut group = file.next_row_group().expect("a row group");
        let mut column = group.next_column().expect("a column").expect("one");
        let levels = Some(&[1i16, 1][..]);
        column.typed::<Int32Type>().write_batch(&[1, 2], levels, Some(&[0, 1])).expect("written");
        column.close().expect("closed");
        group.close().expect("closed");
        let errors = read(&file.into_inner().expect("bytes")).expect_err("refused");
        assert!(errors[0].to_string().starts_with("column `visits` holds lists"));
    }
}
