//! The control service on a real PostgreSQL, with a stand-in Nango, a receiver, and a clock that is driven.
//!
//! `DATABASE_URL` must name a PostgreSQL where databases may be made; `cargo sandbox test` provides one.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    unreachable_pub,
    reason = "a test may stop at the first surprise"
)]

mod budget;
mod callback;
mod cases;
mod complete;
mod confirm;
mod delete;
mod deliver;
mod doctor;
mod idempotency;
mod list;
mod many;
mod metrics;
mod operate;
mod providers;
mod receiver;
mod reconnect;
mod setup;
mod start;
mod support;
mod tenants;
mod traces;
mod unheard;
mod vouched;
mod wait;
mod webhook;
