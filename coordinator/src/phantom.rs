//! Made-up hearts: short-axis slices of patients who never were, with the masks of three structures.
//!
//! Each patient has a place, a size, a contrast and a noise of his own, and a few slices from the
//! heart's base towards its apex. Cavity of the left ventricle, its wall, cavity of the right one;
//! papillary muscles look like wall and belong to the cavity, as readers of such images draw them.
//! The same numbers on every machine. Deliberately absent: anything that was measured on a person.
//!
//! Floor: core.

use common::id::Digest;
use common::seed::{Stream, StreamRng};

/// What the masks' numbers mean.
pub const CLASSES: [&str; 4] = ["background", "left ventricle", "wall", "right ventricle"];

/// NIfTI volumes of all patients by name below their folder: `images/p01.nii`, `labels/p01.nii`.
pub fn volumes() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for number in 1..=PATIENTS {
        let (image, labels) = Patient::draw(number).seen();
        let image: Vec<u8> = image.into_iter().flat_map(i16::to_le_bytes).collect();
        files.push((format!("images/p{number:02}.nii"), nifti(Numbers::I16, &image)));
        files.push((format!("labels/p{number:02}.nii"), nifti(Numbers::U8, &labels)));
    }
    files
}

/// A heart and the way it is imaged. Lengths in pixels.
struct Patient {
    /// Of the left ventricle, in the first slice.
    centre: (f64, f64),
    radius: f64,
    wall: f64,
    /// Where the right ventricle lies, as an angle, and its size.
    side: f64,
    right: f64,
    /// How much an ellipse the left ventricle is.
    oval: f64,
    blood: f64,
    muscle: f64,
    /// Brightness gained from the image's left to its right, and from top to bottom.
    tilt: (f64, f64),
    noise: f64,
    /// Places and sizes of what else is bright.
    others: [(f64, f64, f64, f64); OTHERS],
    rng: StreamRng,
}

impl Patient {
    fn draw(number: u64) -> Self {
        let mut rng = StreamRng::new(&Digest::of(b"phantom"), Stream::Split, number, 0);
        let mut within = |low: f64, high: f64| low + (high - low) * rng.unit_f64();
        let middle = SIDE as f64 / 2.0;
        let centre = (middle + within(-2.5, 2.5), middle + within(-1.0, 4.0));
        let (radius, wall, side) = (within(3.6, 6.2), within(1.6, 3.2), within(2.6, 3.7));
        let (right, oval) = (within(5.0, 7.5), within(0.85, 1.15));
        let muscle = within(0.28, 0.52);
        let blood = muscle + within(0.14, 0.45);
        let (tilt, noise) = ((within(-0.2, 0.2), within(-0.2, 0.2)), within(0.06, 0.17));
        let mut others = [(0.0, 0.0, 0.0, 0.0); OTHERS];
        for other in &mut others {
            let angle = within(0.0, std::f64::consts::TAU);
            let far = within(12.0, 17.0);
            let place = (middle + far * angle.sin(), middle + far * angle.cos());
            *other = (place.0, place.1, within(2.0, 5.0), within(0.3, 0.95));
        }
        Self { centre, radius, wall, side, right, oval, blood, muscle, tilt, noise, others, rng }
    }

    /// Image and labels, slice after slice, row-major.
    fn seen(mut self) -> (Vec<i16>, Vec<u8>) {
        let (mut image, mut labels) = (Vec::new(), Vec::new());
        for slice in 0..SLICES {
            // Towards the apex everything is smaller, and the right ventricle ends first.
            let depth = slice as f64 / SLICES as f64;
            let at = Slice {
                centre: (self.centre.0 + 1.5 * depth, self.centre.1 - depth),
                radius: self.radius * (1.0 - 0.45 * depth),
                right: self.right * (1.0 - 0.75 * depth),
            };
            for row in 0..SIDE {
                for column in 0..SIDE {
                    let bright = self.bright(&at, row as f64, column as f64);
                    // The length of a signal with noise on both of its axes (Rice).
                    let (a, b) = (self.rng.normal(), self.rng.normal());
                    let length = (bright + self.noise * a).hypot(self.noise * b);
                    image.push((length * SCALE) as i16);
                    labels.push(self.tissue(&at, row as f64, column as f64).label());
                }
            }
        }
        (image, labels)
    }

    /// The mean over the pixel's four quarters, so that borders are soft.
    fn bright(&self, at: &Slice, row: f64, column: f64) -> f64 {
        let quarters = [(-0.25, -0.25), (-0.25, 0.25), (0.25, -0.25), (0.25, 0.25)];
        let sum: f64 = quarters
            .iter()
            .map(|(down, right)| {
                let (row, column) = (row + down, column + right);
                match self.tissue(at, row, column) {
                    Tissue::Left | Tissue::Right => self.blood,
                    Tissue::Wall | Tissue::Papillary => self.muscle,
                    Tissue::Other => self.other(row, column),
                }
            })
            .sum();
        let across = |place: f64| place / SIDE as f64 - 0.5;
        (sum / 4.0) * (1.0 + self.tilt.0 * across(column) + self.tilt.1 * across(row))
    }

    fn tissue(&self, at: &Slice, row: f64, column: f64) -> Tissue {
        let (down, across) = (row - at.centre.0, (column - at.centre.1) * self.oval);
        let far = down.hypot(across);
        if far < at.radius {
            let muscle = [(0.5, 0.45), (-0.55, 0.3)].iter().any(|&(y, x)| {
                (down - y * at.radius).hypot(across - x * at.radius) < 0.2 * at.radius
            });
            return if muscle { Tissue::Papillary } else { Tissue::Left };
        }
        if far < at.radius + self.wall {
            return Tissue::Wall;
        }
        let reach = at.radius + self.wall + 0.35 * at.right;
        let (sine, cosine) = self.side.sin_cos();
        let beside = (down - reach * sine).hypot((column - at.centre.1) - reach * cosine);
        if beside < at.right { Tissue::Right } else { Tissue::Other }
    }

