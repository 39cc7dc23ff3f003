//! Arguments, exit codes.

fn main() {}
