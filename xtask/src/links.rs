//! The links of the docs: every relative one must lead to a file, and its `#anchor` to a heading of it.

use std::fs;
use std::path::Path;

/// Checks the links of one Markdown file.
pub(crate) fn check(file: &str, text: &str, faults: &mut Vec<String>) {
    let folder = Path::new(file).parent().unwrap_or(Path::new(""));
    for (number, target) in targets(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let found = if path.is_empty() { Some(text.to_owned()) } else { read(&folder.join(path)) };
        match found {
            None => faults.push(format!("{file}:{number}: the link leads to {path}, which isn't there")),
            Some(page) if !anchor.is_empty() && !anchors(&page).contains(&anchor.to_owned()) => {
                faults.push(format!(
                    "{file}:{number}: no heading #{anchor} in the page that the link leads to"
                ));
            }
            Some(_) => {}
        }
    }
}

fn read(path: &Path) -> Option<String> {
    if path.is_dir() { Some(String::new()) } else { fs::read_to_string(path).ok() }
}

/// The targets of `[text](target)`, outside of code, with their line numbers.
fn targets(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        let outside: String = line.split('`').step_by(2).collect();
        let mut rest = outside.as_str();
        while let Some((_, after)) = rest.split_once("](") {
            let Some((target, further)) = after.split_once(')') else { break };
            found.push((number, target.trim().to_owned()));
            rest = further;
        }
    }
    found
}

/// The anchors that GitHub makes of a page's headings.
fn anchors(text: &str) -> Vec<String> {
    prose(text).filter(|(_, line)| line.starts_with('#')).map(|(_, line)| slug(line)).collect()
}

fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    title
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-' || *c == '_')
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(at, line)| {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
            return None;
        }
        (!fenced).then_some((at + 1, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found_and_live_ones_are_not() {
        let text =
            "# The Way, back\n[a](#the-way-back) [b](#nowhere) `[c](no.md)` [d](gone.md)\n```\n[e](x)\n```\n";
        let mut faults = Vec::new();
        check("links-test.md", text, &mut faults);
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("#nowhere") && faults[1].contains("gone.md"));
    }
}
