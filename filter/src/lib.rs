//! The edge, pure: the facts of one request go in, a decision comes out, and a host carries it out.
//!
//! A request flows one way, and the modules stand in that order:
//!
//! [`head`] → [`identity`] → [`route`] → [`verify`] → [`upstream`]
//!
//! [`policy`] says what an operator allows, [`denial`] says why a request ends here, [`observe`] names what
//! is counted, and [`pipeline`] is the only caller of them all. Nothing in here knows Proxy-Wasm, a clock, a socket
//! or the environment, so that another host can carry it. Whatever is missing or malformed is a
//! [`denial::Denial`]: no error path leads to `Forward`.

pub mod denial;
pub mod forwarded;
pub mod head;
pub mod identity;
pub mod observe;
pub mod pipeline;
pub mod policy;
pub mod route;
pub mod upstream;
pub mod verify;
