//! The control plane's fault points: where tests stop, fail or kill the process. Nothing without the feature `faults`.

use changeover_protocol::fault::FaultPoint;

use crate::error::ControlError;

/// Passes a fault point.
pub(crate) async fn at(point: FaultPoint) -> Result<(), ControlError> {
    tracing::trace!(%point, "passed");
    Ok(())
}
