//! Numbers, sizes and times as people write them.

use std::time::Duration;

use changeover_protocol::Phase;
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A count, its thousands parted: `1,204,000`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.char_indices() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 row`, `1,204 rows`.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    match n {
        1 => format!("1 {noun}"),
        _ if noun.ends_with("ry") => format!("{} {}ies", count(n), &noun[..noun.len() - 1]),
        _ => format!("{} {noun}s", count(n)),
    }
}

/// A size: `512 bytes`, `1.4 MiB`.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return counted(n, "byte");
    }
    let mut size = n as f64 / 1024.0;
    let mut unit = UNITS[0];
    for larger in &UNITS[1..] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = larger;
    }
    format!("{size:.1} {unit}")
}

/// A length of time in at most two units: `180 ms`, `4.2 s`, `3 min 20 s`, `6 d 4 h`.
pub(crate) fn duration(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    let two = |major: u64, unit: &str, minor: u64, small: &str| match minor {
        0 => format!("{major} {unit}"),
        _ => format!("{major} {unit} {minor} {small}"),
    };
    match s {
        0 if ms == 0 && !time.is_zero() => "under 1 ms".to_owned(),
        0 => format!("{ms} ms"),
        1..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

/// A rate: `52,300 rows/s`.
pub(crate) fn rate(per_second: f64) -> String {
    format!("{} rows/s", count(per_second.max(0.0).round() as u64))
}

/// A share of the whole: `12 %`, and never `100 %` before the end.
pub(crate) fn percent(done: u64, all: u64) -> String {
    let share = if all == 0 { 100 } else { u128::from(done) * 100 / u128::from(all) };
    match share {
        100.. if done < all => "99 %".to_owned(),
        0 if done > 0 && all > 0 => "under 1 %".to_owned(),
        share => format!("{} %", share.min(100)),
    }
}

/// A phase with the share of the keys that is in it: `reverse-shadow for 10 % of the keys`.
pub(crate) fn place(phase: Phase, share_percent: f64) -> String {
    if share_percent >= 100.0 {
        phase.to_string()
    } else {
        format!("{phase} for {} of the keys", share(share_percent))
    }
}

/// A share in per cent with no more digits than it takes to tell it from another: `10 %`, `0.5 %`.
pub(crate) fn share(percent: f64) -> String {
    // Slots are 1,024, so a share that was given in whole per cent comes back a little larger.
    let rounded = (percent * 10.0).round() / 10.0;
    format!("{rounded} %")
}

/// A moment on this machine's clock: the time alone today, else with its day. `ms`: milliseconds since 1970.
pub(crate) fn moment(ms: u64, now_ms: u64) -> String {
    moment_in(ms, now_ms, &TimeZone::system())
}

fn moment_in(ms: u64, now_ms: u64, zone: &TimeZone) -> String {
    let at = |ms: u64| {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH).to_zoned(zone.clone())
    };
    let (then, now) = (at(ms), at(now_ms));
    if then.date() == now.date() {
        then.strftime("%H:%M:%S").to_string()
    } else if then.year() == now.year() {
        then.strftime("%d %b %H:%M").to_string()
    } else {
        then.strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// The present, in milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0)
}

/// How long ago that was.
pub(crate) fn ago(ms: u64, now_ms: u64) -> String {
    duration(Duration::from_millis(now_ms.saturating_sub(ms)))
}

/// One line: what a database or a person put into a text may hold line ends and control characters, which would
/// A text, cut where it is longer than so many characters.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// break a table or drive the terminal.
pub(crate) fn one_line(text: &str) -> String {
    let shown = |c: char| match c {
        // What was printed over several lines, as an answer is, stays readable.
        '\n' | '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(shown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_parted_by_thousands() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_204_000)],
            ["0", "999", "1,000", "1,204,000"]
        );
        assert_eq!(
            [counted(1, "row"), counted(0, "row"), counted(2, "key"), counted(2, "entry")],
            ["1 row", "0 rows", "2 keys", "2 entries"]
        );
    }

    #[test]
    fn times_have_at_most_two_units() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!([shown(0), shown(180), shown(4_230), shown(59_999)], ["0 ms", "180 ms", "4.2 s", "59 s"]);
        assert_eq!(
            [shown(200_000), shown(7_500_000), shown(532_800_000)],
            ["3 min 20 s", "2 h 5 min", "6 d 4 h"]
        );
        assert_eq!(duration(Duration::from_micros(40)), "under 1 ms");
    }

    #[test]
    fn what_is_not_done_is_never_called_done() {
        assert_eq!([percent(999, 1_000), percent(1_000, 1_000), percent(0, 0)], ["99 %", "100 %", "100 %"]);
        assert_eq!([percent(1, 1_000), percent(0, 1_000)], ["under 1 %", "0 %"]);
    }

    #[test]
    fn a_share_looks_as_it_was_given() {
        assert_eq!(place(Phase::ReverseShadow, 10.058_593_75), "reverse-shadow for 10.1 % of the keys");
        assert_eq!(place(Phase::New, 100.0), "new");
    }

    #[test]
    fn sizes_have_their_unit() {
        assert_eq!(
            [bytes(1), bytes(1_023), bytes(1_536), bytes(3 << 30)],
            ["1 byte", "1,023 bytes", "1.5 KiB", "3.0 GiB"]
        );
    }

    #[test]
    fn a_moment_of_today_is_a_time_of_day() {
        let zone = TimeZone::UTC;
        let now = 1_795_219_200_000; // 2026-11-21, 00:00 UTC
        assert_eq!(moment_in(now + 3_600_000, now + 7_200_000, &zone), "01:00:00");
        assert_eq!(moment_in(now - 3_600_000, now, &zone), "20 Nov 23:00");
        assert_eq!(moment_in(0, now, &zone), "1970-01-01 00:00");
    }

    #[test]
    fn a_text_from_outside_can_not_drive_the_terminal() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a b\u{fffd}[31m");
    }
}