    /// Lung, with fat, liver and chest in it.
    fn other(&self, row: f64, column: f64) -> f64 {
        let inside = |&&(y, x, size, _): &&(f64, f64, f64, f64)| (row - y).hypot(column - x) < size;
        self.others.iter().find(inside).map_or(LUNG, |&(_, _, _, bright)| bright)
    }
}

/// One slice of a heart.
struct Slice {
    centre: (f64, f64),
    radius: f64,
    right: f64,
}

#[derive(Clone, Copy)]
enum Tissue {
    Other,
    Left,
    /// Muscle within the left cavity.
    Papillary,
    Wall,
    Right,
}

impl Tissue {
    /// Its place in [`CLASSES`].
    fn label(self) -> u8 {
        match self {
            Tissue::Other => 0,
            Tissue::Left | Tissue::Papillary => 1,
            Tissue::Wall => 2,
            Tissue::Right => 3,
        }
    }
}

#[derive(Clone, Copy)]
enum Numbers {
    U8,
    I16,
}

/// A volume in one file: [`SIDE`] × [`SIDE`] × [`SLICES`], little-endian.
///
/// Source: NIfTI-1.1, nifti1.h (Cox et al. 2004).
fn nifti(numbers: Numbers, bytes: &[u8]) -> Vec<u8> {
    let mut file = vec![0; START];
    let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &348i32.to_le_bytes());
    let (code, bits): (i16, i16) = match numbers {
        Numbers::U8 => (2, 8),
        Numbers::I16 => (4, 16),
    };
    let sides = [3, SIDE as i16, SIDE as i16, SLICES as i16, 1, 1, 1, 1];
    sides.iter().enumerate().for_each(|(n, side)| put(40 + 2 * n, &side.to_le_bytes()));
    put(70, &code.to_le_bytes());
    put(72, &bits.to_le_bytes());
    let lengths = [1.0, PIXEL_MM, PIXEL_MM, SLICE_MM, 0.0, 0.0, 0.0, 0.0f32];
    lengths.iter().enumerate().for_each(|(n, length)| put(76 + 4 * n, &length.to_le_bytes()));
    put(108, &(START as f32).to_le_bytes());
    put(112, &1f32.to_le_bytes());
    // Millimetres.
    put(123, &[2]);
    put(344, b"n+1\0");
    file.extend_from_slice(bytes);
    file
}

const PATIENTS: u64 = 36;
const SLICES: usize = 3;
/// Pixels of a slice in both directions.
const SIDE: usize = 32;
const PIXEL_MM: f32 = 4.0;
const SLICE_MM: f32 = 20.0;
const OTHERS: usize = 7;
const LUNG: f64 = 0.12;
/// What a brightness of 1 is in the file.
const SCALE: f64 = 1000.0;
/// Where a volume's numbers begin.
const START: usize = 352;

#[cfg(test)]
mod tests {
    use common::samples::pack::Pack;
    use common::samples::{Asked, Samples};
    use common::study::{Format, Pictures};

    use super::*;

    fn read() -> Samples {
        let mut files = volumes();
        files.sort();
        let bytes = files.iter().map(|(_, bytes)| bytes.len()).sum();
        let mut pack = Pack::with_room(files.len(), bytes);
        assert!(files.iter().all(|(name, bytes)| pack.add(name, bytes)));
        let format = Format::Nifti(Pictures { size: None, gray: None });
        let asked = Asked { format: &format, target: "mask", segmentation: true, memory: u64::MAX };
        Samples::read(&asked, &pack.finish()).expect("readable")
    }

    #[test]
    fn volumes_are_read_as_slices_by_patient_with_every_structure() {
        let samples = read();
        assert_eq!(samples.shape, [SIDE, SIDE, 1]);
        assert_eq!(samples.table.rows, PATIENTS as usize * SLICES);
        let masks = samples.masks.expect("masks");
        for (slice, mask) in masks.chunks_exact(SIDE * SIDE).enumerate() {
            for class in 0..CLASSES.len() as u8 {
                let many = mask.iter().filter(|&&label| label == class).count();
                assert!(many >= 8, "slice {slice} has {many} pixels of {class}");
            }
        }
    }

    #[test]
    fn tissues_differ_in_brightness_and_not_so_much_that_a_threshold_tells_them() {
        let samples = read();
        let masks = samples.masks.expect("masks");
        let of = |class: u8| -> Vec<f32> {
            let seen = samples.features.iter().zip(&masks);
            seen.filter(|(_, label)| **label == class).map(|(number, _)| *number).collect()
        };
        let mean = |numbers: &[f32]| numbers.iter().sum::<f32>() / numbers.len() as f32;
        let (blood, wall) = (of(1), of(2));
        assert!(mean(&blood) > mean(&wall) + 100.0);
        let between = (mean(&blood) + mean(&wall)) / 2.0;
        let wrong = wall.iter().filter(|&&number| number > between).count();
        assert!(wrong > wall.len() / 10, "{wrong} of {}", wall.len());
    }

    #[test]
    fn the_same_hearts_are_drawn_everywhere() {
        let all: Vec<u8> = volumes().into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert_eq!(&Digest::of(&all).hex()[..16], FIRST_OF_DIGEST);
    }

    const FIRST_OF_DIGEST: &str = "57787a7e7b761f3b";
}
