//! One look at everything that this service depends on. [`examine`] gathers facts, the other modules make
//! findings of them; no finding holds a secret.

mod callback_mode;
mod database;
mod edge;
mod finding;
mod keys;
mod local;
mod missing;
mod proxies;
mod sealed;
mod vault;

use crate::{
    cause::chain,
    clock::Clock,
    config::{self, CallbackMode, Environment, MtlsFiles, NangoConfig, Parts, ReadFile},
    domain::provider::Catalogue,
    metrics::Metrics,
    mint::Mint,
    nango::{KeyName, NangoClient, Question, Rehearsal},
    tls,
};
use contract::{id::IntegrationId, keys::KeyRing};
use std::collections::{BTreeMap, BTreeSet};
use url::Url;

pub use finding::{Finding, Report, Status};
pub use proxies::ignored;

/// Looks at settings, files, database and Nango. It changes nothing but for sessions at Nango that expire
/// unused, and costs some ten calls, and two for each provider.
pub async fn examine(environment: &Environment, read_file: ReadFile<'_>, clock: &Clock) -> Report {
    let Parts {
        problems,
        is_production,
        assertion_keys,
        mtls,
        database,
        nango,
        catalogue,
        egress,
        data_keys,
        edge_admin_url,
        webhook_keys,
        callbacks,
    } = config::read_parts(environment, read_file);
    let mut findings = local::settings(&problems);
    if let Some(keys) = &assertion_keys {
        findings.push(local::assertion_keys(keys.iter().count()));
    }
    if let Some(nango) = &nango {
        findings.push(local::public_url(&nango.callback_url, is_production));
    }
    findings.push(local::data_key(data_keys.is_some()));
    if let Some(egress) = &egress {
        findings.push(local::networks(egress));
    }
    findings.extend(examine_certificates(mtls.as_ref(), read_file, is_production, clock));
    let callback_url = nango.as_ref().map(|nango| nango.callback_url.clone());
    let tried = (edge_admin_url.as_ref(), callback_url.as_ref().zip(webhook_keys.as_ref()));
    let ca = mtls.as_ref().and_then(|files| read_file(&files.ca).ok()).unwrap_or_default();
    findings.extend(examine_edge(tried, &ca).await);
    if let Some(database) = database {
        findings.extend(database::examine(database, data_keys.as_ref(), clock).await);
    }
    let is_proxied = nango.as_ref().is_some_and(|nango| nango.proxy.is_some());
    findings.push(proxies::proxies(environment, is_proxied));
    match nango {
        Some(nango) => {
            if nango.profile_key.is_none() {
                let setting = environment.get("ACCOUNT_CHANGE").map(|text| text.trim());
                findings.push(keys::no_profile_key(setting == Some("accept")));
            }
            findings.extend(examine_nango(nango, (&catalogue, callbacks.as_ref()), clock).await);
        }
        None => findings.push(vault::not_looked_at()),
    }
    Report { findings }
}

/// Asks Envoy's admin page, where it is named, and sends a signed webhook, where the key is known.
async fn examine_edge(
    (admin, signed): (Option<&Url>, Option<(&Url, &KeyRing)>),
    ca: &[u8],
) -> Vec<Finding> {
    let server = match admin {
        Some(admin) => Some(crate::edge::server(admin).await),
        None => None,
    };
    let mut findings = match &server {
        Some(server) => edge::server(server.as_ref().map_err(String::as_str)),
        None => vec![edge::not_asked()],
    };
    let refused = server.and_then(Result::ok).map(|server| edge::refused(&server));
    let tried = match signed {
        Some((public_url, keys)) => Some(crate::edge::send_webhook(public_url, keys, ca).await),
        None => None,
    };
    findings.push(edge::webhook_key(tried, refused));
    findings
}

fn examine_certificates(
    mtls: Option<&MtlsFiles>,
    read_file: ReadFile<'_>,
    is_production: bool,
    clock: &Clock,
) -> Vec<Finding> {
    let Some(files) = mtls else { return local::no_mtls(is_production).into_iter().collect() };
    let mut findings = vec![local::mtls(tls::server(files).map(drop).map_err(|it| it.to_string()))];
    for (name, path) in [("MTLS_CERT_PATH", &files.certificate), ("MTLS_CA_PATH", &files.ca)] {
        let lives = match read_file(path) {
            Ok(pem) => tls::read_lives(path, &pem).map_err(|unusable| unusable.to_string()),
            Err(error) => Err(format!("{} cannot be read: {error}", path.display())),
        };
        findings.push(local::certificates(name, lives, clock.now()));
    }
    findings
}

