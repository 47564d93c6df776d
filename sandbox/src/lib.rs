//! The whole local world of the service: real Envoy with the real filter, real control, real
//! PostgreSQL, certificates made at run time, a stand-in Nango with its provider, and a demo client
//! application.
//!
//! [`tools`] finds or gets what a fresh machine lacks; [`stack`] starts everything and ends it; [`verbs`]
//! are what `cargo sandbox` does with it. Nothing in here is shipped.

pub mod browser;
pub mod chaos;
pub mod client_app;
pub mod control;
pub mod database;
pub mod envoy;
pub mod pgbouncer;
pub mod pki;
pub mod ports;
pub mod process;
pub mod recorder;
pub mod say;
pub mod secrets;
pub mod stack;
pub mod tools;
pub mod verbs;
pub mod workspace;
