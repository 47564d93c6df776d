//! Every setting there is, read once from the environment that `main` passes in.

mod parts;
mod read;
#[cfg(test)]
mod secrets;
mod settings;

use crate::domain::{
    budget::CallsPerMinute, delivery::Schedule, egress::Egress, probing::ProbeInterval,
    provider::Catalogue, retention::Retention, returning::AllowedOrigins, sealing::Sealer,
    signing::SigningSecret,
};
use contract::keys::KeyRing;
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf, time::Duration};
use url::Url;

pub use parts::{Parts, read_parts};
pub use read::read_for_migration;
pub use settings::{InvalidConfig, ReadFile};

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// A configuration that was checked.
#[derive(Debug)]
pub struct Config {
    pub log: LogConfig,
    /// Where spans go; nowhere without it.
    pub traces: Option<TraceConfig>,
    pub database: Database,
    /// What the edge and only the edge may call.
    pub listen: SocketAddr,
    /// Probes; no tenant data, never routed.
    pub admin_listen: SocketAddr,
    pub assertion_keys: KeyRing,
    /// Our identity towards edge and receivers. Without it this hop is loopback's or the mesh's.
    pub mtls: Option<MtlsFiles>,
    pub nango: NangoConfig,
    pub catalogue: Catalogue,
    pub notifications: NotificationConfig,
    /// Whether a reconnect may bring another upstream account.
    pub may_change_account: bool,
    pub callbacks: CallbackMode,
    /// How old the last probe of an active connection may be.
    pub probe_interval: ProbeInterval,
    pub retention: Retention,
    /// The waits between the tries of a delivery.
    pub schedule: Schedule,
    /// Seals what must be kept secret; without it no tenant has a destination of its own.
    pub sealer: Option<Sealer>,
}

/// Who finishes a callback.
#[derive(Debug, Clone)]
pub enum CallbackMode {
    /// Nango, to which the browser is sent on.
    Redirect,
    /// This service, with what it needs for that sealed.
    Complete { sealer: Sealer, origins: AllowedOrigins },
}

/// How to reach PostgreSQL. The options would print their password.
#[derive(Clone)]
pub struct Database(pub PgConnectOptions);

impl fmt::Debug for Database {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(options) = self;
        write!(formatter, "Database({}:{})", options.get_host(), options.get_port())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    pub level: tracing::Level,
    pub is_json: bool,
}

/// A collector of spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceConfig {
    /// Where it takes traces.
    pub endpoint: Url,
    /// Which process these are of.
    pub instance: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

#[derive(Debug)]
pub struct NangoConfig {
    /// Where this service reaches Nango.
    pub api_url: Url,
    /// Where browsers reach it: `NANGO_PUBLIC_URL`, where that is another address.
    pub public_url: Url,
    pub secret_key: SecretString,
    /// A second key that may use the proxy, and nothing else. Without it no profile is read.
    pub profile_key: Option<SecretString>,
    /// What Nango must have as its callback URL, byte for byte.
    pub callback_url: Url,
    /// Which deployment's connections are ours in a Nango environment that several share.
    pub instance: String,
    /// A proxy that calls to Nango go through; its address may hold a password.
    pub proxy: Option<SecretString>,
    /// How many calls Nango takes of this account, whoever makes them.
    pub calls_per_minute: CallsPerMinute,
    /// How long one call may take.
    pub call_timeout: Duration,
}

