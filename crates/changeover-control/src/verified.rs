//! The result of a verification as it is kept: what the gates look at, what `status` shows, and its line in the audit. A
//! run makes one, and so does `changeover verify` beside it or without it.

use changeover_protocol::Millis;
use changeover_protocol::control::Generation;
use changeover_protocol::gate::VerificationEvidence;

use crate::comparison::TableReport;
use crate::state::VerificationRecord;

/// How many differences are kept with a verification's result.
const KEPT: usize = 100;

/// What full verifications of all tables came to.
pub(crate) fn record(
    tables: &[TableReport],
    generation: Generation,
    began: Millis,
    ended: Millis,
) -> VerificationRecord {
    let differences: Vec<_> = tables.iter().flat_map(|table| &table.differences).take(KEPT).collect();
    let refusals: Vec<_> = tables.iter().flat_map(|table| &table.refusals).take(KEPT).collect();
    let report =
        serde_json::json!({ "tables": tables, "differences": differences, "refusals": refusals }).to_string();
    let evidence = VerificationEvidence {
        generation,
        began,
        full: true,
        rows_compared: tables.iter().map(|table| table.rows_compared).sum(),
        both_sides_empty: tables.iter().all(|table| table.rows_old == 0 && table.rows_new == 0),
        differences: tables.iter().map(TableReport::different).sum(),
        refused: tables.iter().map(|table| table.refused).sum(),
    };
    VerificationRecord { ended_ms: ended.0, evidence, report }
}

/// Its line in the audit. What was repaired is told also where nothing is left to be: a log full of changes that were missed
/// is news.
pub(crate) fn sentence(record: &VerificationRecord, tables: &[TableReport]) -> String {
    let found = &record.evidence;
    let rows = found.rows_compared;
    let ms = record.ended_ms.saturating_sub(found.began.0);
    let done = match tables.iter().map(|table| table.repaired).sum::<u64>() {
        0 => String::new(),
        repaired => format!(", {repaired} written anew"),
    };
    match (found.differences, found.refused) {
        (0, 0) if done.is_empty() => format!("verified: {rows} rows, no difference, in {ms} ms"),
        (0, 0) => format!("verified: {rows} rows{done}, no difference left, in {ms} ms"),
        (differences, refused) => {
            format!(
                "verified: {rows} rows{done}, {differences} differ, {refused} can't be compared, in {ms} ms"
            )
        }
    }
}
