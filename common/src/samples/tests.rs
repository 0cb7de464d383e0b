//! Files of several formats, sound and broken, and what is said of them.
//!
//! Floor: common.

use super::pack::Pack;
use super::*;
use crate::study::{Checked, Pictures, check, check_within};
use crate::table::Target;

pub const ARRAYS: &[u8] = include_bytes!("../../../tests/data/samples/arrays.npz");
const DIGITS: &[u8] = include_bytes!("../../../coordinator/demo/digits/digits.npz");

/// A study of `data`, with a metric of its task, and an arm that can learn from such rows.
pub fn study(metric: &str, data: &str) -> String {
    let arm = match metric {
        "dice" | "iou" | "hausdorff95" => "model = \"unet\"\nchannels = [2]",
        _ if data.contains("tokens = true") => "model = \"transformer\"",
        _ => "model = \"linear\"",
    };
    format!(
        "[study]\nname = \"s\"\nmetric = \"{metric}\"\n[data]\n{data}\n[split]\n\
         outer = {{ folds = 2 }}\n[seeds]\ncount = 2\n[arms.a]\n{arm}\n"
    )
}

pub fn checked(metric: &str, data: &str, bytes: &[u8]) -> Checked {
    check(&study(metric, data), &mut |_| Ok(bytes.to_vec())).unwrap_or_else(|all| panic!("{all}"))
}

#[track_caller]
pub fn refused(metric: &str, data: &str, bytes: &[u8], words: &str) {
    let told = check(&study(metric, data), &mut |_| Ok(bytes.to_vec())).expect_err("refused");
    assert!(told.to_string().contains(words), "{told}");
}

pub fn packed(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut pack = Pack::default();
    files.iter().for_each(|(name, content)| assert!(pack.add(name, content), "{name}"));
    pack.finish()
}

pub fn png(side: u32, value: u8) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(::png::ColorType::Grayscale);
    encoder.set_depth(::png::BitDepth::Eight);
    let mut pixels = vec![0; (side * side) as usize];
    pixels[1] = value;
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    bytes
}

/// A volume of bytes: `slices` of 2 × 3, pixels of 1.5 mm by 0.5 mm.
pub fn nifti(slices: i16, voxels: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 352];
    bytes[..4].copy_from_slice(&348i32.to_le_bytes());
    for (at, side) in [3i16, 3, 2, slices].into_iter().enumerate() {
        bytes[40 + 2 * at..42 + 2 * at].copy_from_slice(&side.to_le_bytes());
    }
    bytes[70..72].copy_from_slice(&2i16.to_le_bytes());
    for (at, side) in [(80, 0.5f32), (84, 1.5), (108, 352.0)] {
        bytes[at..at + 4].copy_from_slice(&side.to_le_bytes());
    }
    bytes[344..348].copy_from_slice(b"n+1\0");
    bytes.extend(voxels);
    bytes
}

#[test]
fn arrays_of_numpy_are_read_in_every_order_and_width() {
    let data = |x: &str| {
        format!("path = \"a.npz\"\nx = \"{x}\"\ngroup = \"groups\"\ntask = \"classification\"")
    };
    let expected: Vec<f32> = (0..24).map(|n| n as f32 / 2.0).collect();
    for x in ["x", "fortran"] {
        let dataset = checked("accuracy", &data(x), ARRAYS).dataset;
        assert_eq!(dataset.features, expected, "{x}");
        assert_eq!(dataset.shape, [3, 2]);
        assert_eq!(dataset.target, Target::Classes { labels: vec![1, 0, 1, 0], classes: 2 });
        assert_eq!(dataset.groups, Some(vec![1, 1, 0, 2]));
    }
    let whole = checked("accuracy", &data("big"), ARRAYS).dataset;
    assert_eq!(whole.features, expected.iter().map(|n| n.trunc()).collect::<Vec<_>>());
}

#[test]
fn what_an_archive_lacks_is_said_with_what_it_has() {
    let data = "path = \"a.npz\"\ntarget = \"z\"\ntask = \"classification\"";
    refused("accuracy", data, ARRAYS, "no array is called \"z\"; name one by `target = …`");
    let data = "path = \"a.npz\"\ntask = \"classification\"";
    refused("accuracy", data, &ARRAYS[..ARRAYS.len() / 2], "the archive cannot be read");
    refused("accuracy", &format!("{data}\nsize = [8, 8]"), ARRAYS, "`size` means nothing");
}

