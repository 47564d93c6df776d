//! What Envoy allows the filter: the host calls that it makes, and its own functions that Envoy calls.
//!
//! Envoy takes any name in `capability_restriction_config`, and passes over one that it does not know: with one wrong letter in the name of
//! a callback, no request reaches the filter.

/// Each file of a filter lists exactly these.
pub const ALLOWED: [&str; 25] = [
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
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_log",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_vm_start",
    "proxy_record_metric",
    "proxy_remove_header_map_value",
    "proxy_replace_header_map_value",
    "proxy_send_local_response",
    "proxy_set_property",
    "random_get",
];
