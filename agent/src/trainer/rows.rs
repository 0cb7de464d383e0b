//! What a lane sees of its rows: scaled, and in training changed by its augmentation.
//!
//! Floor: core.

use common::seed::StreamRng;
use common::study::Augment;
use common::table::{Dataset, Target};
use pulp::{Arch, Simd, WithSimd};

use super::lanes::Lane;
use super::scale::{Scale, centre_and_width};

/// The rows of a data set as one lane sees them.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    dataset: &'a Dataset,
    lane: &'a Lane,
    scale: Scale,
    /// Centre and width of a regression's target; (0, 1) for classes.
    target: (f64, f64),
}

impl<'a> Rows<'a> {
    /// Fitted on the lane's training rows.
    pub fn new(dataset: &'a Dataset, lane: &'a Lane) -> Self {
        let target = match &dataset.target {
            Target::Classes { .. } | Target::Masks { .. } => (0.0, 1.0),
            Target::Values(values) => {
                centre_and_width(lane.train_rows.iter().map(|&row| values[row as usize]))
            }
        };
        let embeds = lane.hyper.layers.embed > 0;
        let scale = Scale::of_features(dataset, &lane.train_rows, embeds);
        Self { dataset, lane, scale, target }
    }

    /// What is predicted of one row: 1, or the pixels of its mask.
    pub fn targets_of_row(&self) -> usize {
        targets_of_row(self.dataset)
    }

    /// The features of `rows`, scaled, as many as there is room for: `made` [rows, width].
    pub fn put_all(&self, rows: impl Iterator<Item = u32>, made: &mut [f32]) {
        Arch::new().dispatch(Put { of: self, rows, made });
    }

    /// What the lane shall say of `row`: its class, its value scaled, or the class of each pixel.
    pub fn put_targets(&self, row: u32, made: &mut [f32]) {
        let row = self.lane.label_row(row) as usize;
        match &self.dataset.target {
            Target::Classes { labels, .. } => made[0] = labels[row] as f32,
            Target::Values(values) => {
                let (centre, width) = self.target;
                made[0] = ((f64::from(values[row]) - centre) / width) as f32;
            }
            Target::Masks { labels, pixels, .. } => {
                let labels = &labels[row * pixels..(row + 1) * pixels];
                made.iter_mut().zip(labels).for_each(|(made, &class)| *made = f32::from(class));
            }
        }
    }

    /// A value that the lane says, in the target's own unit.
    pub fn unscaled(&self, value: f32) -> f32 {
        let (centre, width) = self.target;
        (f64::from(value) * width + centre) as f32
    }
}

/// Not a closure: what is compiled apart from it would miss the wide vectors.
struct Put<'r, 'a, I> {
    of: &'r Rows<'a>,
    rows: I,
    made: &'r mut [f32],
}

impl<I: Iterator<Item = u32>> WithSimd for Put<'_, '_, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let (features, width) = (&self.of.dataset.features, self.of.dataset.width);
        for (row, made) in self.rows.zip(self.made.chunks_exact_mut(width)) {
            let start = row as usize * width;
            self.of.scale.apply(&features[start..start + width], made);
        }
    }
}

/// What is predicted of one row: 1, or the pixels of its mask.
pub fn targets_of_row(dataset: &Dataset) -> usize {
    match &dataset.target {
        Target::Masks { pixels, .. } => *pixels,
        _ => 1,
    }
}

/// How one image is seen in one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    flipped: bool,
    /// Rows and columns that everything moves down and to the right.
    moved: (i32, i32),
    /// What is cut off: above, below, at the left, at the right.
    cut: [u32; 4],
}

