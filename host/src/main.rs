//! The `keyway` program.
fn main() {}
