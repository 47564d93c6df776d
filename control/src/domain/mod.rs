//! What is true, whoever asks and wherever it is kept: values in, values out.

pub mod audit;
pub mod breaker;
pub mod budget;
pub mod callback;
pub mod connection;
pub mod delivery;
pub mod event;
mod life;
pub mod notification;
pub mod profile;
pub mod provider;
pub mod signing;
pub mod start;
pub mod transition;
