//! A Nango that answers like the recorded one, and a provider behind it.
//!
//! It is for tests and the sandbox: it listens on loopback unless told otherwise, forgets everything when it ends, and
//! issues tokens that open nothing. Its answers are held to the recordings in `contract/fixtures` by
//! `tests/faithful/`, and like the real one it makes no promise about its webhooks: it repeats and
//! delays them, and drops what was not taken. [`Manners`] says how badly it behaves.
#![expect(
    clippy::result_large_err,
    reason = "an early answer reads best as an error; nobody hurries here"
)]

mod access;
mod answer;
mod connections;
mod limit;
mod oauth;
mod provider;
mod proxy;
mod sessions;
mod vault;
mod weather;
mod webhooks;

use access::Access;
use axum::{
    Router,
    http::StatusCode,
    middleware,
    routing::{any, get, post},
};
use contract::keys::KeyRing;
use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use vault::Vault;
use weather::Weather;

pub use access::Excess;
pub use limit::DEFAULT_CALLS_PER_MINUTE;
pub use provider::{Mood, Provider};
pub use weather::Meets;
pub use webhooks::Manners;

/// What a stand-in is set up with, as an environment's owner sets up Nango.
#[derive(Debug)]
pub struct Settings {
    /// The key that the service has: it cannot read credentials and cannot use the proxy.
    pub secret_key: String,
    /// A second key, for the proxy alone.
    pub profile_key: String,
    /// What webhooks are signed with at first.
    pub signing_keys: KeyRing,
    /// The environment's callback URL.
    pub callback_url: String,
    /// Integration keys; each is a way to the stand-in provider.
    pub integrations: Vec<String>,
    /// A certificate authority, as PEM, that the webhooks' receiver may have.
    pub trusted_ca: Option<Vec<u8>>,
    /// Whether the OAuth callback needs Nango's own cookie, as Nango can be told to.
    pub enforces_cookie: bool,
    pub manners: Manners,
}

/// How the stand-in fails on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trouble {
    #[default]
    None,
    /// Every API call is answered 503.
    Unavailable,
    /// Every API call is answered 500, with a page.
    Failing,
    /// Every API call is answered 429, to be made again after a second.
    RateLimited,
    /// The same, after so many seconds.
    RateLimitedFor(u16),
    /// Every API call is answered 200, with a page: it is not Nango that answers.
    Page,
    /// No API call is answered.
    Hanging,
    /// Lists are empty, as from a replica that lags.
    Lagging,
    /// Every API call is answered after a second.
    Slow,
    /// Sessions open, and no browser is sent off: somebody deletes the integration in between.
    IntegrationGone,
}

/// A running stand-in. It ends when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    provider: Provider,
    server: JoinHandle<()>,
    leaves: watch::Sender<bool>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    settings: Settings,
    address: SocketAddr,
    provider: SocketAddr,
    http: reqwest::Client,
    vault: Mutex<Vault>,
    /// And for how many calls, if not for ever.
    trouble: Mutex<(Trouble, Option<usize>)>,
    weather: Mutex<Option<Weather>>,
    excess: Mutex<Excess>,
    webhook_url: Mutex<Option<String>>,
    signing_keys: Mutex<KeyRing>,
    api_calls: AtomicUsize,
    /// Whether the proxy forwards the provider's headers.
    forwards_headers: AtomicBool,
    calls_per_minute: Mutex<u32>,
    windows: Windows,
}

/// Calls that Nango counts apart.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    of_keys: Mutex<limit::Window>,
    of_sessions: Mutex<limit::Window>,
}

impl StandIn {
    /// Starts a Nango on `port`, or on a free one for 0, and its provider on a free one.
    pub async fn start(settings: Settings, port: u16) -> io::Result<Self> {
        Self::start_on(Ipv4Addr::LOCALHOST, [port, 0], settings).await
    }

