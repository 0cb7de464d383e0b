//! How numbers are written for readers: enough digits to be right, no more.
//!
//! The same number is written the same way on every machine. Deliberately absent: locales.
//!
//! Floor: core.

/// `value` with as many decimals as show two digits of `scale` (a spread or a standard error).
pub fn beside(value: f64, scale: f64) -> String {
    decimals(value, places(scale))
}

/// Decimals that show two digits of `scale`; 4 where it is zero or undefined.
pub fn places(scale: f64) -> usize {
    if !(scale.is_finite() && scale > 0.0) {
        return 4;
    }
    (1.0 - scale.log10().floor()).clamp(0.0, PLACES_MAX) as usize
}

/// `value` with three significant digits; powers of ten below 0.0001 and from a million on.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_string() } else { "–".to_string() };
    }
    let power = value.abs().log10().floor();
    if !(-4.0..6.0).contains(&power) {
        let text = format!("{:.2e}", value.abs());
        let (digits, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
        let sign = if value < 0.0 { "−" } else { "" };
        return format!("{sign}{digits} × 10{}", superscript(exponent));
    }
    decimals(value, (2.0 - power).clamp(0.0, PLACES_MAX) as usize)
}

/// A round number, as few digits as it has: `0.05`, `5`, `2000`.
pub fn significant_short(value: f64) -> String {
    let text = significant(value);
    match text.split_once('.') {
        Some((whole, rest)) if !text.contains('×') => {
            let rest = rest.trim_end_matches('0');
            if rest.is_empty() { whole.to_string() } else { format!("{whole}.{rest}") }
        }
        _ => text,
    }
}

/// Fixed decimals with a real minus sign; a value that rounds to zero has none.
pub fn decimals(value: f64, places: usize) -> String {
    if !value.is_finite() {
        return "–".to_string();
    }
    let text = format!("{value:.places$}");
    match text.strip_prefix('-') {
        Some(rest) if rest.bytes().all(|b| b == b'0' || b == b'.') => rest.to_string(),
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// A p-value: never more than three decimals, never "0".
pub fn p(value: f64) -> String {
    match value {
        value if !value.is_finite() => "–".to_string(),
        value if value < 0.001 => "< 0.001".to_string(),
        value if value < 0.1 => decimals(value, 3),
        value => decimals(value, 2),
    }
}

/// A share as a percentage.
pub fn percent(share: f64) -> String {
    match share * 100.0 {
        value if !value.is_finite() => "–".to_string(),
        0.0 => "0 %".to_string(),
        value if value < 0.1 => "< 0.1 %".to_string(),
        value if value < 10.0 => format!("{value:.1} %"),
        value => format!("{value:.0} %"),
    }
}

/// A chance as a percentage; never certain.
pub fn chance(share: f64) -> String {
    match share {
        share if share > 0.999 => "> 99.9 %".to_string(),
        share if share >= 0.995 => format!("{:.1} %", share * 100.0),
        share => percent(share),
    }
}

/// A count with thin spaces between thousands.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    if digits.len() <= 4 {
        return digits;
    }
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 run`, `2 runs`.
pub fn counted(value: u64, one: &str) -> String {
    if value == 1 { format!("1 {one}") } else { format!("{} {one}s", count(value)) }
}

/// `a`, `a and b`, `a, b and c`.
pub fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [others @ .., last] => format!("{} and {last}", others.join(", ")),
    }
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.1} s"),
        s if s < 7200.0 => format!("{:.1} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn superscript(exponent: &str) -> String {
    exponent
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => digit.to_digit(10).and_then(|d| char::from_u32(0x2070 + d)).unwrap_or(digit),
        })
        .collect()
}

const PLACES_MAX: f64 = 7.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_shows_two_digits_of_its_spread() {
        assert_eq!(beside(0.993_412, 0.0081), "0.9934");
        assert_eq!(beside(-12.34, 3.0), "−12.3");
    }

    #[test]
    fn small_numbers_are_written_in_powers_of_ten() {
        assert_eq!(significant(0.000_012_34), "1.23 × 10⁻⁵");
        assert_eq!(significant(-0.012_34), "−0.0123");
        assert_eq!(significant(1234.0), "1234");
    }

    #[test]
    fn round_numbers_have_no_digits_that_say_nothing() {
        assert_eq!([0.05, 5.0, 2000.0].map(significant_short), ["0.05", "5", "2000"]);
        assert_eq!(significant_short(0.000_02), "2.00 × 10⁻⁵");
    }

    #[test]
    fn nothing_rounds_to_minus_zero() {
        assert_eq!(decimals(-0.0001, 2), "0.00");
    }

    #[test]
    fn a_p_value_is_never_zero() {
        assert_eq!(p(1e-12), "< 0.001");
        assert_eq!(p(0.0123), "0.012");
        assert_eq!(p(0.5), "0.50");
    }

    #[test]
    fn a_chance_is_never_certain() {
        assert_eq!([0.9975, 0.9999, 0.985].map(chance), ["99.8 %", "> 99.9 %", "98 %"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(count(1234), "1234");
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(counted(1, "run"), "1 run");
    }
}
