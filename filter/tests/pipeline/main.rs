//! The whole edge, natively: a request's facts in, and what goes upstream or back to the sender.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

mod attempt;
mod clients;
mod public;
