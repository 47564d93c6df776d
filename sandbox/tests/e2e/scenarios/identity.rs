//! Who is calling, by the one source that the policy names.

use super::{
    table::{End, Row},
    worlds::{Who, World},
};
use sandbox::pki::{APP, Name};

const GET: &str = "/tenants/acme/connections/1";
const XFCC: &str = "x-forwarded-client-cert";
const APPS_URI: &str = "Hash=0a;URI=spiffe://sandbox.example/app";

fn row(rule: &'static str, who: Who) -> Row {
    Row::client(rule, "GET", GET).by(who)
}

pub fn rows() -> Vec<Row> {
    [certificates(), headers(), forwarded(), istio()].concat()
}

fn certificates() -> Vec<Row> {
    let as_dns =
        End::Forwarded { principal: Some("dns:runner.sandbox.example"), tenant: Some("acme") };
    vec![
        row("without a client certificate nobody speaks to the clients listener", Who::Nobody)
            .ends(End::Cut),
        row("a certificate of another authority is nobody's", Who::Forger).ends(End::Cut),
        row("the URI name of the certificate is the principal", Who::APP).forwarded(),
        row(
            "the URI name goes before the DNS name",
            Who::Named(&[Name::Dns("runner.sandbox.example"), Name::Uri(APP)]),
        )
        .forwarded(),
        row(
            "without a URI name the DNS name is the principal",
            Who::Named(&[Name::Dns("runner.sandbox.example")]),
        )
        .ends(as_dns.clone()),
        row(
            "a DNS name is the same in any case",
            Who::Named(&[Name::Dns("Runner.Sandbox.example")]),
        )
        .ends(as_dns),
        row(
            "a certificate with two URI names is refused",
            Who::Named(&[Name::Uri(APP), Name::Uri("spiffe://sandbox.example/other")]),
        )
        .refused(403, "no_identity", "edge_identity_ambiguous"),
        row(
            "a DNS name does not make up for two URI names",
            Who::Named(&[
                Name::Uri(APP),
                Name::Uri("spiffe://sandbox.example/other"),
                Name::Dns("runner.sandbox.example"),
            ]),
        )
        .refused(403, "no_identity", "edge_identity_ambiguous"),
        row(
            "a certificate with two DNS names and no URI name is refused",
            Who::Named(&[Name::Dns("runner.sandbox.example"), Name::Dns("b.sandbox.example")]),
        )
        .refused(403, "no_identity", "edge_identity_ambiguous"),
        row("a certificate without a name is nobody's", Who::Named(&[])).refused(
            403,
            "no_identity",
            "edge_no_identity",
        ),
        row("a certificate with an address only is nobody's", Who::Named(&[Name::Loopback]))
            .refused(403, "no_identity", "edge_no_identity"),
        row(
            "a URI name that is no SPIFFE ID is refused",
            Who::Named(&[Name::Uri("https://sandbox.example/app")]),
        )
        .refused(403, "no_identity", "edge_identity_malformed"),
        row(
            "a SPIFFE ID without a path is refused",
            Who::Named(&[Name::Uri("spiffe://sandbox.example")]),
        )
        .refused(403, "no_identity", "edge_identity_malformed"),
        row(
            "a URI name with a comma is not read as two, and not as one",
            Who::Named(&[Name::Uri("spiffe://sandbox.example/app,spiffe://sandbox.example/b")]),
        )
        .refused(403, "no_identity", "edge_identity_ambiguous"),
        row(
            "a URI name that only begins like a granted one is another's",
            Who::Named(&[Name::Uri("spiffe://sandbox.example/app2")]),
        )
        .refused(403, "no_grant", "edge_no_grant"),
        Row::client("a caller without identity learns no routes", "GET", "/nowhere")
            .by(Who::Named(&[]))
            .refused(403, "no_identity", "edge_no_identity"),
        Row::client("a caller without identity learns no methods", "OPTIONS", "/health")
            .by(Who::Named(&[]))
            .refused(403, "no_identity", "edge_no_identity"),
    ]
}