    /// The same on another interface, with the port of Nango and the provider's, for a container. What it
    /// tells browsers stays loopback, where the container's ports are.
    pub async fn start_on(
        interface: Ipv4Addr,
        [port, provider_port]: [u16; 2],
        settings: Settings,
    ) -> io::Result<Self> {
        let provider = Provider::start(interface, provider_port).await?;
        let listener = TcpListener::bind((interface, port)).await?;
        let address = (Ipv4Addr::LOCALHOST, listener.local_addr()?.port()).into();
        let http = webhooks::client(settings.trusted_ca.as_deref()).map_err(io::Error::other)?;
        let shared = Arc::new(Shared {
            signing_keys: Mutex::new(settings.signing_keys.clone()),
            settings,
            address,
            provider: provider.address(),
            http,
            vault: Mutex::default(),
            trouble: Mutex::default(),
            weather: Mutex::default(),
            excess: Mutex::default(),
            webhook_url: Mutex::default(),
            api_calls: AtomicUsize::default(),
            forwards_headers: AtomicBool::default(),
            calls_per_minute: Mutex::new(DEFAULT_CALLS_PER_MINUTE),
            windows: Windows::default(),
        });
        let router = router(Arc::clone(&shared));
        let (leaves, mut left) = watch::channel(false);
        let server = tokio::spawn(async move {
            let until = async move { drop(left.wait_for(|has_left| *has_left).await) };
            if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(until).await {
                tracing::error!(%error, "the stand-in Nango ended");
            }
        });
        Ok(Self { shared, address, provider, server, leaves })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub const fn provider(&self) -> &Provider {
        &self.provider
    }

    /// Says where webhooks go; until then there are none.
    pub fn send_webhooks_to(&self, url: String) {
        *lock(&self.shared.webhook_url) = Some(url);
    }

    pub fn make_trouble(&self, trouble: Trouble) {
        *lock(&self.shared.trouble) = (trouble, None);
    }

    /// Fails the next API calls, and no more.
    pub fn fail_next(&self, calls: usize, trouble: Trouble) {
        *lock(&self.shared.trouble) = (trouble, Some(calls));
    }

    /// From now on each call meets what is drawn from this seed.
    pub fn have_bad_weather(&self, seed: u64) {
        *lock(&self.shared.weather) = Some(Weather::new(seed));
    }

    /// Ends the bad weather; how often each thing was met.
    pub fn clear_up(&self) -> BTreeMap<Meets, usize> {
        lock(&self.shared.weather).take().map(|weather| weather.met()).unwrap_or_default()
    }

    /// How many sessions were opened, and with how many of them a browser was sent off.
    pub fn sessions(&self) -> (usize, usize) {
        lock(&self.shared.vault).sessions()
    }

    /// Takes no more calls, and closes every connection that none is under way on.
    pub fn leave(&self) {
        self.leaves.send_replace(true);
    }

    /// The proxy forwards the provider's headers from now on, as Nango does of chunked answers.
    pub fn forward_headers(&self) {
        self.shared.forwards_headers.store(true, Ordering::SeqCst);
    }

    /// The main key may do more than it should.
    pub fn let_main_key(&self, excess: Excess) {
        *lock(&self.shared.excess) = excess;
    }

    /// Every session expires now; the real ones live for 30 minutes.
    pub fn expire_sessions(&self) {
        lock(&self.shared.vault).expire_sessions();
    }

    /// Deletes a connection without telling anybody.
    pub fn delete_behind_back(&self, connection_id: &str) -> bool {
        lock(&self.shared.vault).delete(connection_id).is_some()
    }

    /// Takes everything out of sight, as a key of another environment does, or puts it back.
    pub fn hide_connections(&self, are_hidden: bool) {
        lock(&self.shared.vault).hide(are_hidden);
    }

    /// The owner of an organization approves the installation that a connection waits for; GitHub tells Nango.
    pub fn approve_installation(&self, connection_id: &str) {
        let kept = lock(&self.shared.vault).install(connection_id, Some("7"));
        if let Some(kept) = kept {
            webhooks::send(&self.shared, webhooks::succeeded(&kept, false));
        }
    }

    /// Deletes a connection as its owner does in the dashboard, which a webhook tells.
    pub fn delete_in_dashboard(&self, connection_id: &str) -> bool {
        let deleted = lock(&self.shared.vault).delete(connection_id);
        deleted.map(|kept| webhooks::send(&self.shared, webhooks::deleted(&kept))).is_some()
    }

    /// Makes Nango's own refreshing of a connection fail, or work again. The list shows it, and a webhook
    /// tells of each failure and of a recovery.
    pub fn fail_refresh(&self, connection_id: &str, fails: bool) -> bool {
        let Some((kept, was_failing)) = lock(&self.shared.vault).fail_refresh(connection_id, fails)
        else {
            return false;
        };
        if fails || was_failing {
            webhooks::send(&self.shared, webhooks::refreshed(&kept));
        }
        true
    }

    /// Takes so many calls a minute from now on, instead of Nango's default.
    pub fn take_calls_per_minute(&self, calls: u32) {
        *lock(&self.shared.calls_per_minute) = calls;
    }

    /// Makes a second connection like this one, as a session does that is used twice.
    pub fn copy_connection(&self, connection_id: &str) -> Option<String> {
        lock(&self.shared.vault).copy(connection_id)
    }

    /// The Nango ids of the connections that are kept, the oldest first.
    pub fn connection_ids(&self) -> Vec<String> {
        lock(&self.shared.vault).connection_ids()
    }

    /// How many calls with a key were made.
    pub fn api_calls(&self) -> usize {
        self.shared.api_calls.load(Ordering::SeqCst)
    }

    /// Every access token that was ever issued here. They must be found nowhere else.
    pub fn issued_tokens(&self) -> Vec<String> {
        self.provider.issued_tokens()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Every route on one page; what is not here is not stood in for.
fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/health", get(answer::health))
        .route("/integrations", get(connections::integrations))
        .route("/connect/sessions", post(sessions::create))
        .route("/connect/sessions/reconnect", post(sessions::reconnect))
        .route("/oauth/connect/{integration}", get(oauth::connect))
        .route("/oauth/callback", get(oauth::callback))
        .route("/connections", get(connections::list))
        .route("/connections/{id}", get(connections::get).delete(connections::delete))
        .route("/environment/webhook-signing-key/rotate", post(webhooks::rotate))
        .route("/proxy/{*path}", any(proxy::handler))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), limit::limit))
        .with_state(shared)
}

