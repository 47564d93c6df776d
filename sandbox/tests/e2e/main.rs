//! The real Envoy with the real filter, the real control service, a real PostgreSQL, from outside.
//!
//! `cargo sandbox test` provides all of it; alone, `cargo test -p sandbox` finds or gets it by itself.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a test may stop at the first surprise"
)]

mod badnango;
mod chaos;
mod client;
mod covers;
mod crash;
mod doctor;
mod drain;
mod edge;
mod expired;
mod flow;
mod grpc;
mod limits;
mod load;
mod metrics;
mod module;
mod notifications;
mod observability;
mod openapi;
mod random;
mod raw;
mod rotation;
mod scenarios;
mod settings;
mod snippets;
mod strict;
mod support;
mod tokens;
mod traces;
mod unfit;
mod unusable;
mod upgrade;
mod webhooks;
mod wire;
