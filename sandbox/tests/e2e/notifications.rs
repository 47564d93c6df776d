//! Notifications, as a receiver sees them that verifies with the official library of another language.

use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{
    browser::Decision,
    client_app::Received,
    tools::standard_webhooks::{Case, judge},
};

#[tokio::test]
async fn the_official_library_takes_every_delivery_and_no_forged_or_old_one() {
    let world = World::start().await;
    let stack = &world.stack;
    let started = start(stack).await;
    assert_eq!(authorize(stack, &started, Decision::Allow).await, 200);
    notified(stack, 1).await;
    let id = started["connectionId"].as_str().unwrap();
    let url = stack.edge(&format!("/tenants/acme/connections/{id}"));
    stack.http.delete(url).send().await.unwrap();
    notified(stack, 2).await;
    let test = stack.http.post(stack.edge("/tenants/acme/destination/test")).send().await.unwrap();
    let report: serde_json::Value = test.json().await.unwrap();
    assert_eq!(
        (&report["outcome"], &report["tls"]["version"]),
        (&"delivered".into(), &"1.3".into())
    );
    let secret = &stack.control_settings.environment["NOTIFICATION_SIGNING_SECRET"];
    let case =
        |Received { headers, body }: Received| Case { secret: secret.clone(), headers, body };
    let received: Vec<Case> = stack.app().unwrap().received().into_iter().map(case).collect();
    assert!(received.len() >= 3, "{received:?}");
    assert_eq!(judge(&received).await.unwrap(), vec!["taken"; received.len()]);

    let good = received[0].clone();
    let mut changed = good.clone();
    changed.body = changed.body.replacen("acme", "acmf", 1);
    let mut renamed = good.clone();
    renamed.headers.insert("webhook-id".to_owned(), "another".to_owned());
    let mut strange = good.clone();
    strange.secret = sandbox::secrets::signing_secret();
    // Rightly signed, ten minutes ago.
    let mut old = good.clone();
    let timestamp: i64 = good.headers["webhook-timestamp"].parse::<i64>().unwrap() - 600;
    let signature = standardwebhooks::Webhook::new(secret)
        .unwrap()
        .sign(&good.headers["webhook-id"], timestamp, good.body.as_bytes())
        .unwrap();
    old.headers.insert("webhook-timestamp".to_owned(), timestamp.to_string());
    old.headers.insert("webhook-signature".to_owned(), signature);
    let said = judge(&[good, changed, renamed, strange, old]).await.unwrap();
    assert_eq!(said[0], "taken");
    assert!(said[1..4].iter().all(|why| why == "No matching signature found"), "{said:?}");
    assert_eq!(said[4], "Message timestamp too old");
    world.finish().await;
}
