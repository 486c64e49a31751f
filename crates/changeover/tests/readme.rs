//! The README's example is the one that is compiled.

#[test]
fn the_readmes_example_is_the_compiled_one() {
    let (readme, example) =
        (include_str!("../../../README.md"), include_str!("../examples/bookings.rs").trim_end());
    assert!(example.lines().count() <= 40, "at most 40 lines");
    // Its header and its lint's exception are for those who read the file.
    let shown: String = example.split_inclusive('\n').skip(2).collect();
    assert!(readme.contains(&format!("```rust\n{shown}\n```")), "they differ");
}
