//! Samples from named arrays: an `.npz` archive, a folder of `.npy` files, a folder of IDX files.
//!
//! Floor: common.

use zip::{CompressionMethod, ZipArchive};
use zune_core::bytestream::ZCursor;

use super::array::{Array, Body, shape_in_words};
use super::pack::{is_packed, unpack};
use super::{Asked, SampleError, Samples, check_memory};
use crate::study::{Arrays, Format};
use crate::table::{Column, Table, first};

/// Features from the array `x`; from every array of one entry a row, a column; from the target, masks
/// where the task asks for them.
pub(super) fn read(
    asked: &Asked<'_>,
    options: &Arrays,
    bytes: &[u8],
) -> Result<Samples, Vec<SampleError>> {
    let idx = matches!(asked.format, Format::Idx(_));
    let arrays = found(idx, bytes).map_err(|error| vec![error])?;
    let x = named(&arrays, &options.x, "x", idx);
    let target = named(&arrays, asked.target, "target", idx);
    let (x, target) = match (x, target) {
        (Ok(x), Ok(target)) => (x, target),
        (x, target) => return Err([x.err(), target.err()].into_iter().flatten().collect()),
    };
    of_arrays(asked, options, &arrays, (x, target)).map_err(|error| vec![error])
}

/// The array that is the target.
pub(super) fn target<'a>(
    idx: bool,
    bytes: &'a [u8],
    wanted: &str,
) -> Result<Array<'a>, SampleError> {
    let arrays = found(idx, bytes)?;
    named(&arrays, wanted, "target", idx).cloned()
}

fn of_arrays(
    asked: &Asked<'_>,
    options: &Arrays,
    arrays: &[Array<'_>],
    (x, target): (&Array<'_>, &Array<'_>),
) -> Result<Samples, SampleError> {
    let rows = x.rows();
    if rows == 0 || x.count() == 0 {
        let expected = "[rows, …] with a row at least".to_string();
        return Err(shape(x, expected));
    }
    if target.rows() != rows {
        let (first, second) = (x.name.clone(), target.name.clone());
        return Err(SampleError::Rows { first, rows, second, other: target.rows() });
    }
    let sample =
        sample_shape(x, options, asked.segmentation, matches!(asked.format, Format::Idx(_)))?;
    let masks = if asked.segmentation { target.count() as u64 } else { 0 };
    check_memory(asked, x.count() as u64 * 4 + masks, "keep fewer rows, or smaller ones")?;
    let mut wild = None;
    let features = x.numbers(|number| {
        let value = number as f32;
        if value.is_infinite() {
            wild = wild.or(Some(number));
        }
        value
    })?;
    if let Some(value) = wild {
        let (name, value) = (x.name.clone(), value.to_string());
        let expected = "numbers are finite and below 3.4e38: correct it";
        return Err(SampleError::Entry { name, value, expected });
    }
    let tokens = options.tokens.then(|| tokens(x, &features)).transpose()?;
    let masks = asked.segmentation.then(|| self::masks(target, &sample)).transpose()?;
    let of_rows = |array: &&Array<'_>| array.name != x.name && array.shape == [rows];
    let mut columns: Vec<Column> =
        arrays.iter().filter(of_rows).map(Array::column).collect::<Result<_, _>>()?;
    if masks.is_none() {
        // The file's name may be longer than what the study calls it.
        let column = columns.iter_mut().find(|column| column.name == target.name);
        let Some(column) = column else {
            return Err(shape(target, format!("{}: one entry a row", shape_in_words(&[rows]))));
        };
        column.name = asked.target.to_string();
    }
    let table = Table { columns, rows };
    Ok(Samples { shape: sample, features, tokens, table, masks, spacing: None, notes: Vec::new() })
}

/// What one row's features are.
fn sample_shape(
    x: &Array<'_>,
    options: &Arrays,
    segmentation: bool,
    pictures: bool,
) -> Result<Vec<usize>, SampleError> {
    let sides = x.shape.get(1..).unwrap_or_default();
    let (shape, expected) = match sides {
        _ if options.tokens => (
            matches!(sides, [_]).then(|| vec![sides[0], 1]),
            "[rows, length], the number of a token each",
        ),
        [height, width] if segmentation || pictures => (Some(vec![*height, *width, 1]), ""),
        [_, _, _] => (Some(sides.to_vec()), ""),
        _ if segmentation || pictures => (None, "[rows, height, width] or that with channels"),
        [] => (Some(vec![1]), ""),
        [_] | [_, _] => (Some(sides.to_vec()), ""),
        _ => (
            None,
            "[rows, width] of a table, [rows, length, channels] of sequences or [rows, height, \
             width, channels] of images",
        ),
    };
    shape.ok_or_else(|| self::shape(x, expected.to_string()))
}

fn shape(array: &Array<'_>, expected: String) -> SampleError {
    SampleError::Shape { name: array.name.clone(), found: array.in_words(), expected }
}

/// How many tokens there are: one more than the greatest.
fn tokens(x: &Array<'_>, features: &[f32]) -> Result<u32, SampleError> {
    let odd = features.iter().find(|value| {
        let token = **value;
        token < 0.0 || token.fract() != 0.0 || token.is_nan() || token > TOKENS_MAX
    });
    if let Some(value) = odd {
        let (name, value) = (x.name.clone(), value.to_string());
        let expected =
            "tokens are whole numbers from 0 to 16777215: correct it, or take `tokens` out";
        return Err(SampleError::Entry { name, value, expected });
    }
    Ok(features.iter().fold(0.0f32, |most, &token| most.max(token)) as u32 + 1)
}

/// Class numbers [rows, height, width], as bytes.
fn masks(target: &Array<'_>, sample: &[usize]) -> Result<Vec<u8>, SampleError> {
    if target.shape.get(1..) != sample.get(..2) || !target.is_whole() {
        let sides = [&[target.rows()], &sample[..2]].concat();
        return Err(shape(target, format!("whole numbers {}", shape_in_words(&sides))));
    }
    let mut odd = None;
    let masks = target.numbers(|number| {
        if !(0.0..=255.0).contains(&number) {
            odd = odd.or(Some(number));
        }
        number as u8
    })?;
    match odd {
        Some(value) => {
            let (name, value) = (target.name.clone(), value.to_string());
            Err(SampleError::Entry { name, value, expected: "classes are numbered from 0 to 255" })
        }
        None => Ok(masks),
    }
}

/// The array of this name; of IDX files, also the only one whose name has it as a part.
fn named<'s, 'a>(
    arrays: &'s [Array<'a>],
    wanted: &str,
    key: &'static str,
    by_part: bool,
) -> Result<&'s Array<'a>, SampleError> {
    if let Some(array) = arrays.iter().find(|array| array.name == wanted) {
        return Ok(array);
    }
    let alike: Vec<&Array<'a>> =
        arrays.iter().filter(|array| by_part && array.name.contains(wanted)).collect();
    let names = |arrays: &mut dyn Iterator<Item = &Array<'a>>| {
        let names: Vec<&str> = arrays.map(|array| array.name.as_str()).collect();
        first(&names, names.len())
    };
    let wanted = wanted.to_string();
    match alike.as_slice() {
        [array] => Ok(array),
        [] => Err(SampleError::NoArray { wanted, key, known: names(&mut arrays.iter()) }),
        many => Err(SampleError::Arrays {
            wanted,
            key,
            count: many.len(),
            known: names(&mut many.iter().copied()),
        }),
    }
}

