//! The configurations that the table runs in, each a change of what ships.

use super::FilterBlock;
use crate::support::Prepared;
use sandbox::{
    envoy::configuration,
    pki::{APP, Identity, Name, Pki},
    secrets,
};
use serde_json::{Value, json};

/// A configuration of the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// As it ships, with grants of every kind.
    Shipped,
    /// HTTP/1.1 keeps its trailers.
    Trailers,
    /// Callers come through a proxy that says who they are.
    Forwarded,
    /// Callers come through an Istio waypoint.
    Istio,
    /// Secrets come from the environment.
    Environment,
    /// The webhook key is missing, which Envoy renders as `-`.
    Keyless,
}

pub const GATEWAY: &str = "spiffe://sandbox.example/gateway";
pub const AUDITOR: &str = "spiffe://sandbox.example/auditor";

impl World {
    pub const ALL: [Self; 6] = [
        Self::Shipped,
        Self::Trailers,
        Self::Forwarded,
        Self::Istio,
        Self::Environment,
        Self::Keyless,
    ];

    pub async fn prepare(self, filter: FilterBlock) -> Prepared {
        let FilterBlock::Wasm = filter;
        let mut edge = Prepared::new().await;
        let identity = match self {
            Self::Forwarded => json!({ "forwardedCertificate": { "hop": GATEWAY } }),
            Self::Istio => json!({ "istioPeer": {} }),
            Self::Shipped | Self::Trailers | Self::Environment | Self::Keyless => {
                json!({ "certificate": { "names": ["uri", "dns"] } })
            }
        };
        edge.policy("clients", &clients_policy(&identity));
        match self {
            Self::Shipped => {
                let [new, old] = [secrets::nango_key(), secrets::nango_key()];
                edge.secret("webhook-keys", &format!("new:{new},old:{old}\n"));
            }
            Self::Forwarded => {}
            Self::Trailers => edge.adjust(|configuration| {
                keep_trailers(configuration);
                Ok(())
            }),
            Self::Istio => edge.adjust(|configuration| {
                // As istiod has it in a waypoint.
                let facts = "/static_resources/listeners/0/filter_chains/0/filters/1/typed_config/http_filters/2/typed_config/on_request_headers";
                configuration.pointer_mut(facts).and_then(Value::as_array_mut).unwrap().push(json!({
                    "object_key": "io.istio.peer_principal",
                    "factory_key": "envoy.string",
                    "format_string": { "text_format_source": { "inline_string": "%DOWNSTREAM_PEER_URI_SAN%" } },
                }));
                Ok(())
            }),
            Self::Environment => {
                // Values in the file would show in Envoy's config dump.
                let environment = json!({ "host_env_keys": ["WEBHOOK_KEYS", "ASSERTION_KEYS"] });
                edge.environment = vec![
                    ("WEBHOOK_KEYS", edge.secrets.webhook_keys.clone()),
                    ("ASSERTION_KEYS", edge.secrets.assertion_keys.clone()),
                ];
                configuration::adjust_filter(&edge.envoy_folder(), "public", |filter| {
                    let vm = filter.pointer_mut("/resources/0/typed_config/config/vm_config");
                    vm.unwrap()["environment_variables"] = environment;
                    Ok(())
                })
                .unwrap();
                edge.policy(
                    "public",
                    &json!({ "version": "1", "listener": "public",
                        "assertionKeys": { "environment": "ASSERTION_KEYS" },
                        "webhook": { "keys": { "environment": "WEBHOOK_KEYS" }, "maxBodyBytes": 262_144 } }),
                );
            }
            Self::Keyless => edge.secret("webhook-keys", "-"),
        }
        edge
    }
}

/// Grants of every kind.
fn clients_policy(identity: &Value) -> Value {
    json!({
        "version": "table-1",
        "listener": "clients",
        "assertionKeys": { "filterState": "edge.assertion_keys" },
        "identity": identity,
        "grants": [
            { "principal": APP, "tenants": ["acme", "acme-*"],
              "actions": ["connect", "read", "delete", "notify"] },
            { "principal": "spiffe://sandbox.example/tenant/{tenant}/app", "actions": ["read"] },
            { "principal": "dns:runner.sandbox.example", "tenants": ["acme"], "actions": ["read"] },
            { "principal": AUDITOR, "tenants": ["acme"], "actions": ["audit"] },
        ],
    })
}

fn keep_trailers(configuration: &mut Value) {
    for listener in 0..2 {
        let manager = format!(
            "/static_resources/listeners/{listener}/filter_chains/0/filters/1/typed_config"
        );
        let manager = configuration.pointer_mut(&manager).unwrap();
        manager["http_protocol_options"] = json!({ "enable_trailers": true });
    }
}

/// Somebody with or without a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Who {
    Nobody,
    /// Its certificate is of an authority that nobody trusts.
    Forger,
    /// With these names, signed by the clients' authority.
    Named(&'static [Name<'static>]),
}

impl Who {
    pub const APP: Self = Self::Named(&[Name::Uri(APP)]);
    pub const STRANGER: Self = Self::Named(&[Name::Uri("spiffe://sandbox.example/stranger")]);
    pub const AUDITOR: Self = Self::Named(&[Name::Uri(AUDITOR)]);
    pub const GATEWAY: Self = Self::Named(&[Name::Uri(GATEWAY)]);
    pub const TENANT_T1: Self = Self::Named(&[Name::Uri("spiffe://sandbox.example/tenant/t1/app")]);

    pub fn identity(self, pki: &Pki) -> Option<Identity> {
        // A subject whose commas and quotes must be escaped.
        let subject = "app, \"Inc\"; O=x";
        match self {
            Self::Nobody => None,
            Self::Forger => {
                let authority = sandbox::pki::Authority::new("a forger's CA").unwrap();
                Some(authority.issue(subject, &[Name::Uri(APP)]).unwrap())
            }
            Self::Named(names) => Some(pki.clients.issue(subject, names).unwrap()),
        }
    }
}
