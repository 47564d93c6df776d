//! The stand-in answers like the recorded Nango: each recorded request is sent to it, with the names of
//! the recording replaced by the stand-in's, and the answers are compared.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test may stop at the first surprise"
)]

mod world;

use contract::nango::Webhook;
use nango_stand_in::{Excess, Mood, Trouble};
use reqwest::StatusCode;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};
use url::Url;
use world::{Answer, PROFILE_KEY, RECORDED_CONNECTION, SECRET_KEY, World, recorded_answer};

/// Everything that is the same in two JSON documents of one kind: names and kinds of members.
fn shape(value: &Value, path: &str, shapes: &mut BTreeSet<String>) {
    match value {
        Value::Null => drop(shapes.insert(format!("{path}: null"))),
        Value::Bool(_) => drop(shapes.insert(format!("{path}: bool"))),
        Value::Number(_) => drop(shapes.insert(format!("{path}: number"))),
        Value::String(_) => drop(shapes.insert(format!("{path}: string"))),
        Value::Array(items) => {
            for item in items {
                shape(item, &format!("{path}[]"), shapes);
            }
        }
        Value::Object(members) => {
            for (name, item) in members {
                shape(item, &format!("{path}.{name}"), shapes);
            }
        }
    }
}

/// Members that hold what the caller said, or what this stand-in does not keep of end users.
fn is_common(shape: &str) -> bool {
    !shape.contains(".tags") && !shape.contains(".end_user") && !shape.contains(".endUser")
}

#[track_caller]
fn check_same_shape(ours: &Value, recorded: &Value, name: &str) {
    let [mut ours_shape, mut recorded_shape] = [BTreeSet::new(), BTreeSet::new()];
    shape(ours, "", &mut ours_shape);
    shape(recorded, "", &mut recorded_shape);
    ours_shape.retain(|shape| is_common(shape));
    recorded_shape.retain(|shape| is_common(shape));
    assert_eq!(ours_shape, recorded_shape, "{name}");
}

#[track_caller]
fn check_same_kind(ours: &Answer, recorded: &Answer, name: &str) {
    assert_eq!(ours.status, recorded.status, "{name}: {}", ours.body);
    assert_eq!(ours.header("content-type"), recorded.header("content-type"), "{name}");
}

#[tokio::test]
async fn every_refusal_is_the_recorded_one_to_the_last_byte() {
    let world = World::start(false).await;
    let token = world.session().await;
    let connection = world.connect().await;
    let session_69 =
        "nango_connect_session_089f7757db0670cbd8a007702f2da884ce0217d8d994e9fe9e809e8e02c98f86";
    let session_80 =
        "nango_connect_session_067b6c013f7504e575a8232bb2587ad560a8cf526315ac7a9dd1aa2cb493fd6e";
    let with_token: &[(&str, &str)] = &[(session_69, &token)];
    let with_session_80: &[(&str, &str)] = &[(session_80, &token)];
    let with_connection: &[(&str, &str)] = &[(RECORDED_CONNECTION, &connection)];
    let by_profile_key: &[(&str, &str)] = &[(SECRET_KEY, PROFILE_KEY)];
    let both: &[(&str, &str)] = &[(SECRET_KEY, PROFILE_KEY), (RECORDED_CONNECTION, &connection)];
    for (name, names) in [
        ("42-proxy-unknown-connection", by_profile_key),
        ("43-proxy-missing-headers", by_profile_key),
        ("44-proxy-unknown-integration", both),
        ("60-bad-secret-key-uuid", &[]),
        ("61-bad-secret-key-not-uuid", &[]),
        ("62-no-authorization-header", &[]),
        ("63-malformed-authorization-header", &[]),
        ("64-session-create-unknown-integration", &[]),
        ("65-session-create-no-end-user", &[]),
        ("66-session-create-extra-field", &[]),
        ("67-session-create-bad-json", &[]),
        ("70-oauth-connect-invalid-token", &[]),
        ("71-oauth-connect-malformed-token", &[]),
        ("72-oauth-connect-no-token", &[]),
        ("74-oauth-connect-with-connection-id", with_token),
        ("80-oauth-connect-integration-not-allowed", with_session_80),
        ("81-connection-get-unknown", &[]),
        ("82-connection-get-unknown-integration", with_connection),
        ("83-connection-get-missing-pck", with_connection),
        ("84-connection-delete-unknown", &[]),
        ("85-connection-delete-missing-pck", with_connection),
        ("99-reconnect-unknown-connection", &[]),
        ("9a-reconnect-unknown-integration", with_connection),
    ] {
        let ours = world.replay(name, names).await;
        let recorded = recorded_answer(name);
        check_same_kind(&ours, &recorded, name);
        assert_eq!(ours.json(), recorded.json(), "{name}");
    }
}

