//! Arrays and folders of images in which rows have the target of another row: what a program's permuted
//! control is given.
//!
//! Everything else stays as it is written. Deliberately absent: masks and volumes in files of their own,
//! whose sizes need not be one another's.
//!
//! Floor: common.

use std::collections::BTreeMap;
use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::array::{Array, Body};
use super::pack::{Pack, is_packed, unpack};
use super::{SampleError, arrays, pictures};
use crate::study::Format;

/// Data with other labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Relabelled {
    /// A file's, or those of a packed folder.
    pub bytes: Vec<u8>,
    /// The file of each row, where rows are files: they lie in another order than before.
    pub row_names: Option<Vec<String>>,
}

/// `bytes` with, for each pair of `givers`, row and giver, the giver's entry of `target` in the row.
/// Rows are places in the arrays, or in the list of images, from 0.
///
/// Errors: a sentence.
pub(crate) fn relabelled(
    format: &Format,
    bytes: &[u8],
    target: &str,
    givers: &[(u32, u32)],
) -> Result<Relabelled, String> {
    let said = |error: SampleError| error.to_string();
    let (bytes, row_names) = match format {
        Format::Npy => {
            let array = Array::npy("the array", Body::Plain(bytes)).map_err(said)?;
            let column = target.parse().map_err(|_| format!("the array has no column {target}"))?;
            (array.with_entries_of(givers, Some(column)).map_err(said)?, None)
        }
        Format::Npz(_) | Format::Idx(_) => {
            let idx = matches!(format, Format::Idx(_));
            let array = arrays::target(idx, bytes, target).map_err(said)?;
            let changed = array.with_entries_of(givers, None).map_err(said)?;
            let file = if idx { array.name.clone() } else { format!("{}.npy", array.name) };
            let all = match is_packed(bytes) {
                true => repacked(bytes, &file, &changed).map_err(said)?,
                false => archived(bytes, &file, &changed)?,
            };
            (all, None)
        }
        Format::Images(_) => {
            let (bytes, names) = moved(bytes, givers)?;
            (bytes, Some(names))
        }
        _ => return Err("labels cannot be exchanged in data of this format".to_string()),
    };
    Ok(Relabelled { bytes, row_names })
}

