//! PostgreSQL as a side of a migration.

#[allow(
    dead_code,
    unused_imports,
    reason = "the parts of the dialect that read and write by it are still to come"
)]
mod codec;