#[tokio::test]
async fn every_success_has_the_recorded_members() {
    let world = World::start(false).await;
    let connection = world.connect().await;
    let with_connection: &[(&str, &str)] = &[(RECORDED_CONNECTION, &connection)];
    let proxied: &[(&str, &str)] = &[(SECRET_KEY, PROFILE_KEY), (RECORDED_CONNECTION, &connection)];
    for (name, names) in [
        ("01-health", [].as_slice()),
        ("11-rotate-webhook-signing-key", &[]),
        ("20-connect-session-create", &[]),
        ("69-session-create-tags-only", &[]),
        ("90-reconnect-session-create", with_connection),
        ("95-reconnect-session-create-with-tags", with_connection),
        ("34-connections-list", &[]),
        ("35-connections-list-by-id", with_connection),
        ("37-connections-list-by-tags", &[]),
        ("38-connections-list-none", &[]),
        ("d0-connection-delete", with_connection),
    ] {
        let ours = world.replay(name, names).await;
        let recorded = recorded_answer(name);
        check_same_kind(&ours, &recorded, name);
        check_same_shape(&ours.json(), &recorded.json(), name);
    }
    let failing = world.connect().await;
    assert!(world.nango.fail_refresh(&failing, true));
    let with_failing: &[(&str, &str)] = &[("e6ad5b73-6191-4534-9d50-9941122d370d", &failing)];
    let name = "b6-connections-list-with-errors";
    let ours = world.replay(name, with_failing).await;
    check_same_shape(&ours.json(), &recorded_answer(name).json(), name);
    let again = world.replay("d2-connection-delete-twice", with_connection).await;
    assert_eq!(again.json(), recorded_answer("d2-connection-delete-twice").json());
    let gone = world.replay("40-proxy-user", proxied).await;
    assert_eq!(gone.json(), recorded_answer("42-proxy-unknown-connection").json());
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_which() {
    let world = World::start(false).await;
    let connection = world.connect().await;
    let refused = world.replay("40-proxy-user", &[(RECORDED_CONNECTION, &connection)]).await;
    assert_eq!(refused.status, 403);
    assert_eq!(
        refused.json()["error"]["message"],
        "Insufficient scope. Required: environment:proxy"
    );
    let names = [(SECRET_KEY, PROFILE_KEY), (RECORDED_CONNECTION, connection.as_str())];
    let proxied = world.replay("40-proxy-user", &names).await;
    assert_eq!((proxied.status, &proxied.json()["login"]), (200, &Value::from("octocat")));
}

#[tokio::test]
async fn a_main_key_with_too_many_scopes_is_answered_as_recorded() {
    let world = World::start(false).await;
    let ask = async |path: &str| {
        let url = format!("{}{path}", world.nango.url());
        let answer = world.http.get(url).bearer_auth(SECRET_KEY).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let unknown = "/connections/00000000-0000-4000-8000-000000000000?provider_config_key=github";
    let refreshed = format!("{unknown}&force_refresh=true");
    let (status, refused) = ask(&refreshed).await;
    assert_eq!((status, &refused["error"]["code"]), (403, &Value::from("forbidden")));
    assert_eq!(ask(unknown).await.0, 404);
    world.nango.let_main_key(Excess { reads_credentials: true, proxies: true });
    assert_eq!(ask(&refreshed).await, (404, recorded_answer("81-connection-get-unknown").json()));
    let ours = world.replay("43-proxy-missing-headers", &[]).await;
    assert_eq!(ours.json(), recorded_answer("43-proxy-missing-headers").json());
}

#[tokio::test]
async fn the_browser_is_sent_off_as_recorded() {
    let world = World::start(false).await;
    let token = world.session().await;
    let recorded_token =
        "nango_connect_session_b634adced658a71ac60da77c2fb71041f43ce1dfb3989aa1f44cd5c2fc19fd3c";
    let ours = world.replay("22-oauth-connect", &[(recorded_token, &token)]).await;
    let recorded = recorded_answer("22-oauth-connect");
    check_same_kind(&ours, &recorded, "22");
    let [ours_url, recorded_url] =
        [&ours, &recorded].map(|answer| answer.header("location").unwrap().parse::<Url>().unwrap());
    assert_eq!(ours_url.path(), recorded_url.path());
    let names =
        |url: &Url| url.query_pairs().map(|(name, _)| name.into_owned()).collect::<Vec<_>>();
    assert_eq!(names(&ours_url), names(&recorded_url));
    for name in ["response_type", "client_id", "redirect_uri", "scope", "code_challenge_method"] {
        let value =
            |url: &Url| url.query_pairs().find(|(key, _)| key == name).map(|(_, v)| v.into_owned());
        assert_eq!(value(&ours_url), value(&recorded_url), "{name}");
    }
    let state = ours_url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let cookie = ours.header("set-cookie").unwrap();
    assert!(cookie.starts_with(&format!("oauth2-{state}=1; Max-Age=3600; Path=/;")), "{cookie}");
    world.nango.expire_sessions();
    let expired = world.replay("22-oauth-connect", &[(recorded_token, &token)]).await;
    assert_eq!(expired.json(), recorded_answer("75-oauth-connect-expired-session").json());
}

/// The error that is embedded in a page.
fn page_error(answer: &Answer) -> Value {
    let (_, rest) = answer
        .body
        .split_once("embedded error: ")
        .or_else(|| answer.body.split_once("window.__nangoOAuthError = "))
        .unwrap_or_else(|| panic!("no error in {}", answer.body));
    let end = rest.find(";</script>").unwrap_or(rest.len());
    serde_json::from_str(rest.split_at(end).0).unwrap()
}

#[tokio::test]
async fn every_failed_callback_shows_the_recorded_error() {
    let world = World::start(false).await;
    for name in ["54-callback-unknown-state", "55-callback-no-state", "56-callback-garbage-state"] {
        let ours = world.replay(name, &[]).await;
        let recorded = recorded_answer(name);
        check_same_kind(&ours, &recorded, name);
        assert_eq!(page_error(&ours), page_error(&recorded), "{name}");
    }
    let token = world.session().await;
    let session_69 =
        "nango_connect_session_089f7757db0670cbd8a007702f2da884ce0217d8d994e9fe9e809e8e02c98f86";
    let name = "73-oauth-connect-unknown-integration";
    let ours = world.replay(name, &[(session_69, &token)]).await;
    check_same_kind(&ours, &recorded_answer(name), name);
    assert_eq!(page_error(&ours), page_error(&recorded_answer(name)));
    world.nango.provider().be(Mood::RefusesCodes);
    let query = world.consent("allow").await;
    let name = "59-token-exchange-fails-callback";
    let recorded_query = "code=37a603493e5087a8b9c6&state=b6979020-e659-11f1-839d-df0755afc21a";
    let ours = world.replay(name, &[(recorded_query, &query)]).await;
    check_same_kind(&ours, &recorded_answer(name), name);
    assert_eq!(page_error(&ours), page_error(&recorded_answer(name)));
    assert_eq!(world.nango.connection_ids(), Vec::<String>::new());
}

#[tokio::test]
async fn a_state_is_good_for_one_callback_whatever_came_of_it() {
    let world = World::start(false).await;
    let denied = world.consent("deny").await;
    assert!(denied.contains("error=access_denied"), "{denied}");
    let state = denied.split("state=").nth(1).unwrap();
    let recorded_state = "b464d1a0-e659-11f1-839d-df0755afc21a";
    let ours = world.replay("52-denied-oauth-callback", &[(recorded_state, state)]).await;
    let recorded = recorded_answer("52-denied-oauth-callback");
    check_same_kind(&ours, &recorded, "52");
    let again = world.replay("52-denied-oauth-callback", &[(recorded_state, state)]).await;
    let message = page_error(&again)["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with("No session found for state"), "{message}");
}

#[tokio::test]
async fn a_callback_without_nangos_cookie_is_refused_where_that_is_enforced() {
    let world = World::start(true).await;
    let query = world.consent("allow").await;
    let recorded_query = "code=ffcc871b8461d24e99e7&state=f562bd10-e65a-11f1-bd88-03e1715d7d21";
    let name = "f0-callback-cookie-enforced-missing";
    let ours = world.replay(name, &[(recorded_query, &query)]).await;
    check_same_kind(&ours, &recorded_answer(name), name);
    assert_eq!(page_error(&ours), page_error(&recorded_answer(name)));
    let query = world.consent("allow").await;
    let state = query.split("state=").nth(1).unwrap().to_owned();
    let url = format!("{}/oauth/callback?{query}", world.nango.url());
    let cookie = format!("oauth2-{state}=1");
    let answer = world.http.get(url).header("cookie", cookie).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn trouble_is_answered_as_nango_answers_it() {
    let world = World::start(false).await;
    world.connect().await;
    world.nango.make_trouble(Trouble::RateLimited);
    let limited = world.replay("34-connections-list", &[]).await;
    assert_eq!((limited.status, limited.header("retry-after")), (429, Some("1")));
    assert_eq!(limited.json()["error"]["code"], "too_many_request");
    world.nango.make_trouble(Trouble::Unavailable);
    assert_eq!(world.replay("34-connections-list", &[]).await.status, 503);
    world.nango.make_trouble(Trouble::Lagging);
    let empty = world.replay("34-connections-list", &[]).await;
    assert_eq!(empty.json(), recorded_answer("38-connections-list-none").json());
}

#[tokio::test]
async fn every_answer_says_what_is_left_of_the_minute_and_too_many_calls_are_refused() {
    let world = World::start(false).await;
    let name = "34-connections-list";
    let recorded = recorded_answer(name);
    let mut left = Vec::new();
    for _ in 0..200 {
        let ours = world.replay(name, &[]).await;
        assert_eq!(ours.status, 200);
        let limit = "x-ratelimit-limit";
        assert_eq!(ours.header(limit), recorded.header(limit));
        let reset = ours.header("x-ratelimit-reset").unwrap();
        assert_eq!(reset.len(), recorded.header("x-ratelimit-reset").unwrap().len());
        left.push(ours.header("x-ratelimit-remaining").unwrap().parse::<u32>().unwrap());
    }
    assert_eq!(left, (0..200).rev().collect::<Vec<_>>());
    let refused = world.replay(name, &[]).await;
    assert_eq!((refused.status, refused.header("x-ratelimit-remaining")), (429, Some("0")));
    assert_eq!(refused.json()["error"]["code"], "too_many_request");
    let wait: u32 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!(wait <= 60, "{wait}");
    // What browsers call is not counted, and what is called with a session's token is counted apart.
    assert_eq!(world.replay("55-callback-no-state", &[]).await.status, 400);
    let other = world.replay("71-oauth-connect-malformed-token", &[]).await;
    assert_eq!((other.status, other.header("x-ratelimit-remaining")), (401, Some("199")));
    world.nango.take_calls_per_minute(100_000);
    assert_eq!(world.replay(name, &[]).await.status, 200);
}

#[tokio::test]
async fn webhooks_have_the_recorded_members_in_the_recorded_order() {
    use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
    use tokio::sync::mpsc;
    type Sent = (HeaderMap, Bytes);
    let (sender, mut taken) = mpsc::unbounded_channel::<Sent>();
    let take = |State(sender): State<mpsc::UnboundedSender<Sent>>, headers, body| async move {
        sender.send((headers, body)).unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let router = Router::new().route("/hooks", post(take)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let world = World::start(false).await;
    world.nango.send_webhooks_to(url);

    world.connect().await;
    check_webhook(&taken.recv().await.unwrap(), "w05-creation-success-after-session-expired");
    let connection = world.nango.connection_ids().pop().unwrap();
    world.nango.fail_refresh(&connection, true);
    check_webhook(&taken.recv().await.unwrap(), "w50-refresh-failed-with-tags");
    world.nango.fail_refresh(&connection, false);
    check_webhook(&taken.recv().await.unwrap(), "w51-refresh-recovered-success-true");
    // None was recorded. Nango's source has the members of a recovery, by another name.
    world.nango.delete_in_dashboard(&connection);
    let (headers, deleted) = taken.recv().await.unwrap();
    let deleted = String::from_utf8(deleted.to_vec()).unwrap();
    let as_refresh = deleted.replace(r#""operation":"deletion""#, r#""operation":"refresh""#);
    assert_ne!(as_refresh, deleted);
    check_webhook(&(headers, as_refresh.into()), "w51-refresh-recovered-success-true");
    let query = world.consent("deny").await;
    let callback = format!("{}/oauth/callback?{query}", world.nango.url());
    world.http.get(callback).send().await.unwrap();
    check_webhook(&taken.recv().await.unwrap(), "w02-creation-failed-access-denied");
    world.nango.provider().be(Mood::RefusesCodes);
    let query = world.consent("allow").await;
    let callback = format!("{}/oauth/callback?{query}", world.nango.url());
    world.http.get(callback).send().await.unwrap();
    check_webhook(&taken.recv().await.unwrap(), "w03-creation-failed-token-exchange");
}

#[track_caller]
fn check_webhook((headers, body): &(axum::http::HeaderMap, axum::body::Bytes), name: &str) {
    let folder = "../../contract/fixtures/nango-0.71.4/webhooks";
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let recorded = fs::read_to_string(path.join(format!("{name}.http"))).unwrap();
    let (head, recorded_body) = recorded.split_once("\r\n\r\n").unwrap();
    for line in head.lines().skip(1) {
        let (name, _) = line.split_once(": ").unwrap();
        let is_ours = ["X-Nango-Signature", "X-Nango-Hmac-Sha256", "Content-Type"].contains(&name);
        assert!(!is_ours || headers.contains_key(name), "{name}");
    }
    let ours: Value = serde_json::from_slice(body).unwrap();
    let recorded: Value = serde_json::from_str(recorded_body).unwrap();
    check_same_shape(&ours, &recorded, name);
    // Nango sorts the members of every object, and the signature covers that order.
    assert_eq!(ours.to_string().as_bytes(), body.as_ref(), "{name}");
    assert_eq!(recorded.to_string(), recorded_body, "{name}");
    assert!(matches!(contract::nango::read(body), Webhook::Auth(_)));
}
