//! Rules: the entries of a table's `rules`, each for one column and of one kind.

use changeover::rules::{RoundTo, Rule, RuleKind};

use super::reader::{Findings, Node};

/// How a timestamp may be rounded.
pub(super) const ROUND: [(&str, RoundTo); 3] =
    [("s", RoundTo::Second), ("ms", RoundTo::Millisecond), ("us", RoundTo::Microsecond)];

/// Reads `rules`.
pub(super) fn read(node: Node<'_>, found: &mut Findings) -> Vec<Rule> {
    let items = node.items("an array, as in [{ column = \"seen_at\", round = \"ms\" }]", found);
    items.unwrap_or_default().into_iter().filter_map(|item| read_one(item, found)).collect()
}

fn read_one(node: Node<'_>, found: &mut Findings) -> Option<Rule> {
    let errors_before = found.errors.len();
    let mut fields = node.fields("a table, as in { column = \"etag\", ignore = true }", found)?;
    let column = fields.require("column", "Name the column, as the new side calls it", found);
    let column = column.and_then(|node| node.text("a column of the new side", found));
    let kinds = [
        fields.get("ignore", found).and_then(|node| set_true(&node, RuleKind::Ignore, found)),
        fields.get("round", found).and_then(|node| node.one_of(&ROUND, found)).map(RuleKind::Round),
        fields
            .get("tolerance", found)
            .and_then(|node| node.above_zero("Two numbers may differ by so much", found))
            .map(RuleKind::Tolerance),
        fields.get("carry", found).and_then(|node| set_true(&node, RuleKind::Carry, found)),
    ];
    let (path, at) = (fields.path.clone(), fields.at.clone());
    fields.finish(|_| None, found);
    let mut kinds = kinds.into_iter().flatten();
    match (kinds.next(), kinds.next()) {
        (Some(kind), None) => Some(Rule { column: column?.to_owned(), kind }),
        (None, _) if found.errors.len() > errors_before => None,
        (None, _) => {
            let hint = "Add `ignore = true`, `round = \"ms\"`, `tolerance = 0.01` or `carry = true`";
            found.error(at, format!("`{path}` doesn't say what may differ"), hint.to_owned());
            None
        }
        (Some(_), Some(_)) => {
            found.error(at, format!("`{path}` is of more than one kind"), "Write a rule for each".to_owned());
            None
        }
    }
}

fn set_true(node: &Node<'_>, kind: RuleKind, found: &mut Findings) -> Option<RuleKind> {
    if node.boolean(found)? {
        return Some(kind);
    }
    let message = format!("`{}` is false: a rule that says nothing", node.path);
    found.error(node.at.clone(), message, "Remove the rule, or write true".to_owned());
    None
}
