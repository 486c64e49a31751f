//! Errors and pauses, met in this process.