/// The folder with another content of one file.
fn repacked(bytes: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>, SampleError> {
    let mut pack = Pack::default();
    for (file, own) in unpack(bytes)? {
        if !pack.add(file, if file == name { content } else { own }) {
            return Err(SampleError::Pack);
        }
    }
    Ok(pack.finish())
}

/// The archive with another content of one member.
fn archived(bytes: &[u8], name: &str, content: &[u8]) -> Result<Vec<u8>, String> {
    let failed = |error: zip::result::ZipError| format!("the archive cannot be copied: {error}");
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(failed)?;
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for number in 0..archive.len() {
        let member = archive.by_index_raw(number).map_err(failed)?;
        if member.name().map_err(failed)? == name {
            let plain = SimpleFileOptions::default().compression_method(CompressionMethod::STORE);
            writer.start_file(name, plain).map_err(failed)?;
            writer.write_all(content).map_err(|error| error.to_string())?;
        } else {
            writer.raw_copy_file(member).map_err(failed)?;
        }
    }
    Ok(writer.finish().map_err(failed)?.into_inner())
}

/// Images in the folders of their givers, called by their rows so that no two are called the same.
fn moved(bytes: &[u8], givers: &[(u32, u32)]) -> Result<(Vec<u8>, Vec<String>), String> {
    let files = unpack(bytes).map_err(|error| error.to_string())?;
    let images = pictures::row_files(&files, false)
        .map_err(|errors| errors.first().map(ToString::to_string).unwrap_or_default())?;
    let class = |row: u32| -> Result<&str, String> {
        let name = images.get(row as usize).ok_or_else(|| format!("there is no image {row}"))?;
        name.split_once('/').map(|(class, _)| class).ok_or_else(|| format!("{name} has no class"))
    };
    let mut classes: Vec<&str> =
        (0..images.len() as u32).map(class).collect::<Result<_, String>>()?;
    for (row, giver) in givers {
        let place =
            classes.get_mut(*row as usize).ok_or_else(|| format!("there is no image {row}"))?;
        *place = class(*giver)?;
    }
    let name = |(row, (class, image)): (usize, (&&str, &&str))| {
        let ending = image.rsplit_once('.').map_or("png", |(_, ending)| ending);
        format!("{class}/{row:08}.{ending}")
    };
    let names: Vec<String> = classes.iter().zip(&images).enumerate().map(name).collect();
    let mut order: Vec<usize> = (0..images.len()).collect();
    order.sort_by(|a, b| names[*a].cmp(&names[*b]));
    let content: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
    let mut pack = Pack::default();
    for row in order {
        if !pack.add(&names[row], content.get(images[row]).copied().unwrap_or_default()) {
            return Err(SampleError::Pack.to_string());
        }
    }
    Ok((pack.finish(), names))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ARRAYS, packed, png};
    use super::super::{Asked, Samples};
    use super::*;
    use crate::study::{Arrays, Pictures};
    use crate::table::Values;

    fn x() -> Arrays {
        Arrays { x: "x".into(), tokens: false }
    }

    fn samples(format: &Format, bytes: &[u8], target: &str) -> Samples {
        let asked = Asked { format, target, segmentation: false, memory: 1 << 30 };
        Samples::read(&asked, bytes).expect("reads")
    }

    fn column<'a>(samples: &'a Samples, name: &str) -> &'a Values {
        &samples.table.columns[samples.table.find(name).expect("a column")].values
    }

    #[test]
    fn an_archive_has_its_targets_exchanged_and_all_else_as_it_was() {
        let format = Format::Npz(x());
        let before = samples(&format, ARRAYS, "y");
        let changed = relabelled(&format, ARRAYS, "y", &[(0, 1), (1, 0)]).expect("exchanged");
        let after = samples(&format, &changed.bytes, "y");
        let labels = |labels: [&str; 4]| Values::Text(labels.map(|l| Some(l.to_string())).to_vec());
        assert_eq!(*column(&before, "y"), labels(["b", "a", "b", "a"]));
        assert_eq!(*column(&after, "y"), labels(["a", "b", "b", "a"]));
        assert_eq!(after.features, before.features);
        assert_eq!(column(&after, "groups"), column(&before, "groups"));
        assert_eq!(changed.row_names, None);
    }

    #[test]
    fn a_column_of_one_array_is_exchanged() {
        let mut npy = b"\x93NUMPY\x01\x00\x46\x00".to_vec();
        let mut head = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }".to_string();
        head.extend(std::iter::repeat_n(' ', 69 - head.len()));
        npy.extend(format!("{head}\n").as_bytes());
        for number in [1.0f32, 7.0, 2.0, 8.0, 3.0, 9.0] {
            npy.extend(number.to_le_bytes());
        }
        let changed = relabelled(&Format::Npy, &npy, "1", &[(0, 2), (2, 1)]).expect("exchanged");
        let table = super::super::npy_table(&changed.bytes).expect("a table");
        assert_eq!(table.columns[0].values, Values::Numbers(vec![1.0, 2.0, 3.0]));
        assert_eq!(table.columns[1].values, Values::Numbers(vec![9.0, 8.0, 8.0]));
        for (column, givers) in [("2", [(0, 1)]), ("y", [(0, 1)]), ("1", [(0, 3)]), ("1", [(3, 0)])]
        {
            assert!(
                relabelled(&Format::Npy, &npy, column, &givers).is_err(),
                "{column} {givers:?}"
            );
        }
    }

    #[test]
    fn images_move_to_the_folder_of_whoever_gives_the_label() {
        let files = [("a/1.png", png(2, 1)), ("a/2.png", png(2, 2)), ("b/1.png", png(2, 3))];
        let bytes = packed(&files);
        let format = Format::Images(Pictures { size: None, gray: None });
        let changed = relabelled(&format, &bytes, "class", &[(0, 2), (2, 1)]).expect("moved");
        let names = changed.row_names.expect("images are files");
        assert_eq!(names, ["b/00000000.png", "a/00000001.png", "a/00000002.png"]);
        let after = unpack(&changed.bytes).expect("a folder");
        let content =
            |name: &str| after.iter().find(|(own, _)| *own == name).map(|(_, c)| c.to_vec());
        for (name, (_, own)) in names.iter().zip(&files) {
            assert_eq!(content(name).as_ref(), Some(own), "{name}");
        }
        assert!(relabelled(&format, &bytes, "class", &[(0, 3)]).is_err());
    }
}
