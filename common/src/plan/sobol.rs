//! Points that fill the cube evenly: Sobol's sequence, scrambled.
//!
//! Among the first 2^k points each of the 2^k equal parts of every axis has exactly one, in every
//! release: the direction numbers are written out here, those of Joe and Kuo (2008, SIAM J. Sci.
//! Comput. 30, file new-joe-kuo-6, in the form of scipy's table). The scrambling is Owen's, by the
//! hash of Laine and Karras in Burley's form (2020, JCGT 9(4)), one seed an axis. Looked at:
//! `sobol_burley` 0.5.0 has single precision and 65,536 points; `sobol` 1.0.2 scrambles nothing.
//! Deliberately absent: more than [`AXES_MAX`] axes.
//!
//! Floor: common.

use crate::seed::StreamRng;

/// A scrambled sequence of points in [0, 1)^axes.
#[derive(Clone, Debug)]
pub struct Sobol {
    /// By axis: what each bit of the index adds.
    directions: Vec<[u32; BITS]>,
    scrambles: Vec<u32>,
}

impl Sobol {
    /// The sequence for `axes` ≤ [`AXES_MAX`] axes, scrambled by what `rng` draws.
    pub fn new(axes: usize, rng: &mut StreamRng) -> Self {
        assert!(axes <= AXES_MAX, "direction numbers are tabled for {AXES_MAX} axes");
        let scrambles = (0..axes).map(|_| rng.next_u32()).collect();
        Self { directions: (0..axes).map(directions).collect(), scrambles }
    }

    /// The same sequence scrambled anew.
    pub fn scrambled(&self, rng: &mut StreamRng) -> Self {
        let scrambles = self.scrambles.iter().map(|_| rng.next_u32()).collect();
        Self { directions: self.directions.clone(), scrambles }
    }

    /// Point number `index`, [axes]; each coordinate is the middle of a part of 2^-32.
    pub fn point(&self, index: u32) -> Vec<f64> {
        let axes = self.directions.iter().zip(&self.scrambles);
        axes.map(|(directions, scramble)| {
            let set = (0..BITS).filter(|bit| index >> bit & 1 == 1);
            let bits = set.fold(0, |bits, bit| bits ^ directions[bit]);
            (f64::from(owen(bits, *scramble)) + 0.5) / 2f64.powi(32)
        })
        .collect()
    }
}

/// Nested uniform scrambling: each bit is flipped by a hash of the bits above it.
fn owen(bits: u32, seed: u32) -> u32 {
    let mut x = bits.reverse_bits();
    x ^= x.wrapping_mul(0x3d20_adea);
    x = x.wrapping_add(seed);
    x = x.wrapping_mul((seed >> 16) | 1);
    x ^= x.wrapping_mul(0x0552_6c56);
    x ^= x.wrapping_mul(0x53a2_2864);
    x.reverse_bits()
}

/// `v_k = m_k 2^(32 - k)`, where the m follow from the first few by the axis's polynomial.
fn directions(axis: usize) -> [u32; BITS] {
    let mut v = [0; BITS];
    if axis == 0 {
        (0..BITS).for_each(|bit| v[bit] = 1 << (BITS - 1 - bit));
        return v;
    }
    let (polynomial, first) = JOE_KUO[axis - 1];
    let degree = first.len();
    for bit in 0..BITS {
        v[bit] = if bit < degree {
            first[bit] << (BITS - 1 - bit)
        } else {
            let middle = (1..degree).filter(|term| polynomial >> (degree - term) & 1 == 1);
            let start = v[bit - degree] ^ (v[bit - degree] >> degree);
            middle.fold(start, |sum, term| sum ^ v[bit - term])
        };
    }
    v
}

const BITS: usize = 32;

pub const AXES_MAX: usize = JOE_KUO.len() + 1;

