//! Arrays and folders of images in which rows have the target of another row: what a program's permuted
//! control is given.
//!
//! Everything else stays as it is written, but for names: images are called by their rows too.
//! Deliberately absent: masks and volumes in files of their own,
//! whose sizes need not be one another's.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::array::{Array, Body};
use super::pack::{Pack, is_packed, unpack};
use super::{SampleError, arrays, pictures};
use crate::study::Format;

/// Data with other labels.
#[derive(Clone, Debug, PartialEq)]
pub enum Relabelled {
    /// A file's bytes, or those of a packed folder.
    All(Vec<u8>),
    /// A packed folder with other files, and the file of each row: they lie in another order.
    Files { pack: Vec<u8>, row_names: Vec<String> },
    /// An archive as it was but for this member of it.
    Member { name: String, content: Vec<u8> },
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
    match format {
        Format::Npy => {
            let array = Array::npy("the array", Body::Plain(bytes)).map_err(said)?;
            let column = target.parse().map_err(|_| format!("the array has no column {target}"))?;
            array.with_entries_of(givers, Some(column)).map(Relabelled::All).map_err(said)
        }
        Format::Npz(_) | Format::Idx(_) => {
            let idx = matches!(format, Format::Idx(_));
            let array = arrays::target(idx, bytes, target).map_err(said)?;
            let content = array.with_entries_of(givers, None).map_err(said)?;
            let name = if idx { array.name.clone() } else { format!("{}.npy", array.name) };
            match is_packed(bytes) {
                true => repacked(bytes, &name, &content).map(Relabelled::All).map_err(said),
                false => Ok(Relabelled::Member { name, content }),
            }
        }
        Format::Images(_) => {
            let (pack, row_names) = moved(bytes, givers)?;
            Ok(Relabelled::Files { pack, row_names })
        }
        _ => Err("labels cannot be exchanged in data of this format".to_string()),
    }
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
        let own = image.rsplit_once('/').map_or(*image, |(_, own)| own);
        format!("{class}/{row:08}-{own}")
    };
    let names: Vec<String> = classes.iter().zip(&images).enumerate().map(name).collect();
    let mut content: BTreeMap<&str, &[u8]> = files.iter().copied().collect();
    let taken: Vec<(&str, &[u8])> = (names.iter().zip(&images))
        .filter_map(|(name, image)| Some((name.as_str(), content.remove(image)?)))
        .collect();
    // What is no image stays.
    content.extend(taken);
    let length = |(name, bytes): (&&str, &&[u8])| name.len() + bytes.len();
    let mut pack = Pack::with_room(content.len(), content.iter().map(length).sum());
    for (name, bytes) in &content {
        if !pack.add(name, bytes) {
            return Err(SampleError::Pack.to_string());
        }
    }
    Ok((pack.finish(), names))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ARRAYS, packed, png};
    use super::*;
    use crate::study::{Arrays, Pictures};
    use crate::table::Values;

    #[test]
    fn a_member_of_an_archive_has_its_entries_exchanged() {
        let format = Format::Npz(Arrays { x: "x".into(), tokens: false });
        let changed = relabelled(&format, ARRAYS, "y", &[(0, 1), (1, 0)]).expect("exchanged");
        let Relabelled::Member { name, content } = changed else { panic!("{changed:?}") };
        assert_eq!(name, "y.npy");
        let labels = |bytes: &[u8]| Array::npy("y", Body::Plain(bytes)).and_then(|y| y.column());
        let read = labels(&content).expect("an array").values;
        let expected = ["a", "b", "b", "a"].map(|label| Some(label.to_string()));
        assert_eq!(read, Values::Text(expected.to_vec()));
    }

    #[test]
    fn a_file_of_a_folder_of_arrays_is_another_one_and_the_rest_as_they_were() {
        let labels = |entries: [u8; 3]| [&[0, 0, 8, 1, 0, 0, 0, 3][..], &entries].concat();
        let images = [&[0, 0, 8, 3, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1][..], &[7, 8, 9]].concat();
        let folder = |own: [u8; 3]| packed(&[("images", images.clone()), ("labels", labels(own))]);
        let format = Format::Idx(Arrays { x: "images".into(), tokens: false });
        let changed = relabelled(&format, &folder([1, 2, 3]), "labels", &[(0, 2), (2, 1)]);
        assert_eq!(changed, Ok(Relabelled::All(folder([3, 2, 2]))));
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
        let Relabelled::All(bytes) = changed else { panic!("{changed:?}") };
        let table = super::super::npy_table(&bytes).expect("a table");
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
        let notes = ("notes.txt", b"of whoever made them".to_vec());
        let bytes = packed(&[&files[..], std::slice::from_ref(&notes)].concat());
        let format = Format::Images(Pictures { size: None, gray: None });
        let changed = relabelled(&format, &bytes, "class", &[(0, 2), (2, 1)]).expect("moved");
        let Relabelled::Files { pack, row_names: names } = changed else { panic!("{changed:?}") };
        assert_eq!(names, ["b/00000000-1.png", "a/00000001-2.png", "a/00000002-1.png"]);
        let after = unpack(&pack).expect("a folder");
        let content =
            |name: &str| after.iter().find(|(own, _)| *own == name).map(|(_, c)| c.to_vec());
        for (name, (_, own)) in names.iter().zip(&files) {
            assert_eq!(content(name).as_ref(), Some(own), "{name}");
        }
        assert_eq!(content(notes.0), Some(notes.1), "what is no image stays");
        assert_eq!(after.len(), 4);
        assert!(relabelled(&format, &bytes, "class", &[(0, 3)]).is_err());
    }
}
