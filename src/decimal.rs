//! Parses decimal text to integers without floating point: `3.025` kW is 3025 W, never 3024.

/// Longest text of a number, in bytes; anything longer is not a measurement.
const MAX_LEN: usize = 64;

/// A decimal number as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    negative: bool,
    /// Digits 0 … 9, most significant first, no leading zeros.
    digits: Vec<u8>,
    /// The value is `digits × 10^exponent`.
    exponent: i32,
}

impl Decimal {
    /// Parses `[+-]digits[.digits][e[+-]digits]`, with at least one digit before the exponent, ASCII only. `None` for anything else, so
    /// also for units, decimal commas, `nan` and `inf`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_LEN {
            return None;
        }
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, power) = match rest.split_once(['e', 'E']) {
            Some((mantissa, power)) => (mantissa, parse_power(power)?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut digits = Vec::with_capacity(MAX_LEN);
        for byte in whole.bytes().chain(fraction.bytes()) {
            if !byte.is_ascii_digit() {
                return None;
            }
            if byte != b'0' || !digits.is_empty() {
                digits.push(byte - b'0');
            }
        }
        let exponent = power - i32::try_from(fraction.len()).ok()?;
        Some(Self { negative, digits, exponent })
    }

    /// Returns the number times `10^scale`, rounded half away from zero; `None` if it has more than nine digits.
    pub(crate) fn rounded(&self, scale: i32) -> Option<i32> {
        let (value, rest) = self.split(scale)?;
        self.signed(value.saturating_add(i32::from(rest >= 5)))
    }

    /// Returns the number times `10^scale`, rounded toward zero; `None` if it has more than nine digits.
    pub(crate) fn truncated(&self, scale: i32) -> Option<i32> {
        let (value, _) = self.split(scale)?;
        self.signed(value)
    }

    /// Returns the integer part of the magnitude times `10^scale`, and the digit after it.
    fn split(&self, scale: i32) -> Option<(i32, u8)> {
        let length = i32::try_from(self.digits.len()).ok()?;
        if length == 0 {
            return Some((0, 0));
        }
        let whole = length.saturating_add(self.exponent).saturating_add(scale);
        if whole > 9 {
            return None;
        }
        let Ok(whole) = usize::try_from(whole) else {
            return Some((0, 0)); // below a tenth of the unit
        };
        let digit = |at: usize| self.digits.get(at).copied().unwrap_or(0);
        let value = (0..whole).fold(0, |sum, at| sum * 10 + i32::from(digit(at)));
        Some((value, digit(whole)))
    }

    fn signed(&self, value: i32) -> Option<i32> {
        if self.negative { value.checked_neg() } else { Some(value) }
    }
}

/// Parses the exponent. Huge ones are clamped; they are out of any range anyway.
fn parse_power(text: &str) -> Option<i32> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power = digits.parse::<i32>().unwrap_or(i32::MAX).min(10_000);
    Some(if negative { -power } else { power })
}

#[cfg(test)]
mod tests {
    use super::Decimal;
    use proptest::prelude::*;

    fn rounded(text: &str, scale: i32) -> Option<i32> {
        Decimal::parse(text)?.rounded(scale)
    }

    #[test]
    fn rounds_half_away_from_zero() {
        for (text, want) in [
            ("3.025", 3025),
            ("-1.002", -1002),
            ("-0.0004", 0),
            ("-0.0005", -1),
            ("0.0005", 1),
            ("0.00049999", 0),
            ("1.2345", 1235),
            ("2.675", 2675),
            ("0.1", 100),
            ("-0", 0),
            ("007", 7000),
            (".5", 500),
            ("5.", 5000),
            ("+1", 1000),
            ("1e-3", 1),
            ("1.5E+2", 150_000),
            ("0e99999999999", 0),
            ("1e-99999999999", 0),
        ] {
            assert_eq!(rounded(text, 3), Some(want), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_decimal_number() {
        for text in
            ["", "-", "+", ".", "e5", "1e", "1e+", "1,2", "1.2.3", "1 kW", "0x10", "1_0", "--1", "nan", "inf", "１"]
        {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert_eq!(rounded("1e99999999999", 0), None, "too large");
        assert_eq!(rounded("9999999999", 0), None, "too large");
    }

    #[test]
    fn truncates_toward_zero() {
        assert_eq!(Decimal::parse("5.9999").and_then(|d| d.truncated(3)), Some(5999));
        assert_eq!(Decimal::parse("-5.9999").and_then(|d| d.truncated(3)), Some(-5999));
    }

    proptest! {
        #[test]
        fn agrees_with_integer_arithmetic(value in -99_999_999_i32..=99_999_999, dropped in 0_i32..10) {
            let text = format!("{}{}.{:03}{dropped}", if value < 0 { "-" } else { "" }, value.abs() / 1000, value.abs() % 1000);
            let up = if dropped >= 5 { value.signum() } else { 0 };
            let up = if value == 0 && dropped >= 5 { 1 } else { up };
            prop_assert_eq!(rounded(&text, 3), Some(value + up));
        }
    }
}