#[derive(Debug)]
pub struct NotificationConfig {
    pub destination: Url,
    /// All of them sign, so that receivers can change over while either is valid.
    pub secrets: Vec<SigningSecret>,
    /// Where tenants' own destinations may be.
    pub egress: Egress,
    /// Opens their secrets.
    pub sealer: Option<Sealer>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    fn complete() -> Environment {
        [
            ("DATABASE_URL", "postgres://u:dbsecret@localhost:5432/d"),
            ("NANGO_SECRET_KEY", "41e7697b-0aa8-45ae-99cd-facb145c3e6d"),
            ("PUBLIC_URL", "https://connections.example"),
            ("GITHUB_INTEGRATION_KEY", "github"),
            ("EDGE_ASSERTION_KEY", "0123456789abcdef0123456789abcdef"),
            ("CLIENT_API_URL", "https://app.example/api/"),
            ("NOTIFICATION_SIGNING_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
    }

    /// Reads a configuration where every file holds a certificate and a key, but the empty one.
    fn read(environment: &Environment) -> Result<Config, InvalidConfig> {
        Config::read(environment, &|path| match path.to_str() {
            Some("/tls/empty") => Ok(Vec::new()),
            Some("/tls/none") => Err(io::ErrorKind::NotFound.into()),
            Some("/providers/good.json") => Ok(br#"{"github": {"scopes": ["repo"]}}"#.to_vec()),
            Some("/providers/bad.json") => {
                Ok(br#"{"a": {"scope": []}, "b": {"scopes": [","]}}"#.to_vec())
            }
            _ => Ok(PEM.as_bytes().to_vec()),
        })
    }

    /// Only its form is looked at.
    const PEM: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n\
        -----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";

    fn with(changes: &[(&str, &str)]) -> Environment {
        let mut environment = complete();
        for (name, value) in changes {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        environment
    }

    #[track_caller]
    fn check_refused(environment: &Environment, names: &[&str]) {
        let InvalidConfig(problems) = read(environment).unwrap_err();
        let refused: Vec<&str> = problems.keys().map(String::as_str).collect();
        assert_eq!(refused, names, "{problems:?}");
    }

    #[test]
    fn a_complete_environment_is_read_with_its_defaults() {
        let config = read(&complete()).unwrap();
        assert_eq!(config.listen.to_string(), "0.0.0.0:3004");
        assert_eq!(config.admin_listen.to_string(), "0.0.0.0:3005");
        assert_eq!(config.nango.api_url.as_str(), "https://api.nango.dev/");
        assert_eq!(
            config.nango.callback_url.as_str(),
            "https://connections.example/oauth/callback"
        );
        assert_eq!(
            config.notifications.destination.as_str(),
            "https://app.example/api/webhooks/connections"
        );
        assert_eq!(config.nango.calls_per_minute, "200".parse().unwrap());
        assert_eq!(config.retention, Retention::of_days(30, 30).unwrap());
        assert_eq!(config.schedule, Schedule::default());
        let short = read(&with(&[("DELIVERY_SCHEDULE", "1s, 2m")])).unwrap().schedule;
        assert_eq!(short, "1s,2m".parse().unwrap());
        assert_eq!(config.log, LogConfig { level: tracing::Level::INFO, is_json: true });
    }

    #[test]
    fn every_setting_that_is_missing_is_reported_at_once() {
        check_refused(
            &Environment::new(),
            &[
                "<PROVIDER>_INTEGRATION_KEY",
                "CLIENT_API_URL",
                "DB_DATABASE",
                "DB_HOST",
                "DB_PASSWORD",
                "DB_USER",
                "EDGE_ASSERTION_KEY",
                "NANGO_SECRET_KEY",
                "NOTIFICATION_SIGNING_SECRET",
                "PUBLIC_URL",
            ],
        );
    }

    #[test]
    fn a_missing_signing_secret_is_asked_for_in_its_own_form() {
        let told = read(&Environment::new()).unwrap_err().to_string();
        assert!(
            told.contains("NOTIFICATION_SIGNING_SECRET is missing; set it to whsec_<"),
            "{told}"
        );
    }

    #[test]
    fn every_setting_that_is_malformed_is_reported_by_its_name() {
        for (name, value) in [
            ("PORT", "http"),
            ("PORT", "65536"),
            ("ADMIN_PORT", "-1"),
            ("HOST", "localhost"),
            ("LOG_LEVEL", "loud"),
            ("ENVIRONMENT", "prod"),
            ("DATABASE_URL", "mysql://localhost"),
            ("NANGO_API_URL", "api.nango.dev"),
            ("NANGO_API_URL", "file:///etc/passwd"),
            ("NANGO_API_URL", "https://nango.example/?a"),
            ("NANGO_PUBLIC_URL", "nango.example"),
            ("NANGO_PROXY_URL", "proxy.example:3128"),
            ("NANGO_PROXY_URL", "socks5://proxy.example"),
            ("NANGO_PROXY_URL", "http://proxy.example:3128/path"),
            ("PUBLIC_URL", "https://connections.example/base"),
            ("PUBLIC_URL", "https://connections.example/?a"),
            ("CLIENT_API_URL", "app.example"),
            ("CLIENT_API_URL", "https://user:secret@app.example/api/"),
            ("CLIENT_API_URL", "https://:secret@app.example/api/"),
            ("NANGO_API_URL", "https://user@nango.example"),
            ("INSTANCE", "a b"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector.example/?a"),
            ("NANGO_CALLS_PER_MINUTE", "0"),
            ("NANGO_CALLS_PER_MINUTE", "100001"),
            ("NANGO_CALLS_PER_MINUTE", "many"),
            ("CONNECTION_PROBE_HOURS", "0"),
            ("CONNECTION_PROBE_HOURS", "8761"),
            ("EVENTS_RETENTION_DAYS", "2"),
            ("EVENTS_RETENTION_DAYS", "3651"),
            ("DELIVERIES_RETENTION_DAYS", "0"),
            ("DELIVERIES_RETENTION_DAYS", "30d"),
            ("DELIVERY_SCHEDULE", "5"),
            ("DELIVERY_SCHEDULE", "0s"),
            ("DELIVERY_SCHEDULE", "5s,,5m"),
            ("EDGE_ASSERTION_KEY", "short"),
            ("NOTIFICATION_SIGNING_SECRET", "0123456789abcdef0123456789abcdef"),
            ("NOTIFICATION_SIGNING_SECRET", "whsec_0123456789abcdef"),
            ("GITHUB_INTEGRATION_KEY", "git/hub"),
            ("DATA_ENCRYPTION_KEY", "short"),
            ("NOTIFICATION_ALLOWED_NETWORKS", "10.0.0.0/8,localhost"),
            ("NOTIFICATION_ALLOWED_PORTS", "443,https"),
        ] {
            check_refused(&with(&[(name, value)]), &[name]);
        }
    }

    #[test]
    fn tenants_may_use_the_port_of_https_and_the_operators_unless_others_are_said() {
        let ports = |changes: &[(&str, &str)]| {
            read(&with(changes)).unwrap().notifications.egress.ports().collect::<Vec<u16>>()
        };
        assert_eq!(ports(&[]), [443]);
        assert_eq!(ports(&[("CLIENT_API_URL", "https://app.example:8443")]), [443, 8443]);
        let said = ("NOTIFICATION_ALLOWED_PORTS", "8080");
        assert_eq!(ports(&[("CLIENT_API_URL", "https://app.example:8443"), said]), [8080]);
        let egress = |text| {
            let networks = [("NOTIFICATION_ALLOWED_NETWORKS", text)];
            read(&with(&networks)).unwrap().notifications.egress
        };
        assert!(egress("10.0.0.0/8").is_named("10.1.2.3".parse().unwrap()));
        assert!(!egress("").names_networks());
    }

    #[test]
    fn what_must_be_kept_secret_needs_a_key_that_is_set() {
        assert!(read(&complete()).unwrap().sealer.is_none());
        let key = ("DATA_ENCRYPTION_KEY", "0123456789abcdef");
        let config = read(&with(&[key])).unwrap();
        assert!(config.sealer.is_some() && config.notifications.sealer.is_some());
        check_refused(&with(&[("OAUTH_CALLBACK", "complete")]), &["DATA_ENCRYPTION_KEY"]);
    }

    #[test]
    fn callbacks_are_completed_here_where_a_key_is_set_and_nothing_else_is_said() {
        let completes = |settings: &[(&'static str, &'static str)]| {
            matches!(read(&with(settings)).unwrap().callbacks, CallbackMode::Complete { .. })
        };
        let key = ("DATA_ENCRYPTION_KEY", "0123456789abcdef");
        assert!(!completes(&[]));
        assert!(completes(&[key]));
        assert!(completes(&[key, ("OAUTH_CALLBACK", "")]), "empty is not set");
        assert!(completes(&[key, ("OAUTH_CALLBACK", "complete")]));
        assert!(!completes(&[key, ("OAUTH_CALLBACK", "redirect")]));
    }

    #[test]
    fn spans_go_below_the_endpoint_and_nowhere_without_one() {
        assert_eq!(read(&complete()).unwrap().traces, None);
        for endpoint in ["https://collector.example/base", "https://collector.example/base/"] {
            let environment = with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)]);
            let traces = read(&environment).unwrap().traces.unwrap();
            assert_eq!(traces.endpoint.as_str(), "https://collector.example/base/v1/traces");
        }
    }

    #[test]
    fn each_integration_key_adds_a_provider() {
        let environment = with(&[("SLACK_INTEGRATION_KEY", "slack-prod")]);
        let catalogue = read(&environment).unwrap().catalogue;
        let names: Vec<String> = catalogue.providers().map(ToString::to_string).collect();
        assert_eq!(names, ["github", "slack"]);
    }

    #[test]
    fn a_file_describes_providers_and_all_that_is_wrong_with_it_is_told() {
        let file = |path| with(&[("PROVIDERS_FILE", path)]);
        let github = "github".parse().unwrap();
        let catalogue = read(&file("/providers/good.json")).unwrap().catalogue;
        assert_eq!(catalogue.scopes(&github).unwrap().len(), 1);
        assert!(catalogue.mapping(&github).is_some());
        check_refused(&file("/tls/none"), &["PROVIDERS_FILE"]);
        check_refused(&file("/tls/empty"), &["PROVIDERS_FILE"]);
        let told = read(&file("/providers/bad.json")).unwrap_err().to_string();
        for problem in ["/providers/bad.json", "a: unknown field `scope`", "b: scopes: \",\""] {
            assert!(told.contains(problem), "{problem} in:\n{told}");
        }
    }

    #[test]
    fn mtls_is_configured_whole_or_not_at_all() {
        assert!(read(&complete()).unwrap().mtls.is_none());
        check_refused(
            &with(&[("MTLS_CERT_PATH", "/tls/control.crt")]),
            &["MTLS_CA_PATH", "MTLS_KEY_PATH"],
        );
        let files = |certificate, key, ca| {
            with(&[("MTLS_CERT_PATH", certificate), ("MTLS_KEY_PATH", key), ("MTLS_CA_PATH", ca)])
        };
        assert!(read(&files("/tls/a", "/tls/b", "/tls/c")).unwrap().mtls.is_some());
        check_refused(
            &files("/tls/none", "/tls/empty", "/tls/empty"),
            &["MTLS_CA_PATH", "MTLS_CERT_PATH", "MTLS_KEY_PATH"],
        );
    }

    #[test]
    fn a_proxy_is_used_only_when_it_is_named() {
        let proxy = |changes: &[(&str, &str)]| read(&with(changes)).unwrap().nango.proxy;
        assert!(proxy(&[("HTTPS_PROXY", "http://proxy.example")]).is_none());
        assert!(proxy(&[("NANGO_PROXY_URL", "http://user:pw@proxy.example:3128")]).is_some());
        let config = read(&with(&[("NANGO_PROXY_URL", "http://u:s3cret@proxy.example")])).unwrap();
        assert!(!format!("{config:?}").contains("s3cret"));
    }

    #[test]
    fn no_problem_and_no_debug_output_quotes_a_secret() {
        let environment = with(&[
            ("EDGE_ASSERTION_KEY", "tooshort"),
            ("NOTIFICATION_SIGNING_SECRET", "whsec_notlongenough"),
        ]);
        let told = read(&environment).unwrap_err().to_string();
        assert!(!told.contains("tooshort") && !told.contains("notlongenough"), "{told}");
        let config = format!("{:?}", read(&complete()).unwrap());
        for secret in ["41e7697b", "0123456789abcdef", "MDEyMzQ1Njc4", "dbsecret"] {
            assert!(!config.contains(secret), "{config}");
        }
    }
}
