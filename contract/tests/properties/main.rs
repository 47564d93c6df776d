//! What holds of every input, and not only of the ones that somebody thought of.
//!
//! A property is a round trip, a comparison with a simpler reading of the same rule, or a sentence that
//! begins with "accepted implies". An input that breaks one is printed in its smallest form; it
//! becomes a row of a table beside the code, so that no file of seeds is kept. `PROPTEST_CASES` asks
//! for more inputs than the usual 256.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may stop at the first surprise"
)]

mod assertions;
mod ids;
mod inputs;
mod keys;
mod principals;
mod signatures;
mod webhooks;

pub(crate) use inputs::{config, near};
