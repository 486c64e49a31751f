//! How a store's server fares: what a walk over its tables gives way for, beside how long the server takes to answer.

/// One look at a server. What a store doesn't know is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strain {
    /// How many of the application's statements run at this moment.
    pub running: Option<u64>,
    /// How far the server's own log has come, in bytes.
    pub position: Option<u64>,
    /// How far each of its replicas is with that log.
    pub replicas: Vec<Replica>,
}

/// A replica, as its primary sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// What it is called, and where it is.
    pub name: String,
    /// How far it has replayed the primary's log, in bytes.
    pub position: u64,
}
