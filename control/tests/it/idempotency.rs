//! A start that is sent again is not done again.

use crate::support::{Answer, TestApp, caller};
use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use contract::{
    action::Action,
    assertion::Vouched,
    id::{AttemptId, ConnectionId, TenantId},
};
use control::{
    domain::{
        audit::Actor,
        idempotency::{Answer as Kept, Fingerprint, IdempotencyKey},
        start::Start,
    },
    store::{Call, Claim, Claimed, NewAttempt, NewConnection, Settled},
};
use futures::future::join_all;
use nango_stand_in::Trouble;
use serde_json::{Value, json};
use sqlx::PgPool;

const PATH: &str = "/tenants/acme/connections";

fn body(sub: &str) -> Value {
    json!({"sub": sub, "provider": "github"})
}

fn request(app: &TestApp, vouched: &Vouched, key: &str, body: &Value) -> Request<Body> {
    let path = format!("/tenants/{}/connections", vouched.tenant.as_ref().unwrap());
    let request = app.request("POST", &path, vouched).header("idempotency-key", key);
    request.body(Body::from(body.to_string())).unwrap()
}

/// A start by acme's application.
async fn start(app: &TestApp, router: &Router, key: &str, body: &Value) -> Answer {
    let request = request(app, &caller("acme", Action::Connect), key, body);
    TestApp::send_to(router.clone(), request).await
}

#[track_caller]
fn is_first(answer: &Answer) -> bool {
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    !answer.headers.contains_key("idempotency-replayed")
}

