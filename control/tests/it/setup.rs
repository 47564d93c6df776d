//! How a service and its Nango are set up, and one process of it without its ports.

use crate::support::{ASSERTION_KEYS, PUBLIC_URL, SIGNING_SECRET};
use contract::keys::KeyRing;
use control::{
    budget::Budget,
    clock::Clock,
    config::{CallbackMode, NangoConfig, NotificationConfig},
    domain::{
        delivery::Schedule, description::Descriptions, egress::Egress, provider::Catalogue,
        retention::Retention, returning::AllowedOrigins, sealing::Sealer, signing::SigningSecret,
    },
    http::AppState,
    hub::Hub,
    metrics::Metrics,
    mint::Mint,
    nango::NangoClient,
    notifier::{Limits, Notifier, Resolver},
    outbox::Outbox,
    rehearsal::Rehearsal,
    store::Store,
};
use nango_stand_in::{Manners, Settings, StandIn};
use std::{sync::Arc, time::Duration};

pub const SECRET_KEY: &str = "11111111-1111-4111-8111-111111111111";
pub const PROFILE_KEY: &str = "22222222-2222-4222-8222-222222222222";

/// A stand-in that does what is asked of it.
pub fn nango(setup: &Setup) -> Settings {
    Settings {
        secret_key: SECRET_KEY.to_owned(),
        profile_key: PROFILE_KEY.to_owned(),
        signing_keys: KeyRing::parse(b"0123456789abcdef").unwrap(),
        callback_url: setup.callback_url.clone(),
        integrations: vec!["github-dev".to_owned()],
        trusted_ca: None,
        enforces_cookie: setup.enforces_cookie,
        manners: Manners::KIND,
    }
}

/// How a service and its Nango are set up.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Nango's.
    pub callback_url: String,
    pub calls_per_minute: u32,
    pub call_timeout: Duration,
    /// Whether callbacks are finished by the service.
    pub completes: bool,
    /// Whether Nango wants its own cookie with a callback.
    pub enforces_cookie: bool,
    pub has_data_key: bool,
    /// Networks that tenants' own destinations may be in, and ports of them.
    pub egress: (&'static str, Vec<u16>),
    pub limits: Limits,
    /// What the operator describes of providers besides.
    pub providers: &'static str,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            callback_url: format!("{PUBLIC_URL}/oauth/callback"),
            calls_per_minute: 100_000,
            call_timeout: Duration::from_secs(8),
            completes: false,
            enforces_cookie: false,
            has_data_key: true,
            egress: ("", vec![443]),
            limits: Limits::default(),
            providers: "{}",
        }
    }
}

fn notifications(setup: &Setup, destination: &str) -> NotificationConfig {
    let signing = KeyRing::parse(SIGNING_SECRET.as_bytes()).unwrap();
    let (networks, ports) = &setup.egress;
    let networks = Egress::read_networks(networks).unwrap();
    NotificationConfig {
        destination: destination.parse().unwrap(),
        secrets: vec![SigningSecret::read(signing.signing()).unwrap()],
        egress: Egress::new(networks, ports.iter().copied().collect()),
        sealer: setup.has_data_key.then(sealer),
    }
}

fn sealer() -> Sealer {
    Sealer::new(&KeyRing::parse(b"d:0123456789abcdef0123456789abcdef").unwrap()).unwrap()
}

/// A process of the service.
pub fn service(
    store: &Store,
    nango: &StandIn,
    clock: &Clock,
    destination: &str,
    (setup, hub): (&Setup, &Hub),
) -> (AppState, Outbox) {
    let mint = Mint::new(clock.clone());
    let calls_per_minute = setup.calls_per_minute.to_string().parse().unwrap();
    let budget = Budget::new(store.clone(), calls_per_minute, clock.clone(), mint.clone());
    let config = NangoConfig {
        api_url: nango.url().parse().unwrap(),
        public_url: nango.url().parse().unwrap(),
        proxy: None,
        secret_key: SECRET_KEY.into(),
        profile_key: Some(PROFILE_KEY.into()),
        callback_url: format!("{PUBLIC_URL}/oauth/callback").parse().unwrap(),
        instance: "test".to_owned(),
        calls_per_minute,
        call_timeout: setup.call_timeout,
    };
    let metrics = Metrics::new(clock.clone());
    let store = store.clone().measured(metrics.clone());
    let parts = (clock.clone(), mint.clone());
    let client = NangoClient::new(config, Some(Arc::new(budget)), parts, metrics.clone());
    let client = Arc::new(client.unwrap());
    let notifications = notifications(setup, destination);
    let (egress, sealer) = (notifications.egress.clone(), notifications.sealer.clone());
    let ways = (Resolver::system(), setup.limits);
    let notifier = Arc::new(Notifier::with(notifications, None, ways));
    let catalogue = Arc::new(catalogue(setup));
    let state = AppState {
        store: store.clone(),
        nango: Arc::clone(&client),
        catalogue: Arc::clone(&catalogue),
        callbacks: Arc::new(callbacks(setup)),
        hub: hub.clone(),
        assertion_keys: Arc::new(KeyRing::parse(ASSERTION_KEYS.as_bytes()).unwrap()),
        clock: clock.clone(),
        mint: mint.clone(),
        sealer,
        egress: Arc::new(egress),
        callers: None,
        rehearsal: Rehearsal::new(Arc::clone(&notifier), clock.clone(), mint.clone()),
        metrics: metrics.clone(),
    };
    let outbox = Outbox {
        store,
        nango: client,
        catalogue,
        notifier,
        clock: clock.clone(),
        mint,
        may_change_account: false,
        probe_interval: "24".parse().unwrap(),
        last_page: Arc::default(),
        retention: Retention::of_days(30, 7).unwrap(),
        schedule: Schedule::default(),
        seats: Arc::default(),
        wakeups: Arc::default(),
        sealer: state.sealer.clone(),
        metrics,
    };
    (state, outbox)
}

fn catalogue(setup: &Setup) -> Catalogue {
    let mut catalogue = Catalogue::default();
    catalogue.add("GITHUB", "github-dev").unwrap();
    catalogue.add("SLACK", "not-at-nango").unwrap();
    catalogue.describe(described());
    catalogue.describe(Descriptions::read(setup.providers.as_bytes()).unwrap());
    catalogue
}

fn described() -> Descriptions {
    let described = br#"{"slack": {"scopes": ["users:read", "identify"]}}"#;
    Descriptions::read(described).unwrap()
}

fn callbacks(setup: &Setup) -> CallbackMode {
    if setup.completes {
        CallbackMode::Complete {
            sealer: sealer(),
            origins: AllowedOrigins::read("https://app.example").unwrap(),
        }
    } else {
        CallbackMode::Redirect
    }
}
