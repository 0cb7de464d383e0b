//! Metrics of segmentation: how well predicted masks cover the true ones, case by case.
//!
//! A case is a group where rows have groups (a patient's slices), else one row. Every case counts
//! alike, whatever its size, and so does every foreground class within it. Class 0 surrounds the
//! others and is not scored. Deliberately absent: distances between slices; neighbours in a case
//! need not be neighbours in the patient.
//!
//! Floor: common.

use std::collections::BTreeMap;

use super::Metric;

/// Predicted and true masks of the same rows. All slices are sound: [`Masks::is_sound`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Masks<'a> {
    /// [rows, height · width], class indices.
    pub predicted: &'a [u8],
    pub truth: &'a [u8],
    /// Height and width.
    pub shape: [usize; 2],
    pub classes: usize,
    /// [rows]: rows with equal numbers are one case.
    pub cases: Option<&'a [u32]>,
    /// [rows]: height and width of a pixel, in mm.
    pub spacing: Option<&'a [[f32; 2]]>,
}

/// Dice of one row: the mean over the foreground classes that are in `predicted` or `truth`; 1 where
/// there is none in both, for nothing was to be found and nothing was.
///
/// Shapes: `predicted` and `truth` [pixels], class indices below `classes`.
pub fn case_dice(predicted: &[u8], truth: &[u8], classes: usize) -> f64 {
    let mut counts = vec![Counts::default(); classes];
    count(&mut counts, predicted, truth);
    mean_class(&counts, Counts::dice).unwrap_or(1.0)
}

impl Masks<'_> {
    pub fn is_sound(&self) -> bool {
        let pixels = self.pixels();
        let rows = self.truth.len() / pixels.max(1);
        let whole = pixels > 0 && rows > 0 && self.truth.len() == rows * pixels;
        let known = |masks: &[u8]| masks.iter().all(|&class| usize::from(class) < self.classes);
        whole
            && self.classes >= 2
            && self.predicted.len() == self.truth.len()
            && self.cases.is_none_or(|cases| cases.len() == rows)
            && self.spacing.is_none_or(|spacing| spacing.len() == rows)
            && known(self.predicted)
            && known(self.truth)
    }

    /// The mean over cases of `metric`, which must be one of segmentation; else NaN.
    ///
    /// A class that is in neither the truth nor the prediction of a case is left out of the case's
    /// mean. A case of which no class is left is in perfect agreement: dice and iou 1, hausdorff95 0.
    /// A class that is in one of them alone scores dice and iou 0; as it has no distance to anything,
    /// each of its border pixels counts with the diagonal of the image, the longest there is.
    ///
    /// hausdorff95 of a class: the 95th percentile (interpolated linearly, as numpy does) of the
    /// distances from each border pixel of one mask to the nearest border pixel of the other, both
    /// ways, over the slices of the case together. A border pixel is one with a neighbour among four
    /// that is not of its class, or at the image's edge. Units: mm where there is `spacing`, else
    /// pixels. Source: `medpy.metric.binary.hd95`, which `tests/metrics.rs` follows on single slices.
    pub fn score(&self, metric: Metric) -> f64 {
        let of_case = |rows: &Vec<usize>| match metric {
            Metric::Dice => self.overlap(rows, Counts::dice).unwrap_or(1.0),
            Metric::Iou => self.overlap(rows, Counts::iou).unwrap_or(1.0),
            Metric::Hausdorff95 => self.hausdorff95(rows).unwrap_or(0.0),
            _ => f64::NAN,
        };
        let cases = self.rows_by_case();
        cases.values().map(of_case).sum::<f64>() / cases.len() as f64
    }

    fn pixels(&self) -> usize {
        self.shape[0].saturating_mul(self.shape[1])
    }

    fn rows_by_case(&self) -> BTreeMap<u32, Vec<usize>> {
        let mut rows: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for row in 0..self.truth.len() / self.pixels() {
            let case = self.cases.map_or(row as u32, |cases| cases[row]);
            rows.entry(case).or_default().push(row);
        }
        rows
    }

    fn overlap(&self, rows: &[usize], of_class: fn(&Counts) -> Option<f64>) -> Option<f64> {
        let mut counts = vec![Counts::default(); self.classes];
        for &row in rows {
            let place = row * self.pixels()..(row + 1) * self.pixels();
            count(&mut counts, &self.predicted[place.clone()], &self.truth[place]);
        }
        mean_class(&counts, of_class)
    }

    fn hausdorff95(&self, rows: &[usize]) -> Option<f64> {
        let of_class = |class: usize| {
            let mut distances = Vec::new();
            rows.iter().for_each(|&row| self.distances(row, class as u8, &mut distances));
            percentile95(distances)
        };
        mean((1..self.classes).filter_map(of_class))
    }

    /// Adds the distances between the borders of `class` in one row, both ways.
    fn distances(&self, row: usize, class: u8, distances: &mut Vec<f64>) {
        let spacing = self.spacing.map_or([1.0, 1.0], |all| all[row].map(f64::from));
        let place = row * self.pixels()..(row + 1) * self.pixels();
        let borders = [&self.predicted[place.clone()], &self.truth[place]]
            .map(|mask| border(mask, self.shape, class));
        let [some, others] = &borders;
        if some.is_empty() || others.is_empty() {
            let side = |axis: usize| self.shape[axis] as f64 * spacing[axis];
            let alone = some.len() + others.len();
            distances.extend(std::iter::repeat_n(side(0).hypot(side(1)), alone));
            return;
        }
        // What is outside the box around both borders is on no shortest way.
        let all = || some.iter().chain(others);
        let (mut low, mut high) = ([usize::MAX; 2], [0; 2]);
        for point in all() {
            for axis in 0..2 {
                low[axis] = low[axis].min(point[axis]);
                high[axis] = high[axis].max(point[axis]);
            }
        }
        let shape = [high[0] - low[0] + 1, high[1] - low[1] + 1];
        let inside = |point: &[usize; 2]| (point[0] - low[0]) * shape[1] + point[1] - low[1];
        for (from, to) in [(some, others), (others, some)] {
            let mut squares = vec![f64::INFINITY; shape[0] * shape[1]];
            to.iter().for_each(|point| squares[inside(point)] = 0.0);
            nearest_squares(&mut squares, shape, spacing);
            distances.extend(from.iter().map(|point| squares[inside(point)].sqrt()));
        }
    }
}

