//! Why the edge refuses a request: what its sender is told, and what the operator's log says.

use contract::problem::{MEDIA_TYPE, Problem};

/// One reason to refuse. The sender learns the code; the log learns the reason, which is finer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("a header is not text")]
    HeaderNotText,
    #[error("a header that may occur once occurs twice")]
    HeaderDuplicated,
    #[error("the path is missing or has characters that no route of ours has")]
    PathMalformed,
    #[error("no route has this path")]
    NoRoute,
    #[error("the route has other methods")]
    MethodNotAllowed { allow: String },
    #[error("the route takes JSON")]
    NotJson,
    #[error("the route takes a form")]
    NotForm,
    #[error("no route upgrades to another protocol")]
    Upgrade,
    #[error("the client certificate names no workload that the policy accepts")]
    NoIdentity,
    #[error("the client certificate names several workloads")]
    IdentityAmbiguous,
    #[error("the client certificate's name is malformed")]
    IdentityMalformed,
    #[error("the connection is not of the proxy whose word the policy takes")]
    IdentityHopUnknown,
    #[error(
        "the client certificate's validity has ended since the connection or its session began"
    )]
    CertificateExpired,
    #[error("the listener does not say when the client certificate's validity ends")]
    CertificateEndUnknown,
    #[error("no grant of the principal covers this tenant and action")]
    NoGrant,
    #[error("the signature header is missing")]
    SignatureMissing,
    #[error("the signature header occurs twice")]
    SignatureDuplicated,
    #[error("the signature is not the hex of a SHA-256")]
    SignatureMalformed,
    #[error("no key verifies the signature")]
    SignatureMismatch,
    #[error("the body is larger than the policy allows")]
    BodyTooLarge,
    #[error("there is no usable webhook key")]
    NoWebhookKey,
    #[error("there is no usable assertion key")]
    NoAssertionKey,
    #[error("the proxy did not give the filter what it asked for")]
    HostFailed,
}

impl Denial {
    /// One of each, for whoever documents them.
    pub const EVERY: &[Self] = &[
        Self::HeaderNotText,
        Self::HeaderDuplicated,
        Self::PathMalformed,
        Self::NoRoute,
        Self::MethodNotAllowed { allow: String::new() },
        Self::NotJson,
        Self::Upgrade,
        Self::NoIdentity,
        Self::IdentityAmbiguous,
        Self::IdentityMalformed,
        Self::IdentityHopUnknown,
        Self::CertificateExpired,
        Self::CertificateEndUnknown,
        Self::NoGrant,
        Self::SignatureMissing,
        Self::SignatureDuplicated,
        Self::SignatureMalformed,
        Self::SignatureMismatch,
        Self::BodyTooLarge,
        Self::NoWebhookKey,
        Self::NoAssertionKey,
        Self::HostFailed,
        Self::NotForm,
    ];

