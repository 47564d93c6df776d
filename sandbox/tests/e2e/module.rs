//! The module itself: what it may ask of Envoy, and what happens when it crashes.

use crate::{
    load,
    support::{Edge, Http, Prepared, SIGNATURE, Sending},
    wire::{Message, Wire},
};
use sandbox::{envoy::configuration, say, tools::Tools};
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    time::{Duration, Instant},
};
use walrus::Module;

/// Every function of Envoy's that the module calls: those of Proxy-Wasm, and those of WASI that Rust's
/// standard library needs. A new one is a new thing to fail, and goes into both files of `envoy/ecds/`.
const CALLED: [&str; 17] = [
    "environ_get",
    "environ_sizes_get",
    "fd_write",
    "proc_exit",
    "proxy_define_metric",
    "proxy_get_buffer_bytes",
    "proxy_get_current_time_nanoseconds",
    "proxy_get_header_map_pairs",
    "proxy_get_property",
    "proxy_increment_metric",
    "proxy_log",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_property",
    "random_get",
];

/// What the SDK's traits link by methods that nobody calls. Envoy must not allow them.
const LINKED: [&str; 23] = [
    "proxy_add_header_map_value",
    "proxy_call_foreign_function",
    "proxy_close_stream",
    "proxy_continue_stream",
    "proxy_dequeue_shared_queue",
    "proxy_done",
    "proxy_enqueue_shared_queue",
    "proxy_get_header_map_value",
    "proxy_get_shared_data",
    "proxy_get_status",
    "proxy_grpc_call",
    "proxy_grpc_cancel",
    "proxy_grpc_close",
    "proxy_grpc_send",
    "proxy_grpc_stream",
    "proxy_http_call",
    "proxy_register_shared_queue",
    "proxy_resolve_shared_queue",
    "proxy_set_buffer_bytes",
    "proxy_set_effective_context",
    "proxy_set_header_map_pairs",
    "proxy_set_shared_data",
    "proxy_set_tick_period_milliseconds",
];

/// Where the file of a filter lists them.
const ALLOWED: &str =
    "/resources/0/typed_config/config/capability_restriction_config/allowed_capabilities";

fn module(file: &Path) -> Module {
    Module::from_buffer(&fs::read(file).unwrap()).unwrap()
}

#[tokio::test]
async fn the_module_imports_what_is_listed_here_and_nothing_else() {
    let module = module(&Tools::for_tests().await.unwrap().filter);
    let imported: BTreeSet<&str> = module.imports.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(imported, CALLED.into_iter().chain(LINKED).collect());
}

#[tokio::test]
async fn envoy_allows_what_the_module_calls_and_is_called_by_and_nothing_else() {
    let module = module(&Tools::for_tests().await.unwrap().filter);
    let exported: BTreeSet<&str> = module.exports.iter().map(|it| it.name.as_str()).collect();
    let prepared = Prepared::new().await;
    for listener in ["clients", "public"] {
        let mut allowed = BTreeSet::new();
        configuration::adjust_filter(&prepared.envoy_folder(), listener, |filter| {
            let list = filter.pointer(ALLOWED);
            allowed.extend(list.and_then(Value::as_object).unwrap().keys().cloned());
            Ok(())
        })
        .unwrap();
        let (imports, callbacks): (BTreeSet<&str>, BTreeSet<&str>) =
            allowed.iter().map(String::as_str).partition(|name| !name.starts_with("proxy_on_"));
        assert_eq!(imports, BTreeSet::from(CALLED), "{listener}");
        assert!(callbacks.is_subset(&exported), "{listener}: {callbacks:?}");
    }
}

/// Changes a module in one thing: a callback that it answers is a trap.
pub fn crash_at(file: &Path, callback: &str) {
    let mut module = module(file);
    let function = module.exports.get_func(callback).unwrap();
    module
        .replace_exported_func(function, |(body, _)| {
            body.unreachable();
        })
        .unwrap();
    fs::write(file, module.emit_wasm()).unwrap();
}

fn webhook(edge: &Edge, sending: Sending, is_signed: bool) -> Message {
    let mut message = load::webhook(&edge.webhook_keys);
    if !is_signed {
        message.headers.retain(|header| header.0 != SIGNATURE);
    }
    message.body = message.body.map(|(_, body)| (sending, body));
    message
}

#[tokio::test]
async fn a_crashed_filter_lets_nothing_through_and_comes_back_by_itself() {
    let prepared = Prepared::new().await;
    let file = prepared.envoy_folder().join("filter/connections_filter.wasm");
    crash_at(&file, "proxy_on_request_trailers");
    let edge = prepared.start().await;
    let good = webhook(&edge, Sending::Whole, true);
    let unsigned = webhook(&edge, Sending::Whole, false);
    // One connection stays with one worker of Envoy, and its VM.
    let public = edge.envoy.addresses.public;
    let mut wire = Wire::connect(&edge.pki, public, Http::Two, None).await.unwrap();
    assert_eq!(wire.send(&good).await.unwrap().status, 200);
    for crash in 1..=3 {
        let crashing = wire.send(&webhook(&edge, Sending::Trailers, true)).await.unwrap();
        // Nango repeats after a 5xx, and a webhook that crashed the filter is nobody's fault but ours.
        assert_eq!((crashing.status, crashing.problem_code().as_str()), (503, "unavailable"));
        let began = Instant::now();
        loop {
            // An unsigned one finds no gap, neither before the new VM nor after.
            let refused = wire.send(&unsigned).await.unwrap().status;
            let answered = wire.send(&good).await.unwrap().status;
            assert!(matches!((refused, answered), (401 | 503, 200 | 503)), "{refused} {answered}");
            if answered == 200 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(20), "it does not come back");
        }
        say::line(&format!("crash {crash}: back after {:?}", began.elapsed()));
        assert_eq!(edge.counted("vm_reload_success").await, crash);
    }
    let log = edge.envoy.access_log().unwrap();
    assert!(log.iter().any(|line| line["reason"] == "wasm_fail_stream"), "{log:?}");
    for recorded in edge.recorder.records() {
        assert_eq!(recorded.all("x-connections-webhook-key").len(), 1, "{recorded:?}");
    }
}
