//! The roof: how many multiplications and additions one core can do at all.
//!
//! Fused multiply-adds on numbers that never leave their registers, in vectors of the width that the
//! trainer's products are compiled for. No product can be quicker.
//!
//! Floor: wiring.

use std::hint::black_box;

use pulp::{Arch, Simd, WithSimd};

/// Does the work once: how many floating-point operations it was, and numbers of a vector.
pub fn climb() -> (f64, usize) {
    Arch::new().dispatch(Climb)
}

struct Climb;

impl WithSimd for Climb {
    type Output = (f64, usize);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (f64, usize) {
        let (factor, addend) = (simd.splat_f32s(black_box(0.5)), simd.splat_f32s(black_box(1.0)));
        let mut sums = [simd.splat_f32s(0.0); CHAINS];
        for _ in 0..STEPS {
            for sum in &mut sums {
                *sum = simd.mul_add_f32s(*sum, factor, addend);
            }
        }
        black_box(sums.map(|sum| simd.reduce_sum_f32s(sum)));
        ((2 * CHAINS * STEPS * S::F32_LANES) as f64, S::F32_LANES)
    }
}

/// Sums that do not wait for one another: as many as hide an addition's latency, and fit 16 registers.
const CHAINS: usize = 12;
const STEPS: usize = 4_000_000;