async fn connections(app: &TestApp) -> i64 {
    app.count("SELECT count(*) FROM connections").await
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_repeat_has_the_first_answer_from_whichever_process(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let first = start(&app, &app.router, "key-1", &body("u")).await;
    assert!(is_first(&first));
    let calls = app.nango.api_calls();
    app.advance(60);
    for (router, key) in
        [(&app.router, "key-1"), (&app.replica(), "key-1"), (&app.replica(), "\"key-1\"")]
    {
        let repeat = start(&app, router, key, &body("u")).await;
        assert!(!is_first(&repeat));
        assert_eq!(repeat.headers["idempotency-replayed"], "true");
        assert_eq!(repeat.body, first.body);
        let mut headers = repeat.headers.clone();
        headers.remove("idempotency-replayed");
        assert_eq!(headers, first.headers);
    }
    assert_eq!((connections(&app).await, app.nango.api_calls()), (1, calls));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_start_without_a_key_or_with_another_is_another(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.start_connection().await;
    app.start_connection().await;
    assert!(is_first(&start(&app, &app.router, "key-1", &body("u")).await));
    assert!(is_first(&start(&app, &app.router, "key-2", &body("u")).await));
    assert_eq!(connections(&app).await, 4);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_key_that_was_another_calls_is_refused(pool: PgPool) {
    let app = TestApp::start(pool).await;
    start(&app, &app.router, "key-1", &body("u")).await;
    for body in [body("v"), json!({"provider": "github", "sub": "u"}), json!(null)] {
        let answer = start(&app, &app.router, "key-1", &body).await;
        // serde_json sorts the keys, so that the second is the first call again.
        if body["sub"] == "u" {
            assert!(!is_first(&answer));
            continue;
        }
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
        assert_eq!(answer.code(), "idempotency_key_reused");
    }
    assert_eq!(connections(&app).await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_key_belongs_to_a_tenant_and_a_principal(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let acme = caller("acme", Action::Connect);
    let other = "spiffe://acme.example/other".parse().ok();
    let mut answers = Vec::new();
    for vouched in [
        acme.clone(),
        Vouched { principal: other, ..acme.clone() },
        caller("rival", Action::Connect),
        Vouched { principal: acme.principal.clone(), ..caller("rival", Action::Connect) },
    ] {
        let answer = app.send_raw(request(&app, &vouched, "key-1", &body("u"))).await;
        assert!(is_first(&answer), "{vouched:?}");
        answers.push(answer.json()["connectionId"].clone());
    }
    let repeat = app.send_raw(request(&app, &acme, "key-1", &body("u"))).await;
    assert_eq!(repeat.json()["connectionId"], answers[0]);
    assert_eq!(connections(&app).await, 4);
    // Who may not start is not shown what was started.
    let reader =
        app.send_raw(request(&app, &caller("acme", Action::Read), "key-1", &body("u"))).await;
    assert_eq!((reader.status, reader.code().as_str()), (StatusCode::FORBIDDEN, "no_grant"));
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn of_many_at_once_one_is_done(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let routers = [app.router.clone(), app.replica()];
    let body = body("u");
    let calls = (0..20).map(|number| start(&app, &routers[number % 2], "key-1", &body));
    let answers = join_all(calls).await;
    let (done, in_use): (Vec<_>, Vec<_>) =
        answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
    assert_eq!(done.iter().filter(|answer| is_first(answer)).count(), 1);
    assert!(done.iter().all(|answer| answer.body == done[0].body));
    for answer in in_use {
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::CONFLICT, "idempotency_key_in_use")
        );
        assert_eq!(answer.headers["retry-after"], "3");
    }
    assert_eq!(connections(&app).await, 1);
    app.finish().await;
}

/// A process that claims a call of acme's.
async fn claim(app: &TestApp, body: &Value) -> Claimed {
    let acme = caller("acme", Action::Connect);
    let call = Call {
        tenant: acme.tenant.as_ref().unwrap(),
        principal: acme.principal.as_ref().unwrap(),
        key: &IdempotencyKey::read(b"key-1").unwrap(),
        fingerprint: Fingerprint::of("POST", PATH, body.to_string().as_bytes()),
    };
    app.store.claim_call(call, app.clock.now()).await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_call_whose_process_died_is_taken_over_after_its_lease(pool: PgPool) {
    let app = TestApp::start(pool).await;
    assert!(matches!(claim(&app, &body("u")).await, Claimed::Ours(_)));
    for wait in [0, 59] {
        app.advance(wait);
        let answer = start(&app, &app.router, "key-1", &body("u")).await;
        assert_eq!(answer.code(), "idempotency_key_in_use", "after {wait} s");
        let other = start(&app, &app.router, "key-1", &body("v")).await;
        assert_eq!(other.code(), "idempotency_key_reused", "after {wait} s");
    }
    app.advance(1);
    assert!(is_first(&start(&app, &app.router, "key-1", &body("u")).await));
    assert!(!is_first(&start(&app, &app.replica(), "key-1", &body("u")).await));
    app.finish().await;
}

/// Commits a start as the handler does.
async fn commit(app: &TestApp, claim: &Claim, number: u64) -> bool {
    let tenant: TenantId = "acme".parse().unwrap();
    let start = Start {
        sub: "u".to_owned(),
        provider: "github".parse().unwrap(),
        integration: "github-dev".parse().unwrap(),
        scopes: Vec::new(),
        metadata: json!({}),
        return_url: None,
    };
    let answer = Kept { status: 201, headers: Vec::new(), body: number.to_string().into_bytes() };
    let new = NewConnection {
        tenant: &tenant,
        id: ConnectionId::from_parts(number, &[0; 10]),
        attempt: NewAttempt {
            id: AttemptId::from_parts(number, &[0; 10]),
            state: &number.to_string(),
            deadline_at: app.clock.now(),
            cookie: None,
            return_url: None,
        },
        start: &start,
        at: app.clock.now(),
        actor: Actor::Service,
        request_id: None,
        settles: Some(Settled::Call { claim, answer: &answer }),
    };
    app.store.start(new).await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_process_that_lost_its_lease_keeps_nothing(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let Claimed::Ours(slow) = claim(&app, &body("u")).await else { panic!("it was free") };
    app.advance(60);
    let Claimed::Ours(quick) = claim(&app, &body("u")).await else { panic!("it was over") };
    assert!(!commit(&app, &slow, 1).await);
    // Nor does it give up what is another's by now.
    app.store.release_call(&slow, app.clock.now()).await.unwrap();
    assert!(commit(&app, &quick, 2).await);
    assert!(!commit(&app, &slow, 3).await);
    assert!(!commit(&app, &quick, 4).await, "an answer is given once");
    app.store.release_call(&quick, app.clock.now()).await.unwrap();
    let Claimed::Repeat(answer) = claim(&app, &body("u")).await else { panic!("it was answered") };
    assert_eq!(answer.body, b"2");
    assert_eq!(connections(&app).await, 1);
    // Its attempt is long over.
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_call_that_failed_may_be_repeated(pool: PgPool) {
    let app = TestApp::start(pool).await;
    app.nango.make_trouble(Trouble::Unavailable);
    for _ in 0..2 {
        let failed = start(&app, &app.router, "key-1", &body("u")).await;
        assert_eq!(failed.code(), "vault_unavailable");
    }
    app.nango.make_trouble(Trouble::None);
    // A call that was refused changed nothing either, and its key is free for the call that was meant.
    let refused =
        start(&app, &app.router, "key-1", &json!({"sub": "u", "provider": "gitlab"})).await;
    assert_eq!(refused.code(), "invalid_request");
    let refused =
        start(&app, &app.router, "key-1", &json!({"sub": "u", "provider": "slack"})).await;
    assert_eq!(refused.code(), "provider_unavailable");
    assert!(is_first(&start(&app, &app.router, "key-1", &body("u")).await));
    assert!(!is_first(&start(&app, &app.router, "key-1", &body("u")).await));
    assert_eq!(connections(&app).await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_answer_is_kept_for_a_day_and_then_forgotten(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let first = start(&app, &app.router, "key-1", &body("u")).await;
    start(&app, &app.router, "key-2", &body("v")).await;
    app.advance(24 * 3600 - 1);
    app.outbox.forget_once().await.unwrap();
    assert_eq!(start(&app, &app.router, "key-1", &body("u")).await.body, first.body);
    app.advance(1);
    // Over is over, removed or not.
    assert!(is_first(&start(&app, &app.router, "key-1", &body("w")).await));
    let kept = "SELECT count(*) FROM idempotency_keys";
    assert_eq!(app.count(kept).await, 2);
    app.outbox.forget_once().await.unwrap();
    assert_eq!(app.count(kept).await, 1);
    assert!(!is_first(&start(&app, &app.router, "key-1", &body("w")).await));
    // The first attempts are long over.
    app.outbox.run_once().await.unwrap();
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn who_hangs_up_finds_the_answer_later(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let body = body("u");
    let mut call = Box::pin(start(&app, &app.router, "key-1", &body));
    assert!(futures::poll!(&mut call).is_pending());
    drop(call);
    // The call is on its own now; whoever asks is told that it is carried out, until it is.
    let mut answer = start(&app, &app.router, "key-1", &body).await;
    for _ in 0..10_000 {
        if answer.status == StatusCode::CREATED {
            break;
        }
        assert_eq!(answer.code(), "idempotency_key_in_use");
        answer = start(&app, &app.router, "key-1", &body).await;
    }
    assert!(!is_first(&answer));
    assert_eq!(connections(&app).await, 1);
    app.finish().await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn what_is_no_key_is_refused_before_anything_is_done(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let calls = app.nango.api_calls();
    let long = "k".repeat(256);
    for key in ["", "\"", "\"a\";p=1", "\"\"", &long] {
        let answer = start(&app, &app.router, key, &body("u")).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{key:?}");
        assert!(answer.json()["detail"].as_str().unwrap().starts_with("Idempotency-Key must"));
    }
    let mut twice = request(&app, &caller("acme", Action::Connect), "a", &body("u"));
    twice.headers_mut().append("idempotency-key", "a".parse().unwrap());
    assert_eq!(app.send_raw(twice).await.status, StatusCode::BAD_REQUEST);
    let large = start(&app, &app.router, "key-1", &body(&"u".repeat(70_000))).await;
    assert_eq!(large.code(), "body_too_large");
    assert_eq!((connections(&app).await, app.nango.api_calls()), (0, calls));
    app.finish().await;
}