impl Shared {
    /// Checks the key of an API call, unless there is trouble.
    async fn access(&self, headers: &axum::http::HeaderMap) -> Result<Access, answer::Answer> {
        self.api_calls.fetch_add(1, Ordering::SeqCst);
        self.weather().await?;
        match self.next_trouble() {
            Trouble::Unavailable => return Err(answer::unavailable()),
            Trouble::Failing => {
                return Err(answer::page_instead(StatusCode::INTERNAL_SERVER_ERROR));
            }
            Trouble::Page => return Err(answer::page_instead(StatusCode::OK)),
            Trouble::RateLimited => return Err(answer::rate_limited(1)),
            Trouble::RateLimitedFor(seconds) => return Err(answer::rate_limited(seconds)),
            Trouble::Hanging => std::future::pending().await,
            Trouble::Slow => tokio::time::sleep(SLOW).await,
            Trouble::None | Trouble::Lagging | Trouble::IntegrationGone => {}
        }
        access::check(headers, &self.settings)
    }

    /// What a call meets before it is looked at.
    async fn weather(&self) -> Result<(), answer::Answer> {
        let gust = lock(&self.weather).as_mut().map(Weather::next);
        match gust {
            Some(gust) => gust.blow().await,
            None => Ok(()),
        }
    }

    fn next_trouble(&self) -> Trouble {
        let mut guard = lock(&self.trouble);
        let (trouble, calls) = &mut *guard;
        let now = *trouble;
        if let Some(left) = calls {
            *left = left.saturating_sub(1);
            if *left == 0 {
                *guard = (Trouble::None, None);
            }
        }
        now
    }

    fn is_lagging(&self) -> bool {
        lock(&self.trouble).0 == Trouble::Lagging
    }

    fn has_integration(&self, key: &str) -> bool {
        self.settings.integrations.iter().any(|known| known == key)
    }
}

/// How long the stand-in gives a webhook's receiver; Nango's own limit.
const WEBHOOK_TIMEOUT: Duration = Duration::from_secs(20);

/// How slow a slow answer is.
const SLOW: Duration = Duration::from_secs(1);

/// A panic elsewhere does not make what is inside wrong for a stand-in.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
