//! Migrations are built into the binary, and they are files that cargo does not know of.
fn main() {
    println!("cargo::rerun-if-changed=../migrations");
}
