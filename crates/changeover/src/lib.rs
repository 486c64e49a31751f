//! The library that a service embeds.