impl View {
    /// Drawn as `augment` says; what it does not ask for takes no draw.
    pub fn draw(augment: &Augment, rng: &mut StreamRng) -> Self {
        let flipped = augment.flip && rng.below(2) == 1;
        let mut within = |most: u32| match most {
            0 => 0,
            most => rng.below(2 * u64::from(most) + 1) as i32 - most as i32,
        };
        let moved = (within(augment.shift), within(augment.shift));
        let mut side = || match augment.crop {
            0 => 0,
            most => rng.below(u64::from(most) + 1) as u32,
        };
        Self { flipped, moved, cut: [side(), side(), side(), side()] }
    }

    /// The pixel that is seen at (row, column) of an image, if any.
    fn source(&self, row: usize, column: usize, height: usize, width: usize) -> Option<usize> {
        let column = if self.flipped { width - 1 - column } else { column };
        let [above, below, left, right] = self.cut.map(|cut| cut as usize);
        let stretched = |at: usize, size: usize, before: usize, after: usize| {
            let kept = size.saturating_sub(before + after).max(1);
            (before + at * kept / size).min(size - 1)
        };
        let row = stretched(row, height, above, below) as i32 - self.moved.0;
        let column = stretched(column, width, left, right) as i32 - self.moved.1;
        let inside = (0..height as i32).contains(&row) && (0..width as i32).contains(&column);
        inside.then(|| row as usize * width + column as usize)
    }

    /// Shows an image [height, width, channels] and its targets; what comes from outside is 0.
    pub fn show(&self, shape: (usize, usize, usize), image: &mut [f32], mask: Option<&mut [f32]>) {
        let (height, width, channels) = shape;
        let seen = image.to_vec();
        let places = (0..height).flat_map(|row| (0..width).map(move |column| (row, column)));
        let sources: Vec<Option<usize>> =
            places.map(|(row, column)| self.source(row, column, height, width)).collect();
        for (pixel, source) in image.chunks_exact_mut(channels).zip(&sources) {
            match source {
                Some(at) => pixel.copy_from_slice(&seen[at * channels..(at + 1) * channels]),
                None => pixel.fill(0.0),
            }
        }
        if let Some(mask) = mask {
            let labels = mask.to_vec();
            for (label, source) in mask.iter_mut().zip(sources) {
                *label = source.map_or(0.0, |at| labels[at]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::id::Digest;
    use common::seed::Stream;

    use super::*;

    fn view() -> View {
        View { flipped: false, moved: (0, 0), cut: [0; 4] }
    }

    fn shown(view: View) -> (Vec<f32>, Vec<f32>) {
        let (mut image, mut mask) =
            ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        view.show((2, 3, 1), &mut image, Some(&mut mask));
        (image.to_vec(), mask.to_vec())
    }

    #[test]
    fn an_image_and_its_mask_are_shown_alike() {
        let (image, mask) = shown(View { flipped: true, ..view() });
        assert_eq!(image, [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
        assert_eq!(image, mask);
        let (image, mask) = shown(View { moved: (1, -1), ..view() });
        assert_eq!(image, [0.0, 0.0, 0.0, 2.0, 3.0, 0.0]);
        assert_eq!(image, mask);
        let (image, _) = shown(View { cut: [1, 0, 0, 0], ..view() });
        assert_eq!(image, [4.0, 5.0, 6.0, 4.0, 5.0, 6.0]);
        assert_eq!(shown(view()).0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }

    #[test]
    fn draws_reach_both_ends() {
        let mut rng = StreamRng::new(&Digest::of(b"x"), Stream::Noise, 0, 0);
        let augment = Augment { flip: true, shift: 1, crop: 1, noise: 0.0 };
        let views: Vec<View> = (0..200).map(|_| View::draw(&augment, &mut rng)).collect();
        for end in [-1, 0, 1] {
            assert!(views.iter().any(|view| view.moved.0 == end), "no move by {end}");
        }
        assert!(views.iter().any(|v| v.flipped) && views.iter().any(|v| !v.flipped));
        assert!(views.iter().all(|view| view.cut.iter().all(|&cut| cut <= 1)));
    }
}
