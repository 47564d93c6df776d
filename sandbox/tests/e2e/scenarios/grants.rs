//! Who may do what for whom.

use super::{
    table::{End, Row},
    worlds::{AUDITOR, Who},
};
use sandbox::pki::APP;

const T1: &str = "spiffe://sandbox.example/tenant/t1/app";

fn get(rule: &'static str, tenant: &str) -> Row {
    Row::client(rule, "GET", &format!("/tenants/{tenant}/connections/1"))
}

pub fn rows() -> Vec<Row> {
    let no_grant = |row: Row| row.refused(403, "no_grant", "edge_no_grant");
    let of =
        |principal, tenant| End::Forwarded { principal: Some(principal), tenant: Some(tenant) };
    vec![
        get("an exact tenant is granted", "acme").forwarded(),
        no_grant(get("another tenant is not", "rival")),
        no_grant(get("a tenant is another in another case", "Acme")),
        no_grant(get("a tenant that begins like a granted one is another", "acme2")),
        get("a prefix grants what goes on after it", "acme-1").ends(of(APP, "acme-1")),
        no_grant(get("a prefix does not grant itself", "acme-")),
        get("a template grants the tenant in the principal's name", "t1")
            .by(Who::TENANT_T1)
            .ends(of(T1, "t1")),
        no_grant(get("a template grants no other tenant", "t2").by(Who::TENANT_T1)),
        no_grant(get("a template's principal has no exact grant", "acme").by(Who::TENANT_T1)),
        no_grant(get("a principal without grants has none", "acme").by(Who::STRANGER)),
        no_grant(Row::client(
            "an action that is not granted is refused",
            "GET",
            "/tenants/acme/audit",
        )),
        Row::client("an action is granted by itself", "GET", "/tenants/acme/audit")
            .by(Who::AUDITOR)
            .ends(of(AUDITOR, "acme")),
        no_grant(get("who may audit may not read", "acme").by(Who::AUDITOR)),
        no_grant(
            Row::client("who may read may not delete", "DELETE", "/tenants/t1/connections/1")
                .by(Who::TENANT_T1),
        ),
        no_grant(
            Row::client("who may read may not connect", "POST", "/tenants/t1/connections")
                .by(Who::TENANT_T1)
                .json(b"{}"),
        ),
        no_grant(Row::client(
            "a HEAD needs what its GET needs",
            "HEAD",
            "/tenants/rival/connections/1",
        ))
        .ends(End::Answered(403, "edge_no_grant")),
        Row::client("any grant shows the providers", "GET", "/providers")
            .by(Who::AUDITOR)
            .ends(End::Forwarded { principal: Some(AUDITOR), tenant: None }),
        no_grant(Row::client("no grant shows no providers", "GET", "/providers").by(Who::STRANGER)),
        Row::client("health needs an identity and no grant", "GET", "/health")
            .by(Who::STRANGER)
            .ends(End::Forwarded {
                principal: Some("spiffe://sandbox.example/stranger"),
                tenant: None,
            }),
        no_grant(Row::client(
            "a tenant in the query is none",
            "GET",
            "/tenants/rival/connections?tenant=acme",
        )),
    ]
}