fn headers() -> Vec<Row> {
    vec![
        row("no identity is taken from x-forwarded-client-cert unasked", Who::STRANGER)
            .header(XFCC, APPS_URI)
            .refused(403, "no_grant", "edge_no_grant"),
        row("x-forwarded-client-cert goes no further", Who::APP)
            .header(XFCC, APPS_URI)
            .header(XFCC, "URI=spiffe://sandbox.example/other")
            .forwarded(),
        row("no identity is taken from the edge's own header", Who::STRANGER)
            .header("x-connections-principal", APP)
            .refused(403, "no_grant", "edge_no_grant"),
        row("whatever looks like the edge's own header is the edge's", Who::APP)
            .header("x-connections-principal", "spiffe://sandbox.example/other")
            .header("x-connections-tenant", "rival")
            .header("x-connections-action", "erase")
            .header("x-connections-webhook-key", "1")
            .header("x-connections-assertion", "v1,1,1,00")
            .header("x-connections-later", "1")
            .forwarded(),
        Row::public("the edge's own headers are the edge's for strangers too", "GET", "/health")
            .header("x-connections-principal", APP)
            .header("x-connections-tenant", "acme")
            .forwarded_of_nobody(),
    ]
}

fn forwarded() -> Vec<Row> {
    let through = |rule, value: &str| row(rule, Who::GATEWAY).header(XFCC, value);
    let rows = vec![
        through("a named hop says who its caller is", APPS_URI).forwarded(),
        through(
            "a subject with escaped commas does not end its element",
            "Hash=0a;Subject=\"CN=a\\;b,O=Acme\\, Inc,OU=x=\\\"y\\\"\";URI=spiffe://sandbox.example/app;DNS=a.example",
        )
        .forwarded(),
        through(
            "a URI inside a quoted subject is none",
            "Hash=0a;Subject=\"CN=a;URI=spiffe://sandbox.example/app\";URI=",
        )
        .refused(403, "no_identity", "edge_no_identity"),
        row("a hop that says nothing is not its own caller", Who::GATEWAY)
            .refused(403, "no_identity", "edge_no_identity"),
        through("a caller of the hop with a DNS name only is nobody", "Hash=0a;URI=;DNS=runner.sandbox.example")
            .refused(403, "no_identity", "edge_no_identity"),
        row("whoever is not the hop is not believed about others", Who::STRANGER)
            .header(XFCC, APPS_URI)
            .refused(403, "no_identity", "edge_identity_hop_unknown"),
        row("whoever is not the hop is not believed about himself", Who::APP)
            .header(XFCC, APPS_URI)
            .refused(403, "no_identity", "edge_identity_hop_unknown"),
        row(
            "a hop with a second URI name is not the hop",
            Who::Named(&[Name::Uri(super::worlds::GATEWAY), Name::Uri(APP)]),
        )
        .header(XFCC, APPS_URI)
        .refused(403, "no_identity", "edge_identity_hop_unknown"),
        through("several elements are refused", "URI=spiffe://a.example/b,URI=spiffe://sandbox.example/app")
            .refused(403, "no_identity", "edge_identity_ambiguous"),
        through(
            "a DNS name that pretends to be a URI is refused",
            "Hash=0a;URI=;DNS=x;URI=spiffe://sandbox.example/app",
        )
        .refused(403, "no_identity", "edge_identity_ambiguous"),
        through("two headers of the hop are refused", APPS_URI)
            .header(XFCC, APPS_URI)
            .refused(403, "no_identity", "edge_identity_ambiguous"),
        through("a quote that does not end is refused", "Subject=\"CN=a;URI=spiffe://sandbox.example/app")
            .refused(403, "no_identity", "edge_identity_malformed"),
        through("an empty header of the hop is refused", "")
            .refused(403, "no_identity", "edge_identity_malformed"),
        through("a forwarded URI that is no SPIFFE ID is refused", "URI=https://sandbox.example/app")
            .refused(403, "no_identity", "edge_identity_malformed"),
        through("a forwarded identity needs its grant", "URI=spiffe://sandbox.example/stranger")
            .refused(403, "no_grant", "edge_no_grant"),
    ];
    rows.into_iter().map(|row| row.in_world(World::Forwarded)).collect()
}

fn istio() -> Vec<Row> {
    let rows =
        vec![
            row("Istio's peer principal is the principal in a waypoint", Who::APP).forwarded(),
            row("a waypoint's caller without a principal is nobody", Who::Named(&[])).refused(
                403,
                "no_identity",
                "edge_no_identity",
            ),
            row(
                "Istio's peer principal is one",
                Who::Named(&[Name::Uri(APP), Name::Uri("spiffe://sandbox.example/other")]),
            )
            .refused(403, "no_identity", "edge_identity_ambiguous"),
            row(
                "in a waypoint no DNS name is believed",
                Who::Named(&[Name::Dns("runner.sandbox.example")]),
            )
            .refused(403, "no_identity", "edge_no_identity"),
            row("in a waypoint no header is believed", Who::STRANGER)
                .header(XFCC, APPS_URI)
                .refused(403, "no_grant", "edge_no_grant"),
        ];
    rows.into_iter().map(|row| row.in_world(World::Istio)).collect()
}
