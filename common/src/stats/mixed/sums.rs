//! Sums without rounding, and numbers of twice the usual precision.
//!
//! An [`Exact`] sum is an integer in units of the smallest number, so it is the same in whatever
//! order its summands come: rows may stream by in the order of a file and give the same bits as in
//! any other. What is computed from such sums (means, centred squares) loses digits to
//! cancellation, hence [`Wide`]. Deliberately absent: what is summed.
//!
//! Source of the arithmetic: Dekker (1971), Numer. Math. 18; Knuth, TAOCP 2, section 4.2.2.
//!
//! Floor: common.

use std::ops::{Add, Mul, Sub};

/// A sum of finite numbers, exact.
///
/// Digits to the base 2^32 from `first` on, in units of 2^-1074; a digit may stray from its range
/// until it is carried.
#[derive(Clone, Debug, Default)]
pub(super) struct Exact {
    first: usize,
    digits: Vec<i64>,
    /// Since the last carry.
    added: u32,
}

impl Exact {
    /// Adds a finite number.
    pub fn add(&mut self, value: f64) {
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7ff) as usize;
        let fraction = bits & ((1 << 52) - 1);
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        if mantissa == 0 {
            return;
        }
        let place = exponent.max(1) - 1;
        let shifted = u128::from(mantissa) << (place % 32);
        let place = place / 32;
        self.make_room(place);
        let sign = if value < 0.0 { -1 } else { 1 };
        let at = place - self.first;
        for (i, digit) in self.digits[at..at + 3].iter_mut().enumerate() {
            *digit += sign * (shifted >> (32 * i) & 0xffff_ffff) as i64;
        }
        self.added += 1;
        if self.added == ADDED_MAX {
            self.carry();
        }
    }

    /// Adds the product of two numbers below 2^500 in size.
    pub fn add_product(&mut self, a: f64, b: f64) {
        let high = a * b;
        self.add(high);
        self.add(a.mul_add(b, -high));
    }

    /// The sum to about a hundred bits.
    pub fn wide(&self) -> Wide {
        let mut sum = self.clone();
        sum.carry();
        let Some(top) = sum.digits.iter().rposition(|digit| *digit != 0) else {
            return Wide::default();
        };
        let negative = sum.digits[top] < 0;
        if negative {
            sum.digits.iter_mut().for_each(|digit| *digit = -*digit);
            sum.carry();
        }
        let Some(top) = sum.digits.iter().rposition(|digit| *digit != 0) else {
            return Wide::default();
        };
        let below = |i: usize| top.checked_sub(i).map_or(0, |at| sum.digits[at] as u128);
        let value = below(0) << 96 | below(1) << 64 | below(2) << 32 | below(3);
        let place = 32 * (sum.first + top) as i32 - 96 - 1074;
        let high = value as f64;
        let low = value.wrapping_sub(high as u128) as i128 as f64;
        let unit = |number: f64| scaled(if negative { -number } else { number }, place);
        Wide { high: unit(high), low: unit(low) }
    }

    fn make_room(&mut self, place: usize) {
        if self.digits.is_empty() {
            self.first = place;
        }
        if place < self.first {
            let more = self.first - place;
            self.digits.splice(0..0, std::iter::repeat_n(0, more));
            self.first = place;
        }
        let length = place + 3 - self.first;
        if self.digits.len() < length {
            self.digits.resize(length, 0);
        }
    }

    /// Brings every digit but the highest into 0..2^32.
    fn carry(&mut self) {
        let mut carried = 0;
        for digit in &mut self.digits {
            let value = *digit + carried;
            carried = value >> 32;
            *digit = value & 0xffff_ffff;
        }
        while carried != 0 && carried != -1 {
            self.digits.push(carried & 0xffff_ffff);
            carried >>= 32;
        }
        if carried == -1 {
            self.digits.push(-1);
        }
        self.added = 0;
    }
}

/// `number 2^power`, in two steps since the power may lie beyond the range of an exponent.
fn scaled(number: f64, power: i32) -> f64 {
    let half = power / 2;
    number * 2f64.powi(half) * 2f64.powi(power - half)
}

/// A number as the sum of two, the second below the rounding of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Wide {
    high: f64,
    low: f64,
}

