//! A browser comes back from a provider.

use super::{
    AppState,
    caller::RequestId,
    complete::{self, Said},
    document, opened, page,
};
use crate::{
    cause::chain,
    config::CallbackMode,
    domain::{
        audit::Actor,
        callback::{self, Callback, Received},
        callback_answer::{Brought, Finisher, LINK_USED, Next},
        connection::Connection,
        event::{Event, Rules},
        returning::{Ticket, Told, browser_secret, told_address},
    },
    store::{As, CallbackAttempt, Change, FirstCallback, NewBinding, StoreError},
};
use axum::{
    body::Bytes,
    extract::{RawQuery, State, rejection::BytesRejection},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::TimeDelta;
use sha2::{Digest, Sha256};
use url::Url;

/// How long an application has to finish a callback; the provider's code lives hardly longer.
const TICKET_LIFE: TimeDelta = TimeDelta::minutes(5);

/// The edge has the same limit for a query. Codes and ID tokens of providers are far below it.
const QUERY_BYTES_MAX: usize = 16 << 10;

/// A second callback of the same state may commit between reading the attempt and marking it.
const READS_MAX: usize = 3;

/// What came, and by which method.
struct Call {
    query: String,
    headers: HeaderMap,
    id: Option<String>,
    /// By POST the browser brings no cookie that is `SameSite=Lax`.
    is_form: bool,
}

/// `GET /oauth/callback`
///
/// The first callback of a state is finished, once. A repeat leads to the same place. An error of the provider
/// ends the attempt.
#[utoipa::path(
    get,
    path = "/oauth/callback",
    operation_id = "callback",
    tag = document::PUBLIC,
    params(
        ("state" = Option<String>, Query, description = "The attempt's, once."),
        ("code" = Option<String>, Query, description = "The provider's; it is passed on, and never kept in the clear."),
        ("error" = Option<String>, Query, description = "Why the provider gave no code."),
        ("iss" = Option<String>, Query, description = "The provider's issuer (RFC 9207). It must be the known one, where one is known."),
        ("setup_action" = Option<String>, Query, description = "GitHub Apps: `install`, `update`, or `request` while an organization owner has to approve."),
    ),
    responses(
        (status = 200, description = "A page for the user.", content_type = "text/html", body = String),
        (status = 303, description = "Back to the application's `returnUrl`, with `connectionId` and one of `ticket`, `outcome` (`connected`, `pending` or `awaiting_approval`) and `error`.", headers(
            ("location" = String), ("set-cookie" = Option<String>, description = "With a new ticket: it lets this browser repeat the callback for five minutes."))),
        (status = 308, description = "On to Nango, with the query as it was.", headers(("location" = String))),
        (status = 400, description = "A page: the state is not known, was used, or is too old; or the answer is not the provider's.", content_type = "text/html", body = String),
        (status = 414, description = "A page: the query has more than 16 KiB.", content_type = "text/html", body = String),
        (status = 503, description = "A page: to be loaded again.", content_type = "text/html", body = String),
    ),
)]
pub(super) async fn handler(
    State(state): State<AppState>,
    RequestId(id): RequestId,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.unwrap_or_default();
    answer(&state, Call { query, headers, id, is_form: false }).await
}

/// `POST /oauth/callback`
///
/// The same for providers that answer with `response_mode=form_post`: the form has the parameters of the query.
#[utoipa::path(
    post,
    path = "/oauth/callback",
    operation_id = "callback_form",
    tag = document::PUBLIC,
    request_body(content = String, content_type = "application/x-www-form-urlencoded", description = "The parameters of `GET`, at most 16 KiB."),
    responses(
        (status = 200, description = "A page for the user.", content_type = "text/html", body = String),
        (status = 303, description = "Back to the application's `returnUrl`, or on to Nango with the form as the query.", headers(("location" = String))),
        (status = 400, description = "A page: the state is not known, was used, or is too old; or the answer is not the provider's.", content_type = "text/html", body = String),
        (status = 413, description = "A page: the form has more than 16 KiB.", content_type = "text/html", body = String),
        (status = 503, description = "A page: to be loaded again.", content_type = "text/html", body = String),
    ),
)]
pub(super) async fn form(
    State(state): State<AppState>,
    RequestId(id): RequestId,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    let Ok(body) = body else { return page::too_long(StatusCode::PAYLOAD_TOO_LARGE) };
    // A form is written with the characters of a query; what is not cannot be passed on as one.
    let is_query = |byte: &u8| byte.is_ascii_graphic() && !b"\"#<>".contains(byte);
    let form = String::from_utf8(body.to_vec()).ok();
    let Some(query) = form.filter(|form| form.as_bytes().iter().all(is_query)) else {
        return page::unknown().into_response();
    };
    answer(&state, Call { query, headers, id, is_form: true }).await
}