/// Pixels of one class: in the prediction, in the truth, in both.
#[derive(Clone, Copy, Default)]
struct Counts {
    predicted: u64,
    truth: u64,
    both: u64,
}

impl Counts {
    /// 2·|A ∩ B| / (|A| + |B|) (Dice 1945). `None` where both are empty.
    fn dice(&self) -> Option<f64> {
        let either = self.predicted + self.truth;
        (either > 0).then(|| 2.0 * self.both as f64 / either as f64)
    }

    /// |A ∩ B| / |A ∪ B| (Jaccard 1912). `None` where both are empty.
    fn iou(&self) -> Option<f64> {
        let union = self.predicted + self.truth - self.both;
        (union > 0).then(|| self.both as f64 / union as f64)
    }
}

fn count(counts: &mut [Counts], predicted: &[u8], truth: &[u8]) {
    for (&predicted, &truth) in predicted.iter().zip(truth) {
        counts[usize::from(predicted)].predicted += 1;
        counts[usize::from(truth)].truth += 1;
        counts[usize::from(truth)].both += u64::from(predicted == truth);
    }
}

fn mean_class(counts: &[Counts], of_class: fn(&Counts) -> Option<f64>) -> Option<f64> {
    mean(counts.iter().skip(1).filter_map(of_class))
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    (count > 0.0).then(|| sum / count)
}

/// Row and column of each border pixel of `class`.
fn border(mask: &[u8], [height, width]: [usize; 2], class: u8) -> Vec<[usize; 2]> {
    let mut found = Vec::new();
    for (row, line) in mask.chunks_exact(width).enumerate() {
        for column in (0..width).filter(|&column| line[column] == class) {
            let inner = row > 0
                && row + 1 < height
                && column > 0
                && column + 1 < width
                && line[column - 1] == class
                && line[column + 1] == class
                && mask[(row - 1) * width + column] == class
                && mask[(row + 1) * width + column] == class;
            if !inner {
                found.push([row, column]);
            }
        }
    }
    found
}

/// Squared distance of each pixel to the nearest one whose entry is 0; the others' must be infinite.
///
/// Source: Felzenszwalb and Huttenlocher (2012), Theory Comput. 8, 415–428: one pass an axis, each
/// over the lower envelope of parabolas.
fn nearest_squares(squares: &mut [f64], [height, width]: [usize; 2], spacing: [f64; 2]) {
    let mut line = vec![0.0; height.max(width)];
    for column in 0..width {
        for row in 0..height {
            line[row] = squares[row * width + column];
        }
        let nearest = envelope(&line[..height], spacing[0]);
        for (row, square) in nearest.into_iter().enumerate() {
            squares[row * width + column] = square;
        }
    }
    for row in squares.chunks_exact_mut(width) {
        row.copy_from_slice(&envelope(row, spacing[1]));
    }
}

/// min over q of (step · (p − q))² + f(q), for each p.
fn envelope(f: &[f64], step: f64) -> Vec<f64> {
    let at = |place: usize| place as f64 * step;
    // Parabolas of the envelope, and from where on each is the lowest.
    let mut lowest: Vec<(usize, f64)> = Vec::with_capacity(f.len());
    for (q, &height) in f.iter().enumerate().filter(|(_, height)| height.is_finite()) {
        let start = loop {
            let Some(&(last, from)) = lowest.last() else { break f64::NEG_INFINITY };
            let meets =
                (height + at(q).powi(2) - f[last] - at(last).powi(2)) / (2.0 * (at(q) - at(last)));
            if meets > from {
                break meets;
            }
            lowest.pop();
        };
        lowest.push((q, start));
    }
    let mut place = 0;
    let of_point = |p: usize| {
        while lowest.get(place + 1).is_some_and(|&(_, from)| from < at(p)) {
            place += 1;
        }
        let Some(&(q, _)) = lowest.get(place) else { return f64::INFINITY };
        (at(p) - at(q)).powi(2) + f[q]
    };
    (0..f.len()).map(of_point).collect()
}

