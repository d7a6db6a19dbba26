//! DynamoDB's number: a decimal of at most 38 significant digits, exact, from 1E-130 to 9.99…E+125.

use std::cmp::Ordering;
use std::fmt;

/// `±coefficient × 10^exponent`, without trailing zeros in the coefficient, so that equal numbers are equal fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Number {
    negative: bool,
    coefficient: u128,
    exponent: i16,
}

/// Why a text or a result is no number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadNumber {
    /// Not of the form of a number.
    Syntax(String),
    /// Larger than 9.99…E+125.
    Overflow,
    /// Nearer to zero than 1E-130.
    Underflow,
    /// More than 38 significant digits.
    Precision,
}

impl fmt::Display for BadNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadNumber::Syntax(text) if text.is_empty() => {
                f.write_str("The parameter cannot be converted to a numeric value")
            }
            BadNumber::Syntax(text) => {
                write!(
                    f,
                    "The parameter cannot be converted to a numeric value: {text}"
                )
            }
            BadNumber::Overflow => f.write_str(
                "Number overflow. Attempting to store a number with magnitude larger than supported range",
            ),
            BadNumber::Underflow => f.write_str(
                "Number underflow. Attempting to store a number with magnitude smaller than supported range",
            ),
            BadNumber::Precision => {
                f.write_str("Attempting to store more than 38 significant digits in a Number")
            }
        }
    }
}

/// Significant digits.
const DIGITS: usize = 38;
/// The largest power of ten of the first digit, and the smallest.
const LARGEST: i64 = 125;
const SMALLEST: i64 = -130;

impl Number {
    /// Reads a number as clients write it: `-1.5`, `.5`, `1e10`.
    pub fn parse(text: &str) -> Result<Number, BadNumber> {
        let bad = || BadNumber::Syntax(text.chars().take(64).collect());
        let (negative, rest) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        let mantissa_end = rest
            .iter()
            .position(|b| matches!(b, b'e' | b'E'))
            .unwrap_or(rest.len());
        let (mantissa, tail) = rest.split_at(mantissa_end);
        let exponent = match tail.split_first() {
            None => 0,
            Some((_, digits)) => exponent(digits).ok_or_else(bad)?,
        };
        let mut digits = Digits::default();
        let (mut point, mut any) = (None, false);
        for (at, byte) in mantissa.iter().enumerate() {
            match byte {
                b'.' if point.is_none() => point = Some(mantissa.len() - at - 1),
                b'0'..=b'9' => {
                    any = true;
                    digits.push(byte - b'0');
                }
                _ => return Err(bad()),
            }
        }
        if !any {
            return Err(bad());
        }
        let scale = exponent.saturating_sub(point.unwrap_or(0) as i64);
        digits.finish(negative, scale)
    }

    /// A whole number.
    pub fn from_u64(value: u64) -> Number {
        Number::normal(false, u128::from(value), 0)
    }

