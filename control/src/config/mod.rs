//! Every setting there is, read once from the environment that `main` passes in.

mod settings;

use crate::domain::{provider::Catalogue, signing::SigningSecret};
use contract::keys::KeyRing;
use secrecy::SecretString;
use settings::Settings;
use sqlx::postgres::PgConnectOptions;
use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};
use url::Url;

pub use settings::InvalidConfig;

/// The environment, as a value.
pub type Environment = BTreeMap<String, String>;

/// A configuration that was checked.
#[derive(Debug)]
pub struct Config {
    pub log: LogConfig,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtlsFiles {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub ca: PathBuf,
}

#[derive(Debug)]
pub struct NangoConfig {
    pub api_url: Url,
    pub secret_key: SecretString,
    /// A second key that may use the proxy, and nothing else. Without it no profile is read.
    pub profile_key: Option<SecretString>,
    /// What Nango must have as its callback URL, byte for byte.
    pub callback_url: Url,
    /// Which deployment's connections are ours in a Nango environment that several share.
    pub instance: String,
}

#[derive(Debug)]
pub struct NotificationConfig {
    pub destination: Url,
    /// All of them sign, so that receivers can change over while either is valid.
    pub secrets: Vec<SigningSecret>,
}

impl Config {
    pub fn read(environment: &Environment) -> Result<Self, InvalidConfig> {
        let mut settings = Settings::new(environment);
        let log = read_log(&mut settings);
        let database = read_database(&mut settings);
        let host = settings.parse("HOST", Some("0.0.0.0"), "an IP address to listen on");
        let port = settings.parse("PORT", Some("3004"), "a port number");
        let admin_port = settings.parse("ADMIN_PORT", Some("3005"), "a port number");
        let assertion_keys = settings.keys("EDGE_ASSERTION_KEY");
        let mtls = read_mtls(&mut settings);
        let nango = read_nango(&mut settings);
        let catalogue = read_catalogue(&mut settings, environment);
        let notifications = read_notifications(&mut settings);
        let read = || {
            let host = host?;
            Some(Self {
                log: log?,
                database: database?,
                listen: SocketAddr::new(host, port?),
                admin_listen: SocketAddr::new(host, admin_port?),
                assertion_keys: assertion_keys?,
                mtls,
                nango: nango?,
                catalogue,
                notifications: notifications?,
            })
        };
        let config = read();
        settings.finish(config)
    }
}

/// The settings that a migration needs, and no other.
pub fn read_for_migration(
    environment: &Environment,
) -> Result<(LogConfig, Database), InvalidConfig> {
    let mut settings = Settings::new(environment);
    let log = read_log(&mut settings);
    let database = read_database(&mut settings);
    settings.finish(log.zip(database))
}

fn read_log(settings: &mut Settings<'_>) -> Option<LogConfig> {
    let level = settings.parse("LOG_LEVEL", Some("info"), "one of error, warn, info, debug, trace");
    let is_json = settings.choose("ENVIRONMENT", &[("production", true), ("development", false)]);
    Some(LogConfig { level: level?, is_json: is_json? })
}

fn read_database(settings: &mut Settings<'_>) -> Option<Database> {
    const URL: &str = "postgres://user:password@host:port/database";
    if settings.has("DATABASE_URL") {
        let url = settings.parse::<Url>("DATABASE_URL", None, URL)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            settings.refuse("DATABASE_URL", &format!("is malformed; set it to {URL}"));
        }
        return settings.parse("DATABASE_URL", None, URL).map(Database);
    }
    let host = settings.text("DB_HOST", "PostgreSQL's host, or DATABASE_URL instead of all DB_…");
    let port = settings.parse("DB_PORT", Some("5432"), "a port number");
    let user = settings.text("DB_USER", "the login role");
    let password = settings.text("DB_PASSWORD", "the login role's password");
    let database = settings.text("DB_DATABASE", "the database's name");
    let options = PgConnectOptions::new_without_pgpass().host(&host?).port(port?);
    Some(Database(options.username(&user?).password(&password?).database(&database?)))
}

fn read_mtls(settings: &mut Settings<'_>) -> Option<MtlsFiles> {
    const NAMES: [&str; 3] = ["MTLS_CERT_PATH", "MTLS_KEY_PATH", "MTLS_CA_PATH"];
    if !NAMES.iter().any(|name| settings.has(name)) {
        return None;
    }
    let [certificate, key, ca] =
        NAMES.map(|name| settings.text(name, "a PEM file; set all three MTLS_… or none"));
    Some(MtlsFiles { certificate: certificate?.into(), key: key?.into(), ca: ca?.into() })
}

