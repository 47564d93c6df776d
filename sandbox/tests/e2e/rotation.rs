//! Everything that an operator renews, renewed under load: no valid request fails, and what was taken out
//! is refused on connections that are open.

use crate::{
    load::{self, Load, Proofs},
    scenarios::judge::check_vouched,
    support::{Edge, Http, Prepared},
    wire::{self, Message, Wire},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sandbox::{
    envoy::configuration::{self, replace},
    pki::{APP, Authority, Identity, Name},
    process::wait_for,
    say, secrets,
};
use serde_json::{Value, json};
use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// About a second is promised; a busy machine is given more.
const SOON: Duration = Duration::from_secs(5);

/// An edge under load, with limits that the load does not reach.
struct Rotation {
    edge: Arc<Edge>,
    load: Load,
    /// Connections that stay open the whole time, so that every worker of Envoy has some.
    open: Vec<Wire>,
    open_public: Vec<Wire>,
}

impl Rotation {
    async fn start() -> Self {
        let prepared = Prepared::new().await;
        prepared.adjust(configuration::raise_limits);
        let edge = Arc::new(prepared.start().await);
        let app = Arc::new(app(&edge.pki.clients));
        let addresses = edge.envoy.addresses;
        let (mut open, mut open_public) = (Vec::new(), Vec::new());
        for http in [Http::BOTH; 4].concat() {
            let wire = Wire::connect(&edge.pki, addresses.clients, http, Some(&app));
            open.push(wire.await.unwrap());
            let wire = Wire::connect(&edge.pki, addresses.public, http, None);
            open_public.push(wire.await.unwrap());
        }
        let webhook_key = edge.webhook_keys.clone();
        let load = Load::start(&edge, Proofs { identity: app, webhook_key });
        load.goes_on().await;
        Self { edge, load, open, open_public }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.edge.envoy.folder.join(name)
    }

    fn policy(&self, grants: &Value) {
        let policy = json!({
            "version": "2", "listener": "clients", "grants": grants,
            "assertionKeys": { "filterState": "edge.assertion_keys" },
            "identity": { "certificate": { "names": ["uri", "dns"] } },
        });
        let folder = &self.edge.envoy.folder;
        configuration::replace_policy(folder, "clients", &policy.to_string()).unwrap();
    }

    async fn finish(self) {
        self.load.goes_on().await;
        let (sent, failed) = self.load.finish().await;
        say::line(&format!("{sent} requests meanwhile, {} failed", failed.len()));
        assert_eq!(failed, [] as [String; 0]);
        assert!(sent > 400, "only {sent} requests");
    }
}

fn app(authority: &Authority) -> Identity {
    authority.issue("app", &[Name::Uri(APP)]).unwrap()
}

/// Waits until each of these connections gets this status, and says how long that took.
async fn all_get(open: &mut [Wire], message: &Message, status: u16, what: &str) {
    let began = Instant::now();
    for wire in open {
        while wire.send(message).await.unwrap().status != status {
            assert!(began.elapsed() < SOON, "{what}: not {status} after {SOON:?}");
        }
    }
    say::line(&format!("{what}: {status} on every open connection after {:?}", began.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_policy_changes_under_load() {
    let mut rotation = Rotation::start().await;
    let acme = json!({ "principal": APP, "tenants": ["acme"], "actions": ["read"] });
    let beta = json!({ "principal": APP, "tenants": ["beta"], "actions": ["read"] });
    let of_beta = Message::new("GET", "/tenants/beta/connections/1");
    all_get(&mut rotation.open, &of_beta, 403, "before").await;
    rotation.policy(&json!([acme, beta]));
    all_get(&mut rotation.open, &of_beta, 200, "a grant is given").await;
    rotation.policy(&json!([acme]));
    all_get(&mut rotation.open, &of_beta, 403, "a grant is revoked").await;
    // What does not load changes nothing, and raises a counter.
    rotation.policy(&json!([acme, beta, { "principal": APP, "everything": true }]));
    wait_for("the refusal is not counted", SOON, || async {
        let rejected = rotation.edge.counted("http_filter_edge_clients_update_rejected").await;
        Ok((rejected > 0).then_some(()))
    })
    .await
    .unwrap();
    all_get(&mut rotation.open, &of_beta, 403, "a policy that does not load opens nothing").await;
    rotation.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_key_changes_under_load() {
    let mut rotation = Rotation::start().await;
    let (old, new) = (rotation.edge.webhook_keys.clone(), secrets::nango_key());
    let file = rotation.file("secrets/webhook-keys");
    let by = |key: &str| load::webhook(key);
    replace(&file, &format!("new:{new},1:{old}\n")).unwrap();
    all_get(&mut rotation.open_public, &by(&new), 200, "a webhook key is added").await;
    rotation.load.change(|proofs| proofs.webhook_key.clone_from(&new)).await;
    replace(&file, &format!("new:{new}\n")).unwrap();
    all_get(&mut rotation.open_public, &by(&old), 401, "a webhook key is removed").await;
    rotation.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_key_changes_under_load() {
    let mut rotation = Rotation::start().await;
    let (old, new) = (rotation.edge.assertion_keys.clone(), secrets::hex());
    let file = rotation.file("secrets/assertion-keys");
    let signed_by = |edge: &Edge, id: &str| {
        let made = edge.recorder.records();
        let id = format!("v1,{id},");
        let made =
            made.iter().filter(|seen| seen.all("x-connections-assertion")[0].starts_with(&id));
        made.count()
    };
    replace(&file, &format!("new:{new},1:{old}\n")).unwrap();
    wait_for("the new key signs nothing", SOON, || async {
        Ok((signed_by(&rotation.edge, "new") > 100).then_some(()))
    })
    .await
    .unwrap();
    replace(&file, &format!("new:{new}\n")).unwrap();
    all_get(&mut rotation.open, &load::call(), 200, "an assertion key is replaced").await;
    assert!(signed_by(&rotation.edge, "1") > 0, "the old key signed");
    let made_before = rotation.edge.recorder.records().len();
    rotation.load.goes_on().await;
    // Control, with both, believes every one of them; and by now it needs the new one only.
    let keys = [format!("new:{new},1:{old}"), format!("new:{new}\n")];
    for (index, recorded) in rotation.edge.recorder.records().iter().enumerate() {
        let one = |name| recorded.all(name).first().copied();
        let told = (one("x-connections-principal"), one("x-connections-tenant"));
        check_vouched(&keys[usize::from(index >= made_before)], recorded, told).unwrap();
    }
    rotation.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_certificate_changes_under_load() {
    let rotation = Rotation::start().await;
    let edge = &rotation.edge;
    let names = [Name::Dns("localhost"), Name::Loopback];
    let next = edge.pki.service.issue("server", &names).unwrap();
    // One after the other, as nobody can rename two files at once.
    replace(&rotation.file("tls/server.crt"), &next.certificate_pem).unwrap();
    replace(&rotation.file("tls/server.key"), &next.key_pem).unwrap();
    let began = Instant::now();
    wait_for("the old certificate is shown", SOON, || async {
        let mut shown = Vec::new();
        for address in [edge.envoy.addresses.clients, edge.envoy.addresses.public] {
            let app = app(&edge.pki.clients);
            let stream = wire::tls(&edge.pki, address, &[], Some(&app)).await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            shown.extend(chain.first().map(|certificate| certificate.to_vec()));
        }
        let next = CertificateDer::from_pem_slice(next.certificate_pem.as_bytes())?.to_vec();
        Ok((shown == [next.clone(), next]).then_some(()))
    })
    .await
    .unwrap();
    say::line(&format!("a server certificate is replaced: shown after {:?}", began.elapsed()));
    rotation.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_ca_changes_under_load() {
    let rotation = Rotation::start().await;
    let edge = &rotation.edge;
    let next = Authority::new("sandbox clients CA 2").unwrap();
    let (old_app, next_app) = (app(&edge.pki.clients), app(&next));
    let file = rotation.file("tls/clients-ca.crt");
    let answered = async |identity: &Identity| {
        let address = edge.envoy.addresses.clients;
        let mut wire = Wire::connect(&edge.pki, address, Http::One, Some(identity)).await?;
        wire.send(&load::call()).await
    };
    assert!(answered(&next_app).await.is_err());
    replace(&file, &format!("{}{}", edge.pki.clients.certificate_pem, next.certificate_pem))
        .unwrap();
    wait_for("the new CA is not trusted", SOON, || async {
        Ok(answered(&next_app).await.is_ok().then_some(()))
    })
    .await
    .unwrap();
    let next_app = Arc::new(next_app);
    rotation.load.change(|proofs| proofs.identity = Arc::clone(&next_app)).await;
    replace(&file, &next.certificate_pem).unwrap();
    let began = Instant::now();
    wait_for("the old CA is trusted still", SOON, || async {
        Ok(answered(&old_app).await.is_err().then_some(()))
    })
    .await
    .unwrap();
    say::line(&format!("a client CA is removed: refused after {:?}", began.elapsed()));
    assert_eq!(answered(&next_app).await.unwrap().status, 200);
    rotation.finish().await;
}

/// Envoy is live before its filter has a policy; nothing may pass meanwhile.
#[tokio::test]
async fn a_start_with_a_policy_that_does_not_load_opens_nothing_until_it_is_mended() {
    let prepared = Prepared::new().await;
    let folder = prepared.envoy_folder();
    let good = configuration::policy(&folder, "clients").unwrap();
    configuration::replace_policy(&folder, "clients", r#"{"version":"1"}"#).unwrap();
    let edge = prepared.start().await;
    let app = app(&edge.pki.clients);
    let answered = async || {
        let address = edge.envoy.addresses.clients;
        let mut wire = Wire::connect(&edge.pki, address, Http::One, Some(&app)).await?;
        wire.send(&load::call()).await
    };
    let refused = answered().await.unwrap();
    assert_eq!((refused.status, refused.problem_code().as_str()), (500, "gateway"));
    assert_eq!(edge.recorder.records(), []);
    configuration::replace_policy(&folder, "clients", &good).unwrap();
    wait_for("the policy is not taken", SOON, || async {
        Ok((answered().await?.status == 200).then_some(()))
    })
    .await
    .unwrap();
}
