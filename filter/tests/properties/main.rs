//! What the edge holds of every input, and not only of the ones that somebody thought of.
//!
//! Most properties compare with a second reading of the same rule, which is slower and simpler than the
//! one that ships. An input that breaks one is printed in its smallest form; it becomes a row of a table
//! beside the code. `PROPTEST_CASES` asks for more inputs than the usual 256.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::arithmetic_side_effects,
    reason = "a test may stop at the first surprise"
)]

mod certificates;
mod documents;
mod edge;
mod grants;
mod header_maps;
mod heads;
#[path = "../../../contract/tests/properties/inputs.rs"]
mod inputs;
// The host exists for WebAssembly alone; how it reads a header map is plain Rust.
#[path = "../../wasm/src/pairs.rs"]
mod pairs;
mod routes;

pub(crate) use inputs::{config, near};