#[test]
fn the_demonstrations_digits_are_images_and_too_large_for_little_memory() {
    let data = "path = \"digits.npz\"\ntask = \"classification\"";
    let Checked { study: kept, dataset, .. } = checked("accuracy", data, DIGITS);
    assert_eq!((dataset.rows(), dataset.shape.as_slice()), (1797, &[8, 8, 1][..]));
    assert!(dataset.features.iter().all(|pixel| (0.0..=16.0).contains(pixel)));
    assert_eq!(crate::table::Dataset::read(&kept.data, DIGITS), Ok(dataset));
    let told = check_within(&study("accuracy", data), &mut |_| Ok(DIGITS.to_vec()), 100_000);
    let told = told.expect_err("refused").to_string();
    assert!(told.contains("it takes 449.2 KiB of memory, and 97.7 KiB are free"), "{told}");
}

#[test]
fn folders_of_images_have_their_classes() {
    let data = "path = \"scans\"\nformat = \"images\"\ntask = \"classification\"";
    let names = ["a/1.png", "a/2.png", "b/1.png", "b/2.png"];
    let files: Vec<(&str, Vec<u8>)> = names.iter().map(|name| (*name, png(3, 255))).collect();
    let dataset = checked("accuracy", data, &packed(&files)).dataset;
    assert_eq!(dataset.shape, [3, 3, 1]);
    assert_eq!(dataset.features[..3], [0.0, 1.0, 0.0]);
    assert_eq!(dataset.target, Target::Classes { labels: vec![0, 0, 1, 1], classes: 2 });
    let mut unequal = files.clone();
    unequal[3].1 = png(4, 9);
    refused("accuracy", data, &packed(&unequal), "2 sizes: 3 × 3 (3, as a/1.png), 4 × 4 (1");
    let sized = format!("{data}\nsize = [2, 2]");
    assert_eq!(checked("accuracy", &sized, &packed(&unequal)).dataset.shape, [2, 2, 1]);
    let mut cut = files.clone();
    cut[2].1.truncate(45);
    refused("accuracy", data, &packed(&cut), "b/1.png cannot be decoded");
}

#[test]
fn masks_belong_to_images() {
    let data = "path = \"scans\"\nformat = \"images\"\ntask = \"segmentation\"";
    let names = ["images/1.png", "images/2.png", "masks/1.png", "masks/2.png"];
    let of = |values: [u8; 4]| -> Vec<(&str, Vec<u8>)> {
        names.iter().zip(values).map(|(name, value)| (*name, png(3, value))).collect()
    };
    let dataset = checked("dice", data, &packed(&of([9, 9, 1, 1]))).dataset;
    let Target::Masks { labels, pixels: 9, classes: 2 } = &dataset.target else { panic!() };
    assert_eq!(labels[..3], [0, 1, 0]);
    refused("dice", data, &packed(&of([9, 9, 1, 3])), "class 2 is nowhere");
    let named = format!("{data}\nclasses = [\"none\", \"heart\"]");
    refused("dice", &named, &packed(&of([9, 9, 1, 2])), "a pixel of class 2, and there are 2");
    refused("dice", data, &packed(&of([9, 9, 1, 1])[1..]), "masks/1.png has no image");
    refused("accuracy", data, &packed(&of([9, 9, 1, 1])), "measures classification");
}

#[test]
fn volumes_become_slices_of_their_patients() {
    let data = "path = \"scans\"\nformat = \"nifti\"\ntask = \"segmentation\"";
    let voxels: Vec<u8> = (0..12).collect();
    let labels = [0, 1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 1];
    let files = |label: &[u8]| {
        packed(&[
            ("images/p1.nii", nifti(2, &voxels)),
            ("images/p2.nii", nifti(2, &voxels)),
            ("labels/p1.nii", nifti(2, &labels)),
            ("labels/p2.nii", nifti(2, label)),
        ])
    };
    let dataset = checked("hausdorff95", data, &files(&labels)).dataset;
    assert_eq!((dataset.rows(), dataset.shape.as_slice()), (4, &[2, 3, 1][..]));
    assert_eq!(dataset.features[6..12], [6.0, 7.0, 8.0, 9.0, 10.0, 11.0]);
    assert_eq!(dataset.groups, Some(vec![0, 0, 1, 1]));
    assert_eq!(dataset.spacing, Some(vec![[1.5, 0.5]; 4]));
    refused("dice", data, &files(&labels[..11]), "labels/p2.nii ends before its last voxel");
    let pictures = Pictures { size: None, gray: None };
    let format = Format::Nifti(pictures);
    let asked = Asked { format: &format, target: "mask", segmentation: true, memory: 10 };
    let told = Samples::read(&asked, &files(&labels)).expect_err("refused");
    assert!(told[0].to_string().contains("it takes 120 bytes of memory"), "{told:?}");
}
