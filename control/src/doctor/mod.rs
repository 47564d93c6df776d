//! One look at everything that this service depends on. [`examine`] gathers facts, the other modules make
//! findings of them; no finding holds a secret.

mod finding;
mod keys;
mod local;
mod sealed;
mod vault;

use crate::{
    cause::chain,
    clock::Clock,
    config::{self, Database, Environment, MtlsFiles, NangoConfig, Parts, ReadFile},
    domain::provider::Catalogue,
    metrics::Metrics,
    mint::Mint,
    nango::{KeyName, NangoClient, Question},
    store::Store,
    tls,
};
use contract::{
    id::IntegrationId,
    keys::{KeyId, KeyRing},
};
use std::collections::BTreeSet;

pub use finding::{Finding, Report, Status};

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
    if let Some(database) = database {
        findings.extend(examine_database(database, data_keys.as_ref(), clock).await);
    }
    match nango {
        Some(nango) => findings.extend(examine_nango(nango, &catalogue, clock).await),
        None => findings.push(vault::not_looked_at()),
    }
    Report { findings }
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

async fn examine_database(
    Database(options): Database,
    data_keys: Option<&KeyRing>,
    clock: &Clock,
) -> Vec<Finding> {
    let store = Store::new(options, Mint::new(clock.clone()));
    let migrated = store.is_migrated().await.map_err(|error| chain(&error));
    let at = clock.now();
    let is_ready = matches!(migrated, Ok(true));
    let backlog = if is_ready { store.backlog(at).await.ok() } else { None };
    let skew = if is_ready { store.clock_skew(clock).await.ok() } else { None };
    let sealed = if is_ready { store.count_secrets().await.ok() } else { None };
    store.close().await;
    let keys: Vec<&KeyId> =
        data_keys.into_iter().flat_map(KeyRing::iter).map(|it| &it.id).collect();
    let mut findings = local::database(migrated, backlog, at);
    findings.extend(skew.map(local::database_clock));
    findings.extend(sealed.map(|sealed| sealed::secrets(&keys, &sealed)));
    findings
}

async fn examine_nango(config: NangoConfig, catalogue: &Catalogue, clock: &Clock) -> Vec<Finding> {
    let callback_url = config.callback_url.clone();
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
    let there = nango.integrations().await;
    let key = vault::key(there.as_ref().err());
    let is_a_key = key.status != Status::Fail;
    findings.push(key);
    if !is_a_key {
        return findings;
    }
    let there = there.ok();
    if let Some(integration) = known(catalogue, there.as_ref()) {
        findings.extend(examine_keys(&nango, integration).await);
    }
    let mut seen = BTreeSet::new();
    for provider in catalogue.providers() {
        let Some(integration) = catalogue.integration(provider) else { continue };
        let is_there = there.as_ref().is_none_or(|there| there.contains(integration.as_str()));
        let rehearsal = if is_there { Some(nango.rehearse(integration).await) } else { None };
        let (finding, redirect_uri) = vault::integration(provider, integration, rehearsal);
        findings.push(finding);
        seen.extend(redirect_uri);
    }
    findings.push(vault::callback(&seen, &callback_url));
    findings
}

/// An integration to ask about: best one that Nango has.
fn known<'a>(
    catalogue: &'a Catalogue,
    there: Option<&BTreeSet<String>>,
) -> Option<&'a IntegrationId> {
    let configured = || catalogue.providers().filter_map(|it| catalogue.integration(it));
    let is_there = |integration: &&IntegrationId| {
        there.is_some_and(|there| there.contains(integration.as_str()))
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
    if !nango.reads_profiles() {
        findings.push(keys::no_profile_key());
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

/// Warns, once after a start, of a main key that could show a token. Old Nango accounts have no other key,
/// so that the service serves all the same.
pub async fn warn_of_excess(nango: &NangoClient, catalogue: &Catalogue) {
    for Finding { name, seen, mend, .. } in examine_excess(nango, catalogue).await {
        tracing::warn!(mend, "{name}: {seen}");
    }
}
