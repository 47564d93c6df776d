//! Where a request may go: one table, and a permit for what it asks.

use crate::{
    denial::Denial,
    policy::{Grants, ListenerKind},
};
use contract::{action::Action, id::TenantId, principal::Principal};

/// What a route asks of a request before it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing; the control service decides.
    Nothing,
    /// A grant of this action for the tenant in the path.
    Grant(Action),
    /// A body that one of the webhook keys signed.
    Signature,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The name in logs and metrics.
    pub name: &'static str,
    pub method: &'static str,
    /// `{tenant}` matches a tenant id, `{id}` any one segment.
    pub path: &'static str,
    pub requirement: Requirement,
    /// Whether the body must be declared as JSON.
    pub takes_json: bool,
}

const fn get(name: &'static str, path: &'static str, requirement: Requirement) -> Route {
    Route { name, method: "GET", path, requirement, takes_json: false }
}

const fn post(name: &'static str, path: &'static str, requirement: Requirement) -> Route {
    Route { name, method: "POST", path, requirement, takes_json: true }
}

const fn delete(name: &'static str, path: &'static str, requirement: Requirement) -> Route {
    Route { name, method: "DELETE", path, requirement, takes_json: false }
}

/// Everything that client applications may call, over mTLS.
const CLIENTS: &[Route] = &[
    get("health", "/health", Requirement::Nothing),
    post("start", "/tenants/{tenant}/connections", Requirement::Grant(Action::Connect)),
    get("get", "/tenants/{tenant}/connections/{id}", Requirement::Grant(Action::Read)),
    delete("delete", "/tenants/{tenant}/connections/{id}", Requirement::Grant(Action::Delete)),
];

/// Everything that browsers and Nango may call, without a client certificate.
const PUBLIC: &[Route] = &[
    get("health", "/health", Requirement::Nothing),
    get("callback", "/oauth/callback", Requirement::Nothing),
    post("webhook", "/webhooks/nango", Requirement::Signature),
];

impl Route {
    const fn table(listener: ListenerKind) -> &'static [Self] {
        match listener {
            ListenerKind::Clients => CLIENTS,
            ListenerKind::Public => PUBLIC,
        }
    }

    fn matches(&self, path: &str) -> Option<Captured> {
        let mut tenant = None;
        let mut segments = path.split('/');
        for pattern in self.path.split('/') {
            let segment = segments.next()?;
            match pattern {
                "{tenant}" => tenant = Some(segment.parse().ok()?),
                "{id}" if !segment.is_empty() => {}
                text if text == segment => {}
                _ => return None,
            }
        }
        segments.next().is_none().then_some(Captured { tenant })
    }
}

/// What the pattern of a route captured from a path.
#[derive(Debug)]
struct Captured {
    tenant: Option<TenantId>,
}

/// Proof that a request found its route and, where the route asks for one, a grant.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    pub route: &'static Route,
    pub principal: Option<Principal>,
    pub tenant: Option<TenantId>,
}

impl Permit {
    pub fn action(&self) -> Option<Action> {
        match self.route.requirement {
            Requirement::Grant(action) => Some(action),
            Requirement::Nothing | Requirement::Signature => None,
        }
    }
}

/// Finds the route of `method` and `path` on `listener`.
pub fn find(
    listener: ListenerKind,
    method: &str,
    path: &str,
) -> Result<(&'static Route, Option<TenantId>), Denial> {
    let table = Route::table(listener);
    let matching = || table.iter().filter_map(|route| Some((route, route.matches(path)?)));
    if let Some((route, Captured { tenant })) = matching().find(|(route, _)| route.method == method)
    {
        return Ok((route, tenant));
    }
    let allowed: Vec<&str> = matching().map(|(route, _)| route.method).collect();
    if allowed.is_empty() {
        Err(Denial::NoRoute)
    } else {
        Err(Denial::MethodNotAllowed { allow: allowed.join(", ") })
    }
}

/// Checks that `principal` may take `route` for `tenant`.
pub fn authorize(
    grants: &Grants,
    principal: Option<Principal>,
    route: &'static Route,
    tenant: Option<TenantId>,
) -> Result<Permit, Denial> {
    if let Requirement::Grant(action) = route.requirement {
        let (Some(principal), Some(tenant)) = (&principal, &tenant) else {
            return Err(Denial::NoGrant);
        };
        if !grants.allow(principal, tenant, action) {
            return Err(Denial::NoGrant);
        }
    }
    Ok(Permit { route, principal, tenant })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ListenerKind::{Clients, Public};

    #[track_caller]
    fn check(listener: ListenerKind, method: &str, path: &str, expected: Result<&str, Denial>) {
        let found = find(listener, method, path).map(|(route, _)| route.name);
        assert_eq!(found, expected, "{listener:?} {method} {path}");
    }

    fn not_allowed(allow: &str) -> Result<&'static str, Denial> {
        Err(Denial::MethodNotAllowed { allow: allow.to_owned() })
    }

    #[test]
    fn every_route_is_found_by_its_method_and_path_on_its_listener_only() {
        check(Clients, "GET", "/health", Ok("health"));
        check(Clients, "POST", "/tenants/acme/connections", Ok("start"));
        check(Clients, "GET", "/tenants/acme/connections/1", Ok("get"));
        check(Clients, "DELETE", "/tenants/acme/connections/1", Ok("delete"));
        check(Public, "GET", "/health", Ok("health"));
        check(Public, "GET", "/oauth/callback", Ok("callback"));
        check(Public, "POST", "/webhooks/nango", Ok("webhook"));
        for route in PUBLIC.iter().filter(|route| route.name != "health") {
            check(Clients, route.method, route.path, Err(Denial::NoRoute));
        }
        for route in CLIENTS.iter().filter(|route| route.name != "health") {
            check(
                Public,
                route.method,
                &route.path.replace("{tenant}", "acme"),
                Err(Denial::NoRoute),
            );
        }
    }

    #[test]
    fn another_method_says_which_the_path_has() {
        check(Clients, "PUT", "/tenants/acme/connections/1", not_allowed("GET, DELETE"));
        check(Clients, "GET", "/tenants/acme/connections", not_allowed("POST"));
        check(Public, "GET", "/webhooks/nango", not_allowed("POST"));
        check(Public, "post", "/webhooks/nango", not_allowed("POST"));
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
        ] {
            check(Clients, "GET", path, Err(Denial::NoRoute));
        }
    }

    #[test]
    fn the_tenant_of_the_path_is_the_tenant_of_the_grant() {
        let (_, tenant) = find(Clients, "GET", "/tenants/acme/connections/1").unwrap();
        assert_eq!(tenant, Some("acme".parse().unwrap()));
        let (_, tenant) = find(Clients, "GET", "/health").unwrap();
        assert_eq!(tenant, None);
    }

    #[test]
    fn a_route_that_asks_for_a_grant_is_closed_to_nobody() {
        let (route, tenant) = find(Clients, "GET", "/tenants/acme/connections/1").unwrap();
        let denied = authorize(&Grants::default(), None, route, tenant);
        assert_eq!(denied, Err(Denial::NoGrant));
    }
}
