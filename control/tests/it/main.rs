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

mod accounts;
mod asked_again;
mod audit;
mod budget;
mod callback;
mod callback_repeats;
mod callers;
mod cases;
mod clocks;
mod complete;
mod confirm;
mod counted;
mod delete;
mod deliver;
mod deliver_again;
mod deliver_fairly;
mod deliver_hastened;
mod deliver_many_again;
mod deliver_now;
mod deliver_paused;
mod deliver_recorded;
mod destination;
mod doctor;
mod doctor_around;
mod document;
mod feed;
mod future;
mod hints;
mod idempotency;
mod idle;
mod kept;
mod key_checks;
mod list;
mod looks;
mod many;
mod mass_deletion;
mod metrics;
mod missing_confirmed;
mod missing_decided;
mod operate;
mod orphans;
mod outages;
mod process;
mod providers;
mod pull;
mod receiver;
mod reconnect;
mod rehearsal;
mod renewals;
mod resealed;
mod retention;
mod scopes;
mod sealing;
mod sending;
mod setup;
mod silence;
mod skewed;
mod sockets;
mod stalled;
mod start;
mod support;
mod tenants;
mod texts;
mod traces;
mod trust;
mod unheard;
mod visible;
mod vouched;
mod wait;
mod webhook;
