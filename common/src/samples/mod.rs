//! Samples: images, sequences and volumes, from the bytes of a file or of a packed folder.
//!
//! Each sample is one row: its features, and beside them one value in each of some columns, such as
//! its class or patient, with which it is divided like a table's row. Everything here reads bytes
//! where they lie; nothing is unpacked to a disk. Deliberately absent: files; bytes arrive as
//! arguments. Nothing is fitted to the rows.
//!
//! Floor: common.

mod array;
mod arrays;
mod decode;
mod error;
mod inflate;
mod names;
mod nifti;
pub mod pack;
mod pictures;
mod relabel;
mod resize;

use std::collections::BTreeMap;

use crate::study::Format;
use crate::table::{Column, LISTED_MAX, Table, Values};

pub use error::{SampleError, bytes as bytes_in_words};
pub use names::row_names;
pub use relabel::Relabelled;
pub(crate) use relabel::relabelled;

/// Rows that are no rows of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Of one row: [width], [length, channels] or [height, width, channels].
    pub shape: Vec<usize>,
    /// [rows, …shape], NaN where a number is missing.
    pub features: Vec<f32>,
    pub tokens: Option<u32>,
    /// One value a row in each column: target, groups.
    pub table: Table,
    /// [rows, height · width], class numbers.
    pub masks: Option<Vec<u8>>,
    /// [rows]: height and width of a pixel, in mm.
    pub spacing: Option<Vec<[f32; 2]>>,
    /// Things worth saying.
    pub notes: Vec<String>,
}

/// What is read out of the bytes.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub format: &'a Format,
    /// The array that is the target.
    pub target: &'a str,
    pub segmentation: bool,
    /// Bytes that may be held.
    pub memory: u64,
}

impl Samples {
    /// Reads a whole file, or a folder packed by [`pack::Pack`].
    ///
    /// Errors: what is wrong with the bytes, never an empty list; a format that is a table's has none
    /// of these bytes.
    pub fn read(asked: &Asked<'_>, bytes: &[u8]) -> Result<Self, Vec<SampleError>> {
        let samples = match asked.format {
            Format::Npz(options) | Format::Idx(options) => arrays::read(asked, options, bytes),
            Format::Images(options) => pictures::read(asked, options, bytes),
            Format::Nifti(options) => nifti::read(asked, options, bytes),
            Format::Csv | Format::Tsv | Format::Parquet | Format::Npy => {
                Err(vec![SampleError::NoFolder])
            }
        };
        samples.inspect(|samples| {
            let width: usize = samples.shape.iter().product();
            assert_eq!(samples.features.len(), samples.table.rows * width, "a row each");
        })
    }

    /// Rows with a missing number.
    pub fn torn_rows(&self) -> Vec<usize> {
        let width = (self.features.len() / self.table.rows.max(1)).max(1);
        let rows = self.features.chunks_exact(width).enumerate();
        rows.filter(|(_, row)| row.iter().any(|number| number.is_nan()))
            .map(|(row, _)| row)
            .collect()
    }
}

/// An array of two sides as a table: columns are called by their numbers, from 0.
pub fn npy_table(bytes: &[u8]) -> Result<Table, SampleError> {
    if pack::is_packed(bytes) {
        return Err(SampleError::Folder);
    }
    let array = array::Array::npy("the array", array::Body::Plain(bytes))?;
    let [rows, width] = array.shape[..] else {
        let (name, found) = (array.name.clone(), array.in_words());
        let expected = "[rows, columns]; for other arrays write an .npz of x and y".to_string();
        return Err(SampleError::Shape { name, found, expected });
    };
    if rows == 0 || width == 0 {
        let (name, found) = (array.name.clone(), array.in_words());
        let expected = "[rows, columns], with one of each at least".to_string();
        return Err(SampleError::Shape { name, found, expected });
    }
    let numbers: Vec<f64> = array.numbers(|number| number)?;
    let column = |place: usize| Column {
        name: place.to_string(),
        values: Values::Numbers(numbers.iter().skip(place).step_by(width).copied().collect()),
    };
    Ok(Table { columns: (0..width).map(column).collect(), rows })
}

/// Refuses what takes more memory than there is.
fn check_memory(asked: &Asked<'_>, needs: u64, remedy: &'static str) -> Result<(), SampleError> {
    let free = asked.memory;
    if needs > free { Err(SampleError::Memory { needs, free, remedy }) } else { Ok(()) }
}

/// Height and width of every row: as asked for, else the one size that all have.
fn one_size<'a>(
    asked: Option<[u32; 2]>,
    sizes: impl Iterator<Item = (&'a str, [usize; 2])>,
) -> Result<[usize; 2], SampleError> {
    if let Some(size) = asked {
        return Ok(size.map(|side| side as usize));
    }
    let mut met: BTreeMap<[usize; 2], (&str, usize)> = BTreeMap::new();
    for (name, size) in sizes {
        met.entry(size).or_insert((name, 0)).1 += 1;
    }
    if met.len() == 1 {
        return Ok(met.into_keys().next().unwrap_or_default());
    }
    let words: Vec<String> = met
        .iter()
        .map(|([height, width], (name, count))| format!("{height} × {width} ({count}, as {name})"))
        .collect();
    let sizes = format!("{} sizes: {}", met.len(), crate::table::first(&words, words.len()));
    Err(SampleError::Sizes { sizes })
}

type File<'a> = (&'a str, &'a [u8]);

/// The files of two folders by pairs of one name, whatever their endings.
fn labelled<'a>(
    files: &[File<'a>],
    images: &str,
    labels: &str,
    [image, label]: [&'static str; 2],
) -> Result<Vec<(File<'a>, File<'a>)>, Vec<SampleError>> {
    let below = |folder: &str| -> BTreeMap<&'a str, File<'a>> {
        let inside = files.iter().filter_map(|file| {
            let inner = file.0.strip_prefix(folder)?;
            Some((without_ending(inner), *file))
        });
        inside.collect()
    };
    let (images, labels) = (below(images), below(labels));
    let alone = |some: &BTreeMap<&'a str, File<'a>>,
                 others: &BTreeMap<&'a str, File<'a>>,
                 partner: &'static str| {
        let lonely = some.iter().filter(|(key, _)| !others.contains_key(*key));
        let error = |(_, file): (&&str, &File<'a>)| SampleError::Alone {
            name: file.0.to_string(),
            partner,
        };
        lonely.take(LISTED_MAX).map(error).collect::<Vec<SampleError>>()
    };
    let errors = [alone(&images, &labels, label), alone(&labels, &images, image)].concat();
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(images.iter().filter_map(|(key, image)| Some((*image, *labels.get(key)?))).collect())
}

fn without_ending(name: &str) -> &str {
    let stem = name.strip_suffix(".gz").unwrap_or(name);
    stem.rsplit_once('.').map_or(stem, |(stem, _)| stem)
}

/// A file's name without folders and endings.
fn stem(name: &str) -> &str {
    let name = without_ending(name);
    name.rsplit_once('/').map_or(name, |(_, name)| name)
}

/// A stem up to its first `_`: what a patient's files have in common.
fn prefix(stem: &str) -> &str {
    stem.split_once('_').map_or(stem, |(prefix, _)| prefix)
}

fn text_column(name: &str, texts: impl Iterator<Item = String>) -> Column {
    Column { name: name.to_string(), values: Values::Text(texts.map(Some).collect()) }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod written;
