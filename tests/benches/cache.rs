//! What a cached read costs.
fn main() {}
