//! Images at another size.
//!
//! Basic arithmetic alone, in one order, so that every machine trains on the same numbers.
//!
//! Floor: common.

/// Bilinear, as Pillow does it: a triangle around each new pixel's centre that is as wide as two of
/// its pixels or of the old ones, whichever are larger; so shrinking averages rather than skips.
///
/// Shapes: `image` [height, width, channels] → [`to` height, `to` width, channels].
pub fn bilinear(
    image: &[f32],
    [height, width]: [usize; 2],
    to: [usize; 2],
    channels: usize,
) -> Vec<f32> {
    let mut narrow = vec![0.0; height * to[1] * channels];
    for (column, (first, weights)) in triangles(width, to[1]).into_iter().enumerate() {
        for row in 0..height {
            for channel in 0..channels {
                let old = |tap: usize| image[(row * width + first + tap) * channels + channel];
                narrow[(row * to[1] + column) * channels + channel] = weighted(&weights, old);
            }
        }
    }
    let line = to[1] * channels;
    let mut small = vec![0.0; to[0] * line];
    for (row, (first, weights)) in triangles(height, to[0]).into_iter().enumerate() {
        for place in 0..line {
            let old = |tap: usize| narrow[(first + tap) * line + place];
            small[row * line + place] = weighted(&weights, old);
        }
    }
    small
}

/// The class of the old pixel under each new pixel's centre.
pub fn nearest(mask: &[u8], [height, width]: [usize; 2], to: [usize; 2]) -> Vec<u8> {
    let old = |new: usize, from: usize, to: usize| (2 * new + 1) * from / (2 * to);
    let rows = (0..to[0]).map(|row| old(row, height, to[0]) * width);
    rows.flat_map(|start| (0..to[1]).map(move |column| mask[start + old(column, width, to[1])]))
        .collect()
}

fn weighted(weights: &[f64], old: impl Fn(usize) -> f32) -> f32 {
    weights.iter().enumerate().map(|(tap, weight)| weight * f64::from(old(tap))).sum::<f64>() as f32
}

/// For each new pixel, the first old one that counts and the weights from there on, of sum 1.
fn triangles(from: usize, to: usize) -> Vec<(usize, Vec<f64>)> {
    let scale = from as f64 / to as f64;
    let reach = scale.max(1.0);
    let of_pixel = |new: usize| {
        let centre = (new as f64 + 0.5) * scale;
        let first = ((centre - reach + 0.5).floor().max(0.0)) as usize;
        let end = ((centre + reach + 0.5).floor() as usize).min(from).max(first + 1);
        let weight = |old: usize| (1.0 - ((old as f64 + 0.5 - centre) / reach).abs()).max(0.0);
        let weights: Vec<f64> = (first..end).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.into_iter().map(|weight| weight / sum).collect())
    };
    (0..to).map(of_pixel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Image.fromarray(a, "F").resize((w, h), Image.BILINEAR)` of Pillow 13.0.0 on
    /// `a = (arange(20) ** 2 % 23).reshape(4, 5)`.
    #[test]
    fn images_shrink_and_grow_as_pillows() {
        let image: Vec<f32> = (0..20u32).map(|n| (n * n % 23) as f32).collect();
        for (to, expected) in PILLOW {
            let ours = bilinear(&image, [4, 5], to, 1);
            assert_eq!(ours.len(), expected.len());
            for (ours, pillow) in ours.iter().zip(expected) {
                assert!((ours - pillow).abs() < 1e-4, "{to:?}: {ours} {pillow}");
            }
        }
    }

    #[test]
    fn channels_do_not_mix() {
        let both: Vec<f32> = (0..20u32).flat_map(|n| [(n * n % 23) as f32, 7.0]).collect();
        let ours = bilinear(&both, [4, 5], [2, 3], 2);
        let (to, expected) = PILLOW[0];
        assert_eq!(to, [2, 3]);
        for (pixel, pillow) in ours.chunks_exact(2).zip(expected) {
            assert!((pixel[0] - pillow).abs() < 1e-4 && (pixel[1] - 7.0).abs() < 1e-6);
        }
    }

    #[test]
    fn masks_keep_their_classes() {
        let mask = [0, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(nearest(&mask, [3, 3], [3, 3]), mask);
        assert_eq!(nearest(&mask, [3, 3], [1, 2]), [3, 5]);
        assert_eq!(nearest(&mask, [3, 3], [1, 6]), [3, 3, 4, 4, 5, 5]);
    }

    const PILLOW: [([usize; 2], &[f32]); 2] = [
        ([2, 3], &[4.08163, 6.49206, 13.28571, 8.97959, 7.55556, 10.77551]),
        (
            [7, 6],
            &[
                0.0, 0.75, 2.75, 6.08333, 10.75, 16.0, 0.71429, 4.14286, 4.32738, 7.21429,
                12.80357, 14.57143, 1.85714, 9.57143, 6.85119, 9.02381, 16.08928, 12.28571, 5.0,
                8.375, 6.58333, 8.04167, 12.75, 12.0, 8.71429, 6.51786, 6.20238, 6.94643, 8.75,
                12.28571, 14.42857, 6.66071, 7.82143, 7.85119, 6.75, 14.57143, 18.0, 6.75, 8.83333,
                8.41667, 5.5, 16.0,
            ],
        ),
    ];
}
