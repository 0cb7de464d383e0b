//! e^x and ln x in steps that every processor rounds alike.
//!
//! The system's own differ in their last bits between libraries and between processors, take a call a
//! number, and no compiler makes vectors of them. Both are right to 2 units of the last place; near 1 the
//! logarithm to 2 units of what it is at 1.1.
//!
//! Source: Moshier, Cephes (single precision), whose polynomials these are.
//!
//! Floor: core.

/// e^x. NaN stays.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Beyond, all is 0 or infinite.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    // A number that ends in x / ln 2, rounded, and that alone.
    let counted = x.mul_add(std::f32::consts::LOG2_E, ROUNDS);
    let n = counted - ROUNDS;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let y = 1.987_569_2e-4_f32;
    let y = y.mul_add(r, 1.398_199_9e-3);
    let y = y.mul_add(r, 8.333_452e-3);
    let y = y.mul_add(r, 4.166_579_6e-2);
    let y = y.mul_add(r, 1.666_666_5e-1);
    let y = y.mul_add(r, 0.5);
    let y = y.mul_add(r * r, r) + 1.0;
    // In two steps, since 2^128 and 2^-149 have no 32-bit power of their own.
    let n = counted.to_bits().wrapping_sub(ROUNDS.to_bits()) as i32;
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    y * power(half) * power(n.wrapping_sub(half))
}

/// ln x of a number that is not below the smallest normal one. Infinity and NaN stay.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000);
    let e = (bits >> 23) as i32 - 126;
    let small = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = if small { e - 1 } else { e } as f32;
    let m = if small { m + m - 1.0 } else { m - 1.0 };
    let y = 7.037_683_6e-2_f32;
    let y = y.mul_add(m, -1.151_461e-1);
    let y = y.mul_add(m, 1.167_699_9e-1);
    let y = y.mul_add(m, -1.242_014_1e-1);
    let y = y.mul_add(m, 1.424_932_3e-1);
    let y = y.mul_add(m, -1.666_805_7e-1);
    let y = y.mul_add(m, 2.000_071_5e-1);
    let y = y.mul_add(m, -2.499_999_4e-1);
    let y = y.mul_add(m, 0.333_333_3);
    let z = m * m;
    let y = e.mul_add(LN_2_LOW, y * m * z);
    let y = z.mul_add(-0.5, y);
    let y = e.mul_add(LN_2_HIGH, m + y);
    if x < f32::INFINITY { y } else { x }
}

/// x^y of an x that is 0 or not below the smallest normal number. As right as y·ln x is large: to 2 units of
/// the last place and as many more.
#[inline(always)]
pub fn power(x: f32, y: f32) -> f32 {
    match x > 0.0 {
        true => exp(y * ln(x)),
        false if y == 0.0 => 1.0,
        false => 0.0,
    }
}

/// 1.5 · 2^23: what is added to it is rounded to a whole number.
const ROUNDS: f32 = 12_582_912.0;

/// ln 2 in two parts, of which the first has few digits.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Units of the last place between `seen` and what 64 bits say.
    fn apart(seen: f32, expected: f64) -> f64 {
        let unit = f64::from((expected as f32).abs().max(f32::MIN_POSITIVE)) * 2f64.powi(-23);
        (f64::from(seen) - expected).abs() / unit
    }

    #[test]
    fn exponentials_are_right_to_two_units() {
        let mut most = 0.0f64;
        for step in -870_000..=887_000 {
            let x = step as f32 * 1e-4;
            most = most.max(apart(exp(x), f64::from(x).exp()));
        }
        assert!(most <= 2.0, "{most} units apart");
        assert_eq!(exp(0.0).to_bits(), 1f32.to_bits());
    }

    #[test]
    fn exponentials_end_in_nothing_and_in_infinity() {
        assert_eq!([exp(-104.0), exp(-1e30), exp(f32::NEG_INFINITY)], [0.0; 3]);
        assert_eq!([exp(88.8), exp(1e30), exp(f32::INFINITY)], [f32::INFINITY; 3]);
        assert!(exp(f32::NAN).is_nan());
        // Below the smallest normal number digits are lost one by one.
        let tiny = exp(-100.0);
        assert!((f64::from(tiny) / (-100f64).exp() - 1.0).abs() < 0.02, "{tiny}");
    }

    #[test]
    fn powers_are_right_to_the_size_of_their_exponents() {
        for (x, y) in
            (1..=1_000).flat_map(|x| [0.5f32, 1.0, 2.0, 5.0].map(|y| (x as f32 * 1e-3, y)))
        {
            let expected = f64::from(x).powf(f64::from(y));
            let most = 4.0 + 2.0 * f64::from(y * x.ln()).abs();
            assert!(apart(power(x, y), expected) <= most, "{x}^{y}");
        }
        assert_eq!([power(0.0, 0.0), power(0.5, 0.0), power(0.0, 2.0)], [1.0, 1.0, 0.0]);
    }

    #[test]
    fn logarithms_are_right_to_two_units() {
        let mut most = 0.0f64;
        for step in 1..2_000_000u32 {
            let x = f32::from_bits(0x0080_0000 + step * 1_060);
            let expected = f64::from(x).ln();
            // Near 1 the logarithm is near 0, and so is what it is off by.
            let unit = expected.abs().max(0.1) * 2f64.powi(-23);
            most = most.max((f64::from(ln(x)) - expected).abs() / unit);
        }
        assert!(most <= 2.0, "{most} units apart");
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(f32::INFINITY), f32::INFINITY);
        assert!(ln(f32::NAN).is_nan());
    }
}
