//! Transposes of small matrices.
//!
//! Nothing is calculated here. A compiler makes of such loops one move a number, which takes as long
//! as the product that follows, so that where vectors of eight numbers are, squares are turned in them.
//!
//! Floor: core.

/// The transpose of `numbers` [rows, columns], whose rows are `pitch` apart: `made` [columns, rows],
/// whose rows are `made_pitch` apart.
#[inline(always)]
pub fn turn(
    numbers: &[f32],
    pitch: usize,
    sizes: (usize, usize),
    made: &mut [f32],
    made_pitch: usize,
) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(|| {
            by_squares(numbers, pitch, sizes, made, made_pitch, |square, made| {
                vectors::turn(simd, square, pitch, made, made_pitch);
            });
        });
    }
    by_squares(numbers, pitch, sizes, made, made_pitch, |square, made| {
        plainly(square, pitch, (SIDE, SIDE), made, made_pitch);
    });
}

/// `square` turns what begins with its first argument onto what begins with its second.
#[inline(always)]
fn by_squares(
    numbers: &[f32],
    pitch: usize,
    (rows, columns): (usize, usize),
    made: &mut [f32],
    made_pitch: usize,
    square: impl Fn(&[f32], &mut [f32]),
) {
    let (whole_rows, whole_columns) = (rows / SIDE * SIDE, columns / SIDE * SIDE);
    let mut top = 0;
    while top < whole_rows {
        let mut left = 0;
        while left < whole_columns {
            square(&numbers[top * pitch + left..], &mut made[left * made_pitch + top..]);
            left += SIDE;
        }
        top += SIDE;
    }
    if whole_columns < columns {
        let sizes = (whole_rows, columns - whole_columns);
        let made = &mut made[whole_columns * made_pitch..];
        plainly(&numbers[whole_columns..], pitch, sizes, made, made_pitch);
    }
    if whole_rows < rows {
        let sizes = (rows - whole_rows, columns);
        let numbers = &numbers[whole_rows * pitch..];
        plainly(numbers, pitch, sizes, &mut made[whole_rows..], made_pitch);
    }
}

#[inline(always)]
fn plainly(
    numbers: &[f32],
    pitch: usize,
    (rows, columns): (usize, usize),
    made: &mut [f32],
    made_pitch: usize,
) {
    for column in 0..columns {
        for row in 0..rows {
            made[column * made_pitch + row] = numbers[row * pitch + column];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    use std::arch::x86_64::__m256;
    use std::array::from_fn;

    use pulp::x86::V3;
    use pulp::{Simd, cast};

    use super::SIDE;

    /// Pairs, then fours, then halves of rows change places.
    #[inline(always)]
    pub fn turn(simd: V3, numbers: &[f32], pitch: usize, made: &mut [f32], made_pitch: usize) {
        let avx = simd.avx;
        let numbers = &numbers[..(SIDE - 1) * pitch + SIDE];
        let made = &mut made[..(SIDE - 1) * made_pitch + SIDE];
        let [a, b, c, d, e, f, g, h]: [__m256; SIDE] =
            from_fn(|row| cast(V3::as_simd_f32s(&numbers[row * pitch..row * pitch + SIDE]).0[0]));
        let woven = |a, b| (avx._mm256_unpacklo_ps(a, b), avx._mm256_unpackhi_ps(a, b));
        let ((ab, ab_), (cd, cd_)) = (woven(a, b), woven(c, d));
        let ((ef, ef_), (gh, gh_)) = (woven(e, f), woven(g, h));
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
        for (row, turned) in turned.into_iter().enumerate() {
            let start = row * made_pitch;
            V3::as_mut_simd_f32s(&mut made[start..start + SIDE]).0[0] = cast(turned);
        }
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
            turn(&numbers, pitch, (rows, columns), &mut made, rows);
            let places = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
            let expected: Vec<f32> =
                places.map(|(row, column)| numbers[row * pitch + column]).collect();
            assert_eq!(made, expected);
        }
    }
}
