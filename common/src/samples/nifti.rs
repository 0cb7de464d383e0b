//! Samples from NIfTI volumes: their slices along the last axis, grouped by patient.
//!
//! A volume's sides are compared with its bytes before anything is allocated. Deliberately absent:
//! NIfTI-2 and `.hdr`/`.img` pairs, orientation (a slice is as the file has it), time series.
//!
//! Source: NIfTI-1.1, nifti1.h (Cox et al. 2004).
//!
//! Floor: common.

use super::error::VOLUMES;
use super::inflate::{gunzip, is_gzip};
use super::pack::unpack;
use super::resize::{bilinear, nearest};
use super::{Asked, SampleError, Samples, check_memory, labelled, prefix, stem, text_column};
use crate::study::Pictures;
use crate::table::Table;

type File<'a> = (&'a str, &'a [u8]);

pub(super) fn read(
    asked: &Asked<'_>,
    options: &Pictures,
    bytes: &[u8],
) -> Result<Samples, Vec<SampleError>> {
    let files = unpack(bytes).map_err(|error| vec![error])?;
    let pairs = paired(&files)?;
    if pairs.is_empty() {
        return Err(vec![SampleError::Nothing { what: "volume", layout: VOLUMES }]);
    }
    slices(asked, options, &pairs).map_err(|error| vec![error])
}

/// Volumes and those of their labels.
fn paired<'a>(files: &[File<'a>]) -> Result<Vec<(File<'a>, File<'a>)>, Vec<SampleError>> {
    let files: Vec<File<'a>> = files.iter().copied().filter(|(name, _)| is_volume(name)).collect();
    labelled(&files, "images/", "labels/", ["volume", "volume of labels"])
}

/// The volume of each row, by name, a tab, and the row's slice.
pub(super) fn row_files(files: &[File<'_>]) -> Result<Vec<String>, Vec<SampleError>> {
    let mut names = Vec::new();
    for (image, _) in paired(files)? {
        let slices = Head::of(&image).map_err(|error| vec![error])?.slices;
        names.extend((0..slices).map(|slice| format!("{}\t{slice}", image.0)));
    }
    Ok(names)
}

fn is_volume(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.ends_with(".nii") || name.ends_with(".nii.gz")
}

fn slices(
    asked: &Asked<'_>,
    options: &Pictures,
    pairs: &[(File<'_>, File<'_>)],
) -> Result<Samples, SampleError> {
    let heads: Vec<Head> =
        pairs.iter().map(|(image, _)| Head::of(image)).collect::<Result<_, _>>()?;
    let named = pairs.iter().map(|((name, _), _)| *name);
    let sizes = named.zip(heads.iter().map(|head| [head.height, head.width]));
    let to = super::one_size(options.size, sizes)?;
    let rows: usize = heads.iter().map(|head| head.slices).sum();
    let pixels = (to[0] * to[1]) as u64;
    let remedy = "write a smaller size = [height, width], or take volumes away";
    check_memory(asked, rows as u64 * pixels * 5, remedy)?;
    let (mut features, mut masks) = (Vec::new(), Vec::new());
    let (mut files, mut spacing) = (Vec::new(), Vec::new());
    for ((image, label), head) in pairs.iter().zip(&heads) {
        let numbers: Vec<f32> = head.numbers(image, asked.memory)?;
        let own = Head::of(label)?;
        if (own.height, own.width, own.slices) != (head.height, head.width, head.slices) {
            let (found, mask) = (head.in_words(), own.in_words());
            return Err(SampleError::MaskSize { name: image.0.to_string(), found, mask });
        }
        let classes = classes(label.0, &own.numbers(label, asked.memory)?)?;
        let from = [head.height, head.width];
        let of_slice = from[0] * from[1];
        for (slice, mask) in numbers.chunks_exact(of_slice).zip(classes.chunks_exact(of_slice)) {
            if from == to {
                features.extend(slice);
                masks.extend(mask);
            } else {
                features.extend(bilinear(slice, from, to, 1));
                masks.extend(nearest(mask, from, to));
            }
            files.push(stem(image.0).to_string());
            spacing.push(head.spacing.map(|[tall, wide]| {
                [tall * from[0] as f32 / to[0] as f32, wide * from[1] as f32 / to[1] as f32]
            }));
        }
    }
    let columns = vec![
        text_column("prefix", files.iter().map(|file| prefix(file).to_string())),
        text_column("file", files.into_iter()),
    ];
    Ok(Samples {
        shape: vec![to[0], to[1], 1],
        features,
        tokens: None,
        table: Table { columns, rows },
        masks: Some(masks),
        spacing: spacing.into_iter().collect(),
        notes: Vec::new(),
    })
}

fn classes(name: &str, numbers: &[f32]) -> Result<Vec<u8>, SampleError> {
    let odd =
        numbers.iter().find(|number| !(0.0..=255.0).contains(*number) || number.fract() != 0.0);
    if let Some(value) = odd {
        let expected = "labels are whole class numbers from 0 to 255: correct the volume";
        let (name, value) = (name.to_string(), value.to_string());
        return Err(SampleError::Entry { name, value, expected });
    }
    Ok(numbers.iter().map(|&number| number as u8).collect())
}

/// What a volume's header says.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Head {
    height: usize,
    width: usize,
    slices: usize,
    code: i16,
    start: usize,
    /// A number means `slope · number + intercept`.
    scale: (f64, f64),
    /// Height and width of a pixel, in mm.
    spacing: Option<[f32; 2]>,
    big_endian: bool,
}

