//! Tells a client application: one signed POST, and how it ended. It decides nothing.

mod connector;
mod failed;
mod rehearse;
mod resolver;
mod target;
mod trust;

use crate::{
    config::NotificationConfig,
    domain::{
        answer::{self, DETAIL_BYTES_MAX, KEPT_BYTES_MAX},
        destination::Destination,
        outcome::{NoAnswer, Outcome},
        signing::{self, SigningSecret, header},
    },
    tls::{Identity, Watched},
    trace::{self, TRACEPARENT},
};
use chrono::{DateTime, TimeDelta, Utc};
use connector::FirstUsed;
use contract::id::{EventId, TenantId};
use failed::Failed;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, Uri,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, RETRY_AFTER},
    http::Extensions,
};
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use target::Shared;
use tokio::time::timeout;
use trust::{Roots, Trust};
use url::Url;

pub use rehearse::Rehearsed;
pub use resolver::{Resolver, Unresolved};
pub use target::Target;

/// The Standard Webhooks specification advises 15 to 30 s.
pub const SEND_TIMEOUT: Duration = Duration::from_secs(15);

/// For how long a connection is used again. What was checked when it was made, the address, the receiver's certificate and
/// ours, is checked again as often.
const CONNECTION_LIFE: TimeDelta = TimeDelta::minutes(1);

/// Of how many tenants the destinations are kept ready.
const TARGETS_MAX: usize = 1024;

/// How long a try may take, and its parts.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// All of it.
    pub total: Duration,
    /// The name's address; short enough to leave time to say whose fault it is that there is none.
    pub look_up: Duration,
    /// A connection to one of several addresses.
    pub address: Duration,
    /// The first bytes of an answer whose status is known.
    pub body: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: SEND_TIMEOUT,
            look_up: Duration::from_secs(5),
            address: Duration::from_secs(4),
            body: Duration::from_secs(3),
        }
    }
}

/// What came of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub outcome: Outcome,
    /// Why no answer came, in words for people, cut and made safe to show as `answer` is.
    pub detail: Option<String>,
    /// The first bytes of the answer's body, in a form that is safe to show.
    pub answer: Option<String>,
}

/// Sends notifications under our certificate, where there is one.
#[derive(Debug)]
pub struct Notifier {
    shared: Shared,
    operators: Target,
    destination: Url,
    targets: Mutex<HashMap<TenantId, (Destination, Target)>>,
}

impl Notifier {
    pub fn new(config: NotificationConfig, identity: Option<Arc<Watched>>) -> Self {
        Self::with(config, identity, (Resolver::system(), Limits::default()))
    }

    /// One that looks names up and waits as it is told.
    pub fn with(
        config: NotificationConfig,
        identity: Option<Arc<Watched>>,
        (resolver, limits): (Resolver, Limits),
    ) -> Self {
        let NotificationConfig { destination, secrets, egress, sealer } = config;
        let roots = Roots::SystemAndOurs(Arc::new(trust::system_roots()));
        let trust = Arc::new(Trust::new(identity, roots));
        let shared = Shared { trust, egress: Arc::new(egress), sealer, resolver, limits };
        let operators = Target::of_operator(&destination, secrets, &shared);
        Self { shared, operators, destination, targets: Mutex::default() }
    }

    /// The operator's destination, of all tenants that have none of their own.
    pub const fn default_destination(&self) -> &Url {
        &self.destination
    }

    /// Whom this tenant's notifications go to. It is kept ready for as long as the destination is the same.
    pub fn target(&self, tenant: &TenantId, own: Option<&Destination>) -> Target {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = own else {
            targets.remove(tenant);
            return self.operators.clone();
        };
        if let Some((known, target)) = targets.get(tenant)
            && known == own
        {
            return target.clone();
        }
        if targets.len() >= TARGETS_MAX {
            // Made again when they are needed; what is under way holds its own.
            targets.clear();
        }
        let target = Target::of_tenant(tenant, own, &self.shared);
        targets.insert(tenant.clone(), (own.clone(), target.clone()));
        target
    }

