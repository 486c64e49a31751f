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

/// Its line in the audit.
pub(crate) fn sentence(record: &VerificationRecord, repaired: bool) -> String {
    let found = &record.evidence;
    let rows = found.rows_compared;
    let ms = record.ended_ms.saturating_sub(found.began.0);
    match (found.differences, found.refused) {
        (0, 0) => format!("verified: {rows} rows, no difference, in {ms} ms"),
        (differences, refused) => {
            let done = if repaired { ", repaired where it could be" } else { "" };
            format!(
                "verified: {rows} rows, {differences} differ, {refused} can't be compared{done}, in {ms} ms"
            )
        }
    }
}
