//! The control service behind the edge. Data flows one way:
//!
//! [`http`] → [`domain`] → [`store`] → [`outbox`] → [`notifier`]
//!
//! A handler extracts, loads, lets [`domain`] decide, commits, and answers. State, audit line, event and
//! delivery commit in one transaction; whatever must happen after it is a row that [`outbox`] works
//! off, so that nothing that must happen lives only in memory. [`hub`] wakes whoever waits. [`nango`] is the
//! vault, [`budget`] how many calls it takes. [`metrics`] count, [`sampler`] looks now and then, and [`trace`]
//! knows on whose behalf. [`startup`] refuses a
//! database that must not be used, and [`readiness`] says whether it serves. [`doctor`] looks at how all of it is set up, [`audit`] at whether a trail holds. [`app`] builds all
//! of it; [`clock`] is the only reader of time, [`mint`] the only maker of ids, and [`config`] the
//! only reader of settings.

pub mod app;
pub mod audit;
pub mod budget;
pub mod cause;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod domain;
pub mod edge;
pub mod http;
pub mod hub;
pub mod metrics;
pub mod mint;
pub mod missing;
pub mod nango;
pub mod notifier;
pub mod orphans;
pub mod outbox;
pub mod readiness;
pub mod rehearsal;
pub mod sampler;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trace;
