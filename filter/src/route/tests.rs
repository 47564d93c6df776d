//! The tables as their callers see them.

use super::{
    table::{CLIENTS, PUBLIC},
    *,
};
use ListenerKind::{Clients, Public};

/// What may be called, by method and path, with what it asks. Written out by hand from the API, so that
/// the table cannot be changed by accident.
const API: &[(ListenerKind, &str, &str, &str, Requirement)] = &[
    (Clients, "GET HEAD", "/health", "health", Requirement::Nothing),
    (Clients, "GET HEAD", "/errors", "errors", Requirement::Nothing),
    (Clients, "GET HEAD", "/providers", "providers", Requirement::AnyGrant),
    (Clients, "POST", "/tenants/acme/connections", "start", Requirement::Grant(Action::Connect)),
    (Clients, "GET HEAD", "/tenants/acme/connections", "list", Requirement::Grant(Action::Read)),
    (Clients, "GET HEAD", "/tenants/acme/connections/1", "get", Requirement::Grant(Action::Read)),
    (
        Clients,
        "DELETE",
        "/tenants/acme/connections/1",
        "delete",
        Requirement::Grant(Action::Delete),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/connections/1/reconnect",
        "reconnect",
        Requirement::Grant(Action::Connect),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/connections/1/complete",
        "complete",
        Requirement::Grant(Action::Connect),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/connections/1/check",
        "check",
        Requirement::Grant(Action::Read),
    ),
    (
        Clients,
        "GET HEAD",
        "/tenants/acme/connections/1/deliveries",
        "deliveries",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/deliveries/1/redeliver",
        "redeliver",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/deliveries/redeliver",
        "redeliver_since",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "GET HEAD",
        "/tenants/acme/deliveries/redeliveries/1",
        "redelivery",
        Requirement::Grant(Action::Notify),
    ),
    (Clients, "GET HEAD", "/tenants/acme/events", "events", Requirement::Grant(Action::Read)),
    (Clients, "GET HEAD", "/tenants/acme/audit", "audit", Requirement::Grant(Action::Audit)),
    (
        Clients,
        "GET HEAD",
        "/tenants/acme/destination",
        "destination_get",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "PUT",
        "/tenants/acme/destination",
        "destination_put",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "DELETE",
        "/tenants/acme/destination",
        "destination_delete",
        Requirement::Grant(Action::Notify),
    ),
    (
        Clients,
        "POST",
        "/tenants/acme/destination/test",
        "destination_test",
        Requirement::Grant(Action::Notify),
    ),
    (Public, "GET HEAD", "/health", "health", Requirement::Nothing),
    (Public, "GET HEAD", "/errors", "errors", Requirement::Nothing),
    (Public, "GET", "/oauth/callback", "callback", Requirement::Nothing),
    (Public, "POST", "/oauth/callback", "callback_form", Requirement::Nothing),
    (Public, "POST", "/webhooks/nango", "webhook", Requirement::Signature),
];

const METHODS: [&str; 9] =
    ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "get"];

fn name(found: Result<Found, Denial>) -> Result<&'static str, Denial> {
    match found? {
        Found::Route { route, .. } => Ok(route.name),
        Found::Options { .. } => Ok("OPTIONS"),
    }
}

#[test]
fn a_path_has_the_methods_of_the_api_on_its_listener_and_no_others() {
    for (listener, _, path, ..) in API {
        for method in METHODS {
            let expected = API.iter().find(|(of, methods, at, ..)| {
                of == listener && at == path && methods.split(' ').any(|allowed| allowed == method)
            });
            let found = find(*listener, method, path);
            match expected {
                Some((.., expected_name, requirement)) => {
                    let Ok(Found::Route { route, .. }) = found else {
                        panic!("{method} {path}: {found:?}")
                    };
                    assert_eq!((route.name, route.requirement), (*expected_name, *requirement));
                }
                None => {
                    let refused = matches!(found, Err(Denial::MethodNotAllowed { .. }));
                    assert!(refused, "{method} {path}: {found:?}");
                }
            }
        }
    }
    let rows = |listener| API.iter().filter(|row| row.0 == listener).count();
    assert_eq!(rows(Clients), CLIENTS.len());
    assert_eq!(rows(Public), PUBLIC.len());
}

#[test]
fn what_one_listener_has_the_other_has_not() {
    for (listener, methods, path, ..) in
        API.iter().filter(|row| !["/health", "/errors"].contains(&row.2))
    {
        let other = if *listener == Clients { Public } else { Clients };
        for method in methods.split(' ') {
            assert_eq!(name(find(other, method, path)), Err(Denial::NoRoute), "{method} {path}");
        }
    }
}

#[test]
fn another_method_says_which_the_path_has_and_so_does_options() {
    for (listener, path, allow) in [
        (Clients, "/tenants/acme/connections/1", "GET, HEAD, DELETE, OPTIONS"),
        (Clients, "/tenants/acme/connections", "POST, GET, HEAD, OPTIONS"),
        (Public, "/webhooks/nango", "POST, OPTIONS"),
        (Public, "/oauth/callback", "GET, POST, OPTIONS"),
    ] {
        let allow = allow.to_owned();
        let denied = Err(Denial::MethodNotAllowed { allow: allow.clone() });
        assert_eq!(find(listener, "PATCH", path), denied);
        assert_eq!(find(listener, "OPTIONS", path), Ok(Found::Options { allow }));
    }
    assert_eq!(name(find(Public, "OPTIONS", "/nowhere")), Err(Denial::NoRoute));
}

#[test]
fn a_path_that_is_almost_a_route_is_none() {
    for path in [
        "/",
        "/Health",
        "/health/",
        "/healthz",
        "/tenants",
        "/tenants/acme",
        "/tenants/acme/connections/",
        "/tenants/acme/connections/1/2",
        "/tenants//connections",
        "/tenants/-acme/connections",
        "/x/tenants/acme/connections",
        "/tenants/acme/Connections",
        "/tenants/acme/deliveries",
        "/webhooks/Nango",
    ] {
        for listener in [Clients, Public] {
            assert_eq!(name(find(listener, "GET", path)), Err(Denial::NoRoute), "{path}");
        }
    }
}

#[test]
fn the_tenant_of_the_path_is_the_tenant_of_the_grant() {
    let tenant = |path| match find(Clients, "GET", path).unwrap() {
        Found::Route { tenant, .. } => tenant.map(String::from),
        Found::Options { .. } => panic!("{path}"),
    };
    assert_eq!(tenant("/tenants/acme/connections/1").as_deref(), Some("acme"));
    assert_eq!(tenant("/tenants/acme/connections/rival").as_deref(), Some("acme"));
    assert_eq!(tenant("/health"), None);
}

#[test]
fn a_route_that_asks_for_a_grant_is_closed_without_one() {
    let principal: Principal = "spiffe://acme.example/app".parse().unwrap();
    let tenant = "acme".parse().unwrap();
    for route in CLIENTS.iter().filter(|route| route.requirement != Requirement::Nothing) {
        let none = granted(&Grants::default(), &principal, route, Some(&tenant));
        assert_eq!(none, Granted::No, "{}", route.name);
        let permit = Permit::with_grant(none, principal.clone(), route, Some(tenant.clone()));
        assert_eq!(permit, Err(Denial::NoGrant), "{}", route.name);
        assert_eq!(Permit::without_grant(route), Err(Denial::NoGrant), "{}", route.name);
    }
}
