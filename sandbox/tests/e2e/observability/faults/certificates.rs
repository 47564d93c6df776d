//! Certificates that end, that have ended, and that cannot be used.

use super::{SOON, Stack, Watch};
use crate::{
    flow::{authorize, notified, start},
    support::World,
};
use sandbox::{
    browser::Decision,
    client_app::Mood,
    envoy::configuration::replace,
    pki::{Identity, Name, Pki},
    process::wait_for,
};
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_hours(24);

/// The waits between tries: longer than a connection to a receiver rests, so that each try shakes hands anew.
const SCHEDULE: &str = "6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s,6s";

const CONTROL: [Name<'_>; 3] = [Name::Dns("control"), Name::Dns("localhost"), Name::Loopback];

/// One that ends after so long.
#[expect(clippy::disallowed_methods, reason = "a certificate ends by the real clock")]
fn ending(pki: &Pki, names: &[Name<'_>], after: Duration) -> Identity {
    pki.service.issue_until("it", names, SystemTime::now() + after).unwrap()
}

fn put_controls(pki: &Pki, identity: &Identity) {
    replace(&pki.path("control.crt"), &identity.certificate_pem).unwrap();
    replace(&pki.path("control.key"), &identity.key_pem).unwrap();
}

#[tokio::test]
async fn certificates_that_end_or_cannot_be_used_raise_their_alerts() {
    let mut world = World::start().await;
    let stack = &mut world.stack;
    let environment = &mut stack.control_settings.environment;
    environment.insert("DELIVERY_SCHEDULE".to_owned(), SCHEDULE.to_owned());
    stack.kill_control().await.unwrap();
    stack.start_control().await.unwrap();
    let watch = Watch::start(&world, Stack::Certificates).await;
    let stack = &world.stack;
    let idle = async || ();
    let pki = &stack.pki;

    put_controls(pki, &ending(pki, &CONTROL, 10 * DAY));
    let server = [Name::Dns("localhost"), Name::Loopback];
    let put_servers = |identity: &Identity| {
        let tls = stack.envoy.folder.join("tls");
        replace(&tls.join("server.crt"), &identity.certificate_pem).unwrap();
        replace(&tls.join("server.key"), &identity.key_pem).unwrap();
    };
    put_servers(&ending(pki, &server, 10 * DAY));
    let ends = ["ConnectionsCertificateEnds", "ConnectionsEdgeCertificateEnds"];
    watch.raises(&ends, idle).await;
    // Half of a renewal.
    let next = ending(pki, &CONTROL, 100 * DAY);
    replace(&pki.path("control.crt"), &next.certificate_pem).unwrap();
    let unusable = ["ConnectionsCertificateFilesUnusable"];
    watch.raises(&unusable, idle).await;
    replace(&pki.path("control.key"), &next.key_pem).unwrap();
    put_servers(&ending(pki, &server, 100 * DAY));
    watch.ends(&unusable, idle).await;
    watch.ends(&ends, idle).await;

    // Nobody renewed it in time. Its end is no reason for a receiver to be called faulty.
    let app = stack.app().unwrap();
    app.be(Mood::Refuses);
    let started = start(stack).await;
    authorize(stack, &started, Decision::Allow).await;
    wait_for("nobody tries to notify", SOON, || async { Ok((app.refused() > 0).then_some(())) })
        .await
        .unwrap();
    put_controls(pki, &ending(pki, &CONTROL, Duration::from_secs(4)));
    let ours = ["ConnectionsDeliveriesOurFault"];
    watch.raises(&ours, idle).await;
    app.be(Mood::Takes);
    put_controls(pki, &ending(pki, &CONTROL, 100 * DAY));
    notified(stack, 1).await;
    watch.ends(&ours, idle).await;
    watch.finish().await;
    world.finish().await;
}
