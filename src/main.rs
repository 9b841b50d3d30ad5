//! The `vedette` command.

fn main() {}
