//! Images, volumes and arrays, as an operator has them from anywhere.
//!
//! What is read has as many numbers as its shape says, and tokens and classes within their bounds;
//! what is not has reasons.
//!
//! Floor: wiring.

use common::samples::pack::Pack;
use common::samples::{Asked, Samples, npy_table};
use common::study::{Arrays, Format, Pictures};
use common::table::Values;

use super::{Read, kept};

macro_rules! written {
    ($name:literal) => {
        include_bytes!(concat!("../data/samples/written/", $name)).as_slice()
    };
}

/// The first byte says which format the others are read as.
pub(super) fn run(input: &[u8]) -> Read {
    let (which, bytes) = input.split_first()?;
    let arrays = |x: &str, tokens| Arrays { x: x.to_string(), tokens };
    let pictures = Pictures { size: None, gray: None };
    let (format, target, segmentation) = match which % KINDS {
        NPZ => (Format::Npz(arrays("x", false)), "y", false),
        TOKENS => (Format::Npz(arrays("x", true)), "y", false),
        MASKS => (Format::Npz(arrays("x", false)), "y", true),
        IDX => (Format::Idx(arrays("images", false)), "labels", false),
        IMAGES => (Format::Images(pictures), "class", false),
        PAIRS => (Format::Images(pictures), "mask", true),
        SIZED => {
            (Format::Images(Pictures { size: Some([3, 5]), gray: Some(true) }), "class", false)
        }
        NIFTI => (Format::Nifti(pictures), "mask", true),
        _ => return table(bytes),
    };
    let asked = Asked { format: &format, target, segmentation, memory: MEMORY };
    match Samples::read(&asked, bytes) {
        Ok(samples) => {
            hold(&samples, segmentation);
            kept(samples)
        }
        Err(errors) => {
            assert!(!errors.is_empty(), "refused without a reason");
            kept(errors.iter().map(ToString::to_string).collect::<Vec<_>>())
        }
    }
}

fn table(bytes: &[u8]) -> Read {
    match npy_table(bytes) {
        Ok(table) => {
            assert!(table.rows > 0 && !table.columns.is_empty());
            kept(table)
        }
        Err(error) => kept(error.to_string()),
    }
}

fn hold(samples: &Samples, segmentation: bool) {
    let rows = samples.table.rows;
    let width: usize = samples.shape.iter().product();
    assert!(rows > 0 && width > 0);
    assert_eq!(samples.features.len(), rows * width);
    assert!(samples.features.iter().all(|number| !number.is_infinite()));
    if let Some(tokens) = samples.tokens {
        assert!(samples.features.iter().all(|&token| (token as u32) < tokens && token >= 0.0));
    }
    assert_eq!(samples.masks.is_some(), segmentation);
    if let Some(masks) = &samples.masks {
        assert_eq!(masks.len(), rows * samples.shape[0] * samples.shape[1]);
    }
    if let Some(spacing) = &samples.spacing {
        assert_eq!(spacing.len(), rows);
        assert!(spacing.iter().flatten().all(|side| side.is_finite() && *side > 0.0));
    }
    for column in &samples.table.columns {
        let length = match &column.values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Text(texts) => texts.len(),
        };
        assert_eq!(length, rows, "{}", column.name);
    }
}

pub(super) fn seeds() -> Vec<(String, Vec<u8>)> {
    let of = |name: &str, kind: u8, bytes: &[u8]| (name.to_string(), [&[kind], bytes].concat());
    let folder = |name: &str, kind: u8, files: &[(&str, &[u8])]| of(name, kind, &packed(files));
    let seeds = vec![
        of("npz", NPZ, written!("../arrays.npz")),
        of("tokens", TOKENS, written!("tokens.npz")),
        of("npy", TABLE, written!("tokens/x.npy")),
        folder(
            "npy-folder",
            NPZ,
            &[("x.npy", written!("tokens/x.npy")), ("y.npy", written!("tokens/y.npy"))],
        ),
        folder(
            "npy-masks",
            MASKS,
            &[
                ("x.npy", &npy("<f4", &[2, 2, 1], &[0; 16])),
                ("y.npy", &npy("|u1", &[2, 2, 1], &[0, 1, 1, 0])),
            ],
        ),
        folder(
            "idx",
            IDX,
            &[
                ("train-images-idx3-ubyte", written!("idx/train-images-idx3-ubyte")),
                ("train-labels-idx1-ubyte", written!("idx/train-labels-idx1-ubyte")),
            ],
        ),
        folder(
            "jpeg",
            IMAGES,
            &[
                ("a/full.jpg", written!("jpeg/a/full.jpg")),
                ("b/restarts.jpg", written!("jpeg/b/restarts.JPG")),
            ],
        ),
        folder(
            "progressive",
            SIZED,
            &[
                ("a/gray.jpg", written!("jpeg-gray/b/one.jpg")),
                ("b/progressive.jpg", written!("jpeg/b/progressive.jpeg")),
            ],
        ),
        folder("png-masks", PAIRS, &[("images/1.png", PNG), ("masks/1.png", PNG)]),
        folder(
            "nifti",
            NIFTI,
            &[
                ("images/p1.nii.gz", written!("nifti/images/p1_a.nii.gz")),
                ("labels/p1.nii.gz", written!("nifti/labels/p1_a.nii.gz")),
            ],
        ),
    ];
    for (name, bytes) in &seeds {
        let read = run(bytes).expect("not empty");
        let refused = read.is::<Vec<String>>() || read.is::<String>();
        assert!(!refused, "{name} teaches nothing, since it is refused");
    }
    seeds
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut pack = Pack::default();
    files.iter().for_each(|(name, content)| assert!(pack.add(name, content), "{name}"));
    pack.finish()
}

/// An array as numpy writes it.
fn npy(kind: &str, shape: &[usize], body: &[u8]) -> Vec<u8> {
    let sides: Vec<String> = shape.iter().map(ToString::to_string).collect();
    let sides = sides.join(", ");
    let text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sides}), }}");
    let text = format!("{text:<117}\n");
    let length = (text.len() as u16).to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], text.as_bytes(), body].concat()
}

/// Two by two, grey: 0, 1, 1, 0.
const PNG: &[u8] = written!("mask.png");

const NPZ: u8 = 0;
const TOKENS: u8 = 1;
const MASKS: u8 = 2;
const IDX: u8 = 3;
const IMAGES: u8 = 4;
const PAIRS: u8 = 5;
const SIZED: u8 = 6;
const NIFTI: u8 = 7;
const TABLE: u8 = 8;
const KINDS: u8 = 9;
/// What samples may hold: little, so that many are tried.
const MEMORY: u64 = 1 << 20;
