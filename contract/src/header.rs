//! The headers that only the edge may set. It strips every header with [`EDGE_PREFIX`] from what a
//! caller sent, on every route, before it sets its own.

/// No header with this prefix passes the edge from outside.
pub const EDGE_PREFIX: &str = "x-connections-";

/// The verified principal that is calling; absent on the public listener.
pub const PRINCIPAL: &str = "x-connections-principal";

/// The tenant in the path, after the grant passed; absent on routes without a tenant.
pub const TENANT: &str = "x-connections-tenant";

/// The action that the grant allowed; absent on routes that need no grant.
pub const ACTION: &str = "x-connections-action";

/// The id of the key that verified the webhook; absent on every other route.
pub const WEBHOOK_KEY: &str = "x-connections-webhook-key";

/// The proof of all of the above; see [`crate::assertion`].
pub const ASSERTION: &str = "x-connections-assertion";

/// Envoy's name for the request, the same in its log, in our log and in a problem's `requestId`.
pub const REQUEST_ID: &str = "x-request-id";

/// The signature of a Nango webhook: lower-case hex of HMAC-SHA256 over the raw body.
pub const NANGO_SIGNATURE: &str = "x-nango-hmac-sha256";

/// What a proxy before the edge says of its caller's certificate. The edge reads it where its policy
/// says so, and it goes no further.
pub const FORWARDED_CERT: &str = "x-forwarded-client-cert";
