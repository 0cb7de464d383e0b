//! Data in which rows have the target of another row: what a program's permuted control is given.
//!
//! Every other cell of a table stays as it is written; arrays and images are exchanged by `samples`.
//! Deliberately absent: Parquet, whose columns would have to be encoded again.
//!
//! Floor: common.

use csv::{ByteRecord, ReaderBuilder, Trim, WriterBuilder};

use crate::samples::Relabelled;
use crate::study::Format;

/// Whether [`relabelled`] can write data of this format: not Parquet, and neither masks nor volumes in
/// files of their own.
pub fn can_be_relabelled(format: &Format, segmentation: bool) -> bool {
    match format {
        Format::Csv | Format::Tsv | Format::Npy | Format::Npz(_) | Format::Idx(_) => true,
        Format::Images(_) => !segmentation,
        Format::Parquet | Format::Nifti(_) => false,
    }
}

/// The data `bytes` with, for each pair of `givers`, row and giver, the giver's `target` in the row.
/// Rows are places in the file, from 0 and without a header.
///
/// Errors: a sentence.
pub fn relabelled(
    format: &Format,
    bytes: &[u8],
    target: &str,
    givers: &[(u32, u32)],
) -> Result<Relabelled, String> {
    let delimiter = match format {
        Format::Csv => b',',
        Format::Tsv => b'\t',
        _ => return crate::samples::relabelled(format, bytes, target, givers),
    };
    of_text(delimiter, bytes, target, givers).map(Relabelled::All)
}

fn of_text(
    delimiter: u8,
    bytes: &[u8],
    target: &str,
    givers: &[(u32, u32)],
) -> Result<Vec<u8>, String> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .trim(Trim::Headers)
        .from_reader(bytes);
    let failed = |error: csv::Error| format!("the table cannot be read: {error}");
    let header = reader.byte_headers().map_err(failed)?.clone();
    let column = header.iter().position(|name| name == target.as_bytes());
    let column = column.ok_or_else(|| format!("the table has no column {target}"))?;
    let rows: Vec<ByteRecord> = reader.byte_records().collect::<Result<_, _>>().map_err(failed)?;
    let label = |row: u32| rows.get(row as usize).and_then(|row| row.get(column));
    let mut given: Vec<Option<&[u8]>> = (0..rows.len()).map(|row| label(row as u32)).collect();
    for (row, giver) in givers {
        let place = given.get_mut(*row as usize).ok_or_else(|| format!("there is no row {row}"))?;
        let own = label(*giver).ok_or_else(|| format!("row {giver} has no cell of {target}"))?;
        *place = Some(own);
    }
    let mut writer =
        WriterBuilder::new().delimiter(delimiter).flexible(true).from_writer(Vec::new());
    let failed = |error: csv::Error| format!("the table cannot be written: {error}");
    writer.write_byte_record(&header).map_err(failed)?;
    for (row, label) in rows.iter().zip(given) {
        let cells = row.iter().enumerate().map(|(place, cell)| match label {
            Some(label) if place == column => label,
            _ => cell,
        });
        writer.write_record(cells).map_err(failed)?;
    }
    writer.into_inner().map_err(|error| format!("the table cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::study::Pictures;

    #[test]
    fn rows_exchange_their_labels_and_keep_every_other_cell() {
        let table =
            b"\xef\xbb\xbfname, y ,x\n\"a, b\", ill ,1\nc,well,2.50\n\"d \"\"e\"\"\",odd,\n";
        let found = relabelled(&Format::Csv, table, "y", &[(0, 2), (2, 0)]).expect("a table");
        let Relabelled::All(found) = found else { panic!("{found:?}") };
        let text = String::from_utf8(found).expect("text");
        assert_eq!(text, "name,y,x\n\"a, b\",odd,1\nc,well,2.50\n\"d \"\"e\"\"\", ill ,\n");
        let tabs =
            relabelled(&Format::Tsv, b"x\ty\n1\ta\n2\tb\n", "y", &[(1, 0)]).expect("a table");
        assert_eq!(tabs, Relabelled::All(b"x\ty\n1\ta\n2\ta\n".to_vec()));
    }

    #[test]
    fn what_cannot_be_exchanged_is_refused() {
        let of = |format: &Format, target: &str, row: u32| {
            relabelled(format, b"x,y\n1,a\n", target, &[(row, 0)])
        };
        assert!(of(&Format::Csv, "z", 0).is_err_and(|why| why.contains("no column z")));
        let short = relabelled(&Format::Csv, b"x,y\n1,a\n2\n", "y", &[(0, 1)]);
        assert!(short.is_err_and(|why| why.contains("row 1 has no cell of y")));
        assert!(of(&Format::Csv, "y", 1).is_err_and(|why| why.contains("no row 1")));
        assert!(of(&Format::Parquet, "y", 0).is_err_and(|why| why.contains("of this format")));
        let images = Format::Images(Pictures { size: None, gray: None });
        assert!(can_be_relabelled(&Format::Tsv, false) && can_be_relabelled(&images, false));
        assert!(!can_be_relabelled(&Format::Parquet, false) && !can_be_relabelled(&images, true));
    }
}
