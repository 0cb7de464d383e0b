//! Scaling, fitted on training rows alone.
//!
//! Whatever test rows hold cannot reach a centre or a width: they are not arguments here. Sums are
//! 64-bit; a missing cell takes no part and becomes the centre, 0 after scaling.
//!
//! Floor: core.

use candle_core::{CpuStorage, Device, InplaceOp3, Layout, Result, Tensor};
use common::table::Dataset;

use super::slices::{read, write};

/// Per column: what is taken off, and what is multiplied with after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub centre: Vec<f32>,
    pub inverse_width: Vec<f32>,
}

impl Scale {
    /// Of the data set's features, from `rows`.
    pub fn of_features(dataset: &Dataset, rows: &[u32]) -> Self {
        let cell =
            |row: u32, column: usize| dataset.features[row as usize * dataset.width + column];
        let columns = (0..dataset.width)
            .map(|column| centre_and_width(rows.iter().map(move |&row| cell(row, column))));
        let (centre, inverse_width) =
            columns.map(|(centre, width)| (centre as f32, (1.0 / width) as f32)).unzip();
        Self { centre, inverse_width }
    }

    pub fn width(&self) -> usize {
        self.centre.len()
    }

    /// Scales `features` [lanes, rows, width] in place, each lane by its own scale.
    pub fn apply(features: &Tensor, scales: &Tensor) -> Result<()> {
        let (centre, inverse_width) = (scales.get(0)?, scales.get(1)?);
        features.inplace_op3(&centre, &inverse_width, &Standardise)
    }

    /// [2, lanes, width]: centres, then inverse widths, for [`Scale::apply`].
    pub fn stack(scales: &[&Scale], device: &Device) -> Result<Tensor> {
        let width = scales.first().map_or(0, |scale| scale.width());
        let centres = scales.iter().flat_map(|scale| &scale.centre);
        let numbers = centres.chain(scales.iter().flat_map(|scale| &scale.inverse_width));
        Tensor::from_vec(numbers.copied().collect(), (2, scales.len(), width), device)
    }
}

/// Mean and standard deviation (of the rows themselves: divided by n), NaN left out.
///
/// Without spread the width is 1, decided by equality: a variance that should be 0 may round to
/// something tiny, which would blow up the test rows.
pub fn centre_and_width(values: impl Iterator<Item = f32> + Clone) -> (f64, f64) {
    let present = values.filter(|value| !value.is_nan());
    let (mut count, mut sum) = (0.0, 0.0);
    let (mut least, mut largest) = (f32::INFINITY, f32::NEG_INFINITY);
    for value in present.clone() {
        count += 1.0;
        sum += f64::from(value);
        least = least.min(value);
        largest = largest.max(value);
    }
    if count == 0.0 {
        return (0.0, 1.0);
    }
    if least == largest {
        return (f64::from(least), 1.0);
    }
    let mean = sum / count;
    let squares: f64 = present.map(|value| (f64::from(value) - mean).powi(2)).sum();
    (mean, (squares / count).sqrt())
}

/// x ← (x − centre) · inverse width; NaN becomes 0.
struct Standardise;

impl InplaceOp3 for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn cpu_fwd(
        &self,
        features: &mut CpuStorage,
        features_layout: &Layout,
        centre: &CpuStorage,
        centre_layout: &Layout,
        inverse_width: &CpuStorage,
        inverse_layout: &Layout,
    ) -> Result<()> {
        let (lanes, width) = centre_layout.shape().dims2()?;
        let features = write(features, features_layout)?;
        let per_lane = features.len() / lanes;
        let centre = read(centre, centre_layout)?.chunks_exact(width);
        let inverse = read(inverse_width, inverse_layout)?.chunks_exact(width);
        for (lane, (centre, inverse)) in
            features.chunks_exact_mut(per_lane).zip(centre.zip(inverse))
        {
            for row in lane.chunks_exact_mut(width) {
                for (x, (centre, inverse)) in row.iter_mut().zip(centre.iter().zip(inverse)) {
                    let scaled = (*x - centre) * inverse;
                    *x = if scaled.is_nan() { 0.0 } else { scaled };
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_cells_take_no_part() {
        let (centre, width) = centre_and_width([1.0, f32::NAN, 3.0].into_iter());
        assert_eq!((centre, width), (2.0, 1.0));
    }

    #[test]
    fn columns_without_spread_have_width_one() {
        assert_eq!(centre_and_width([0.1; 7].into_iter()), (f64::from(0.1f32), 1.0));
        assert_eq!(centre_and_width([f32::NAN; 3].into_iter()), (0.0, 1.0));
    }
}
