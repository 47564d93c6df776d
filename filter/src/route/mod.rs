//! Where a request may go, and the permit for what it asks there.

mod table;

pub use self::table::{Body, Requirement, Route};

use self::table::Captured;
use crate::{
    denial::Denial,
    policy::{GrantIndex, Grants, ListenerKind},
};
use contract::{action::Action, id::TenantId, principal::Principal};

/// What a method and a path lead to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    Route {
        route: &'static Route,
        tenant: Option<TenantId>,
    },
    /// The question which methods a path has.
    Options {
        allow: String,
    },
}

/// Finds the route of `method` and `path` on `listener`.
pub fn find(listener: ListenerKind, method: &str, path: &str) -> Result<Found, Denial> {
    let table = Route::table(listener);
    let matching = || table.iter().filter_map(|route| Some((route, route.matches(path)?)));
    let mut of_method = matching().filter(|(route, _)| route.methods.contains(&method));
    if let Some((route, Captured { tenant })) = of_method.next() {
        return Ok(Found::Route { route, tenant });
    }
    let mut allow: Vec<&str> = matching().flat_map(|(route, _)| route.methods).copied().collect();
    if allow.is_empty() {
        return Err(Denial::NoRoute);
    }
    allow.push("OPTIONS");
    let allow = allow.join(", ");
    if method == "OPTIONS" {
        Ok(Found::Options { allow })
    } else {
        Err(Denial::MethodNotAllowed { allow })
    }
}

/// What grants say of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Granted {
    /// The route asks for none.
    Unneeded,
    By(GrantIndex),
    No,
}

/// Whether `principal` may take `route` for `tenant`.
pub fn granted(
    grants: &Grants,
    principal: &Principal,
    route: &Route,
    tenant: Option<&TenantId>,
) -> Granted {
    let found = match (route.requirement, tenant) {
        (Requirement::Nothing | Requirement::Signature, _) => return Granted::Unneeded,
        (Requirement::AnyGrant, _) => grants.find_any(principal),
        (Requirement::Grant(action), Some(tenant)) => grants.find(principal, tenant, action),
        (Requirement::Grant(_), None) => None,
    };
    found.map_or(Granted::No, Granted::By)
}

/// Proof that a request found its route and, where the route asks for one, a grant.
#[derive(Debug, PartialEq, Eq)]
pub struct Permit {
    pub route: &'static Route,
    pub principal: Option<Principal>,
    pub tenant: Option<TenantId>,
}

impl Permit {
    /// For a caller with a name, and these grants.
    pub fn with_grant(
        granted: Granted,
        principal: Principal,
        route: &'static Route,
        tenant: Option<TenantId>,
    ) -> Result<Self, Denial> {
        match granted {
            Granted::Unneeded | Granted::By(_) => {
                Ok(Self { route, principal: Some(principal), tenant })
            }
            Granted::No => Err(Denial::NoGrant),
        }
    }

    /// For a caller without a name, where the route asks for none.
    pub fn without_grant(route: &'static Route) -> Result<Self, Denial> {
        match route.requirement {
            Requirement::Nothing | Requirement::Signature => {
                Ok(Self { route, principal: None, tenant: None })
            }
            Requirement::AnyGrant | Requirement::Grant(_) => Err(Denial::NoGrant),
        }
    }

    pub fn action(&self) -> Option<Action> {
        match self.route.requirement {
            Requirement::Grant(action) => Some(action),
            Requirement::Nothing | Requirement::AnyGrant | Requirement::Signature => None,
        }
    }
}

#[cfg(test)]
mod tests;
