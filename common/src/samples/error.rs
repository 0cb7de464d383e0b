//! Why bytes are no samples: what, where, and what to change.
//!
//! Floor: common.

use thiserror::Error;

/// Why a data file or folder cannot be read as its format says.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SampleError {
    #[error("a file is there and the format needs a folder; put the files into one and name that")]
    NoFolder,
    #[error("a folder is there and the format is read from one file; name the file")]
    Folder,
    #[error("the packed folder is damaged; submit the study again")]
    Pack,
    #[error("the archive cannot be read; write it again, for example by numpy's savez_compressed")]
    Archive,
    #[error("{name} {why}; write the file again")]
    Damaged { name: String, why: &'static str },
    #[error("{name} is compressed by gzip, which is not read here; unpack it first (gunzip)")]
    Gzip { name: String },
    #[error(
        "{name} holds {kind}, which is not read; write it as numbers, such as float32 or int64"
    )]
    Kind { name: String, kind: String },
    #[error("no array is called {wanted:?}; name one by `{key} = …` in [data]: {known}")]
    NoArray { wanted: String, key: &'static str, known: String },
    #[error("{count} arrays could be {wanted:?}: {known}; name one by `{key} = …` in [data]")]
    Arrays { wanted: String, key: &'static str, count: usize, known: String },
    #[error("{name} is {found}, and must be {expected}")]
    Shape { name: String, found: String, expected: String },
    #[error(
        "{first} has {rows} rows and {second} has {other}; row by row they must belong together"
    )]
    Rows { first: String, rows: usize, second: String, other: usize },
    #[error("{name} has an entry {value}; {expected}")]
    Entry { name: String, value: String, expected: &'static str },
    #[error(
        "the samples have {sizes}; write size = [height, width] in [data], and all are resized"
    )]
    Sizes { sizes: String },
    #[error("no {what} is there; {layout}")]
    Nothing { what: &'static str, layout: &'static str },
    #[error("{name} lies in no folder of a class; {FOLDERS}")]
    NoClass { name: String },
    #[error("{name} has no {partner} of the same name; add it, or take {name} away")]
    Alone { name: String, partner: &'static str },
    #[error("{name} cannot be decoded ({why}); save it again, or take it away")]
    Image { name: String, why: String },
    #[error("{name} is a mask in colours; a mask's pixels are class numbers: save it in grey")]
    Colours { name: String },
    #[error("{name} is a mask as JPEG, which changes class numbers; save masks as PNG")]
    Jpeg { name: String },
    #[error("{name} is {found} and its mask {mask}; they must have one size")]
    MaskSize { name: String, found: String, mask: String },
    #[error(
        "{name} has a pixel of class {value}, and there are {classes} classes, numbered from 0; \
         correct the mask, or name more `classes`"
    )]
    Class { name: String, value: i64, classes: usize },
    #[error(
        "the masks hold the values {values}: class {missing} is nowhere; a pixel is the number of \
         its class, 0 for what surrounds: write 1 for the next, or name all `classes`"
    )]
    Gap { values: String, missing: usize },
    #[error("the masks hold one class alone; there is nothing to learn")]
    OneClass,
    #[error(
        "it takes {} of memory, and {} are free; {remedy}", bytes(*.needs), bytes(*.free)
    )]
    Memory { needs: u64, free: u64, remedy: &'static str },
}

/// `3.2 GiB`.
pub fn bytes(count: u64) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} bytes") } else { format!("{value:.1} {}", units[unit]) }
}

/// How images with classes are laid out.
pub const FOLDERS: &str =
    "images lie in one folder a class (scans/ill/1.png), and its name is the class's";
/// How images with masks are laid out.
pub const PAIRS: &str = "images lie in images/ and masks in masks/, under the same names";
/// How volumes are laid out.
pub const VOLUMES: &str =
    "volumes lie in images/ and their labels in labels/, under the same names (.nii, .nii.gz)";
