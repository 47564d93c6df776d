//! What control may see of random requests, said without the code under test.

use crate::{scenarios::judge::check_vouched, scenarios::worlds::AUDITOR, support::Edge};
use anyhow::{bail, ensure};
use sandbox::{pki::APP, recorder::Recorded};
use std::collections::HashSet;

/// Checks one request that reached control.
///
/// `signed` are the bodies that a key of Nango's signed; no two requests have the same.
pub fn check(edge: &Edge, signed: &HashSet<Vec<u8>>, recorded: &Recorded) -> anyhow::Result<()> {
    let one = |name| recorded.all(name).first().copied();
    let (principal, tenant) = (one("x-connections-principal"), one("x-connections-tenant"));
    check_vouched(&edge.assertion_keys, recorded, (principal, tenant))?;
    let path = recorded.target.split('?').next().unwrap_or_default();
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    match (principal, segments.as_slice()) {
        (_, ["health" | "errors"])
        | (None, ["oauth", "callback"])
        | (Some(APP | AUDITOR), ["providers"]) => {
            ensure!(tenant.is_none(), "a tenant, where the path has none");
        }
        (None, ["webhooks", "nango"]) => {
            ensure!(recorded.method == "POST", "a webhook by {}", recorded.method);
            ensure!(one("x-connections-webhook-key").is_some(), "no key vouches for it");
            // A body that is cut off on its way never was one: the stream ends in an error.
            let body = recorded.body.as_ref();
            ensure!(body.is_some_and(|body| signed.contains(body)), "nobody signed {body:?}");
        }
        (Some(APP), ["tenants", of, rest, ..]) => {
            let is_granted =
                *of == "acme" || of.strip_prefix("acme-").is_some_and(|rest| !rest.is_empty());
            ensure!(is_granted && *rest != "audit", "not granted");
            ensure!(tenant == Some(of), "granted for another tenant, {tenant:?}");
        }
        (Some(AUDITOR), ["tenants", "acme", "audit"]) => {
            ensure!(tenant == Some("acme"), "granted for another tenant, {tenant:?}");
        }
        _ => bail!("nobody may send this"),
    }
    Ok(())
}
