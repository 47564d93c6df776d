//! A whole control service in one value, and callers with different rights.

use crate::{
    receiver::{Notified, Receiver, listen},
    setup::{Setup, nango, service},
};
use axum::{
    Router,
    body::{Body, Bytes},
    http::{HeaderMap, Request, Response, StatusCode, request::Builder},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::{
    action::Action,
    assertion::{self, Target, Vouched},
    header,
    keys::KeyRing,
};
use control::{
    audit::verify_trail,
    clock::Clock,
    domain::{description::Descriptions, provider::Catalogue},
    http::{AppState, router},
    hub::Hub,
    mint::Mint,
    outbox::Outbox,
    store::Store,
};
use nango_stand_in::StandIn;
use serde_json::{Value, json};
use sqlx::PgPool;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

pub const ASSERTION_KEYS: &str = "a:0123456789abcdef0123456789abcdef";
pub const SIGNING_SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=";
pub const PUBLIC_URL: &str = "https://connections.example";

pub struct TestApp {
    pub router: Router,
    pub outbox: Outbox,
    pub store: Store,
    pub pool: PgPool,
    pub nango: StandIn,
    pub clock: Clock,
    pub hub: Hub,
    pub stop: CancellationToken,
    /// What the handlers work with.
    pub state: AppState,
    browser: reqwest::Client,
    setup: Setup,
    pub destination: String,
    receiver: Arc<Mutex<Receiver>>,
    is_finished: bool,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

impl TestApp {
    pub async fn start(pool: PgPool) -> Self {
        Self::start_as(pool, Setup::default()).await
    }

    /// An app whose Nango is set up with this callback URL.
    pub async fn start_with(pool: PgPool, nangos_callback_url: &str) -> Self {
        let callback_url = nangos_callback_url.to_owned();
        Self::start_as(pool, Setup { callback_url, ..Setup::default() }).await
    }

    /// An app that finishes callbacks itself, at a Nango that enforces its cookie.
    pub async fn completing(pool: PgPool) -> Self {
        Self::start_as(pool, Setup { completes: true, enforces_cookie: true, ..Setup::default() })
            .await
    }

    pub async fn start_as(pool: PgPool, setup: Setup) -> Self {
        let clock = Clock::manual(DateTime::from_timestamp(1_795_340_000, 0).unwrap());
        Self::start_at(pool, setup, clock).await
    }

    /// An app by that clock: its own, where other processes share its database.
    pub async fn start_at(pool: PgPool, setup: Setup, clock: Clock) -> Self {
        let nango = StandIn::start(nango(&setup), 0).await.unwrap();
        nango.take_calls_per_minute(100_000); // Its minutes are real ones, a test's are not.
        let receiver = Arc::<Mutex<Receiver>>::default();
        let destination = listen(Arc::clone(&receiver)).await;
        let store = Store::with_pool(pool.clone(), Mint::new(clock.clone()));
        let stop = CancellationToken::new();
        let hub = Hub::new(stop.clone());
        let (state, outbox) = service(&store, &nango, &clock, &destination, (&setup, &hub));
        let browser = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let browser = browser.build().unwrap();
        Self {
            router: router(state.clone()),
            outbox,
            store,
            pool,
            nango,
            clock,
            hub,
            stop,
            state,
            browser,
            setup,
            destination,
            receiver,
            is_finished: false,
        }
    }

    /// Another process of the same service, with its own look at Nango: the same database, Nango and clock.
    pub fn other(&self) -> (Router, Outbox) {
        self.other_at(&self.clock)
    }

    /// The same, by another clock.
    pub fn other_at(&self, clock: &Clock) -> (Router, Outbox) {
        let hub = Hub::new(self.stop.clone());
        let destination = &self.destination;
        let (state, outbox) =
            service(&self.store, &self.nango, clock, destination, (&self.setup, &hub));
        (router(state), outbox)
    }

    /// Another process on the same database.
    pub fn replica(&self) -> Router {
        let store = Store::with_pool(self.pool.clone(), Mint::new(self.clock.clone()));
        router(AppState { store, hub: Hub::new(self.stop.clone()), ..self.state.clone() })
    }

    /// Another process, whose operator describes GitHub otherwise.
    pub fn describing_github(&self, description: &Value) -> Router {
        let mut catalogue = Catalogue::default();
        catalogue.add("GITHUB", "github-dev").unwrap();
        let file = json!({"github": description}).to_string();
        catalogue.describe(Descriptions::read(file.as_bytes()).unwrap());
        router(AppState { catalogue: Arc::new(catalogue), ..self.state.clone() })
    }

    /// Sends a request with an assertion over what `vouched` says, as the edge would.
    pub async fn send(&self, method: &str, path: &str, vouched: &Vouched, body: Body) -> Answer {
        self.send_raw(self.request(method, path, vouched).body(body).unwrap()).await
    }

    /// A request but for its body, with an assertion over what `vouched` says.
    pub fn request(&self, method: &str, path: &str, vouched: &Vouched) -> Builder {
        let keys = KeyRing::parse(ASSERTION_KEYS.as_bytes()).unwrap();
        let now_ms = u64::try_from(self.clock.now().timestamp_millis()).unwrap();
        let assertion = assertion::sign(&keys, Target { method, path }, vouched, now_ms);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .header(header::ASSERTION, assertion);
        let told = [
            (header::PRINCIPAL, vouched.principal.as_ref().map(ToString::to_string)),
            (header::TENANT, vouched.tenant.as_ref().map(ToString::to_string)),
            (header::ACTION, vouched.action.map(|action| action.to_string())),
            (header::WEBHOOK_KEY, vouched.webhook_key.as_ref().map(ToString::to_string)),
            (header::REQUEST_ID, vouched.request_id.clone()),
        ];
        for (name, value) in told {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        request
    }

    /// Sends a request as it is.
    pub async fn send_raw(&self, request: Request<Body>) -> Answer {
        Self::send_to(self.router.clone(), request).await
    }

    pub async fn send_to(router: Router, request: Request<Body>) -> Answer {
        let response: Response<Body> = router.oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// A tenant's call, as its application with every grant would make it.
    pub async fn call(&self, tenant: &str, method: &str, path: &str, body: &Value) -> Answer {
        let action = match method {
            "POST" => Action::Connect,
            "DELETE" => Action::Delete,
            _ => Action::Read,
        };
        let path = format!("/tenants/{tenant}{path}");
        self.send(method, &path, &caller(tenant, action), Body::from(body.to_string())).await
    }

    /// Starts a connection of tenant acme's user.
    pub async fn start_connection(&self) -> Value {
        let body = json!({"sub": "user-1", "provider": "github", "scopes": ["repo"], "metadata": {"plan": "pro"}});
        let answer = self.call("acme", "POST", "/connections", &body).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
        answer.json()
    }

    pub async fn get(&self, id: &str) -> Value {
        self.call("acme", "GET", &format!("/connections/{id}"), &Value::Null).await.json()
    }

    /// A browser decides at the provider; the query that it comes back with.
    pub async fn decide(&self, started: &Value, decision: &str) -> String {
        let url = started["authorizationUrl"].as_str().unwrap();
        let answer = self
            .browser
            .post(url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("decision={decision}"))
            .send()
            .await
            .unwrap();
        let location = answer.headers()["location"].to_str().unwrap().to_owned();
        location.split_once('?').unwrap().1.to_owned()
    }

    /// A browser comes back.
    pub async fn callback(&self, query: &str) -> Answer {
        let path = format!("/oauth/callback?{query}");
        self.send("GET", &path, &nobody(), Body::empty()).await
    }

    /// The application asks for a look at the vault.
    pub async fn ask_check(&self, started: &Value) {
        let id = started["connectionId"].as_str().unwrap();
        let path = format!("/tenants/acme/connections/{id}/check");
        let answer = self.send("POST", &path, &caller("acme", Action::Read), Body::empty()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
    }

    /// Goes through the provider and Nango; Nango holds a connection then, and nobody was told.
    pub async fn authorize(&self, started: &Value) -> String {
        let query = self.decide(started, "allow").await;
        let sent_on = self.callback(&query).await;
        assert_eq!(sent_on.status, StatusCode::PERMANENT_REDIRECT);
        self.finish_at_nango(sent_on.headers["location"].to_str().unwrap()).await
    }

    /// Follows a browser to Nango; the name of the connection that comes to be.
    pub async fn finish_at_nango(&self, url: &str) -> String {
        let answer = self.browser.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        self.nango.connection_ids().pop().unwrap()
    }

    /// A webhook that the edge verified.
    pub async fn webhook(&self, body: &Value) -> Answer {
        let webhook_key = Some("k".parse().unwrap());
        let vouched = Vouched { webhook_key, ..nobody() };
        self.send("POST", "/webhooks/nango", &vouched, Body::from(body.to_string())).await
    }

    /// What Nango says of a success.
    pub async fn say_created(&self, started: &Value, nango_id: &str) {
        let attempt: uuid::Uuid =
            self.one("SELECT attempt_id FROM attempts WHERE connection_id = $1", started).await;
        let body = json!({"type": "auth", "from": "nango", "operation": "creation", "success": true,
            "connectionId": nango_id, "providerConfigKey": "github-dev", "tags": {
                "connection_ref": started["connectionId"], "tenant_id": started["tenantId"],
                "attempt": attempt, "end_user_id": "user-1", "instance": "test"}});
        assert_eq!(self.webhook(&body).await.status, StatusCode::OK);
    }

    /// A connection that is active and of which the receiver was told.
    pub async fn activate(&self) -> (Value, String) {
        let started = self.start_connection().await;
        let nango_id = self.authorize(&started).await;
        self.say_created(&started, &nango_id).await;
        self.outbox.run_once().await.unwrap();
        (started, nango_id)
    }

    async fn one<T>(&self, query: &'static str, started: &Value) -> T
    where
        T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
    {
        let id: uuid::Uuid = started["connectionId"].as_str().unwrap().parse().unwrap();
        sqlx::query_scalar(query).bind(id).fetch_one(&self.pool).await.unwrap()
    }

    pub async fn count(&self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.pool).await.unwrap()
    }

    pub fn advance(&self, seconds: i64) {
        self.clock.advance(TimeDelta::seconds(seconds));
    }

    /// The receiver answers its next tries so, and then well.
    pub fn receiver_answers(&self, answers: &[u16]) {
        let mut receiver = self.receiver.lock().unwrap();
        receiver.answers = answers.iter().rev().copied().collect();
    }

    /// How the receiver behaves from now on.
    pub fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap()
    }

    pub fn notified(&self) -> Vec<Notified> {
        self.receiver.lock().unwrap().taken.clone()
    }

    pub fn notified_types(&self) -> Vec<String> {
        let types = self.notified().into_iter();
        types.map(|it| it.body["type"].as_str().unwrap().to_owned()).collect()
    }

    pub fn tries(&self) -> usize {
        self.receiver.lock().unwrap().tries
    }

    /// Ends a test that took the database away.
    pub fn abandon(mut self) {
        self.is_finished = true;
    }

    /// Checks that nothing is left to do and that every change left its line; each test ends with this.
    pub async fn finish(mut self) {
        assert_eq!(self.outbox.run_once().await.unwrap(), 0, "the outbox still had work");
        // A deleted connection is looked at again, and nothing comes of it.
        self.advance(65 * 60);
        self.outbox.run_once().await.unwrap();
        for (what, query) in [
            ("receipts", "SELECT count(*) FROM receipts WHERE settled_at IS NULL"),
            ("jobs", "SELECT count(*) FROM jobs WHERE done_at IS NULL AND kind <> 'probe'"),
            ("deliveries", "SELECT count(*) FROM deliveries WHERE status IN ('ready', 'blocked')"),
        ] {
            assert_eq!(self.count(query).await, 0, "unfinished {what}");
        }
        let changes = self.count("SELECT coalesce(sum(version), 0)::bigint FROM connections").await;
        let lines = self
            .count(
                "SELECT count(*) FROM audit_events
                 WHERE action LIKE 'connection.%' AND action <> 'connection.extra_found'",
            )
            .await;
        assert_eq!(changes, lines, "every change leaves one audit line");
        self.check_trails().await;
        self.is_finished = true;
    }
}

impl TestApp {
    /// Seals what is left; then every line has its link, and every link holds.
    async fn check_trails(&self) {
        self.outbox.seal_once().await.unwrap();
        let lines: Vec<(String, i64)> =
            sqlx::query_as("SELECT tenant_id, count(*) FROM audit_events GROUP BY tenant_id")
                .fetch_all(&self.pool)
                .await
                .unwrap();
        for (tenant, lines) in lines {
            let (linked, _) = verify_trail(&self.store, &tenant.parse().unwrap()).await.unwrap();
            assert_eq!(linked, lines, "the trail of {tenant}");
        }
    }
}

impl Drop for TestApp {
    fn drop(&mut self) {
        assert!(self.is_finished || std::thread::panicking(), "end the test with app.finish()");
    }
}

pub fn nobody() -> Vouched {
    Vouched { request_id: Some("r-1".to_owned()), ..Vouched::default() }
}

pub fn caller(tenant: &str, action: Action) -> Vouched {
    Vouched {
        principal: Some(format!("spiffe://{tenant}.example/app").parse().unwrap()),
        tenant: Some(tenant.parse().unwrap()),
        action: Some(action),
        ..nobody()
    }
}

/// Timestamps are compared by their text.
pub fn text(at: DateTime<Utc>) -> String {
    serde_json::to_value(at).unwrap().as_str().unwrap().to_owned()
}
