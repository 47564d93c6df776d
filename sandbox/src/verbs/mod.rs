//! What `cargo sandbox` can be told to do.

pub mod chaos;
pub mod demo;
pub mod down;
pub mod part;
pub mod reproduce;
pub mod restart;
mod settings;
pub mod test;
pub mod up;
