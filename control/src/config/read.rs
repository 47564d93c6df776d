//! Which settings there are, section by section.

use super::{
    CallbackMode, Config, Database, Environment, InvalidConfig, LogConfig, MtlsFiles, NangoConfig,
    NotificationConfig, TraceConfig,
    settings::{RANDOM_TEXT, ReadFile, Settings},
};
use crate::{
    domain::{
        delivery::Schedule,
        description::Descriptions,
        egress::Egress,
        provider::Catalogue,
        retention::{DAYS_MAX, DELIVERIES_DAYS_MIN, EVENTS_DAYS_MIN, Retention},
        returning::AllowedOrigins,
        sealing::Sealer,
        signing::{self, SigningSecret},
    },
    tls,
};
use secrecy::SecretString;
use sqlx::postgres::PgConnectOptions;
use std::{collections::BTreeSet, io, net::SocketAddr, path::Path, time::Duration};
use url::Url;

/// Nango answers in milliseconds when it is well.
const NANGO_CALL_TIMEOUT: Duration = Duration::from_secs(8);

const PROBE_HOURS: &str = "a number of hours from 1 to 8760";

impl Config {
    pub fn read(environment: &Environment, read_file: ReadFile<'_>) -> Result<Self, InvalidConfig> {
        let mut settings = Settings::new(environment, read_file);
        let log = read_log(&mut settings);
        let traces = read_traces(&mut settings);
        let database = read_database(&mut settings);
        let host = settings.parse("HOST", Some("0.0.0.0"), "an IP address to listen on");
        let port = settings.parse("PORT", Some("3004"), "a port number");
        let admin_port = settings.parse("ADMIN_PORT", Some("3005"), "a port number");
        let assertion_keys = settings.keys("EDGE_ASSERTION_KEY", RANDOM_TEXT);
        let mtls = read_mtls(&mut settings);
        let nango = read_nango(&mut settings);
        let catalogue = read_catalogue(&mut settings, environment);
        let sealer = read_sealer(&mut settings);
        let notifications = read_notifications(&mut settings, sealer.clone());
        let may_change_account =
            settings.choose("ACCOUNT_CHANGE", &[("refuse", false), ("accept", true)]);
        let callbacks = read_callbacks(&mut settings, sealer.clone());
        let probe_interval = settings.parse("CONNECTION_PROBE_HOURS", Some("24"), PROBE_HOURS);
        let retention = read_retention(&mut settings);
        let schedule = read_schedule(&mut settings);
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
                probe_interval: probe_interval?,
                retention: retention?,
                schedule: schedule?,
                sealer,
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
    // Their library reads them, and passes over what it cannot read.
    settings.headers("OTEL_EXPORTER_OTLP_HEADERS");
    settings.headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS");
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
    if settings.has_secret("DATABASE_URL") {
        settings.password_within("DATABASE_URL");
        let url = settings.parse::<Url>("DATABASE_URL", None, URL)?;
        if !matches!(url.scheme(), "postgres" | "postgresql") {
            settings.refuse("DATABASE_URL", &format!("is malformed; set it to {URL}"));
        }
        return settings.parse("DATABASE_URL", None, URL).map(Database);
    }
    let host = settings.text("DB_HOST", "PostgreSQL's host, or DATABASE_URL instead of all DB_…");
    let port = settings.parse("DB_PORT", Some("5432"), "a port number");
    let user = settings.text("DB_USER", "the login role");
    let password = settings.password("DB_PASSWORD", "the login role's password");
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
    let proxy = read_proxy(settings);
    let secret_key = settings.secret("NANGO_SECRET_KEY", "Nango's API key of the environment");
    let profile_key =
        settings.optional_secret("NANGO_PROFILE_KEY", "a key of Nango's with the scope proxy");
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
        proxy,
        calls_per_minute: calls_per_minute?,
        call_timeout: NANGO_CALL_TIMEOUT,
    })
}

/// A proxy that wants a password has it in its address.
fn read_proxy(settings: &mut Settings<'_>) -> Option<SecretString> {
    const NAME: &str = "NANGO_PROXY_URL";
    settings.password_within(NAME);
    let text = settings.optional(NAME)?;
    let is_proxy = Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.path() == "/"
            && url.query().is_none()
    });
    if !is_proxy {
        settings
            .refuse(NAME, "is malformed; set it to an address such as http://proxy.example:3128");
    }
    Some(SecretString::from(text))
}