/// `None` without values.
fn percentile95(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let place = 0.95 * last as f64;
    let (low, high) = (values[place.floor() as usize], values[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn masks<'a>(predicted: &'a [u8], truth: &'a [u8], shape: [usize; 2]) -> Masks<'a> {
        Masks { predicted, truth, shape, classes: 3, cases: None, spacing: None }
    }

    #[test]
    fn a_class_that_is_nowhere_is_left_out_and_one_that_is_invented_scores_nothing() {
        let truth = [0, 1, 1, 0];
        assert_eq!(masks(&truth, &truth, [2, 2]).score(Metric::Dice), 1.0);
        let invented = masks(&[2, 1, 1, 0], &truth, [2, 2]);
        assert_eq!(invented.score(Metric::Dice), 0.5);
        assert_eq!(invented.score(Metric::Iou), 0.5);
        assert_eq!(invented.score(Metric::Hausdorff95), 8f64.sqrt() / 2.0);
        assert_eq!(case_dice(&[2, 1, 1, 0], &truth, 3), 0.5);
    }

    #[test]
    fn nothing_found_where_nothing_is_agrees() {
        let empty = masks(&[0; 4], &[0; 4], [2, 2]);
        assert_eq!(empty.score(Metric::Dice), 1.0);
        assert_eq!(empty.score(Metric::Iou), 1.0);
        assert_eq!(empty.score(Metric::Hausdorff95), 0.0);
        assert_eq!(case_dice(&[0; 4], &[0; 4], 2), 1.0);
    }

    #[test]
    fn rows_of_a_case_are_counted_together_and_cases_alike() {
        // Case 7: three of four pixels found over two rows; case 9: none of one.
        let truth = [1, 1, 1, 1, 1, 0];
        let predicted = [1, 1, 1, 0, 0, 0];
        let alone = masks(&predicted, &truth, [1, 2]);
        let cases = Masks { cases: Some(&[7, 7, 9]), ..alone };
        assert_eq!(cases.score(Metric::Dice), (6.0 / 7.0) / 2.0);
        assert_eq!(alone.score(Metric::Dice), (1.0 + 2.0 / 3.0) / 3.0);
    }

    #[test]
    fn distances_are_in_the_unit_of_the_spacing() {
        let (truth, predicted) = ([1, 0, 0, 0], [0, 0, 0, 1]);
        let pixels = masks(&predicted, &truth, [1, 4]);
        assert_eq!(pixels.score(Metric::Hausdorff95), 3.0);
        let mm = Masks { spacing: Some(&[[9.0, 0.5]]), ..pixels };
        assert_eq!(mm.score(Metric::Hausdorff95), 1.5);
    }

    #[test]
    fn masks_that_do_not_fit_are_not_sound() {
        let sound = masks(&[0, 1], &[0, 1], [1, 2]);
        assert!(sound.is_sound());
        assert!(!Masks { predicted: &[0], ..sound }.is_sound());
        assert!(!Masks { predicted: &[0, 3], ..sound }.is_sound());
        assert!(!Masks { shape: [1, 3], ..sound }.is_sound());
        assert!(!Masks { shape: [0, 2], ..sound }.is_sound());
        assert!(!Masks { classes: 1, ..sound }.is_sound());
        assert!(!Masks { cases: Some(&[]), ..sound }.is_sound());
        assert!(!Masks { truth: &[], predicted: &[], ..sound }.is_sound());
    }

    proptest! {
        #[test]
        fn the_nearest_pixel_is_the_nearest_of_all(
            (height, width, seeds) in (1usize..9, 1usize..9).prop_flat_map(|(height, width)| {
                let seeds = proptest::collection::vec(any::<bool>(), height * width);
                (Just(height), Just(width), seeds)
            }),
            tall in 0.2f64..5.0,
        ) {
            let mut squares: Vec<f64> =
                seeds.iter().map(|&seed| if seed { 0.0 } else { f64::INFINITY }).collect();
            nearest_squares(&mut squares, [height, width], [tall, 1.0]);
            for (place, &square) in squares.iter().enumerate() {
                let distance = |other: usize| {
                    let rows = (place / width).abs_diff(other / width) as f64 * tall;
                    let columns = (place % width).abs_diff(other % width) as f64;
                    rows * rows + columns * columns
                };
                let nearest = (0..seeds.len()).filter(|&other| seeds[other]).map(distance);
                let nearest = nearest.fold(f64::INFINITY, f64::min);
                prop_assert!(square == nearest || (square - nearest).abs() < 1e-9);
            }
        }
    }
}