    /// Sends an event's exact bytes, signed for this moment.
    pub async fn send(
        &self,
        target: &Target,
        event: EventId,
        body: &str,
        now: DateTime<Utc>,
    ) -> Sent {
        let ready = match target.0.as_ref() {
            Ok(ready) => ready,
            Err(unready) => {
                return Sent::failed(Failed::new(unready.why(), unready.to_string()));
            }
        };
        let request = request(ready.uri.clone(), &ready.secrets, (event, body), now);
        let Limits { total, body: for_body, .. } = self.shared.limits;
        let mut answered = None;
        let exchange = async {
            let mut request = request?;
            let connection = capture_connection(&mut request);
            let response =
                ready.client.request(request).await.map_err(|error| Failed::of_exchange(&error))?;
            end_in_time(&connection, now);
            read(response, &mut answered, for_body, now).await;
            Ok(())
        };
        let failed = match timeout(total, exchange).await {
            Ok(Ok(())) => None,
            Ok(Err(failed)) => Some(ready.way.told(failed)),
            Err(_elapsed) => Some(Failed::timeout()),
        };
        let identity = ready.way.trust.identity();
        Sent::of(answered, failed, identity.as_deref(), now)
    }
}

/// An answer, as far as it was read.
#[derive(Debug)]
struct Answered {
    status: u16,
    retry_after: Option<Duration>,
    body: Vec<u8>,
}

impl Sent {
    /// Once there is a status, there is an answer, however long its body takes.
    fn of(
        answered: Option<Answered>,
        failed: Option<Failed>,
        identity: Option<&Identity>,
        now: DateTime<Utc>,
    ) -> Self {
        let Some(Answered { status, retry_after, body }) = answered else {
            let mut failed = failed.unwrap_or_else(Failed::timeout);
            let is_valid = identity.is_none_or(|identity| identity.is_valid(now));
            if failed.is_alert && !is_valid {
                failed.why = NoAnswer::OurIdentity;
                failed.said = format!("our certificate is not valid at this time: {}", failed.said);
            }
            return Self::failed(failed);
        };
        let outcome = if (200..300).contains(&status) {
            Outcome::Delivered { status }
        } else {
            Outcome::Refused { status, retry_after }
        };
        let answer = Some(answer::text(&body, KEPT_BYTES_MAX)).filter(|text| !text.is_empty());
        Self { outcome, detail: None, answer }
    }

    /// What is said may hold words of the receiver's: a certificate has as many names as it likes, and any
    /// bytes in them.
    fn failed(failed: Failed) -> Self {
        let detail = Some(answer::text(failed.said.as_bytes(), DETAIL_BYTES_MAX));
        Self { outcome: Outcome::NoAnswer(failed.why), detail, answer: None }
    }
}

fn request(
    uri: Uri,
    secrets: &[SigningSecret],
    (event, body): (EventId, &str),
    now: DateTime<Utc>,
) -> Result<Request<Full<Bytes>>, Failed> {
    let id = event.to_string();
    let timestamp = now.timestamp();
    let mut request = Request::post(uri);
    if let Some(traceparent) = trace::current() {
        request = request.header(TRACEPARENT, traceparent.as_str());
    }
    request
        .header(CONTENT_TYPE, "application/json")
        .header(header::SIGNATURE, signing::sign(secrets, &id, timestamp, body))
        .header(header::ID, id)
        .header(header::TIMESTAMP, timestamp)
        .body(Full::from(body.to_owned()))
        .map_err(|error| Failed::new(NoAnswer::OurIdentity, error.to_string()))
}

/// Gives a connection back for another request only while it is young.
fn end_in_time(connection: &CaptureConnection, now: DateTime<Utc>) {
    let metadata = connection.connection_metadata();
    let Some(connected) = metadata.as_ref() else { return };
    let mut extras = Extensions::new();
    connected.get_extras(&mut extras);
    let first_used = extras.get::<FirstUsed>().map_or(now, |first_used| first_used.at_or(now));
    if now.signed_duration_since(first_used) >= CONNECTION_LIFE {
        connected.poison();
    }
}

/// Notes an answer in `answered` piece by piece, so that whoever stops waiting has what came until then.
async fn read(
    response: Response<Incoming>,
    answered: &mut Option<Answered>,
    for_body: Duration,
    now: DateTime<Utc>,
) {
    let asks = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let retry_after = asks.and_then(|value| answer::retry_after(value, now));
    let status = response.status().as_u16();
    let answered = answered.insert(Answered { status, retry_after, body: Vec::new() });
    let mut body = response.into_body();
    let reading = async {
        while answered.body.len() < KEPT_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            let data = frame.into_data().unwrap_or_default();
            let room = KEPT_BYTES_MAX.saturating_sub(answered.body.len());
            answered.body.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    };
    // What is cut off is not worth a word: the status is what counts.
    let _cut = timeout(for_body, reading).await.is_err();
}