/// All arrays, by name.
fn found(idx: bool, bytes: &[u8]) -> Result<Vec<Array<'_>>, SampleError> {
    if !is_packed(bytes) {
        return if idx { Err(SampleError::NoFolder) } else { of_archive(bytes) };
    }
    let mut arrays = Vec::new();
    for (name, content) in unpack(bytes)? {
        if idx && content.starts_with(&[0, 0]) {
            arrays.push(Array::idx(name, content)?);
        } else if idx && super::inflate::is_gzip(content) {
            return Err(SampleError::Gzip { name: name.to_string() });
        } else if let Some(stem) = name.strip_suffix(".npy").filter(|_| !idx) {
            arrays.push(Array::npy(stem, Body::Plain(content))?);
        }
    }
    let layout = "the folder needs files of arrays, such as x.npy and y.npy";
    if arrays.is_empty() { Err(SampleError::Nothing { what: "array", layout }) } else { Ok(arrays) }
}

/// The members of an archive as numpy writes it. The archive's own reader inflates nothing.
fn of_archive(bytes: &[u8]) -> Result<Vec<Array<'_>>, SampleError> {
    let broken = |_| SampleError::Archive;
    let mut archive = ZipArchive::new(ZCursor::new(bytes)).map_err(broken)?;
    let mut arrays = Vec::new();
    for number in 0..archive.len() {
        let member = archive.by_index_raw(number).map_err(broken)?;
        let name = member.name().map_err(broken)?.into_owned();
        let Some(stem) = name.strip_suffix(".npy") else { continue };
        let place = member.data_start().and_then(|start| {
            let start = usize::try_from(start).ok()?;
            let length = usize::try_from(member.compressed_size()).ok()?;
            bytes.get(start..start.checked_add(length)?)
        });
        let content = place.ok_or(SampleError::Archive)?;
        let body = match member.compression() {
            _ if member.encrypted() => return Err(SampleError::Archive),
            CompressionMethod::STORE => Body::Plain(content),
            CompressionMethod::DEFLATE => Body::Deflated(content),
            _ => return Err(SampleError::Archive),
        };
        arrays.push(Array::npy(stem, body)?.of_sum(member.crc32()));
    }
    let layout = "write it by numpy's savez_compressed(…, x=…, y=…)";
    if arrays.is_empty() { Err(SampleError::Nothing { what: "array", layout }) } else { Ok(arrays) }
}

/// Whole numbers up to here are told apart in 32 bits.
const TOKENS_MAX: f32 = 16_777_215.0;