    /// What the access log shows as response code details, after the prefix `edge_`, by which Envoy's
    /// own local replies are told from ours.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::HeaderNotText => "edge_header_not_text",
            Self::HeaderDuplicated => "edge_header_duplicated",
            Self::PathMalformed => "edge_path_malformed",
            Self::NoRoute => "edge_no_route",
            Self::MethodNotAllowed { .. } => "edge_method_not_allowed",
            Self::NotJson => "edge_not_json",
            Self::NotForm => "edge_not_form",
            Self::Upgrade => "edge_upgrade",
            Self::NoIdentity => "edge_no_identity",
            Self::IdentityAmbiguous => "edge_identity_ambiguous",
            Self::IdentityMalformed => "edge_identity_malformed",
            Self::IdentityHopUnknown => "edge_identity_hop_unknown",
            Self::CertificateExpired => "edge_certificate_expired",
            Self::CertificateEndUnknown => "edge_certificate_end_unknown",
            Self::NoGrant => "edge_no_grant",
            Self::SignatureMissing => "edge_signature_missing",
            Self::SignatureDuplicated => "edge_signature_duplicated",
            Self::SignatureMalformed => "edge_signature_malformed",
            Self::SignatureMismatch => "edge_signature_mismatch",
            Self::BodyTooLarge => "edge_body_too_large",
            Self::NoWebhookKey => "edge_no_webhook_key",
            Self::NoAssertionKey => "edge_no_assertion_key",
            Self::HostFailed => "edge_host_failed",
        }
    }

    /// Status, stable code, title and advice. One code covers every way in which a signature can be
    /// wrong: a stranger who guesses learns nothing from the difference.
    #[expect(clippy::too_many_lines, reason = "a table reads best in one piece")]
    const fn words(&self) -> (u16, &'static str, &'static str, &'static str) {
        match self {
            Self::HeaderNotText | Self::HeaderDuplicated => (
                400,
                "malformed_header",
                "Malformed header",
                "Send header values as UTF-8 text, and each header that may occur once only once.",
            ),
            Self::PathMalformed => (
                400,
                "malformed_path",
                "Malformed path",
                "Use only letters, digits, '/', '-', '_', '.' and '~' in the path, without empty or dot segments.",
            ),
            Self::Upgrade => (
                400,
                "upgrade_not_supported",
                "Upgrade not supported",
                "Send a plain HTTP request, without an Upgrade header.",
            ),
            Self::NoRoute => (404, "no_route", "No such route", "Check the path against the API."),
            Self::MethodNotAllowed { .. } => (
                405,
                "method_not_allowed",
                "Method not allowed",
                "Use one of the methods in the Allow header.",
            ),
            Self::NotJson => (
                415,
                "unsupported_media_type",
                "Unsupported media type",
                "Send the body as JSON, with Content-Type: application/json.",
            ),
            Self::NotForm => (
                415,
                "unsupported_media_type",
                "Unsupported media type",
                "Send the body as a form, with Content-Type: application/x-www-form-urlencoded.",
            ),
            Self::NoIdentity
            | Self::IdentityAmbiguous
            | Self::IdentityMalformed
            | Self::IdentityHopUnknown => (
                403,
                "no_identity",
                "No identity",
                "Use a client certificate with exactly one subject alternative name of a kind that this gateway accepts.",
            ),
            Self::CertificateExpired => (
                403,
                "certificate_expired",
                "Client certificate expired",
                "Renew the client certificate, and open a new connection with it.",
            ),
            Self::NoGrant => (
                403,
                "no_grant",
                "No grant",
                "Ask the operator of this gateway to grant your principal this action for this tenant.",
            ),
            Self::SignatureMissing
            | Self::SignatureDuplicated
            | Self::SignatureMalformed
            | Self::SignatureMismatch => (
                401,
                "signature_invalid",
                "Signature invalid",
                "Sign the exact body bytes with a current webhook signing key, and send one X-Nango-Hmac-Sha256 header.",
            ),
            Self::BodyTooLarge => (
                413,
                "body_too_large",
                "Body too large",
                "Send a smaller body, or ask the operator of this gateway to raise the limit.",
            ),
            Self::CertificateEndUnknown
            | Self::NoWebhookKey
            | Self::NoAssertionKey
            | Self::HostFailed => (
                503,
                "edge_unavailable",
                "Gateway not ready",
                "The gateway is not configured completely. Try again; if it persists, tell its operator.",
            ),
        }
    }

    pub const fn status(&self) -> u16 {
        self.words().0
    }

    /// The code in the problem document.
    pub const fn code(&self) -> &'static str {
        self.words().1
    }
}

/// A denial on its way to the sender and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub denial: Denial,
    pub request_id: Option<String>,
}

/// What the host sends instead of the request's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
    /// Response code details, for the access log.
    pub details: &'static str,
}

