//! Files as other programs write them: IDX, JPEG, gzipped NIfTI and numbers of tokens.
//!
//! `make_written.py` writes them by Pillow, nibabel and numpy, and with them what those read. Each is
//! then cut and changed: what is said names the file, and what to do about it.
//!
//! Floor: common.

use serde_json::Value;

use super::tests::{checked, packed, refused, study};
use crate::study::check;
use crate::table::Target;

/// A file's name and content.
macro_rules! written {
    ($name:literal) => {
        ($name, include_bytes!(concat!("../../../tests/data/samples/written/", $name)).as_slice())
    };
}

type Files = Vec<(&'static str, Vec<u8>)>;

/// The files below a folder, by names inside it.
fn below(folder: &str, files: &[(&'static str, &[u8])]) -> Files {
    let inner =
        |(name, bytes): &(&'static str, &[u8])| Some((name.strip_prefix(folder)?, bytes.to_vec()));
    files.iter().filter_map(inner).collect()
}

fn expected(path: &[&str]) -> Vec<f32> {
    let all: Value = serde_json::from_slice(written!("expected.json").1).unwrap();
    let found = path.iter().fold(&all, |value, key| &value[key]);
    found.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

/// One file of a folder changed.
fn with(files: &Files, name: &str, change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut files = files.clone();
    let file = files.iter_mut().find(|(key, _)| *key == name).unwrap();
    change(&mut file.1);
    packed(&files)
}

/// Of a file with sums, what is changed is refused, or was nothing but a time or a padding.
fn told_or_same(metric: &str, data: &str, whole: &[u8], changed: impl Iterator<Item = Vec<u8>>) {
    let whole = checked(metric, data, whole).dataset;
    let (mut told, mut all) = (0, 0);
    for (at, bytes) in changed.enumerate() {
        match check(&study(metric, data), &mut |_| Ok(bytes.clone())) {
            Ok(read) => {
                assert!(read.dataset.features == whole.features, "byte {at}");
                assert!(read.dataset.target == whole.target, "byte {at}");
            }
            Err(_) => told += 1,
        }
        all += 1;
    }
    assert!(2 * told > all, "{told} of {all}");
}

#[test]
fn idx_files_are_read_in_every_type() {
    let data = "path = \"mnist\"\nformat = \"idx\"\ntask = \"classification\"";
    let dataset = checked("accuracy", data, &packed(&below("idx/", &IDX))).dataset;
    assert_eq!((dataset.rows(), dataset.shape.as_slice()), (6, &[3, 4, 1][..]));
    assert_eq!(dataset.features, expected(&["idx", "images"]));
    assert_eq!(dataset.target, Target::Classes { labels: vec![2, 0, 1, 2, 0, 1], classes: 3 });
    let table = expected(&["idx", "table"]);
    let wide = packed(&below("idx-wide/", &IDX));
    let kinds = [
        ("int8", 1.0),
        ("int16", 200.0),
        ("int32", 70_000.0),
        ("float32", 0.25),
        ("float64", 0.25),
    ];
    for (x, scale) in kinds {
        let data = format!("{data}\nx = \"{x}\"");
        let dataset = checked("accuracy", &data, &wide).dataset;
        let scaled: Vec<f32> = table.iter().map(|number| number * scale).collect();
        assert_eq!(dataset.features, scaled, "{x}");
        assert_eq!(dataset.target, Target::Classes { labels: vec![1, 0, 1, 0], classes: 2 });
    }
}

#[test]
fn what_is_wrong_with_idx_files_is_said_with_their_names() {
    let data = "path = \"mnist\"\nformat = \"idx\"\ntask = \"classification\"";
    let files = below("idx/", &IDX);
    let (images, labels) = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte");
    let refused = |bytes: &[u8], words: &str| refused("accuracy", data, bytes, words);
    let cut = |name: &str, length: usize| with(&files, name, |bytes| bytes.truncate(length));
    for length in [87, 60, 16] {
        let words = "train-images-idx3-ubyte ends before its last number; write the file again";
        refused(&cut(images, length), words);
    }
    refused(&cut(images, 9), "train-images-idx3-ubyte has a broken header; write the file again");
    let kind = with(&files, images, |bytes| bytes[2] = 0x07);
    refused(&kind, "train-images-idx3-ubyte is no IDX file; write the file again");
    let huge = with(&files, images, |bytes| bytes[4..16].fill(0xff));
    refused(&huge, "train-images-idx3-ubyte ends before its last number; write the file again");
    let five = with(&files, labels, |bytes| bytes[7] = 5);
    refused(&five, "has 6 rows and train-labels-idx1-ubyte has 5");
    let none = with(&files, images, |bytes| bytes[7] = 0);
    refused(&none, "train-images-idx3-ubyte is uint8 (0, 3, 4), and must be [rows, …]");
    let words = "images.gz is compressed by gzip, which is not read here; unpack it first (gunzip)";
    refused(&packed(&below("idx-gz/", &IDX)), words);
    let both = packed(&[files.clone(), vec![("xxl-images", files[0].1.clone())]].concat());
    refused(&both, "2 arrays could be \"images\"");
    refused(&packed(&files[1..]), "no array is called \"images\"; name one by `x = …`");
}

#[test]
fn jpeg_images_are_read_as_libjpeg_reads_them() {
    let data = "path = \"scans\"\nformat = \"images\"\ntask = \"classification\"";
    for (folder, channels) in [("jpeg/", 3), ("jpeg-gray/", 1)] {
        let files = below(folder, &JPEG);
        let dataset = checked("accuracy", data, &packed(&files)).dataset;
        assert_eq!(dataset.shape, [16, 24, channels]);
        let rows = dataset.features.chunks_exact(dataset.width);
        for ((name, _), pixels) in files.iter().zip(rows) {
            let theirs = expected(&["jpeg", &format!("{folder}{name}")]);
            assert_eq!(pixels.len(), theirs.len());
            let apart = pixels.iter().zip(&theirs).map(|(a, b)| (a * 255.0 - b).abs());
            let (most, sum) = apart.fold((0.0f32, 0.0), |(most, sum), d| (d.max(most), sum + d));
            let mean = sum / theirs.len() as f32;
            println!("{folder}{name}: {most} of 255 at most, {mean} in the mean");
            // The inverse transform may round otherwise, and halved colours be spread otherwise.
            assert!(most <= 4.0 && mean < 0.6, "{name}: {most} of 255, {mean} in the mean");
        }
    }
}

#[test]
fn a_jpeg_in_four_inks_becomes_colours() {
    let (name, bytes) = written!("jpeg-cmyk/a/print.jpg");
    let pixels = super::decode::picture(bytes).unwrap().pixels;
    let apart = pixels.iter().zip(expected(&["jpeg", name])).map(|(a, b)| (a * 255.0 - b).abs());
    assert_eq!(pixels.len(), 16 * 24 * 3);
    assert!(apart.fold(0.0, f32::max) <= 4.0);
}

#[test]
fn what_is_wrong_with_a_jpeg_is_said_with_its_name() {
    let data = "path = \"scans\"\nformat = \"images\"\ntask = \"classification\"";
    let files = below("jpeg/", &JPEG);
    for (name, bytes) in &files {
        for length in [2, 20, 200, bytes.len() / 2, bytes.len() - 40] {
            let cut = with(&files, name, |bytes| bytes.truncate(length));
            refused("accuracy", data, &cut, &format!("{name} cannot be decoded ("));
            refused("accuracy", data, &cut, "save it again, or take it away");
        }
    }
    let text = with(&files, "a/full.jpg", |bytes| *bytes = b"<html>not found</html>".to_vec());
    refused("accuracy", data, &text, "a/full.jpg cannot be decoded (");
}

#[test]
fn gzipped_volumes_are_read_as_nibabel_reads_them() {
    let data = "path = \"scans\"\nformat = \"nifti\"\ntask = \"segmentation\"";
    let files = below("nifti/", &NIFTI);
    let dataset = checked("dice", data, &packed(&files)).dataset;
    assert_eq!((dataset.rows(), dataset.shape.as_slice()), (4, &[3, 4, 1][..]));
    let volumes = [expected(&["nifti", "p1_a"]), expected(&["nifti", "p2_a"])].concat();
    assert_eq!(dataset.features, volumes);
    let labels =
        [expected(&["nifti", "p1_a labels"]), expected(&["nifti", "p2_a labels"])].concat();
    let labels = labels.into_iter().map(|label| label as u8).collect();
    assert_eq!(dataset.target, Target::Masks { labels, pixels: 12, classes: 2 });
    assert_eq!(dataset.groups, Some(vec![0, 0, 1, 1]));
    assert_eq!(dataset.spacing, Some(vec![[1.5, 0.5]; 4]));
}

#[test]
fn what_is_wrong_with_a_gzipped_volume_is_said_with_its_name() {
    let data = "path = \"scans\"\nformat = \"nifti\"\ntask = \"segmentation\"";
    let files = below("nifti/", &NIFTI);
    for (name, bytes) in &files {
        for length in (2..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let cut = with(&files, name, |bytes| bytes.truncate(length));
            refused("dice", data, &cut, &format!("{name} "));
            refused("dice", data, &cut, "; write the file again");
        }
        let changed = |at: usize| with(&files, name, |bytes| bytes[at] ^= 0x10);
        told_or_same("dice", data, &packed(&files), (0..bytes.len()).map(changed));
    }
}

#[test]
fn a_volume_may_be_gzipped_in_parts() {
    let data = "path = \"scans\"\nformat = \"nifti\"\ntask = \"segmentation\"";
    let files = below("nifti/", &NIFTI);
    let whole = checked("dice", data, &packed(&files)).dataset;
    let parts = with(&files, "images/p1_a.nii.gz", |bytes| {
        *bytes = written!("nifti-parts/p1_a.nii.gz").1.to_vec();
    });
    assert_eq!(checked("dice", data, &parts).dataset.features, whole.features);
}

#[test]
fn numbers_of_tokens_are_sequences() {
    let data = "path = \"texts.npz\"\ntask = \"classification\"\ntokens = true";
    let folder = "path = \"texts\"\nformat = \"npy\"\ntask = \"classification\"\ntokens = true";
    let files = below("tokens/", &TOKENS);
    let archive = TOKENS[0].1.to_vec();
    for (data, bytes) in [(data, archive.clone()), (folder, packed(&files))] {
        let dataset = checked("accuracy", data, &bytes).dataset;
        assert_eq!((dataset.tokens, dataset.shape.as_slice()), (Some(12), &[5, 1][..]));
        assert_eq!(dataset.features, expected(&["tokens"]));
        let labels = vec![0, 1, 0, 1, 1, 0];
        assert_eq!(dataset.target, Target::Classes { labels, classes: 2 });
    }
    let refused = |data: &str, bytes: &[u8], words: &str| refused("accuracy", data, bytes, words);
    for length in [30, 100, archive.len() - 1] {
        refused(data, &archive[..length], "the archive cannot be read; write it again");
    }
    let changed = |at: usize| {
        let mut changed = archive.clone();
        changed[at] ^= 0x04;
        changed
    };
    told_or_same("accuracy", data, &archive, (0..archive.len()).map(changed));
    let cut = |length: usize| with(&files, "x.npy", |bytes| bytes.truncate(length));
    refused(folder, &cut(187), "x ends before its last number; write the file again");
    refused(folder, &cut(70), "x has a broken header; write the file again");
    refused(folder, &cut(5), "x is no numpy array; write the file again");
    // Two bytes each, as signed numbers: the greatest becomes −1.
    let signed = with(&files, "x.npy", |bytes| {
        let kind = bytes.windows(3).position(|three| three == b">u2").unwrap();
        bytes[kind + 1] = b'i';
        let end = bytes.len();
        bytes[end - 2..].fill(0xff);
    });
    refused(folder, &signed, "x has an entry -1; tokens are whole numbers from 0 to 16777215");
}

const IDX: [(&str, &[u8]); 9] = [
    written!("idx/train-images-idx3-ubyte"),
    written!("idx/train-labels-idx1-ubyte"),
    written!("idx-gz/images.gz"),
    written!("idx-wide/float32"),
    written!("idx-wide/float64"),
    written!("idx-wide/int16"),
    written!("idx-wide/int32"),
    written!("idx-wide/int8"),
    written!("idx-wide/labels"),
];
const JPEG: [(&str, &[u8]); 8] = [
    written!("jpeg/a/full.jpg"),
    written!("jpeg/a/halved.jpg"),
    written!("jpeg/b/progressive.jpeg"),
    written!("jpeg/b/restarts.JPG"),
    written!("jpeg-gray/a/one.jpg"),
    written!("jpeg-gray/a/two.jpg"),
    written!("jpeg-gray/b/one.jpg"),
    written!("jpeg-gray/b/two.jpg"),
];
const NIFTI: [(&str, &[u8]); 4] = [
    written!("nifti/images/p1_a.nii.gz"),
    written!("nifti/images/p2_a.nii.gz"),
    written!("nifti/labels/p1_a.nii.gz"),
    written!("nifti/labels/p2_a.nii.gz"),
];
const TOKENS: [(&str, &[u8]); 3] =
    [written!("tokens.npz"), written!("tokens/x.npy"), written!("tokens/y.npy")];
