//! Transposes of small matrices.
//!
//! Nothing is calculated here. A compiler makes of such loops one move a number, which takes as long
//! as the product that follows, so that where vectors of eight numbers are, squares are turned in them.
//!
//! Floor: core.

/// The transpose of `numbers` [rows, …], whose rows are `pitch` apart: `made` [columns, rows].
#[inline(always)]
pub fn turn(numbers: &[f32], pitch: usize, rows: usize, made: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd
            .vectorize(|| by_squares(numbers, pitch, rows, made, |s| vectors::turned(simd, s)));
    }
    by_squares(numbers, pitch, rows, made, |square| {
        std::array::from_fn(|column| square.map(|row| row[column]))
    });
}

type Square = [[f32; SIDE]; SIDE];

#[inline(always)]
fn by_squares(
    numbers: &[f32],
    pitch: usize,
    rows: usize,
    made: &mut [f32],
    turned: impl Fn(Square) -> Square,
) {
    let columns = made.len() / rows.max(1);
    for top in (0..rows).step_by(SIDE) {
        for left in (0..columns).step_by(SIDE) {
            let (below, right) = ((top + SIDE).min(rows), (left + SIDE).min(columns));
            if (below - top, right - left) == (SIDE, SIDE) {
                let mut square = [[0.0; SIDE]; SIDE];
                for (row, square) in square.iter_mut().enumerate() {
                    let start = (top + row) * pitch + left;
                    square.copy_from_slice(&numbers[start..start + SIDE]);
                }
                for (column, turned) in turned(square).iter().enumerate() {
                    let start = (left + column) * rows + top;
                    made[start..start + SIDE].copy_from_slice(turned);
                }
                continue;
            }
            for column in left..right {
                for row in top..below {
                    made[column * rows + row] = numbers[row * pitch + column];
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::__m256;

    use pulp::x86::V3;
    use pulp::{cast, f32x8};

    use super::Square;

    /// Pairs, then fours, then halves of rows change places.
    #[inline(always)]
    pub fn turned(simd: V3, square: Square) -> Square {
        let avx = simd.avx;
        let [a, b, c, d, e, f, g, h]: [__m256; 8] =
            square.map(|[a, b, c, d, e, f, g, h]| cast(f32x8(a, b, c, d, e, f, g, h)));
        let woven = |a, b| (avx._mm256_unpacklo_ps(a, b), avx._mm256_unpackhi_ps(a, b));
        let [(ab, ab_), (cd, cd_), (ef, ef_), (gh, gh_)] =
            [woven(a, b), woven(c, d), woven(e, f), woven(g, h)];
        let fours =
            |a, b| (avx._mm256_shuffle_ps::<0x44>(a, b), avx._mm256_shuffle_ps::<0xEE>(a, b));
        let ((i, j), (k, l)) = (fours(ab, cd), fours(ab_, cd_));
        let ((m, n), (o, p)) = (fours(ef, gh), fours(ef_, gh_));
        let low = |a, b| avx._mm256_permute2f128_ps::<0x20>(a, b);
        let high = |a, b| avx._mm256_permute2f128_ps::<0x31>(a, b);
        let turned = [
            low(i, m),
            low(j, n),
            low(k, o),
            low(l, p),
            high(i, m),
            high(j, n),
            high(k, o),
            high(l, p),
        ];
        turned.map(|row| {
            let f32x8(a, b, c, d, e, f, g, h) = cast(row);
            [a, b, c, d, e, f, g, h]
        })
    }
}

/// Side of a square that is turned at once.
const SIDE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        for (rows, columns, pitch) in [(8, 8, 8), (17, 24, 31), (1, 5, 5), (16, 9, 9)] {
            let numbers: Vec<f32> = (0..rows * pitch).map(|at| at as f32).collect();
            let mut made = vec![0.0; rows * columns];
            turn(&numbers, pitch, rows, &mut made);
            let places = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
            let expected: Vec<f32> =
                places.map(|(row, column)| numbers[row * pitch + column]).collect();
            assert_eq!(made, expected);
        }
    }
}
