//! A verified Nango webhook arrives.

use super::{ApiError, AppState, Code, caller::VerifiedWebhook, document};
use crate::store::NewReceipt;
use axum::{
    body::Bytes,
    extract::{State, rejection::BytesRejection},
    http::StatusCode,
};
use contract::{
    id::ReceiptId,
    nango::{self, Webhook},
};
use sha2::{Digest, Sha256};

pub(super) const PATH: &str = "/webhooks/nango";

/// `POST /webhooks/nango`
///
/// It is answered once its receipt is committed, whatever it says; the outbox looks into it. Nango
/// repeats only after 5xx, so that a failure of ours must never look like the webhook's.
#[utoipa::path(
    post,
    path = PATH,
    operation_id = "webhook",
    tag = document::PUBLIC,
    security(("webhookSignature" = [])),
    request_body(content = serde_json::Value, description = "Whatever Nango signs; of what is not known, nothing follows."),
    responses(
        (status = 200, description = "Its receipt is kept."),
    ),
    extensions(("x-codes" = json!([Code::Unavailable]))),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    verified: VerifiedWebhook,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, ApiError> {
    let body = body?;
    let webhook = nango::read(&body);
    let id = state.mint.id(ReceiptId::from_parts);
    let receipt = NewReceipt {
        id,
        received_at: state.clock.now(),
        request_id: verified.request_id,
        webhook_key: verified.key.as_str(),
        body_sha256: Sha256::digest(&body).into(),
        webhook: &webhook,
    };
    state.store.take(receipt).await?;
    let kind = match &webhook {
        Webhook::Auth(_) => "auth",
        Webhook::Simplified(_) => "simplified",
        Webhook::Ignored { kind } => kind,
        Webhook::Unknown => "unknown",
    };
    tracing::info!(receipt.id = %id, kind, "webhook taken as receipt `{id}`");
    Ok(StatusCode::OK)
}
