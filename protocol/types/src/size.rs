//! Sizes as people type them.

use core::fmt;
use core::str::FromStr;

use crate::ByteCount;

/// A text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SizeError;

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a size is a number with a unit, such as 2GiB, 500M or 1.5TB; a number alone counts bytes",
        )
    }
}

impl core::error::Error for SizeError {}

impl FromStr for ByteCount {
    type Err = SizeError;

    /// Reads a size. `K`, `M`, `G`, `T`, `P`, alone or as `KiB`, count in 1024s; `KB`, `MB` and so on in 1000s. Upper and
    /// lower case are the same.
    ///
    /// # Errors
    /// [`SizeError`] for anything else, and for what 64 bits do not hold.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start().to_ascii_lowercase();
        let factor = factor(&unit).ok_or(SizeError)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let bytes = u128::from(whole.parse::<u64>().map_err(|_| SizeError)?) * factor;
        let bytes = bytes + part(fraction, factor).ok_or(SizeError)?;
        u64::try_from(bytes).map(Self::new).map_err(|_| SizeError)
    }
}

fn factor(unit: &str) -> Option<u128> {
    let power = |letter: char| "kmgtp".find(letter).and_then(|at| u32::try_from(at + 1).ok());
    let mut letters = unit.chars();
    match (letters.next(), letters.as_str()) {
        (None, _) | (Some('b'), "") => Some(1),
        (Some(letter), "" | "ib") => power(letter).map(|power| 1024_u128.pow(power)),
        (Some(letter), "b") => power(letter).map(|power| 1000_u128.pow(power)),
        _ => None,
    }
}

/// The bytes of a decimal fraction of a unit, rounded down.
fn part(fraction: &str, factor: u128) -> Option<u128> {
    let plain = !fraction.is_empty() && fraction.len() <= 9 && fraction.bytes().all(|b| b.is_ascii_digit());
    let value: u128 = plain.then(|| fraction.parse().ok()).flatten()?;
    Some(value * factor / 10_u128.pow(u32::try_from(fraction.len()).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_mean_them() {
        let rows = [
            ("0", 0),
            ("1", 1),
            ("17b", 17),
            ("1K", 1024),
            ("1kb", 1000),
            ("500M", 500 << 20),
            ("2GiB", 2 << 30),
            ("2 gib", 2 << 30),
            ("1.5G", 3 << 29),
            ("1.5TB", 1_500_000_000_000),
            (" 3P ", 3 << 50),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in rows {
            assert_eq!(text.parse(), Ok(ByteCount::new(bytes)), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "9".repeat(40);
        let texts = [
            "",
            "lots",
            "G",
            "-1",
            "+1",
            "1..2",
            "1.2.3",
            ".5G",
            "1.G",
            "1iB",
            "1GG",
            "1Gi",
            "1X",
            "1e3",
            "0x10",
            "16384P",
            "18446744073709551616",
            &long,
            "1.0000000001G",
            "½G",
        ];
        for text in texts {
            assert_eq!(text.parse::<ByteCount>(), Err(SizeError), "{text}");
        }
    }
}
