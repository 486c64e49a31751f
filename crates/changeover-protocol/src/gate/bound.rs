//! How sure a rate is: Wilson's score interval.
//!
//! E. B. Wilson, "Probable inference, the law of succession, and statistical inference", J. Am. Stat. Assoc. 22
//! (1927). Its one-sided coverage dips a little under the nominal one for rare events (L. D. Brown, T. T. Cai,
//! A. DasGupta, "Interval estimation for a binomial proportion", Stat. Sci. 16, 2001), so the bounds here take
//! z = 1.96, of the two-sided 95 % interval, where 1.645 would do nominally.

const Z: f64 = 1.96;

/// The upper bound of the rate of which `hits` of `trials` is a sample; 1 without a trial.
#[must_use]
pub fn upper(hits: u64, trials: u64) -> f64 {
    if trials == 0 { 1.0 } else { interval(hits, trials).1 }
}

/// The lower bound of the rate of which `hits` of `trials` is a sample; 0 without a trial.
#[must_use]
pub fn lower(hits: u64, trials: u64) -> f64 {
    if trials == 0 { 0.0 } else { interval(hits, trials).0 }
}

fn interval(hits: u64, trials: u64) -> (f64, f64) {
    // Counts beyond 2^53 lose their last digits, which no rate shows.
    let n = trials as f64;
    let p = hits.min(trials) as f64 / n;
    let z2 = Z * Z;
    let centre = p + z2 / (2.0 * n);
    let spread = Z * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    let scale = 1.0 + z2 / n;
    (((centre - spread) / scale).max(0.0), ((centre + spread) / scale).min(1.0))
}

/// How many trials it takes for the upper bound to come below `max`, if there are no more hits than these.
/// `None` if no number does, or none below 2^50.
#[must_use]
pub fn trials_needed(hits: u64, max: f64) -> Option<u64> {
    if max <= 0.0 {
        return None;
    }
    let (mut low, mut high) = (hits.max(1), 1_u64 << 50);
    if upper(hits, high) >= max {
        return None;
    }
    // The bound falls with the number of trials, so it can be halved.
    while low < high {
        let middle = low + (high - low) / 2;
        if upper(hits, middle) < max { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values_come_out() {
        // Newcombe (1998), table I: 81 of 263 and 15 of 148, Wilson without continuity correction.
        assert!((lower(81, 263) - 0.2553).abs() < 5e-5);
        assert!((upper(81, 263) - 0.3662).abs() < 5e-5);
        assert!((lower(15, 148) - 0.0624).abs() < 5e-5);
        assert!((upper(15, 148) - 0.1605).abs() < 5e-5);
        assert!((upper(0, 20) - 0.1611).abs() < 5e-5);
    }

    #[test]
    fn no_trial_is_no_evidence() {
        assert_eq!(upper(0, 0), 1.0);
        assert_eq!(lower(0, 0), 0.0);
    }

    proptest! {
        #[test]
        fn the_rate_lies_between_its_bounds(trials in 1_u64..1_000_000, part in 0.0_f64..=1.0) {
            let hits = (trials as f64 * part) as u64;
            let rate = hits as f64 / trials as f64;
            prop_assert!(lower(hits, trials) <= rate + 1e-12);
            prop_assert!(upper(hits, trials) >= rate - 1e-12);
        }

        #[test]
        fn the_number_needed_is_the_smallest_that_does(hits in 0_u64..50, max in 0.0001_f64..0.5) {
            let needed = trials_needed(hits, max).unwrap();
            prop_assert!(upper(hits, needed) < max);
            prop_assert!(needed <= hits.max(1) || upper(hits, needed - 1) >= max);
        }
    }
}
