//! How each fault point is reached: none is left out but by an entry of this table, with its reason and who covers it.

use changeover_protocol::fault::{Area, FaultPoint};

/// Where a point lies on the way of this suite's migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// A captured migration comes by it.
    OnTheWay,
    /// Only if the fence fails at this point first.
    After(FaultPoint),
    /// A captured migration never comes by it: it lies in a process of the service.
    InTheService,
}

/// Where a point lies.
pub const fn reach(point: FaultPoint) -> Reach {
    match point.area() {
        Area::FenceForward | Area::FenceBack | Area::Claim | Area::Chunk => Reach::OnTheWay,
        Area::FenceUndo => Reach::After(FaultPoint::ForwardDrained),
        // Dual write: the journal and the sync run where the write does, in the embedding service. The library's own test
        // (`crates/changeover/tests/write_faults.rs`) meets each of them, with every kind of fault.
        Area::Write => Reach::InTheService,
    }
}

/// The points that the running binary comes by.
pub fn on_the_way() -> Vec<FaultPoint> {
    FaultPoint::ALL.iter().copied().filter(|point| reach(*point) != Reach::InTheService).collect()
}
