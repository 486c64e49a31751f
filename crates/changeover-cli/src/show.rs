//! What a person sees: words for numbers and times, blocks and tables, progress, errors; and each answer in its form.

pub(crate) mod block;
pub(crate) mod error;
pub(crate) mod progress;
pub(crate) mod words;
