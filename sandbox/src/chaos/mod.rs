//! Everything fails at once, and nothing may be lost: real Envoy, two real replicas of control, real
//! PostgreSQL, and clients that do not give up.
//!
//! [`timeline`] and [`script`] draw from a seed what goes wrong and what is wanted; [`world`] carries the
//! faults out; [`client`], [`receiver`], [`puller`] and [`kept`] write down what they see, and [`oracle`]
//! says whether that may be.

pub mod client;
pub mod fairness;
pub mod kept;
pub mod oracle;
pub mod puller;
pub mod receiver;
pub mod relay;
pub mod report;
pub mod run;
pub mod script;
pub mod timeline;
pub mod world;
