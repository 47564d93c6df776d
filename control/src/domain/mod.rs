//! What is true, whoever asks and wherever it is kept: values in, values out.

pub mod audit;
pub mod callback;
pub mod connection;
pub mod delivery;
pub mod event;
pub mod idempotency;
mod life;
pub mod listing;
pub mod notification;
pub mod profile;
pub mod provider;
pub mod query;
pub mod signing;
pub mod start;
pub mod transition;
pub mod wait;