    /// Strips trailing zeros; the parts are known to be in range.
    fn normal(negative: bool, mut coefficient: u128, mut exponent: i16) -> Number {
        if coefficient == 0 {
            return Number::default();
        }
        while coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent += 1;
        }
        Number {
            negative,
            coefficient,
            exponent,
        }
    }

    fn digits(self) -> u32 {
        self.coefficient.checked_ilog10().map_or(1, |n| n + 1)
    }

    /// The power of ten of the first digit.
    fn magnitude(self) -> i64 {
        i64::from(self.exponent) + i64::from(self.digits()) - 1
    }

    /// The sum, where it is a number too.
    pub fn add(self, other: Number) -> Result<Number, BadNumber> {
        if self.coefficient == 0 {
            return Ok(other);
        }
        if other.coefficient == 0 {
            return Ok(self);
        }
        let (high, low) = if self.exponent >= other.exponent {
            (self, other)
        } else {
            (other, self)
        };
        // The lower one's last digit is no zero and stays: what does not fit here has more than 38 digits.
        let shift = u32::from(high.exponent.abs_diff(low.exponent));
        let scaled = 10u128
            .checked_pow(shift)
            .and_then(|power| high.coefficient.checked_mul(power))
            .ok_or(BadNumber::Overflow)?;
        let (negative, sum) = if high.negative == low.negative {
            (
                high.negative,
                scaled
                    .checked_add(low.coefficient)
                    .ok_or(BadNumber::Overflow)?,
            )
        } else if scaled >= low.coefficient {
            (high.negative, scaled - low.coefficient)
        } else {
            (low.negative, low.coefficient - scaled)
        };
        let sum = Number::normal(negative, sum, low.exponent);
        if sum.digits() as usize > DIGITS || sum.magnitude() > LARGEST {
            return Err(BadNumber::Overflow);
        }
        if sum.coefficient != 0 && sum.magnitude() < SMALLEST {
            return Err(BadNumber::Underflow);
        }
        Ok(sum)
    }

    /// The difference.
    pub fn subtract(self, other: Number) -> Result<Number, BadNumber> {
        self.add(other.negated())
    }

    fn negated(self) -> Number {
        Number {
            negative: !self.negative && self.coefficient != 0,
            ..self
        }
    }

    /// The whole number, where it is one of 64 bits.
    pub fn as_i64(self) -> Option<i64> {
        let power = u32::try_from(self.exponent).ok()?;
        let value = 10u128
            .checked_pow(power)
            .and_then(|power| self.coefficient.checked_mul(power))?;
        let value = i64::try_from(value).ok()?;
        Some(if self.negative { -value } else { value })
    }

    /// The seconds of a time, its fraction cut off.
    pub fn floor_i64(self) -> Option<i64> {
        if self.exponent >= 0 {
            return self.as_i64();
        }
        let value = match 10u128.checked_pow(u32::from(self.exponent.unsigned_abs())) {
            Some(power) => i64::try_from(self.coefficient / power).ok()?,
            None => 0,
        };
        Some(if self.negative { -value } else { value })
    }

    /// What it counts for in an item's size: a byte for two digits, and one or two more.
    pub fn size(self) -> usize {
        if self.coefficient == 0 {
            return 1;
        }
        self.digits().div_ceil(2) as usize + 1 + usize::from(self.negative)
    }

    /// Appends an encoding whose bytes compare as the numbers do.
    pub fn encode_ordered(self, out: &mut Vec<u8>) {
        if self.coefficient == 0 {
            out.push(1);
            return;
        }
        out.push(if self.negative { 0 } else { 2 });
        let begin = out.len();
        // -130..=125 as one byte.
        out.push((self.magnitude() - SMALLEST) as u8);
        let mut digits = [0u8; DIGITS + 2];
        let count = self.digits() as usize;
        let mut rest = self.coefficient;
        for digit in digits[..count].iter_mut().rev() {
            *digit = (rest % 10) as u8;
            rest /= 10;
        }
        // Never 0, so that a number that ends is smaller than one that goes on.
        for pair in digits[..count.next_multiple_of(2)].chunks(2) {
            out.push(pair[0] * 10 + pair[1] + 1);
        }
        if self.negative {
            for byte in &mut out[begin..] {
                *byte = !*byte;
            }
            out.push(0xFF);
        }
    }

    /// Appends the compact form that items are stored in.
    pub fn encode(self, out: &mut Vec<u8>) {
        let bytes = self.coefficient.to_be_bytes();
        let skip = self.coefficient.leading_zeros() as usize / 8;
        let digits = &bytes[skip..];
        out.push(digits.len() as u8 | if self.negative { 0x80 } else { 0 });
        out.extend_from_slice(&self.exponent.to_be_bytes());
        out.extend_from_slice(digits);
    }

    /// Takes that form off the front of `input`.
    pub fn decode(input: &mut &[u8]) -> Option<Number> {
        let (&[head, high, low], rest) = input.split_first_chunk::<3>()?;
        let len = usize::from(head & 0x7F);
        let (digits, rest) = rest.split_at_checked(len)?;
        *input = rest;
        let mut bytes = [0u8; 16];
        bytes
            .get_mut(16usize.checked_sub(len)?..)?
            .copy_from_slice(digits);
        Some(Number {
            negative: head & 0x80 != 0,
            coefficient: u128::from_be_bytes(bytes),
            exponent: i16::from_be_bytes([high, low]),
        })
    }
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0i64, |value, digit| {
        value
            .saturating_mul(10)
            .saturating_add(i64::from(digit - b'0'))
            .min(1 << 40)
    });
    Some(if negative { -value } else { value })
}

