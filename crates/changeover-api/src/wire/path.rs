//! The paths of the API.

/// What all paths of the API begin with.
pub const ROOT: &str = "/v1/migrations";

/// `/v1/migrations/NAME/REST`.
#[must_use]
pub fn of(migration: &str, rest: &str) -> String {
    format!("{ROOT}/{}/{rest}", escaped(migration))
}

/// `/v1/migrations/NAME/instances/ID/REST`.
#[must_use]
pub fn of_instance(migration: &str, instance: &str, rest: &str) -> String {
    of(migration, &format!("instances/{}/{rest}", escaped(instance)))
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, so that one segment stays one.
pub(crate) fn escaped(segment: &str) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing to a String can't fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_stays_one_segment() {
        assert_eq!(of("bookings", "flag"), "/v1/migrations/bookings/flag");
        assert_eq!(
            of_instance("bookings", "web 1/ä?", "goodbye"),
            "/v1/migrations/bookings/instances/web%201%2F%C3%A4%3F/goodbye"
        );
    }
}
