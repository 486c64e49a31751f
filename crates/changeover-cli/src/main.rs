//! The `changeover` command.
fn main() {}
