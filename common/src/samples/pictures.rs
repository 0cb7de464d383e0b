//! Samples from folders of images: a class a folder, or images with masks.
//!
//! Headers are read first, so that sizes are compared and memory is counted before a pixel is decoded;
//! then one image at a time becomes features.
//!
//! Floor: common.

use super::decode::{self, Head};
use super::error::{FOLDERS, PAIRS};
use super::pack::unpack;
use super::resize::{bilinear, nearest};
use super::{Asked, SampleError, Samples, check_memory, labelled, prefix, stem, text_column};
use crate::study::Pictures;
use crate::table::{LISTED_MAX, Table, first};

type File<'a> = (&'a str, &'a [u8]);

pub(super) fn read(
    asked: &Asked<'_>,
    options: &Pictures,
    bytes: &[u8],
) -> Result<Samples, Vec<SampleError>> {
    let files = unpack(bytes).map_err(|error| vec![error])?;
    let (images, others): (Vec<File<'_>>, Vec<File<'_>>) =
        files.into_iter().partition(|(name, _)| is_image(name));
    let (images, masks) = if asked.segmentation {
        let (images, masks) = paired(&images)?;
        (images, Some(masks))
    } else {
        (images, None)
    };
    if images.is_empty() {
        let layout = if asked.segmentation { PAIRS } else { FOLDERS };
        return Err(vec![SampleError::Nothing { what: "image", layout }]);
    }
    let classes = if masks.is_none() { Some(classes(&images)?) } else { None };
    let heads = each(&images, |(name, bytes)| {
        decode::head(bytes).map_err(|why| SampleError::Image { name: name.to_string(), why })
    })?;
    let (shape, features) = features(asked, options, &images, &heads)?;
    let masks = masks
        .map(|masks| self::masks(&masks, &images, &heads, [shape[0], shape[1]]))
        .transpose()?;
    let stems = || images.iter().map(|(name, _)| stem(name));
    let mut columns = vec![text_column("prefix", stems().map(|stem| prefix(stem).to_string()))];
    columns.extend(classes.map(|classes| text_column("class", classes.into_iter())));
    let table = Table { columns, rows: images.len() };
    let names: Vec<&str> = others.iter().map(|(name, _)| *name).collect();
    let mut notes = Vec::new();
    if !names.is_empty() {
        notes.push(format!("no images, and not read: {}", first(&names, names.len())));
    }
    Ok(Samples { shape, features, tokens: None, table, masks, spacing: None, notes })
}

/// The image of each row, by name.
pub(super) fn row_files<'a>(
    files: &[File<'a>],
    segmentation: bool,
) -> Result<Vec<&'a str>, Vec<SampleError>> {
    let images: Vec<File<'a>> = files.iter().copied().filter(|(name, _)| is_image(name)).collect();
    let images = if segmentation { paired(&images)?.0 } else { images };
    Ok(images.into_iter().map(|(name, _)| name).collect())
}

fn is_image(name: &str) -> bool {
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    ending.is_some_and(|ending| ["png", "jpg", "jpeg"].contains(&ending.as_str()))
}

/// The folder that each image lies in.
fn classes(images: &[File<'_>]) -> Result<Vec<String>, Vec<SampleError>> {
    each(images, |(name, _)| match name.split_once('/') {
        Some((class, _)) => Ok(class.to_string()),
        None => Err(SampleError::NoClass { name: name.to_string() }),
    })
}

/// Images and the masks of the same names.
fn paired<'a>(files: &[File<'a>]) -> Result<(Vec<File<'a>>, Vec<File<'a>>), Vec<SampleError>> {
    let pairs = labelled(files, "images/", "masks/", ["image", "mask"])?;
    let jpeg = pairs.iter().filter(|(_, (_, mask))| decode::is_jpeg(mask));
    let errors: Vec<SampleError> = jpeg
        .take(LISTED_MAX)
        .map(|(_, (name, _))| SampleError::Jpeg { name: name.to_string() })
        .collect();
    if errors.is_empty() { Ok(pairs.into_iter().unzip()) } else { Err(errors) }
}

