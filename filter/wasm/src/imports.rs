//! The few host calls that the filter makes, each with a `Result`.
//!
//! The SDK's own calls panic on every status that they do not expect, and on headers that are not
//! UTF-8; a panic ends the VM, and with it every request on its worker. So only the SDK's dispatch is
//! used, and these imports stand beside it.
#![expect(unsafe_code, reason = "imports and exports of WebAssembly are raw; nothing else here is")]

use crate::pairs;
use filter::denial::Reply;
use std::ptr;

/// The host refused a call or answered what it never should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HostFailed;

const OK: u32 = 0;
const NOT_FOUND: u32 = 1;
const BUFFER_REQUEST_BODY: u32 = 0;
const BUFFER_PLUGIN_CONFIGURATION: u32 = 7;
const MAP_REQUEST_HEADERS: u32 = 0;
/// No gRPC status.
const GRPC_NONE: i32 = -1;

#[derive(Debug, Clone, Copy)]
pub(crate) enum LogLevel {
    Info = 2,
    Error = 4,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum MetricKind {
    Counter = 0,
    Gauge = 1,
    Histogram = 2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricId(u32);

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_log(level: u32, message: *const u8, size: usize) -> u32;
    fn proxy_get_current_time_nanoseconds(time: *mut u64) -> u32;
    fn proxy_define_metric(kind: u32, name: *const u8, name_size: usize, metric: *mut u32) -> u32;
    fn proxy_increment_metric(metric: u32, by: i64) -> u32;
    fn proxy_record_metric(metric: u32, value: u64) -> u32;
    fn proxy_get_property(
        path: *const u8,
        path_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_set_property(
        path: *const u8,
        path_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_get_buffer_bytes(
        buffer: u32,
        start: usize,
        max_size: usize,
        value: *mut *mut u8,
        value_size: *mut usize,
    ) -> u32;
    fn proxy_get_header_map_pairs(map: u32, value: *mut *mut u8, value_size: *mut usize) -> u32;
    fn proxy_replace_header_map_value(
        map: u32,
        name: *const u8,
        name_size: usize,
        value: *const u8,
        value_size: usize,
    ) -> u32;
    fn proxy_remove_header_map_value(map: u32, name: *const u8, name_size: usize) -> u32;
    fn proxy_send_local_response(
        status: u32,
        details: *const u8,
        details_size: usize,
        body: *const u8,
        body_size: usize,
        headers: *const u8,
        headers_size: usize,
        grpc_status: i32,
    ) -> u32;
}

/// A log line that cannot be written is lost: there is nobody to tell.
pub(crate) fn log(level: LogLevel, message: &str) {
    // SAFETY: the host reads `message` during the call.
    let _lost = unsafe { proxy_log(level as u32, message.as_ptr(), message.len()) };
}

/// Nanoseconds since 1970.
pub(crate) fn now_ns() -> Result<u64, HostFailed> {
    let mut now_ns = 0_u64;
    // SAFETY: the host writes one `u64` during the call.
    done(unsafe { proxy_get_current_time_nanoseconds(&raw mut now_ns) })?;
    Ok(now_ns)
}

/// Defines a metric, or finds the one of this name. Each call gives another id for it.
pub(crate) fn define_metric(kind: MetricKind, name: &str) -> Result<MetricId, HostFailed> {
    let mut id = 0;
    // SAFETY: the host reads `name` and writes one `u32` during the call.
    done(unsafe { proxy_define_metric(kind as u32, name.as_ptr(), name.len(), &raw mut id) })?;
    Ok(MetricId(id))
}

/// Adds one to a counter.
pub(crate) fn increment(MetricId(id): MetricId) -> Result<(), HostFailed> {
    // SAFETY: two numbers.
    done(unsafe { proxy_increment_metric(id, 1) })
}

/// Sets a gauge, or adds a value to a histogram.
pub(crate) fn record(MetricId(id): MetricId, value: u64) -> Result<(), HostFailed> {
    // SAFETY: two numbers.
    done(unsafe { proxy_record_metric(id, value) })
}

pub(crate) fn plugin_configuration() -> Result<Vec<u8>, HostFailed> {
    read(|value, size| {
        // SAFETY: the host writes where `read` says.
        unsafe { proxy_get_buffer_bytes(BUFFER_PLUGIN_CONFIGURATION, 0, usize::MAX, value, size) }
    })
    .map(Option::unwrap_or_default)
}

/// The bytes of the held body from `start` on; nothing when there are none.
pub(crate) fn request_body(start: usize) -> Result<Vec<u8>, HostFailed> {
    // The host adds the two numbers and refuses a sum that overflows.
    let all = usize::MAX.saturating_sub(start);
    read(|value, size| {
        // SAFETY: the host writes where `read` says.
        unsafe { proxy_get_buffer_bytes(BUFFER_REQUEST_BODY, start, all, value, size) }
    })
    .map(Option::unwrap_or_default)
}

/// The request's headers, in Envoy's own writing; see [`pairs`].
pub(crate) fn request_headers() -> Result<Vec<u8>, HostFailed> {
    read(|value, size| {
        // SAFETY: the host writes where `read` says.
        unsafe { proxy_get_header_map_pairs(MAP_REQUEST_HEADERS, value, size) }
    })?
    .ok_or(HostFailed)
}

/// A filter state object; nothing when it is absent or empty.
pub(crate) fn filter_state(name: &str) -> Result<Option<Vec<u8>>, HostFailed> {
    let path = ["filter_state", name].join("\0");
    read(|value, size| {
        // SAFETY: the host reads `path` during the call, and writes where `read` says.
        unsafe { proxy_get_property(path.as_ptr(), path.len(), value, size) }
    })
}

/// Sets the filter state object `wasm.<name>`, for the access log.
pub(crate) fn set_filter_state(name: &str, value: &str) -> Result<(), HostFailed> {
    // SAFETY: the host reads both during the call.
    done(unsafe { proxy_set_property(name.as_ptr(), name.len(), value.as_ptr(), value.len()) })
}

/// Replaces every value of a request header by one.
pub(crate) fn set_request_header(name: &str, value: &str) -> Result<(), HostFailed> {
    // SAFETY: the host reads both during the call.
    done(unsafe {
        proxy_replace_header_map_value(
            MAP_REQUEST_HEADERS,
            name.as_ptr(),
            name.len(),
            value.as_ptr(),
            value.len(),
        )
    })
}

/// Removes every value of a request header.
pub(crate) fn remove_request_header(name: &str) -> Result<(), HostFailed> {
    // SAFETY: the host reads `name` during the call.
    done(unsafe { proxy_remove_header_map_value(MAP_REQUEST_HEADERS, name.as_ptr(), name.len()) })
}

/// Answers the request, with response code details, which the SDK cannot set.
pub(crate) fn send_reply(reply: &Reply) -> Result<(), HostFailed> {
    let Reply { status, headers, body, details } = reply;
    let headers = pairs::write(headers.iter().map(|(name, value)| (*name, value.as_str())));
    // SAFETY: the host reads all of these during the call.
    done(unsafe {
        proxy_send_local_response(
            u32::from(*status),
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            GRPC_NONE,
        )
    })
}

fn done(status: u32) -> Result<(), HostFailed> {
    if status == OK { Ok(()) } else { Err(HostFailed) }
}

/// Makes a call whose result the host writes into memory that it allocated here.
fn read(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> Result<Option<Vec<u8>>, HostFailed> {
    let mut value = ptr::null_mut();
    let mut size = 0;
    match call(&raw mut value, &raw mut size) {
        OK if value.is_null() => Ok(None),
        // SAFETY: the host allocated `size` bytes through the SDK's exported allocator, which makes a
        // boxed slice of that size and forgets it; it filled them and gives them away.
        OK => Ok(Some(
            unsafe { Box::from_raw(ptr::slice_from_raw_parts_mut(value, size)) }.into_vec(),
        )),
        NOT_FOUND => Ok(None),
        _ => Err(HostFailed),
    }
}
