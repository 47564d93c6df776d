//! What a policy is, for the eyes of whoever is about to deploy it.

use crate::{
    file::{Loaded, Texts},
    words::row,
};
use filter::policy::{IdentitySource, Listener, NameKind, SecretSource};
use std::{
    io::{self, Write},
    path::Path,
};

pub(crate) fn say(path: &Path, loaded: &Loaded, out: &mut dyn Write) -> io::Result<()> {
    let Loaded { policy, texts, warnings } = loaded;
    writeln!(out, "{}: loads", path.display())?;
    row(out, "listener", policy.listener.kind().as_str())?;
    row(out, "version", &policy.version)?;
    match &policy.listener {
        Listener::Clients { identity, .. } => {
            row(out, "identity", identity_words(identity))?;
            row(out, "grants", texts.grants().len())?;
        }
        Listener::Public { webhook } => {
            row(out, "webhooks", format_args!("at most {} bytes", webhook.max_body_bytes))?;
            row(out, "webhook keys", secret_words(&webhook.keys))?;
        }
    }
    row(out, "assertion keys", secret_words(&policy.assertion_keys))?;
    for warning in warnings {
        row(out, "warning", warning)?;
    }
    match &policy.listener {
        Listener::Clients { .. } => say_unusual(texts, out),
        Listener::Public { .. } => Ok(()),
    }
}

/// What is allowed and seldom meant to stay.
fn say_unusual(texts: &Texts, out: &mut dyn Write) -> io::Result<()> {
    if texts.grants().is_empty() {
        row(out, "warning", "no grants: every route that needs one is closed to everybody")?;
    }
    if let Some(dry_run) = &texts.dry_run {
        let tried = dry_run.grants.len();
        row(out, "warning", format_args!("dryRun is on: its grants ({tried}) decide nothing"))?;
    }
    Ok(())
}

fn identity_words(source: &IdentitySource) -> String {
    match source {
        IdentitySource::Certificate { names } => {
            let kinds = names.iter().map(|kind| match kind {
                NameKind::Uri => "URI name",
                NameKind::Dns => "DNS name",
            });
            format!("the certificate's {}", kinds.collect::<Vec<_>>().join(", else its "))
        }
        IdentitySource::ForwardedCertificate { hop } => {
            format!("the certificate's URI name, as {hop} forwards it")
        }
        IdentitySource::IstioPeer => "Istio's peer principal".to_owned(),
    }
}

fn secret_words(source: &SecretSource) -> String {
    match source {
        SecretSource::FilterState(name) => format!("filter state {name}"),
        SecretSource::Environment(name) => format!("environment variable {name}"),
    }
}