/// The shape of every row, and the features of all.
fn features(
    asked: &Asked<'_>,
    options: &Pictures,
    images: &[File<'_>],
    heads: &[Head],
) -> Result<(Vec<usize>, Vec<f32>), Vec<SampleError>> {
    let named = images.iter().map(|(name, _)| *name);
    let sizes = named.zip(heads.iter().map(|head| [head.height, head.width]));
    let [height, width] = super::one_size(options.size, sizes).map_err(|error| vec![error])?;
    let gray = options.gray.unwrap_or_else(|| heads.iter().all(|head| head.gray));
    let channels = if gray { 1 } else { 3 };
    let each_pixel = 4 * channels as u64 + u64::from(asked.segmentation);
    let needs = (images.len() * height * width) as u64 * each_pixel;
    let remedy = "write a smaller size = [height, width] or gray = true, or take images away";
    check_memory(asked, needs, remedy).map_err(|error| vec![error])?;
    let mut features = Vec::with_capacity(images.len() * height * width * channels);
    let mut errors = Vec::new();
    for (name, bytes) in images {
        match decode::picture(bytes) {
            Ok(picture) => {
                let head = picture.head;
                let stored = if head.gray { 1 } else { 3 };
                let pixels = recoloured(picture.pixels, stored, channels);
                if [head.height, head.width] == [height, width] {
                    features.extend(pixels);
                } else {
                    let from = [head.height, head.width];
                    features.extend(bilinear(&pixels, from, [height, width], channels));
                }
            }
            Err(why) => errors.push(SampleError::Image { name: name.to_string(), why }),
        }
        if errors.len() == LISTED_MAX {
            break;
        }
    }
    if errors.is_empty() { Ok((vec![height, width, channels], features)) } else { Err(errors) }
}

/// Grey as three equal channels, or three as their luma (ITU-R BT.601).
fn recoloured(pixels: Vec<f32>, stored: usize, channels: usize) -> Vec<f32> {
    match (stored, channels) {
        (1, 3) => pixels.into_iter().flat_map(|gray| [gray; 3]).collect(),
        (3, 1) => {
            let luma = |rgb: &[f32]| 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
            pixels.chunks_exact(3).map(luma).collect()
        }
        _ => pixels,
    }
}

fn masks(
    masks: &[File<'_>],
    images: &[File<'_>],
    heads: &[Head],
    to: [usize; 2],
) -> Result<Vec<u8>, Vec<SampleError>> {
    let pairs: Vec<(File<'_>, (File<'_>, Head))> =
        masks.iter().copied().zip(images.iter().copied().zip(heads.iter().copied())).collect();
    let each_mask = each(&pairs, |&((name, bytes), ((image, _), head))| {
        let damaged = |why| SampleError::Image { name: name.to_string(), why };
        // Before anything is allocated for it.
        let own = decode::head(bytes).map_err(damaged)?;
        if (own.height, own.width) != (head.height, head.width) {
            return Err(SampleError::MaskSize {
                name: image.to_string(),
                found: format!("{} × {}", head.height, head.width),
                mask: format!("{} × {}", own.height, own.width),
            });
        }
        let Some((_, numbers)) = decode::mask(bytes).map_err(damaged)? else {
            return Err(SampleError::Colours { name: name.to_string() });
        };
        if let Some(&value) = numbers.iter().find(|&&number| number > 255) {
            let value = i64::from(value);
            return Err(SampleError::Class { name: name.to_string(), value, classes: 256 });
        }
        let small: Vec<u8> = numbers.into_iter().map(|number| number as u8).collect();
        let from = [own.height, own.width];
        Ok(if from == to { small } else { nearest(&small, from, to) })
    })?;
    Ok(each_mask.concat())
}

/// What `of` gives of every item, or the first errors.
fn each<A, B>(
    items: &[A],
    of: impl Fn(&A) -> Result<B, SampleError>,
) -> Result<Vec<B>, Vec<SampleError>> {
    let mut found = Vec::with_capacity(items.len());
    let mut errors = Vec::new();
    for item in items {
        match of(item) {
            Ok(one) => found.push(one),
            Err(error) => errors.push(error),
        }
        if errors.len() == LISTED_MAX {
            break;
        }
    }
    if errors.is_empty() { Ok(found) } else { Err(errors) }
}