async fn answer(state: &AppState, request: Call) -> Response {
    if request.query.len() > QUERY_BYTES_MAX {
        let status =
            if request.is_form { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::URI_TOO_LONG };
        return page::too_long(status);
    }
    let answered = match callback::read(&request.query) {
        Callback::Of(received) => answer_received(state, &request, &received).await,
        Callback::Installation(setup) => Ok(page::installation(setup)),
        Callback::Unreadable => Ok(page::unknown().into_response()),
    };
    answered.unwrap_or_else(|error| {
        tracing::error!(error = chain(&error), "a callback could not be taken");
        page::unavailable().into_response()
    })
}

async fn answer_received(
    state: &AppState,
    request: &Call,
    received: &Received,
) -> Result<Response, StoreError> {
    let query_hash: [u8; 32] = Sha256::digest(&request.query).into();
    let finisher = match state.callbacks.as_ref() {
        CallbackMode::Redirect => Finisher::Browser,
        CallbackMode::Complete { .. } => Finisher::Service,
    };
    let cookie_name = cookie_name(state, received);
    for _read in 0..READS_MAX {
        let Some(mut callback) = state.store.callback_attempt(&received.state).await? else {
            return Ok(page::unknown().into_response());
        };
        let provider = callback.provider.parse().ok();
        let issuer =
            provider.and_then(|provider| state.catalogue.issuer(&provider).map(str::to_owned));
        callback.kept.issuer = issuer;
        let secret = cookie(&request.headers, &cookie_name);
        let ticket = secret.map(|secret| Ticket::of_browser(secret, callback.attempt()));
        let brought = Brought { received, query_hash: &query_hash, ticket: ticket.as_ref() };
        let next = callback.kept.answer(finisher, brought, state.clock.now());
        let cookie_name = cookie_name.as_str();
        let to = Answering {
            state,
            request,
            callback: &callback,
            received,
            query_hash: &query_hash,
            cookie_name,
        };
        if let Some(response) = to.carry_out(next, ticket.as_ref()).await? {
            return Ok(response);
        }
    }
    Ok(page::unavailable().into_response())
}

/// A callback whose answer is decided.
struct Answering<'a> {
    state: &'a AppState,
    request: &'a Call,
    callback: &'a CallbackAttempt,
    received: &'a Received,
    query_hash: &'a [u8; 32],
    cookie_name: &'a str,
}

