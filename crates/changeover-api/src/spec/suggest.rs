//! "Did you mean": the known name nearest to one that isn't known.

/// The name among `known` that is nearest to `given`, if one is near enough to have been meant.
#[must_use]
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let plain = plain(given);
    let room = (plain.chars().count() / 3).clamp(1, 3);
    known
        .into_iter()
        .map(|name| (distance(&plain, &self::plain(name)), name))
        .filter(|&(distance, _)| distance <= room)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// Case and the choice of hyphen or underscore aren't what somebody meant to say.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', ' '], "-")
}

/// How many insertions, deletions, replacements and exchanges of neighbours turn one into the other (the
/// "optimal string alignment" distance).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1; b.len() + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y)).min(above[j + 1] + 1).min(row[j] + 1);
            let is_exchange = i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y;
            if is_exchange {
                least = least.min(before[j - 1] + 1);
            }
            row[j + 1] = least;
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        let known = ["mirror", "phases", "table", "hold_budget", "on_silence", "reverse-shadow"];
        for (given, meant) in [
            ("miror", Some("mirror")),
            ("pahses", Some("phases")),
            ("hold-budget", Some("hold_budget")),
            ("Tables", Some("table")),
            ("reverse_shadow", Some("reverse-shadow")),
            ("colour", None),
            ("x", None),
        ] {
            assert_eq!(nearest(given, known), meant, "{given}");
        }
    }
}