async fn examine_nango(
    config: NangoConfig,
    (catalogue, callbacks): (&Catalogue, Option<&CallbackMode>),
    clock: &Clock,
) -> Vec<Finding> {
    let callback_url = config.callback_url.clone();
    let calls_per_minute = config.calls_per_minute.count();
    let nango = match NangoClient::new(
        config,
        None,
        (clock.clone(), Mint::new(clock.clone())),
        Metrics::default(),
    ) {
        Ok(nango) => nango,
        Err(error) => return vec![vault::reach(Err(chain(&error)))],
    };
    let before = clock.now();
    let greeting = nango.greet().await.map_err(|error| chain(&error));
    let after = clock.now();
    let clocks = greeting.as_ref().ok().and_then(|greeting| greeting.date);
    let reach = vault::reach(greeting.map(|greeting| greeting.status));
    let is_reached = reach.status == Status::Ok;
    let mut findings = vec![reach];
    if !is_reached {
        return findings;
    }
    findings.push(vault::clock(before, after, clocks));
    let there = nango.inventory().await;
    let key = vault::key(there.as_ref().err());
    let is_a_key = key.status != Status::Fail;
    findings.push(key);
    if !is_a_key {
        return findings;
    }
    let there = there.ok();
    let limit = there.as_ref().and_then(|there| there.calls_per_minute);
    findings.push(vault::limit(calls_per_minute, limit));
    let there = there.map(|there| there.integrations);
    if let Some(integration) = known(catalogue, there.as_ref()) {
        findings.extend(examine_keys(&nango, integration).await);
    }
    let (mut seen, mut state) = (BTreeSet::new(), None);
    for provider in catalogue.providers() {
        let Some(integration) = catalogue.integration(provider) else { continue };
        // Where the list is not to be had, its name here is the best guess at its provider.
        let nangos = there.as_ref().map_or(Some(provider.as_str()), |there| {
            there.get(integration.as_str()).map(String::as_str)
        });
        let rehearsal = match nangos {
            Some(nangos) => Some(nango.rehearse(integration, nangos).await),
            None => None,
        };
        if let Some(Rehearsal::SentOff { state: Some(opened), .. }) = &rehearsal {
            state.get_or_insert_with(|| opened.clone());
        }
        let (finding, redirect_uri) = vault::integration(provider, integration, rehearsal);
        findings.push(finding);
        seen.extend(redirect_uri);
    }
    findings.push(vault::callback(&seen, &callback_url));
    if let Some(mode) = callbacks.filter(|_mode| !seen.is_empty()) {
        findings.push(callback_mode::examine(&nango, mode, state.as_deref()).await);
    }
    findings
}

/// An integration to ask about: best one that Nango has.
fn known<'a>(
    catalogue: &'a Catalogue,
    there: Option<&BTreeMap<String, String>>,
) -> Option<&'a IntegrationId> {
    let configured = || catalogue.providers().filter_map(|it| catalogue.integration(it));
    let is_there = |integration: &&IntegrationId| {
        there.is_some_and(|there| there.contains_key(integration.as_str()))
    };
    configured().find(is_there).or_else(|| configured().next())
}

async fn examine_keys(nango: &NangoClient, integration: &IntegrationId) -> Vec<Finding> {
    let mut findings = Vec::new();
    for &(key, question, wanted) in keys::WANTED {
        if let Some(said) = nango.probe(key, question, integration).await {
            findings.push(keys::judge(key, question, wanted, &said));
        }
    }
    findings
}

/// What the main key may do that could show a token: two questions, and nothing where nobody answers.
pub async fn examine_excess(nango: &NangoClient, catalogue: &Catalogue) -> Vec<Finding> {
    let mut findings = Vec::new();
    let Some(integration) = known(catalogue, None) else { return findings };
    for question in [Question::ReadCredentials, Question::Proxy] {
        let said = nango.probe(KeyName::Main, question, integration).await.unwrap_or_default();
        if keys::may(question, &said) == Some(true) {
            findings.push(keys::judge(KeyName::Main, question, false, &said));
        }
    }
    findings
}

/// Warns, once after a start, of a main key that could show a token and of a callback mode that fails.
///
/// Old Nango accounts have no other key, so that the service serves all the same; and it has more to do than callbacks.
pub async fn warn_at_start(nango: &NangoClient, catalogue: &Catalogue, mode: &CallbackMode) {
    for Finding { name, seen, mend, .. } in examine_excess(nango, catalogue).await {
        tracing::warn!(mend, "{name}: {seen}");
    }
    let Some(integration) = known(catalogue, None) else { return };
    let state = match mode {
        CallbackMode::Redirect => callback_mode::open(nango, integration).await,
        CallbackMode::Complete { .. } => None,
    };
    let Finding { name, status, seen, mend } =
        callback_mode::examine(nango, mode, state.as_deref()).await;
    match status {
        Status::Skip | Status::Ok => {}
        Status::Warn => tracing::warn!(mend, "{name}: {seen}"),
        Status::Fail => tracing::error!(mend, "{name}: {seen}"),
    }
}
