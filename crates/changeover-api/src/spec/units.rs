//! Lengths of time, shares, sizes and rates as people write them in a spec: `7d`, `0.01 %`, `1 GiB`, `500/s`.

use std::time::Duration;

/// Why a text isn't what was looked for, and how it would be written.
pub(super) struct Unreadable(pub(super) &'static str);

const DURATION: &str = "a length of time, as in \"500ms\", \"2s\", \"10m\", \"1h 30m\" or \"7d\"";
const PERCENT: &str = "a percentage from 0 to 100 with its sign, as in \"0.01 %\"";
const SIZE: &str = "a size, as in \"256 KiB\", \"10 MB\" or \"1 GiB\"";
const RATE: &str = "a number of rows for each second, as in 5000 or \"5000/s\"";

/// One or several numbers, each with its unit.
pub(super) fn duration(text: &str) -> Result<Duration, Unreadable> {
    let wrong = || Unreadable(DURATION);
    let mut rest = text.trim();
    let mut total_ms = 0_f64;
    if rest.is_empty() {
        return Err(wrong());
    }
    // Each round takes a digit at least.
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(wrong)?;
        let after = after.trim_start();
        let unit_end = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let unit_ms = match &after[..unit_end] {
            "ms" => 1.0,
            "s" | "sec" => 1e3,
            "m" | "min" => 60e3,
            "h" => 3_600e3,
            "d" => 86_400e3,
            "w" => 604_800e3,
            _ => return Err(wrong()),
        };
        total_ms += number * unit_ms;
        rest = after[unit_end..].trim_start();
    }
    // A hundred years is more than anyone waits; it keeps every sum of times far from overflow.
    if total_ms > 100.0 * 366.0 * 86_400e3 {
        return Err(wrong());
    }
    // Below the bound, so the cast is exact; a spec has no use for less than a millisecond.
    Ok(Duration::from_millis(total_ms.round() as u64))
}

/// A percentage, in per cent.
pub(super) fn percent(text: &str) -> Result<f64, Unreadable> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    number.filter(|percent| (0.0..=100.0).contains(percent)).ok_or(Unreadable(PERCENT))
}

/// A number of bytes.
pub(super) fn size(text: &str) -> Result<u64, Unreadable> {
    let wrong = || Unreadable(SIZE);
    let (number, unit) = leading_number(text.trim()).ok_or_else(wrong)?;
    let unit_bytes: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "b" | "bytes" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "kib" => f64::from(1_u32 << 10),
        "mib" => f64::from(1_u32 << 20),
        "gib" => f64::from(1_u32 << 30),
        "tb" => 1e12,
        "tib" => 1024.0 * f64::from(1_u32 << 30),
        _ => return Err(wrong()),
    };
    let bytes = number * unit_bytes;
    // 1 EB: below it the cast is exact enough and cannot overflow.
    if (1.0..1e18).contains(&bytes) { Ok(bytes as u64) } else { Err(wrong()) }
}

/// Rows for each second.
pub(super) fn rate(text: &str) -> Result<u64, Unreadable> {
    let text = text.trim();
    let per_second = text.strip_suffix("/s").unwrap_or(text).trim();
    let number = per_second.strip_suffix("rows").unwrap_or(per_second).trim();
    number.replace('_', "").parse().ok().filter(|&rate| rate > 0).ok_or(Unreadable(RATE))
}

/// What a rate looks like, for one that is a number of another kind.
pub(super) const fn rate_form() -> &'static str {
    RATE
}

fn leading_number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number = text[..end].parse().ok()?;
    Some((number, &text[end..]))
}

/// A length of time as a spec would have it: the largest units that say it exactly, down to milliseconds.
#[must_use]
pub fn show_duration(duration: Duration) -> String {
    let mut rest_ms = duration.as_millis();
    if rest_ms == 0 {
        return "0s".to_owned();
    }
    let mut parts = Vec::new();
    for (unit, unit_ms) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)] {
        if rest_ms >= unit_ms {
            parts.push(format!("{}{unit}", rest_ms / unit_ms));
            rest_ms %= unit_ms;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lengths_of_time_are_read_as_people_write_them() {
        for (text, ms) in [
            ("500ms", 500),
            ("2s", 2_000),
            ("2 s", 2_000),
            ("0.5s", 500),
            ("10m", 600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("2w", 1_209_600_000),
            ("0s", 0),
        ] {
            assert_eq!(duration(text).ok(), Some(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "7", "d", "7 days", "-1s", "1s-", "1.2.3s", "1e9d", "200000d", "7D", "½d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_sizes_and_rates_need_their_units() {
        assert_eq!(percent("0.01 %").ok(), Some(0.01));
        assert_eq!(percent("100%").ok(), Some(100.0));
        for wrong in ["0.01", "101 %", "-1 %", "NaN %", "%", "inf %"] {
            assert!(percent(wrong).is_err(), "{wrong}");
        }
        assert_eq!(size("256 KiB").ok(), Some(262_144));
        assert_eq!(size("10MB").ok(), Some(10_000_000));
        for wrong in ["10", "0 B", "1 GiBi", "-1 MB", "9e99 GB", "99999999999 GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert_eq!(rate("5_000/s").ok(), Some(5000));
        assert_eq!(rate("5000 rows/s").ok(), Some(5000));
        for wrong in ["0", "fast", "-1/s", "1.5/s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_can_be_read_again(ms in 0_u64..3_000_000_000_000) {
            let time = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(time)).ok(), Some(time));
        }

        #[test]
        fn no_text_makes_them_panic(text in "\\PC{0,20}") {
            let _ = (duration(&text).is_ok(), percent(&text).is_ok(), size(&text).is_ok(), rate(&text).is_ok());
        }
    }
}