/// Digits as they are read: leading zeros are dropped, trailing ones are only counted.
#[derive(Default)]
struct Digits {
    coefficient: u128,
    count: usize,
    zeros: usize,
}

impl Digits {
    fn push(&mut self, digit: u8) {
        if digit == 0 {
            if self.count > 0 {
                self.zeros += 1;
            }
            return;
        }
        self.count += self.zeros + 1;
        if self.count <= DIGITS {
            for _ in 0..self.zeros {
                self.coefficient *= 10;
            }
            self.coefficient = self.coefficient * 10 + u128::from(digit);
        }
        self.zeros = 0;
    }

    fn finish(self, negative: bool, scale: i64) -> Result<Number, BadNumber> {
        if self.count == 0 {
            return Ok(Number::default());
        }
        let exponent = scale.saturating_add(self.zeros as i64);
        let magnitude = exponent.saturating_add(self.count as i64 - 1);
        if magnitude > LARGEST {
            return Err(BadNumber::Overflow);
        }
        if magnitude < SMALLEST {
            return Err(BadNumber::Underflow);
        }
        if self.count > DIGITS {
            return Err(BadNumber::Precision);
        }
        Ok(Number {
            negative,
            coefficient: self.coefficient,
            exponent: exponent as i16,
        })
    }
}

