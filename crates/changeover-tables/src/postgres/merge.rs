//! Rows that may be there already, put into a table at once: by a binary COPY into a temporary table, and from there by `INSERT …
//! ON CONFLICT`, which leaves alone what is the same to the last bit.

use crate::shape::{Merge, SideTable};

/// The statements for a table of the new side; `None` where one of them would do anything else than a look at each row does.
pub(super) fn of(table: &SideTable) -> Option<Merge> {
    // A row with the same key may be another mapping's, or have a value that no UPDATE may set: both are told by name.
    if table.scope.is_some() || table.inserted_only().next().is_some() {
        return None;
    }
    let name = |column: &str| table.syntax.name(column);
    let staged = format!("pg_temp.changeover_staged_{}", table.tag);
    let (mut listed, mut kept, mut given) = (Vec::new(), Vec::new(), Vec::new());
    for column in &table.written {
        let info = table.info.column(column)?;
        let quoted = name(column);
        // What travels as text is kept as text, so that any COPY can write it.
        kept.push(if info.as_text { format!("{quoted}::text AS {quoted}") } else { quoted.clone() });
        given.push(table.syntax.write(Some(info), quoted.clone()));
        listed.push(quoted);
    }
    let stage = format!(
        "CREATE TEMPORARY TABLE IF NOT EXISTS {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA; TRUNCATE {staged}",
        staged.trim_start_matches("pg_temp."),
        kept.join(", "),
        table.table,
    );
    let key: Vec<String> = table.key.iter().map(|part| name(&part.name)).collect();
    let updated: Vec<String> = table.updated().map(|(_, column)| name(column)).collect();
    let each =
        |of: &str| updated.iter().map(|column| format!("{of}.{column}")).collect::<Vec<_>>().join(", ");
    let set: Vec<String> = updated.iter().map(|column| format!("{column} = excluded.{column}")).collect();
    let over = if updated.is_empty() {
        "NOTHING".to_owned()
    } else {
        // By their images: `=` would take 1.0 for 1.00, and knows no JSON.
        format!("UPDATE SET {} WHERE ROW({}) *<> ROW({})", set.join(", "), each("here"), each("excluded"))
    };
    let put = format!(
        "INSERT INTO {} AS here ({}){} SELECT {} FROM {staged} ON CONFLICT ({}) DO {over}",
        table.table,
        listed.join(", "),
        table.syntax.overriding(),
        given.join(", "),
        key.join(", "),
    );
    Some(Merge { stage, staged, put })
}