impl Answering<'_> {
    /// Nothing, if another callback of the state was first.
    async fn carry_out(
        &self,
        next: Next<'_>,
        ticket: Option<&Ticket>,
    ) -> Result<Option<Response>, StoreError> {
        let Self { state, request, callback, query_hash, .. } = self;
        let now = state.clock.now();
        let is_first = matches!(next, Next::SendOn { first: true } | Next::Finish | Next::Bind);
        if is_first && self.received.awaits_approval() {
            self.note_approval().await?;
        }
        Ok(match next {
            Next::SendOn { first } => {
                let goes =
                    !first || state.store.begin_callback(callback, self.first(None), now).await?;
                goes.then(|| self.send_on())
            }
            Next::Finish => {
                if !state.store.begin_callback(callback, self.first(None), now).await? {
                    return Ok(None);
                }
                let (tenant, attempt) = (callback.tenant(), callback.attempt());
                let cookie = callback.cookie.as_deref();
                let said = complete::finish(state, tenant, attempt, &request.query, cookie).await?;
                Some(if said == Said::Success && self.received.awaits_approval() {
                    page::awaiting_approval()
                } else {
                    page::finished(said)
                })
            }
            Next::AwaitApproval => {
                self.note_approval().await?;
                Some(self.tell(Told::AwaitingApproval))
            }
            Next::Bind => self.bind().await?,
            Next::Fail(reason) => {
                let why = (reason, request.id.clone());
                let is_first = state.store.fail_callback(callback, query_hash, why, now).await?;
                is_first.then(|| self.tell(Told::Failed(reason.as_str())))
            }
            Next::Ticket => ticket
                .map(|ticket| self.to_page(|page| ticket.address(page, callback.connection()))),
            Next::Tell(told) => Some(self.tell(told)),
            Next::OtherBrowser => Some(page::other_browser()),
            Next::WrongIssuer => {
                tracing::warn!(attempt.id = %callback.attempt(), "callback refused: `iss` is another issuer's");
                Some(page::wrong_issuer())
            }
            Next::Unknown => Some(page::unknown().into_response()),
        })
    }

    fn first<'b>(&'b self, binding: Option<NewBinding<'b>>) -> FirstCallback<'b> {
        let scopes = callback::scopes(&self.request.query);
        let awaits_approval = self.received.awaits_approval();
        FirstCallback { query_hash: self.query_hash, scopes, binding, awaits_approval }
    }

    /// The connection's application sees that an owner of the organization has to approve.
    async fn note_approval(&self) -> Result<(), StoreError> {
        let change = Change {
            tenant: self.callback.tenant(),
            connection: self.callback.connection(),
            actor: Actor::Browser,
            request_id: self.request.id.clone(),
            at: self.state.clock.now(),
            opens: None,
            settles: None,
        };
        let (attempt, rules) = (self.callback.attempt(), Rules::at(change.at));
        let decide =
            |connection: &Connection| connection.apply(Event::ApprovalAwaited { attempt }, rules);
        self.state.store.change(As::Worker, change, decide).await?;
        Ok(())
    }

    /// Sends the browser on to Nango with the raw query byte for byte, for providers do not all encode it the
    /// same way. 308 is what Nango documents; after a POST it would be another, which Nango does not take.
    fn send_on(&self) -> Response {
        let status = if self.request.is_form {
            StatusCode::SEE_OTHER
        } else {
            StatusCode::PERMANENT_REDIRECT
        };
        redirect(status, &self.state.nango.callback(&self.request.query))
    }

    /// Waits for the application, which knows who is logged in.
    async fn bind(&self) -> Result<Option<Response>, StoreError> {
        let Self { state, request, callback, cookie_name, .. } = self;
        let CallbackMode::Complete { sealer, .. } = state.callbacks.as_ref() else {
            return Ok(Some(page::unavailable().into_response()));
        };
        let owner = opened::owner(callback.attempt());
        let Ok(sealed) = sealer.seal(&request.query, &owner, state.mint.bytes()) else {
            return Ok(Some(page::unavailable().into_response()));
        };
        let secret = browser_secret(state.mint.bytes());
        let ticket = Ticket::of_browser(&secret, callback.attempt());
        let now = state.clock.now();
        let expires_at = now.checked_add_signed(TICKET_LIFE).unwrap_or(now);
        let binding = NewBinding { query: &sealed, ticket: &ticket, expires_at };
        if !state.store.begin_callback(callback, self.first(Some(binding)), now).await? {
            return Ok(None);
        }
        let mut response = self.to_page(|page| ticket.address(page, callback.connection()));
        let same_site = match (state.nango.callback_is_https(), request.is_form) {
            // A repeated POST comes from the provider's page, as the first did.
            (true, true) => "; Secure; SameSite=None",
            (true, false) => "; Secure; SameSite=Lax",
            (false, _) => "; SameSite=Lax",
        };
        let max_age = TICKET_LIFE.num_seconds();
        let cookie =
            format!("{cookie_name}={secret}; Max-Age={max_age}; Path=/; HttpOnly{same_site}");
        if let Ok(cookie) = HeaderValue::from_str(&cookie) {
            response.headers_mut().insert(header::SET_COOKIE, cookie);
        }
        Ok(Some(response))
    }

    /// Where the application named a page, it tells its user; else our page does.
    fn tell(&self, told: Told<'_>) -> Response {
        if self.callback.kept.return_url.is_some() {
            return self.to_page(|page| told_address(page, self.callback.connection(), told));
        }
        match told {
            Told::Connected => page::connected(),
            Told::Pending => page::under_way(),
            Told::AwaitingApproval => page::awaiting_approval(),
            Told::Failed(LINK_USED) => page::link_used(),
            Told::Failed(reason) => page::failed_as(reason),
        }
    }

    /// To the page that was checked when the attempt was opened.
    fn to_page(&self, address: impl FnOnce(&Url) -> String) -> Response {
        let page = self.callback.kept.return_url.as_deref();
        match page.and_then(|page| Url::parse(page).ok()) {
            Some(page) => redirect(StatusCode::SEE_OTHER, &address(&page)),
            None => page::unknown().into_response(),
        }
    }
}

/// One for each state, so that two authorizations in one browser do not take each other's.
fn cookie_name(state: &AppState, received: &Received) -> String {
    // A browser takes a `__Host-` cookie from our host alone, and over https alone.
    let prefix = if state.nango.callback_is_https() { "__Host-" } else { "" };
    let hash = received.state.hash();
    let id = hash.first_chunk().copied().map_or(0, u64::from_be_bytes);
    format!("{prefix}connections-{id:016x}")
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut cookies = lines.flat_map(|line| line.split(';'));
    cookies.find_map(|cookie| cookie.trim().strip_prefix(name)?.strip_prefix('='))
}

/// It may be cached, unless that is forbidden; and the code in the query must not travel on in a `Referer`.
fn redirect(status: StatusCode, location: &str) -> Response {
    let Ok(location) = HeaderValue::from_str(location) else {
        return page::unknown().into_response();
    };
    let headers = [
        (header::LOCATION, location),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers).into_response()
}