impl Ord for Number {
    fn cmp(&self, other: &Number) -> Ordering {
        let sign = |n: &Number| match (n.coefficient, n.negative) {
            (0, _) => 0,
            (_, true) => -1,
            (_, false) => 1,
        };
        match sign(self).cmp(&sign(other)) {
            Ordering::Equal if sign(self) != 0 => {}
            decided => return decided,
        }
        let aligned = |n: &Number| n.coefficient * 10u128.pow(DIGITS as u32 - n.digits());
        let ordering = self
            .magnitude()
            .cmp(&other.magnitude())
            .then_with(|| aligned(self).cmp(&aligned(other)));
        if self.negative {
            ordering.reverse()
        } else {
            ordering
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Number) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Number {
    /// Always plain, never with an exponent, as DynamoDB answers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        let digits = self.coefficient.to_string();
        let exponent = i32::from(self.exponent);
        if exponent >= 0 {
            f.write_str(&digits)?;
            return (self.coefficient != 0)
                .then_some(exponent)
                .map_or(Ok(()), |zeros| write_zeros(f, zeros));
        }
        let point = digits.len() as i32 + exponent;
        if point > 0 {
            let (whole, fraction) = digits.split_at(point as usize);
            return write!(f, "{whole}.{fraction}");
        }
        f.write_str("0.")?;
        write_zeros(f, -point)?;
        f.write_str(&digits)
    }
}

fn write_zeros(f: &mut fmt::Formatter<'_>, count: i32) -> fmt::Result {
    for _ in 0..count {
        f.write_str("0")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    /// Digits as a vector with 300 places before and after the point: slow and plain.
    fn naive(n: Number) -> (bool, Vec<u8>) {
        let mut places = vec![0u8; 600];
        let mut rest = n.coefficient;
        let mut at = 300 + i32::from(n.exponent);
        while rest > 0 {
            places[at as usize] = (rest % 10) as u8;
            rest /= 10;
            at += 1;
        }
        (n.negative, places)
    }

    fn naive_add(a: Number, b: Number) -> (bool, Vec<u8>) {
        let value = |n: Number| {
            let (negative, places) = naive(n);
            let signed: Vec<i32> = places
                .iter()
                .map(|d| {
                    if negative {
                        -i32::from(*d)
                    } else {
                        i32::from(*d)
                    }
                })
                .collect();
            signed
        };
        let mut sum: Vec<i32> = value(a).iter().zip(value(b)).map(|(a, b)| a + b).collect();
        let negative = sum.iter().rev().find(|d| **d != 0).is_some_and(|d| *d < 0);
        if negative {
            sum.iter_mut().for_each(|d| *d = -*d);
        }
        for at in 0..sum.len() - 1 {
            let carry = sum[at].div_euclid(10);
            sum[at] -= carry * 10;
            sum[at + 1] += carry;
        }
        (negative, sum.into_iter().map(|d| d as u8).collect())
    }

    fn any_number() -> impl Strategy<Value = Number> {
        (any::<bool>(), 0u128..10u128.pow(38), 0u32..39, -130i64..=88).prop_map(
            |(negative, coefficient, cut, exponent)| {
                let coefficient = coefficient / 10u128.pow(cut.min(38));
                let sign = if negative { "-" } else { "" };
                number(&format!("{sign}{coefficient}e{exponent}"))
            },
        )
    }

    proptest! {
        #[test]
        fn a_number_reads_back_as_it_is_shown(n in any_number()) {
            prop_assert_eq!(number(&n.to_string()), n);
            let mut bytes = Vec::new();
            n.encode(&mut bytes);
            let mut input = &bytes[..];
            prop_assert_eq!(Number::decode(&mut input), Some(n));
            prop_assert!(input.is_empty());
        }

        #[test]
        fn keys_are_ordered_as_numbers(a in any_number(), b in any_number()) {
            let key = |n: Number| {
                let mut out = Vec::new();
                n.encode_ordered(&mut out);
                out
            };
            prop_assert_eq!(a.cmp(&b), key(a).cmp(&key(b)));
            let order = |n: Number| {
                let (negative, places) = naive(n);
                let mut places: Vec<i32> = places.into_iter().rev().map(i32::from).collect();
                if negative {
                    places.iter_mut().for_each(|d| *d = -*d);
                }
                places
            };
            prop_assert_eq!(a.cmp(&b), order(a).cmp(&order(b)));
        }

        #[test]
        fn sums_are_exact_or_refused(a in any_number(), b in any_number()) {
            let (negative, places) = naive_add(a, b);
            match a.add(b) {
                Ok(sum) => prop_assert_eq!(naive(sum), (negative, places)),
                Err(_) => {
                    let last = places.iter().position(|d| *d != 0);
                    let first = places.iter().rposition(|d| *d != 0);
                    let (Some(last), Some(first)) = (last, first) else {
                        panic!("zero is a number");
                    };
                    prop_assert!(first - last >= 38 || !(170..=425).contains(&first));
                }
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,12}|[0-9eE.+-]{0,60}") {
            let _ = Number::parse(&text);
        }
    }

    #[test]
    fn numbers_are_shown_plain() {
        for (text, shown) in [
            ("1e3", "1000"),
            ("-0.0", "0"),
            (".5", "0.5"),
            ("001.230", "1.23"),
            ("1e-3", "0.001"),
            ("123e-2", "1.23"),
            ("0e200", "0"),
        ] {
            assert_eq!(number(text).to_string(), shown);
        }
    }

    #[test]
    fn limits_are_dynamodbs() {
        assert_eq!(Number::parse("1e126"), Err(BadNumber::Overflow));
        assert_eq!(Number::parse("0.9e-130"), Err(BadNumber::Underflow));
        let long = "3.14159265358979323846264338327950288419";
        assert_eq!(Number::parse(long), Err(BadNumber::Precision));
        assert!(Number::parse("9.9e125").is_ok());
        assert!(matches!(Number::parse("1e"), Err(BadNumber::Syntax(_))));
        assert!(matches!(Number::parse(" 1"), Err(BadNumber::Syntax(_))));
        assert_eq!(number("1e50").add(number("1")), Err(BadNumber::Overflow));
    }
}
