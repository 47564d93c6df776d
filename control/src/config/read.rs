//! Which settings there are, section by section.

use super::{
    CallbackMode, Config, Database, Environment, InvalidConfig, LogConfig, MtlsFiles, NangoConfig,
    NotificationConfig, TraceConfig,
    settings::{ReadFile, Settings},
};
use crate::{
    domain::{
        description::Descriptions, provider::Catalogue, returning::AllowedOrigins, sealing::Sealer,
        signing::SigningSecret,
    },
    tls,
};
use sqlx::postgres::PgConnectOptions;
use std::{io, net::SocketAddr, path::Path, time::Duration};
use url::Url;

/// Nango answers in milliseconds when it is well.
const NANGO_CALL_TIMEOUT: Duration = Duration::from_secs(8);

impl Config {
    pub fn read(environment: &Environment, read_file: ReadFile<'_>) -> Result<Self, InvalidConfig> {
        let mut settings = Settings::new(environment, read_file);
        let log = read_log(&mut settings);
        let traces = read_traces(&mut settings);
        let database = read_database(&mut settings);
        let host = settings.parse("HOST", Some("0.0.0.0"), "an IP address to listen on");
        let port = settings.parse("PORT", Some("3004"), "a port number");
        let admin_port = settings.parse("ADMIN_PORT", Some("3005"), "a port number");
        let assertion_keys = settings.keys("EDGE_ASSERTION_KEY");
        let mtls = read_mtls(&mut settings);
        let nango = read_nango(&mut settings);
        let catalogue = read_catalogue(&mut settings, environment);
        let notifications = read_notifications(&mut settings);
        let may_change_account =
            settings.choose("ACCOUNT_CHANGE", &[("refuse", false), ("accept", true)]);
        let callbacks = read_callbacks(&mut settings);
        let read = || {
            let host = host?;
            Some(Self {
                log: log?,
                traces,
                database: database?,
                listen: SocketAddr::new(host, port?),
                admin_listen: SocketAddr::new(host, admin_port?),
                assertion_keys: assertion_keys?,
                mtls,
                nango: nango?,
                catalogue,
                notifications: notifications?,
                may_change_account: may_change_account?,
                callbacks: callbacks?,
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
    let read_no_file = |_: &Path| Err(io::ErrorKind::Unsupported.into());
    let mut settings = Settings::new(environment, &read_no_file);
    let log = read_log(&mut settings);
    let database = read_database(&mut settings);
    settings.finish(log.zip(database))
}

pub(super) fn read_log(settings: &mut Settings<'_>) -> Option<LogConfig> {
    let level = settings.parse("LOG_LEVEL", Some("info"), "one of error, warn, info, debug, trace");
    let is_json = settings.choose("ENVIRONMENT", &[("production", true), ("development", false)]);
    Some(LogConfig { level: level?, is_json: is_json? })
}

/// OpenTelemetry's own name, and its rule: traces are taken below the endpoint.
fn read_traces(settings: &mut Settings<'_>) -> Option<TraceConfig> {
    const NAME: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    if !settings.has(NAME) {
        return None;
    }
    let mut endpoint = settings.url(NAME, None)?;
    if let Ok(mut path) = endpoint.path_segments_mut() {
        path.pop_if_empty().extend(["v1", "traces"]);
    }
    let instance = settings.optional("HOSTNAME").unwrap_or("control").to_owned();
    Some(TraceConfig { endpoint, instance })
}

pub(super) fn read_database(settings: &mut Settings<'_>) -> Option<Database> {
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

pub(super) fn read_mtls(settings: &mut Settings<'_>) -> Option<MtlsFiles> {
    const NAMES: [&str; 3] = ["MTLS_CERT_PATH", "MTLS_KEY_PATH", "MTLS_CA_PATH"];
    if !NAMES.iter().any(|name| settings.has(name)) {
        return None;
    }
    let [certificate, key, ca] = NAMES;
    let certificate =
        settings.file(certificate, "a PEM file of certificates", tls::read_certificates);
    let key = settings.file(key, "a PEM file with a private key", tls::read_key);
    let ca = settings.file(ca, "a PEM file of certificates", tls::read_certificates);
    Some(MtlsFiles { certificate: certificate?, key: key?, ca: ca? })
}

pub(super) fn read_nango(settings: &mut Settings<'_>) -> Option<NangoConfig> {
    let api_url = settings.url("NANGO_API_URL", Some("https://api.nango.dev"));
    let public_url = if settings.has("NANGO_PUBLIC_URL") {
        settings.url("NANGO_PUBLIC_URL", None)
    } else {
        api_url.clone()
    };
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
    let calls_per_minute =
        settings.parse("NANGO_CALLS_PER_MINUTE", Some("200"), "a number from 1 to 100000");
    Some(NangoConfig {
        api_url: api_url?,
        public_url: public_url?,
        secret_key: secret_key?,
        profile_key,
        callback_url: callback_url?,
        instance: instance?.into(),
        calls_per_minute: calls_per_minute?,
        call_timeout: NANGO_CALL_TIMEOUT,
    })
}

fn read_callbacks(settings: &mut Settings<'_>) -> Option<CallbackMode> {
    let completes = settings.choose("OAUTH_CALLBACK", &[("redirect", false), ("complete", true)]);
    let origins = settings.optional("ALLOWED_ORIGINS").map(AllowedOrigins::read);
    let Some(origins) = origins.unwrap_or_else(|| Some(AllowedOrigins::default())) else {
        settings.refuse(
            "ALLOWED_ORIGINS",
            "is malformed; set it to origins such as https://app.example, separated by commas",
        );
        return None;
    };
    if !completes? {
        return Some(CallbackMode::Redirect);
    }
    let sealer = Sealer::new(&settings.keys("DATA_ENCRYPTION_KEY")?);
    if sealer.is_err() {
        settings.refuse("DATA_ENCRYPTION_KEY", "is unusable");
    }
    Some(CallbackMode::Complete { sealer: sealer.ok()?, origins })
}

pub(super) fn read_catalogue(settings: &mut Settings<'_>, environment: &Environment) -> Catalogue {
    const SUFFIX: &str = "_INTEGRATION_KEY";
    let mut catalogue = Catalogue::default();
    for (name, value) in environment {
        let Some(provider) = name.strip_suffix(SUFFIX) else { continue };
        if let Err(malformed) = catalogue.add(provider, value.trim()) {
            settings.refuse(name, &malformed.to_string());
        }
    }
    if let Some(described) = settings.parse_file("PROVIDERS_FILE", Descriptions::read) {
        catalogue.describe(described);
    }
    if !environment.keys().any(|name| name.ends_with(SUFFIX)) {
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
