//! What is true, whoever asks and wherever it is kept: values in, values out.

pub mod attempt;
pub mod audit;
pub mod breaker;
pub mod budget;
pub mod callback;
pub mod connection;
pub mod delivery;
pub mod description;
pub mod event;
pub mod health;
pub mod idempotency;
mod life;
pub mod listing;
pub mod notification;
pub mod outcome;
pub mod profile;
pub mod provider;
pub mod query;
pub mod returning;
pub mod sealing;
pub mod signing;
pub mod start;
pub mod sweep;
pub mod traceparent;
pub mod transition;
pub mod wait;
