//! The Proxy-Wasm host of the edge: Envoy's callbacks in, header changes and replies out.
//!
//! Everything that decides is in the `filter` crate. This one exists for WebAssembly alone; natively
//! only `pairs` is compiled, for its tests, and the rest when Clippy reads it.

#[cfg(any(target_arch = "wasm32", clippy))]
mod gather;
#[cfg(any(target_arch = "wasm32", clippy))]
mod host;
#[cfg(any(target_arch = "wasm32", clippy))]
mod imports;
#[cfg(any(target_arch = "wasm32", clippy))]
mod metrics;
#[cfg(any(target_arch = "wasm32", clippy, test))]
mod pairs;

#[cfg(any(target_arch = "wasm32", clippy))]
proxy_wasm::main! {{
    // It also installs the hook that logs a panic before the VM ends.
    proxy_wasm::set_log_level(proxy_wasm::types::LogLevel::Info);
    proxy_wasm::set_root_context(|_context_id| Box::new(host::Root::default()));
}}