fn read_nango(settings: &mut Settings<'_>) -> Option<NangoConfig> {
    let api_url = settings.url("NANGO_API_URL", Some("https://api.nango.dev"));
    let secret_key = settings.secret("NANGO_SECRET_KEY", "Nango's API key of the environment");
    let profile_key = settings.optional_secret("NANGO_PROFILE_KEY");
    let callback_url = settings
        .origin("PUBLIC_URL")
        .and_then(|public_url| public_url.join("/oauth/callback").ok());
    let instance = settings.parse::<contract::id::TenantId>(
        "INSTANCE",
        Some("default"),
        "1 to 63 letters, digits, '.', '_' or '-'",
    );
    Some(NangoConfig {
        api_url: api_url?,
        secret_key: secret_key?,
        profile_key,
        callback_url: callback_url?,
        instance: instance?.into(),
    })
}

fn read_catalogue(settings: &mut Settings<'_>, environment: &Environment) -> Catalogue {
    let mut catalogue = Catalogue::default();
    for (name, value) in environment {
        let Some(provider) = name.strip_suffix("_INTEGRATION_KEY") else { continue };
        if let Err(malformed) = catalogue.add(provider, value.trim()) {
            settings.refuse(name, &malformed.to_string());
        }
    }
    if catalogue.is_empty() {
        settings.refuse(
            "<PROVIDER>_INTEGRATION_KEY",
            "is missing; set at least one, such as GITHUB_INTEGRATION_KEY, to Nango's integration id",
        );
    }
    catalogue
}

fn read_notifications(settings: &mut Settings<'_>) -> Option<NotificationConfig> {
    let client_api_url = settings.url("CLIENT_API_URL", None);
    let keys = settings.keys("NOTIFICATION_SIGNING_SECRET");
    let secrets = keys?.iter().map(SigningSecret::read).collect::<Result<Vec<_>, _>>();
    let secrets = match secrets {
        Ok(secrets) => Some(secrets),
        Err(malformed) => {
            settings.refuse("NOTIFICATION_SIGNING_SECRET", &malformed.to_string());
            None
        }
    };
    let mut destination = client_api_url?;
    if let Ok(mut path) = destination.path_segments_mut() {
        path.pop_if_empty().extend(["webhooks", "connections"]);
    }
    Some(NotificationConfig { destination, secrets: secrets? })
}

impl fmt::Display for MtlsFiles {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { certificate, key, ca } = self;
        write!(formatter, "{}, {}, {}", certificate.display(), key.display(), ca.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    fn with(changes: &[(&str, &str)]) -> Environment {
        let mut environment = complete();
        for (name, value) in changes {
            environment.insert((*name).to_owned(), (*value).to_owned());
        }
        environment
    }

    #[track_caller]
    fn check_refused(environment: &Environment, names: &[&str]) {
        let InvalidConfig(problems) = Config::read(environment).unwrap_err();
        let refused: Vec<&str> = problems.keys().map(String::as_str).collect();
        assert_eq!(refused, names, "{problems:?}");
    }

    #[test]
    fn a_complete_environment_is_read_with_its_defaults() {
        let config = Config::read(&complete()).unwrap();
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
            ("PUBLIC_URL", "https://connections.example/base"),
            ("PUBLIC_URL", "https://connections.example/?a"),
            ("CLIENT_API_URL", "app.example"),
            ("INSTANCE", "a b"),
            ("EDGE_ASSERTION_KEY", "short"),
            ("NOTIFICATION_SIGNING_SECRET", "0123456789abcdef0123456789abcdef"),
            ("NOTIFICATION_SIGNING_SECRET", "whsec_0123456789abcdef"),
            ("GITHUB_INTEGRATION_KEY", "git/hub"),
        ] {
            check_refused(&with(&[(name, value)]), &[name]);
        }
    }

    #[test]
    fn each_integration_key_adds_a_provider() {
        let environment = with(&[("SLACK_INTEGRATION_KEY", "slack-prod")]);
        let catalogue = Config::read(&environment).unwrap().catalogue;
        let names: Vec<String> = catalogue.providers().map(ToString::to_string).collect();
        assert_eq!(names, ["github", "slack"]);
    }

    #[test]
    fn mtls_is_configured_whole_or_not_at_all() {
        assert!(Config::read(&complete()).unwrap().mtls.is_none());
        check_refused(
            &with(&[("MTLS_CERT_PATH", "/tls/control.crt")]),
            &["MTLS_CA_PATH", "MTLS_KEY_PATH"],
        );
    }

    #[test]
    fn no_problem_and_no_debug_output_quotes_a_secret() {
        let environment = with(&[
            ("EDGE_ASSERTION_KEY", "tooshort"),
            ("NOTIFICATION_SIGNING_SECRET", "whsec_notlongenough"),
        ]);
        let told = Config::read(&environment).unwrap_err().to_string();
        assert!(!told.contains("tooshort") && !told.contains("notlongenough"), "{told}");
        let config = format!("{:?}", Config::read(&complete()).unwrap());
        for secret in ["41e7697b", "0123456789abcdef", "MDEyMzQ1Njc4", "dbsecret"] {
            assert!(!config.contains(secret), "{config}");
        }
    }
}
