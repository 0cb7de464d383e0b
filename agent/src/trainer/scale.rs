//! Scaling, fitted on training rows alone.
//!
//! Whatever test rows hold cannot reach a centre or a width: they are not arguments here. Sums are
//! 64-bit; a missing cell takes no part and becomes the centre, 0 after scaling.
//!
//! Floor: core.

use common::table::Dataset;

/// Per feature: what is taken off, and what is multiplied with after that.
#[derive(Clone, Debug, PartialEq)]
pub struct Scale {
    pub centre: Vec<f32>,
    pub inverse_width: Vec<f32>,
}

impl Scale {
    /// Of the data set's features, from `rows`; of images and sequences by channel. Tokens stay as
    /// they are, and so do levels of text where a vector stands for each (`embeds`).
    pub fn of_features(dataset: &Dataset, rows: &[u32], embeds: bool) -> Self {
        let width = dataset.width;
        let mut scale = Self { centre: vec![0.0; width], inverse_width: vec![1.0; width] };
        if dataset.tokens.is_some() {
            return scale;
        }
        // Features that share a scale are `channels` apart.
        let channels = match dataset.shape.as_slice() {
            [.., channels] if dataset.shape.len() > 1 => *channels,
            _ => width,
        };
        let row = |row: u32| &dataset.features[row as usize * width..(row as usize + 1) * width];
        for channel in 0..channels {
            let of_channel = rows
                .iter()
                .flat_map(move |&at| row(at)[channel..].iter().step_by(channels).copied());
            let (centre, spread) = centre_and_width(of_channel);
            for feature in (channel..width).step_by(channels) {
                scale.centre[feature] = centre as f32;
                scale.inverse_width[feature] = (1.0 / spread) as f32;
            }
        }
        for feature in dataset.levels.iter().flat_map(Clone::clone) {
            let first = rows.first().map(|&at| row(at)[feature]);
            if embeds {
                (scale.centre[feature], scale.inverse_width[feature]) = (0.0, 1.0);
            } else if rows.iter().all(|&at| Some(row(at)[feature]) == first) {
                // A level that training never saw, or always: its weights know nothing.
                scale.inverse_width[feature] = 0.0;
            }
        }
        scale
    }

    /// Scales the features of one row; what is missing becomes the centre.
    #[inline(always)]
    pub fn apply(&self, features: &[f32], scaled: &mut [f32]) {
        let by = self.centre.iter().zip(&self.inverse_width);
        for ((scaled, x), (centre, inverse)) in scaled.iter_mut().zip(features).zip(by) {
            let value = (x - centre) * inverse;
            *scaled = if value.is_nan() { 0.0 } else { value };
        }
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
