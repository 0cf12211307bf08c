//! The `dnf5-oci` command.
fn main() {}