/// For each axis after the first: a primitive polynomial's coefficients as bits, and m_1, m_2, …
const JOE_KUO: [(u32, &[u32]); 63] = [
    (3, &[1]),
    (7, &[1, 3]),
    (11, &[1, 3, 1]),
    (13, &[1, 1, 1]),
    (19, &[1, 1, 3, 3]),
    (25, &[1, 3, 5, 13]),
    (37, &[1, 1, 5, 5, 17]),
    (41, &[1, 1, 5, 5, 5]),
    (47, &[1, 1, 7, 11, 19]),
    (55, &[1, 1, 5, 1, 1]),
    (59, &[1, 1, 1, 3, 11]),
    (61, &[1, 3, 5, 5, 31]),
    (67, &[1, 3, 3, 9, 7, 49]),
    (91, &[1, 1, 1, 15, 21, 21]),
    (97, &[1, 3, 1, 13, 27, 49]),
    (103, &[1, 1, 1, 15, 7, 5]),
    (109, &[1, 3, 1, 15, 13, 25]),
    (115, &[1, 1, 5, 5, 19, 61]),
    (131, &[1, 3, 7, 11, 23, 15, 103]),
    (137, &[1, 3, 7, 13, 13, 15, 69]),
    (143, &[1, 1, 3, 13, 7, 35, 63]),
    (145, &[1, 3, 5, 9, 1, 25, 53]),
    (157, &[1, 3, 1, 13, 9, 35, 107]),
    (167, &[1, 3, 1, 5, 27, 61, 31]),
    (171, &[1, 1, 5, 11, 19, 41, 61]),
    (185, &[1, 3, 5, 3, 3, 13, 69]),
    (191, &[1, 1, 7, 13, 1, 19, 1]),
    (193, &[1, 3, 7, 5, 13, 19, 59]),
    (203, &[1, 1, 3, 9, 25, 29, 41]),
    (211, &[1, 3, 5, 13, 23, 1, 55]),
    (213, &[1, 3, 7, 3, 13, 59, 17]),
    (229, &[1, 3, 1, 3, 5, 53, 69]),
    (239, &[1, 1, 5, 5, 23, 33, 13]),
    (241, &[1, 1, 7, 7, 1, 61, 123]),
    (247, &[1, 1, 7, 9, 13, 61, 49]),
    (253, &[1, 3, 3, 5, 3, 55, 33]),
    (285, &[1, 3, 1, 15, 31, 13, 49, 245]),
    (299, &[1, 3, 5, 15, 31, 59, 63, 97]),
    (301, &[1, 3, 1, 11, 11, 11, 77, 249]),
    (333, &[1, 3, 1, 11, 27, 43, 71, 9]),
    (351, &[1, 1, 7, 15, 21, 11, 81, 45]),
    (355, &[1, 3, 7, 3, 25, 31, 65, 79]),
    (357, &[1, 3, 1, 1, 19, 11, 3, 205]),
    (361, &[1, 1, 5, 9, 19, 21, 29, 157]),
    (369, &[1, 3, 7, 11, 1, 33, 89, 185]),
    (391, &[1, 3, 3, 3, 15, 9, 79, 71]),
    (397, &[1, 3, 7, 11, 15, 39, 119, 27]),
    (425, &[1, 1, 3, 1, 11, 31, 97, 225]),
    (451, &[1, 1, 1, 3, 23, 43, 57, 177]),
    (463, &[1, 3, 7, 7, 17, 17, 37, 71]),
    (487, &[1, 3, 1, 5, 27, 63, 123, 213]),
    (501, &[1, 1, 3, 5, 11, 43, 53, 133]),
    (529, &[1, 3, 5, 5, 29, 17, 47, 173, 479]),
    (539, &[1, 3, 3, 11, 3, 1, 109, 9, 69]),
    (545, &[1, 1, 1, 5, 17, 39, 23, 5, 343]),
    (557, &[1, 3, 1, 5, 25, 15, 31, 103, 499]),
    (563, &[1, 1, 1, 11, 11, 17, 63, 105, 183]),
    (601, &[1, 1, 5, 11, 9, 29, 97, 231, 363]),
    (607, &[1, 1, 5, 15, 19, 45, 41, 7, 383]),
    (617, &[1, 3, 7, 7, 31, 19, 83, 137, 221]),
    (623, &[1, 1, 1, 3, 23, 15, 111, 223, 83]),
    (631, &[1, 1, 5, 13, 31, 15, 55, 25, 161]),
    (637, &[1, 1, 3, 13, 25, 47, 39, 87, 257]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::seed::Stream;

    fn sequence(axes: usize, seed: u64) -> Sobol {
        Sobol::new(axes, &mut StreamRng::new(&Digest::of(b"data"), Stream::Search, seed, 0))
    }

    #[test]
    fn each_dyadic_part_of_every_axis_has_one_of_the_first_points() {
        for seed in 0..3 {
            let sobol = sequence(AXES_MAX, seed);
            for power in 0..9u32 {
                let count = 1usize << power;
                let mut found = vec![vec![0u32; count]; AXES_MAX];
                for index in 0..count as u32 {
                    for (axis, place) in sobol.point(index).into_iter().enumerate() {
                        found[axis][(place * count as f64) as usize] += 1;
                    }
                }
                assert!(found.iter().flatten().all(|points| *points == 1), "2^{power} points");
            }
        }
    }

    #[test]
    fn the_first_two_axes_are_balanced_together() {
        let sobol = sequence(2, 7);
        for (across, up) in [(1, 16), (2, 8), (4, 4), (8, 2), (16, 1)] {
            let mut found = vec![0u32; 16];
            for index in 0..16 {
                let point = sobol.point(index);
                let cell = |at: f64, parts: usize| (at * parts as f64) as usize;
                found[cell(point[0], across) * up + cell(point[1], up)] += 1;
            }
            assert_eq!(found, [1; 16]);
        }
    }

    /// Against scipy 1.17: `scipy.stats.qmc.Sobol(8, scramble=False)`, whose points come in Gray
    /// code's order, so that the first 2^k are the same set.
    #[test]
    fn unscrambled_points_are_those_of_scipy() {
        let place = |axis: usize, index: u32| {
            let set = (0..BITS).filter(|bit| index >> bit & 1 == 1);
            f64::from(set.fold(0, |bits, bit| bits ^ directions(axis)[bit])) / 2f64.powi(32)
        };
        let point: Vec<f64> = (0..8).map(|axis| place(axis, 5 ^ (5 >> 1))).collect();
        assert_eq!(point, SCIPY_FIFTH);
    }

    const SCIPY_FIFTH: [f64; 8] = [0.875, 0.875, 0.125, 0.375, 0.875, 0.625, 0.875, 0.375];
}
