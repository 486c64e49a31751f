//! Random names and tokens, and comparing them without telling by the time it takes.

use crate::error::ControlError;

/// So many random bytes from the operating system, in hexadecimal.
pub(crate) fn random_hex(bytes: usize) -> Result<String, ControlError> {
    use std::fmt::Write as _;
    let mut buffer = vec![0_u8; bytes];
    getrandom::fill(&mut buffer).map_err(|cause| ControlError::Stopped {
        part: "the operating system's source of randomness",
        cause: cause.to_string(),
    })?;
    let mut text = String::with_capacity(bytes * 2);
    for byte in buffer {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Whether two secrets are the same; looks at every byte whatever the first ones are.
pub(crate) fn same(given: &str, secret: &str) -> bool {
    let (given, secret) = (given.as_bytes(), secret.as_bytes());
    let unlike = given.iter().zip(secret).fold(0_u8, |unlike, (a, b)| unlike | (a ^ b));
    given.len() == secret.len() && unlike == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (a, b) = (random_hex(32).unwrap(), random_hex(32).unwrap());
        assert_eq!(a.len(), 64);
        assert_ne!(a, b);
        assert!(same(&a, &a) && !same(&a, &b) && !same("", &a) && !same(&a[..63], &a));
    }
}