fn read_retention(settings: &mut Settings<'_>) -> Option<Retention> {
    let mut days = |name, least| {
        let rule = format!("a number of days from {least} to {DAYS_MAX}");
        let days = settings.parse::<u16>(name, Some("30"), &rule)?;
        if !(least..=DAYS_MAX).contains(&days) {
            settings.refuse(name, &format!("is out of range; set it to {rule}"));
        }
        Some(days)
    };
    let events = days("EVENTS_RETENTION_DAYS", EVENTS_DAYS_MIN);
    let deliveries = days("DELIVERIES_RETENTION_DAYS", DELIVERIES_DAYS_MIN);
    Retention::of_days(events?, deliveries?)
}

/// Nothing, where no key is set.
pub(super) fn read_sealer(settings: &mut Settings<'_>) -> Option<Sealer> {
    const NAME: &str = "DATA_ENCRYPTION_KEY";
    if !settings.has_secret(NAME) {
        return None;
    }
    let sealer = Sealer::new(&settings.keys(NAME, RANDOM_TEXT)?);
    if sealer.is_err() {
        settings.refuse(NAME, "is unusable");
    }
    sealer.ok()
}

pub(super) fn read_callbacks(
    settings: &mut Settings<'_>,
    sealer: Option<Sealer>,
) -> Option<CallbackMode> {
    // `complete` works wherever `redirect` does, and where Nango enforces its state cookie, too.
    let completes = if settings.has("OAUTH_CALLBACK") {
        settings.choose("OAUTH_CALLBACK", &[("redirect", false), ("complete", true)])
    } else {
        Some(settings.has("DATA_ENCRYPTION_KEY"))
    };
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
    if sealer.is_none() && !settings.has_secret("DATA_ENCRYPTION_KEY") {
        // It says what is missing.
        settings.keys("DATA_ENCRYPTION_KEY", RANDOM_TEXT)?;
    }
    Some(CallbackMode::Complete { sealer: sealer?, origins })
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

fn read_schedule(settings: &mut Settings<'_>) -> Option<Schedule> {
    const NAME: &str = "DELIVERY_SCHEDULE";
    let Some(text) = settings.optional(NAME) else { return Some(Schedule::default()) };
    let schedule = text.parse();
    if let Err(bad) = &schedule {
        settings.refuse(NAME, &format!("is malformed; set it to {bad}"));
    }
    schedule.ok()
}

/// Where tenants' own destinations may be. The operator's own, `CLIENT_API_URL`, may be anywhere.
pub(super) fn read_egress(settings: &mut Settings<'_>) -> Option<Egress> {
    const NETWORKS: &str = "NOTIFICATION_ALLOWED_NETWORKS";
    const PORTS: &str = "NOTIFICATION_ALLOWED_PORTS";
    let networks = settings.optional(NETWORKS).map_or(Some(Vec::new()), Egress::read_networks);
    if networks.is_none() {
        let mend = "is malformed; set it to networks such as 10.0.0.0/8,fd00::/8";
        settings.refuse(NETWORKS, mend);
    }
    let ports = match settings.optional(PORTS) {
        Some(text) => Egress::read_ports(text),
        None => {
            let client_api = settings.optional("CLIENT_API_URL");
            let url = client_api.and_then(|text| Url::parse(text).ok());
            let port = url.and_then(|url| url.port_or_known_default());
            Some([443].into_iter().chain(port).collect::<BTreeSet<u16>>())
        }
    };
    if ports.is_none() {
        settings.refuse(PORTS, "is malformed; set it to ports such as 443,8443");
    }
    Some(Egress::new(networks?, ports?))
}

fn read_notifications(
    settings: &mut Settings<'_>,
    sealer: Option<Sealer>,
) -> Option<NotificationConfig> {
    let egress = read_egress(settings);
    let client_api_url = settings.url("CLIENT_API_URL", None);
    let keys = settings.keys("NOTIFICATION_SIGNING_SECRET", signing::FORM);
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
    Some(NotificationConfig { destination, secrets: secrets?, egress: egress?, sealer })
}