impl Reply {
    /// The methods of a path, for whoever asks.
    pub fn options(allow: String) -> Self {
        Self {
            status: 204,
            headers: vec![("allow", allow)],
            body: Vec::new(),
            details: "edge_options",
        }
    }
}

impl Refusal {
    pub fn reply(&self) -> Reply {
        let (status, code, title, detail) = self.denial.words();
        let problem = Problem::new(status, code, title, detail.to_owned())
            .with_request_id(self.request_id.clone());
        let mut headers = vec![("content-type", MEDIA_TYPE.to_owned())];
        if let Denial::MethodNotAllowed { allow } = &self.denial {
            headers.push(("allow", allow.clone()));
        }
        if status == 503 {
            // Nango repeats a webhook after 3 s and 6 s; a client may do the same.
            headers.push(("retry-after", "3".to_owned()));
        }
        Reply { status, headers, body: problem.to_json(), details: self.denial.reason() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_has_every_denial() {
        for (index, denial) in Denial::EVERY.iter().enumerate() {
            // One that is added must be listed, or nobody would miss its page.
            let position = match denial {
                Denial::HeaderNotText => 0,
                Denial::HeaderDuplicated => 1,
                Denial::PathMalformed => 2,
                Denial::NoRoute => 3,
                Denial::MethodNotAllowed { .. } => 4,
                Denial::NotJson => 5,
                Denial::Upgrade => 6,
                Denial::NoIdentity => 7,
                Denial::IdentityAmbiguous => 8,
                Denial::IdentityMalformed => 9,
                Denial::IdentityHopUnknown => 10,
                Denial::CertificateExpired => 11,
                Denial::CertificateEndUnknown => 12,
                Denial::NoGrant => 13,
                Denial::SignatureMissing => 14,
                Denial::SignatureDuplicated => 15,
                Denial::SignatureMalformed => 16,
                Denial::SignatureMismatch => 17,
                Denial::BodyTooLarge => 18,
                Denial::NoWebhookKey => 19,
                Denial::NoAssertionKey => 20,
                Denial::HostFailed => 21,
                Denial::NotForm => 22,
            };
            assert_eq!(position, index);
        }
    }

    fn reply(denial: Denial) -> Reply {
        Refusal { denial, request_id: Some("r-1".to_owned()) }.reply()
    }

    #[test]
    fn a_refusal_is_a_problem_document_with_the_request_id() {
        let reply = reply(Denial::NoGrant);
        assert_eq!(reply.status, 403);
        assert_eq!(reply.details, "edge_no_grant");
        assert_eq!(reply.headers, [("content-type", "application/problem+json".to_owned())]);
        let problem: Problem = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((problem.status, problem.code.as_str()), (403, "no_grant"));
        assert_eq!(problem.code, Denial::NoGrant.code());
        assert_eq!(problem.status, Denial::NoGrant.status());
        assert_eq!(problem.request_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn a_refused_method_says_which_are_allowed() {
        let reply = reply(Denial::MethodNotAllowed { allow: "GET, DELETE".to_owned() });
        assert!(reply.headers.contains(&("allow", "GET, DELETE".to_owned())));
    }

    #[test]
    fn whatever_is_our_own_fault_may_be_tried_again() {
        for denial in [
            Denial::CertificateEndUnknown,
            Denial::NoWebhookKey,
            Denial::NoAssertionKey,
            Denial::HostFailed,
        ] {
            let reply = reply(denial);
            assert_eq!(reply.status, 503);
            assert!(reply.headers.contains(&("retry-after", "3".to_owned())));
        }
    }

    #[test]
    fn the_sender_cannot_tell_one_wrong_signature_from_another() {
        let missing = reply(Denial::SignatureMissing);
        for denial in
            [Denial::SignatureDuplicated, Denial::SignatureMalformed, Denial::SignatureMismatch]
        {
            let other = reply(denial);
            assert_eq!((other.status, &other.body), (401, &missing.body));
            assert_ne!(other.details, missing.details);
        }
    }
}
