//! Nothing is done for a request that the edge did not vouch for.

use crate::support::{ASSERTION_KEYS, TestApp, caller, nobody};
use axum::{
    body::Body,
    http::{Request, StatusCode},
};
use contract::{
    action::Action,
    assertion::{self, Target, Vouched},
    header,
    keys::KeyRing,
};
use control::http::document;
use futures::{StreamExt as _, stream};
use sqlx::PgPool;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

const WEBHOOK: &str = "/webhooks/nango";

const ID: &str = "0195f2a1-0000-7000-8000-000000000001";

/// Every operation of the document, and a path that is none.
fn routes() -> Vec<(String, String)> {
    let document = serde_json::to_value(document()).unwrap();
    let mut routes = vec![("GET".to_owned(), "/nowhere".to_owned())];
    for (path, item) in document["paths"].as_object().unwrap() {
        let segments = path.split('/').map(|segment| match segment {
            "{tenantId}" => "acme",
            parameter if parameter.starts_with('{') => ID,
            other => other,
        });
        let path = segments.collect::<Vec<_>>().join("/");
        for method in item.as_object().unwrap().keys() {
            routes.push((method.to_uppercase(), path.clone()));
        }
    }
    routes
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_request_past_the_edge_is_refused_on_every_path(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let now_ms = u64::try_from(app.clock.now().timestamp_millis()).unwrap();
    let routes = routes();
    assert!(routes.len() > 20, "{routes:?}");
    for (method, path) in routes {
        let vouched = caller("acme", Action::Read);
        let target = Target { method: &method, path: &path };
        let keys = KeyRing::parse(ASSERTION_KEYS.as_bytes()).unwrap();
        let others = KeyRing::parse(b"a:ffffffffffffffffffffffffffffffff").unwrap();
        let elsewhere = Target { path: "/tenants/acme", ..target };
        let unknown = KeyRing::parse(b"b:0123456789abcdef0123456789abcdef").unwrap();
        // Where control cannot tell the edge by its certificate, only a webhook's 4xx would be final for ever.
        let mismatch = if path == WEBHOOK { 503 } else { 401 };
        for (what, status, assertion) in [
            ("none", 401, None),
            ("malformed", 401, Some("v1".to_owned())),
            ("another key's", mismatch, Some(assertion::sign(&others, target, &vouched, now_ms))),
            (
                "another request's",
                mismatch,
                Some(assertion::sign(&keys, elsewhere, &vouched, now_ms)),
            ),
            ("for nobody", mismatch, Some(assertion::sign(&keys, target, &nobody(), now_ms))),
            // Our own trouble, and Nango takes a 4xx as final.
            ("a stale one", 503, Some(assertion::sign(&keys, target, &vouched, now_ms - 30_001))),
            ("an unknown key's", 503, Some(assertion::sign(&unknown, target, &vouched, now_ms))),
        ] {
            let mut request = Request::builder()
                .method(method.as_str())
                .uri(&path)
                .header(header::PRINCIPAL, "spiffe://acme.example/app")
                .header(header::TENANT, "acme")
                .header(header::ACTION, "read")
                .header(header::REQUEST_ID, "r-1");
            if let Some(assertion) = assertion {
                request = request.header(header::ASSERTION, assertion);
            }
            let answer = app.send_raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(answer.status, status, "{method} {path} with {what}");
            let code = if status == 401 { "not_vouched" } else { "edge_out_of_step" };
            assert_eq!(answer.code(), code);
            assert_eq!(answer.json()["requestId"], "r-1", "{method} {path} with {what}");
        }
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_edge_header_that_occurs_twice_proves_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let keys = KeyRing::parse(ASSERTION_KEYS.as_bytes()).unwrap();
    let now_ms = u64::try_from(app.clock.now().timestamp_millis()).unwrap();
    let path = format!("/tenants/acme/connections/{ID}");
    let target = Target { method: "GET", path: &path };
    let assertion = assertion::sign(&keys, target, &caller("acme", Action::Read), now_ms);
    let request = Request::builder()
        .uri(&path)
        .header(header::PRINCIPAL, "spiffe://acme.example/app")
        .header(header::TENANT, "acme")
        .header(header::TENANT, "rival")
        .header(header::ACTION, "read")
        .header(header::REQUEST_ID, "r-1")
        .header(header::ASSERTION, assertion);
    let answer = app.send_raw(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_request_that_was_vouched_for_something_else_is_403(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let webhook = Vouched { webhook_key: Some("k".parse().unwrap()), ..nobody() };
    let is_of_someone =
        |(_, path): &(String, String)| path.starts_with("/tenants/") || path == "/webhooks/nango";
    let routes: Vec<_> = routes().into_iter().filter(is_of_someone).collect();
    assert!(routes.len() > 15, "{routes:?}");
    for (method, path) in routes {
        let trail = caller("acme", Action::Audit);
        for vouched in [nobody(), caller("rival", Action::Read), trail.clone(), webhook.clone()] {
            let is_its_own = (path == "/webhooks/nango" && vouched == webhook)
                || (path == "/tenants/acme/audit" && vouched == trail);
            if is_its_own {
                continue;
            }
            let answer = app.send(&method, &path, &vouched, Body::from("{}")).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{method} {path} {vouched:?}");
            assert_eq!(answer.code(), "no_grant");
        }
    }
    assert_eq!(app.count("SELECT count(*) FROM receipts").await, 0);
    app.finish().await;
}

/// A connection with a body unread is closed, under the edge's next request.
#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_body_that_nobody_wants_is_read_all_the_same(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let refused = [
        ("POST", "/tenants/acme/connections/none/check", Action::Read, 404),
        ("POST", "/tenants/acme/connections", Action::Read, 403),
        ("PUT", "/tenants/acme/nowhere", Action::Read, 404),
        ("GET", "/tenants/acme/connections", Action::Read, 200),
    ];
    for (method, path, action, status) in refused {
        let is_read = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_read);
        let pieces = stream::iter(["{", "}"]).chain(stream::once(async move {
            end.store(true, Ordering::SeqCst);
            ""
        }));
        let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
        let answer = app.send(method, path, &caller("acme", action), body).await;
        assert_eq!(answer.status.as_u16(), status, "{method} {path}");
        assert!(is_read.load(Ordering::SeqCst), "{method} {path}");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_body_that_is_too_large_is_read_to_its_end_and_413(pool: PgPool) {
    let app = TestApp::start(pool).await;
    for (mebibytes, is_read_whole) in [(2, true), (3, true), (20, true), (40, false)] {
        let is_read = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_read);
        let piece = vec![b'x'; 1 << 20];
        let pieces = stream::iter(vec![piece; mebibytes]).chain(stream::once(async move {
            end.store(true, Ordering::SeqCst);
            vec![b'x']
        }));
        let body = Body::from_stream(pieces.map(Ok::<_, Infallible>));
        let vouched = caller("acme", Action::Connect);
        let answer = app.send("POST", "/tenants/acme/connections", &vouched, body).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "body_too_large"));
        assert_eq!(is_read.load(Ordering::SeqCst), is_read_whole, "{mebibytes} MiB");
    }
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_no_route_has_is_told_so_to_whoever_came_through_the_edge(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let lost = app.send("GET", "/nowhere", &nobody(), Body::empty()).await;
    assert_eq!((lost.status, lost.code().as_str()), (StatusCode::NOT_FOUND, "no_route"));
    let put = app.send("PUT", "/health", &nobody(), Body::empty()).await;
    assert_eq!(
        (put.status, put.code().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed")
    );
    let health = app.send("GET", "/health", &nobody(), Body::empty()).await;
    assert_eq!(health.json(), serde_json::json!({"status": "ok"}));
    let page = app.send("GET", "/errors", &nobody(), Body::empty()).await;
    let text = String::from_utf8(page.body.to_vec()).unwrap();
    // Where the type of a problem leads to.
    assert_eq!(lost.json()["type"], "/errors#no_route");
    assert!(text.contains("\n## no_route\n"), "{text}");
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_refusal_past_the_edge_has_a_request_id_of_its_own_and_says_edge(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..2 {
        let request =
            Request::builder().uri("/tenants/acme/connections").body(Body::empty()).unwrap();
        let problem = app.send_raw(request).await.json();
        assert_eq!(
            (&problem["code"], &problem["detail"]),
            (&"not_vouched".into(), &"Call through the edge.".into())
        );
        ids.insert(problem["requestId"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), 2, "each names one request");
    app.finish().await;
}