impl Wide {
    pub fn number(self) -> f64 {
        self.high
    }

    /// The root of a positive number.
    pub fn root(self) -> Self {
        let root = self.high.sqrt();
        if root == 0.0 {
            return Self::default();
        }
        let rest = self - product(root, root);
        sum(root, rest.high / (2.0 * root))
    }

    pub fn over(self, divisor: Self) -> Self {
        let first = self.high / divisor.high;
        let rest = self - divisor * Self::from(first);
        let second = rest.high / divisor.high;
        let rest = rest - divisor * Self::from(second);
        sum(first, second) + Self::from(rest.high / divisor.high)
    }

    /// Multiplied by a power of two, which is exact.
    pub fn times_power(self, power: f64) -> Self {
        Self { high: self.high * power, low: self.low * power }
    }
}

impl From<f64> for Wide {
    fn from(high: f64) -> Self {
        Self { high, low: 0.0 }
    }
}

impl Add for Wide {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let high = sum(self.high, other.high);
        let low = sum(self.low, other.low);
        let high = quick_sum(high.high, high.low + low.high);
        quick_sum(high.high, high.low + low.low)
    }
}

impl Sub for Wide {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self + Self { high: -other.high, low: -other.low }
    }
}

impl Mul for Wide {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let high = product(self.high, other.high);
        quick_sum(high.high, high.low + (self.high * other.low + self.low * other.high))
    }
}

fn sum(a: f64, b: f64) -> Wide {
    let high = a + b;
    let of_b = high - a;
    Wide { high, low: (a - (high - of_b)) + (b - of_b) }
}

/// The sum where `a` is no smaller than `b`, or zero.
fn quick_sum(a: f64, b: f64) -> Wide {
    let high = a + b;
    Wide { high, low: b - (high - a) }
}

fn product(a: f64, b: f64) -> Wide {
    let high = a * b;
    Wide { high, low: a.mul_add(b, -high) }
}

/// Numbers that a digit can take before it has to be carried.
const ADDED_MAX: u32 = 1 << 30;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn total(values: &[f64]) -> Wide {
        let mut sum = Exact::default();
        values.iter().for_each(|&value| sum.add(value));
        sum.wide()
    }

    #[test]
    fn what_cancels_leaves_no_trace() {
        assert_eq!(total(&[1e100, 1.0, -1e100]).number(), 1.0);
        assert_eq!(total(&[1e-300, -3.0, 1e200, 3.0, -1e200]).number(), 1e-300);
        assert_eq!(total(&[0.1, -0.1]), Wide::default());
        assert_eq!(total(&[-5.5, 2.0]).number(), -3.5);
        assert_eq!(total(&[]), Wide::default());
        assert_eq!(total(&[5e-324; 3]).number(), 1.5e-323);
    }

    #[test]
    fn products_keep_all_their_digits() {
        let mut sum = Exact::default();
        let third = 1.0 / 3.0;
        sum.add_product(third, third);
        sum.add_product(-third, third);
        sum.add_product(1e-160, 3.0);
        assert_eq!(sum.wide().number(), 1e-160 * 3.0);
    }

    #[test]
    fn wide_numbers_have_a_hundred_bits() {
        let third = Wide::from(1.0).over(Wide::from(3.0));
        let one = third + third + third;
        assert_eq!(one.number(), 1.0);
        assert!((one - Wide::from(1.0)).number().abs() < 1e-31);
        let two = Wide::from(2.0).root();
        assert!((two * two - Wide::from(2.0)).number().abs() < 1e-30);
    }

    proptest! {
        #[test]
        fn order_changes_no_bit(mut values in prop::collection::vec(-1e30f64..1e30, 1..60)) {
            let forward = total(&values);
            values.reverse();
            prop_assert_eq!(total(&values), forward);
            let half = values.len() / 2;
            values.rotate_left(half);
            prop_assert_eq!(total(&values), forward);
        }

        #[test]
        fn sums_of_integers_are_exact(values in prop::collection::vec(any::<i32>(), 0..60)) {
            let expected: i64 = values.iter().map(|value| i64::from(*value)).sum();
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            prop_assert_eq!(total(&values).number(), expected as f64);
        }
    }
}