impl Head {
    fn of((name, bytes): &File<'_>) -> Result<Self, SampleError> {
        let damaged = |why| SampleError::Damaged { name: name.to_string(), why };
        let inflated;
        let header = if is_gzip(bytes) {
            inflated = first_bytes(bytes).ok_or_else(|| damaged("is cut short"))?;
            inflated.as_slice()
        } else {
            bytes
        };
        let header = header.get(..HEADER).ok_or_else(|| damaged("is no NIfTI-1 volume"))?;
        if &header[344..348] != b"n+1\0" {
            return Err(damaged("is no NIfTI-1 volume in one file"));
        }
        let big_endian = header[..4] == (HEADER as i32).to_be_bytes();
        let number = |at: usize| Number { bytes: &header[at..], big_endian };
        let dimensions: Vec<i16> = (0..8).map(|side| number(40 + 2 * side).i16()).collect();
        let sides: Option<Vec<usize>> = (1..=dimensions[0].clamp(0, 7) as usize)
            .map(|side| usize::try_from(dimensions[side]).ok().filter(|&side| side > 0))
            .collect();
        let (width, height, slices) = match sides.as_deref() {
            Some([width, height]) => (*width, *height, 1),
            Some([width, height, slices, rest @ ..]) if rest.iter().all(|&side| side == 1) => {
                (*width, *height, *slices)
            }
            _ => return Err(damaged("is no volume of two or three sides")),
        };
        let to_mm = match header[123] & 7 {
            1 => 1000.0,
            3 => 0.001,
            _ => 1.0,
        };
        let side = |axis: usize| number(76 + 4 * axis).f32() * to_mm;
        let sides = [side(2), side(1)];
        let known = sides.iter().all(|side| side.is_finite() && *side > 0.0);
        let (slope, intercept) = (f64::from(number(112).f32()), f64::from(number(116).f32()));
        let scaled = slope != 0.0 && slope.is_finite() && intercept.is_finite();
        Ok(Self {
            height,
            width,
            slices,
            code: number(70).i16(),
            start: (number(108).f32().max(HEADER as f32)) as usize,
            scale: if scaled { (slope, intercept) } else { (1.0, 0.0) },
            spacing: known.then_some(sides),
            big_endian,
        })
    }

    /// Slice after slice, each row after row.
    fn numbers(&self, (name, bytes): &File<'_>, memory: u64) -> Result<Vec<f32>, SampleError> {
        let damaged = |why| SampleError::Damaged { name: name.to_string(), why };
        let size = match self.code {
            2 | 256 => 1,
            4 | 512 => 2,
            8 | 768 | 16 => 4,
            64 => 8,
            _ => {
                let kind = format!("NIfTI's data type {}", self.code);
                return Err(SampleError::Kind { name: name.to_string(), kind });
            }
        };
        let length = [self.height, self.width, self.slices, size];
        let length = length.iter().try_fold(1usize, |product, &side| product.checked_mul(side));
        let end = length.and_then(|length| length.checked_add(self.start));
        let end = end.ok_or_else(|| damaged("is no volume that any memory holds"))?;
        let inflated;
        let content = if is_gzip(bytes) {
            let most = usize::try_from(memory).unwrap_or(usize::MAX).min(end.saturating_add(TAIL));
            inflated = gunzip(bytes, most).ok_or_else(|| damaged("cannot be unpacked"))?;
            inflated.as_slice()
        } else {
            bytes
        };
        let body =
            content.get(self.start..end).ok_or_else(|| damaged("ends before its last voxel"))?;
        let (slope, intercept) = self.scale;
        let value = |bytes: &[u8]| {
            let number = Number { bytes, big_endian: self.big_endian };
            (number.of_code(self.code) * slope + intercept) as f32
        };
        let numbers: Vec<f32> = body.chunks_exact(size).map(value).collect();
        if let Some(value) = numbers.iter().find(|number| number.is_infinite()) {
            let (name, value) = (name.to_string(), value.to_string());
            let expected = "voxels are finite and below 3.4e38: correct the volume";
            return Err(SampleError::Entry { name, value, expected });
        }
        Ok(numbers)
    }

    fn in_words(&self) -> String {
        format!("{} slices of {} × {}", self.slices, self.height, self.width)
    }
}

/// Enough of a compressed volume for its header.
fn first_bytes(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut head = Vec::new();
    super::inflate::gunzip_pieces(bytes, &mut |piece| {
        head.extend(&piece[..piece.len().min(HEADER - head.len())]);
        head.len() < HEADER
    })?;
    Some(head)
}

/// A number at the beginning of `bytes`, which has enough of them.
struct Number<'a> {
    bytes: &'a [u8],
    big_endian: bool,
}

impl Number<'_> {
    fn bits(&self, size: usize) -> u64 {
        let places = 0..size;
        let at = |place: usize| u64::from(self.bytes[place]);
        if self.big_endian {
            places.fold(0, |bits, place| (bits << 8) | at(place))
        } else {
            places.rev().fold(0, |bits, place| (bits << 8) | at(place))
        }
    }

    fn i16(&self) -> i16 {
        self.bits(2) as i16
    }

    fn f32(&self) -> f32 {
        f32::from_bits(self.bits(4) as u32)
    }

    fn of_code(&self, code: i16) -> f64 {
        match code {
            2 => self.bits(1) as f64,
            256 => f64::from(self.bits(1) as i8),
            4 => f64::from(self.i16()),
            512 => self.bits(2) as f64,
            8 => f64::from(self.bits(4) as i32),
            768 => self.bits(4) as f64,
            16 => f64::from(self.f32()),
            _ => f64::from_bits(self.bits(8)),
        }
    }
}

const HEADER: usize = 348;
/// What may follow the last voxel.
const TAIL: usize = 1 << 16;
