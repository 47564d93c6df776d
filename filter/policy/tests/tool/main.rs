//! The tool as its operator sees it: what it prints, and the code that it ends with.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

mod attempt;
mod check;
mod explain;
mod shell;
mod sources;
