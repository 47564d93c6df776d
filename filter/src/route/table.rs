//! The one table of everything that may be called.

use crate::{head::CALLBACK_PATH, policy::ListenerKind};
use contract::{action::Action, id::TenantId};

/// What a route asks of a request before it may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing; the control service decides.
    Nothing,
    /// A grant, whatever it allows.
    AnyGrant,
    /// A grant of this action for the tenant in the path.
    Grant(Action),
    /// A body that one of the webhook keys signed.
    Signature,
}

/// Whether a body must be declared as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// The route reads none.
    Unread,
    /// A body of JSON, always.
    Json,
    /// A body of JSON, or none.
    OptionalJson,
    /// A body that a browser writes from a form.
    Form,
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
pub struct Route {
    /// The name in logs and metrics.
    pub name: &'static str,
    pub methods: &'static [&'static str],
    /// `{tenant}` matches a tenant id, `{id}` any one segment.
    pub path: &'static str,
    pub requirement: Requirement,
    pub body: Body,
}

const fn get(name: &'static str, path: &'static str, requirement: Requirement) -> Route {
    Route { name, methods: &["GET", "HEAD"], path, requirement, body: Body::Unread }
}

const fn post(name: &'static str, path: &'static str, requirement: Requirement) -> Route {
    Route { name, methods: &["POST"], path, requirement, body: Body::Json }
}

/// A POST that may say more, and need not.
const fn act(name: &'static str, path: &'static str, action: Action) -> Route {
    let requirement = Requirement::Grant(action);
    Route { name, methods: &["POST"], path, requirement, body: Body::OptionalJson }
}

const fn put(name: &'static str, path: &'static str, action: Action) -> Route {
    let requirement = Requirement::Grant(action);
    Route { name, methods: &["PUT"], path, requirement, body: Body::Json }
}

const fn delete(name: &'static str, path: &'static str, action: Action) -> Route {
    let requirement = Requirement::Grant(action);
    Route { name, methods: &["DELETE"], path, requirement, body: Body::Unread }
}

const CONNECT: Requirement = Requirement::Grant(Action::Connect);
const READ: Requirement = Requirement::Grant(Action::Read);
const NOTIFY: Requirement = Requirement::Grant(Action::Notify);
const AUDIT: Requirement = Requirement::Grant(Action::Audit);

/// Everything that client applications may call, over mTLS.
pub(super) const CLIENTS: &[Route] = &[
    get("health", "/health", Requirement::Nothing),
    // Whoever is refused is led there.
    get("errors", "/errors", Requirement::Nothing),
    get("providers", "/providers", Requirement::AnyGrant),
    post("start", "/tenants/{tenant}/connections", CONNECT),
    get("list", "/tenants/{tenant}/connections", READ),
    get("get", "/tenants/{tenant}/connections/{id}", READ),
    delete("delete", "/tenants/{tenant}/connections/{id}", Action::Delete),
    act("reconnect", "/tenants/{tenant}/connections/{id}/reconnect", Action::Connect),
    post("complete", "/tenants/{tenant}/connections/{id}/complete", CONNECT),
    act("check", "/tenants/{tenant}/connections/{id}/check", Action::Read),
    get("deliveries", "/tenants/{tenant}/connections/{id}/deliveries", NOTIFY),
    act("redeliver", "/tenants/{tenant}/deliveries/{id}/redeliver", Action::Notify),
    post("redeliver_since", "/tenants/{tenant}/deliveries/redeliver", NOTIFY),
    get("redelivery", "/tenants/{tenant}/deliveries/redeliveries/{id}", NOTIFY),
    get("events", "/tenants/{tenant}/events", READ),
    get("audit", "/tenants/{tenant}/audit", AUDIT),
    get("destination_get", "/tenants/{tenant}/destination", NOTIFY),
    put("destination_put", "/tenants/{tenant}/destination", Action::Notify),
    delete("destination_delete", "/tenants/{tenant}/destination", Action::Notify),
    act("destination_test", "/tenants/{tenant}/destination/test", Action::Notify),
];

/// Everything that browsers and Nango may call, without a client certificate.
pub(super) const PUBLIC: &[Route] = &[
    get("health", "/health", Requirement::Nothing),
    // Whoever is refused is led there.
    get("errors", "/errors", Requirement::Nothing),
    // Not HEAD: whoever looks at a link before its user would use up the one callback.
    Route {
        name: "callback",
        methods: &["GET"],
        path: CALLBACK_PATH,
        requirement: Requirement::Nothing,
        body: Body::Unread,
    },
    // Providers that are asked to, or know no other way, answer with `response_mode=form_post`.
    Route {
        name: "callback_form",
        methods: &["POST"],
        path: CALLBACK_PATH,
        requirement: Requirement::Nothing,
        body: Body::Form,
    },
    post("webhook", "/webhooks/nango", Requirement::Signature),
];

impl Route {
    /// The table of a listener.
    pub const fn table(listener: ListenerKind) -> &'static [Self] {
        match listener {
            ListenerKind::Clients => CLIENTS,
            ListenerKind::Public => PUBLIC,
        }
    }

    pub(super) fn matches(&self, path: &str) -> Option<Captured> {
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
pub(super) struct Captured {
    pub tenant: Option<TenantId>,
}
