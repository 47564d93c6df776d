//! Everything, started in order and ended in the other.

use crate::{
    client_app::{self, ClientApp},
    control::{Control, Settings},
    database::Database,
    envoy::{Addresses, EdgeSecrets, Envoy, configuration},
    pki::Pki,
    ports, secrets,
    tools::Tools,
};
use anyhow::Context as _;
use contract::keys::KeyRing;
use nango_stand_in::{Manners, StandIn};
use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// The tenant that the repository's policy grants to the demo client application.
pub const TENANT: &str = "acme";

/// The name of the integration at Nango, and of the provider here.
pub const INTEGRATION: &str = "github";

/// What may be chosen.
#[derive(Debug, Clone, Default)]
pub struct Choices {
    /// Another Nango than the stand-in.
    pub nango: Option<RemoteNango>,
    /// Another receiver than the demo client application.
    pub client_api_url: Option<String>,
    /// Where browsers and Nango reach the public listener, if not at its own address.
    pub public_url: Option<String>,
    /// Ports that must be these; all others are free ones.
    pub edge_port: Option<u16>,
    pub public_port: Option<u16>,
    /// Further providers: the settings `<PROVIDER>_INTEGRATION_KEY`.
    pub integrations: Vec<(String, String)>,
    /// Where control exports its spans; nowhere without it.
    pub otlp_endpoint: Option<String>,
    /// Whether the stand-in Nango sends each webhook once and at once.
    pub is_kind: bool,
    pub database: WhichDatabase,
    /// Whether the edge lets as much pass as comes, for a load that is to reach what is behind its limits.
    pub is_unlimited: bool,
    /// How many calls a minute Nango takes, and control makes; without it, as many as by default.
    pub nango_calls_per_minute: Option<u32>,
}

/// Which database a stack has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhichDatabase {
    /// That of `DATABASE_URL`, or else one on a server of our own.
    #[default]
    Any,
    /// A new and empty one.
    Empty,
    /// One on a server of our own, which may be ended.
    OwnServer,
}

/// A Nango that is there already.
#[derive(Debug, Clone)]
pub struct RemoteNango {
    pub url: String,
    pub secret_key: String,
    pub webhook_secret: String,
    /// A key for its proxy, without which no profile is read.
    pub profile_key: Option<String>,
}

/// Where everything is and what opens it.
#[derive(Debug, Clone)]
pub struct Coordinates {
    pub edge_url: String,
    pub public_url: String,
    pub control_url: String,
    pub envoy_admin_url: String,
    pub nango_url: String,
    pub nango_secret_key: String,
    pub webhook_secret: String,
    pub assertion_key: String,
    pub client_app_url: String,
}

/// The running world.
#[derive(Debug)]
pub struct Stack {
    pub coordinates: Coordinates,
    pub pki: Pki,
    pub database: Database,
    pub nango: Option<StandIn>,
    pub client_app: Option<ClientApp>,
    pub control_settings: Settings,
    pub control: Option<Control>,
    pub envoy: Envoy,
    /// The demo client application's own client.
    pub http: reqwest::Client,
}

impl Stack {
    /// Starts everything, with its files and logs below `folder`.
    pub async fn start(tools: &Tools, folder: &Path, choices: Choices) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let pki = Pki::create(&folder.join("pki"))?;
        let database = match choices.database {
            WhichDatabase::Any => Database::start(tools, folder).await?,
            WhichDatabase::Empty => Database::start_empty(tools, folder).await?,
            WhichDatabase::OwnServer => Database::start_own(tools, folder).await?,
        };
        let ports = Ports::choose(&choices)?;
        let public_url = choices
            .public_url
            .clone()
            .unwrap_or_else(|| format!("https://{}", ports.addresses.public));
        let signing_secret = secrets::signing_secret();
        let (nango, remote) =
            start_nango(choices.nango.clone(), &public_url, &pki, &choices).await?;
        let client_app = match choices.client_api_url {
            Some(_) => None,
            None => Some(ClientApp::start(&pki, &signing_secret)?),
        };
        let client_app_url = client_app.as_ref().map(ClientApp::url).or(choices.client_api_url);
        let coordinates = Coordinates {
            edge_url: format!("https://{}", ports.addresses.clients),
            control_url: format!("https://{}", ports.addresses.control),
            envoy_admin_url: format!("http://{}", ports.addresses.admin),
            assertion_key: secrets::hex(),
            nango_url: remote.url,
            nango_secret_key: remote.secret_key,
            webhook_secret: remote.webhook_secret,
            public_url,
            client_app_url: client_app_url.unwrap_or_default(),
        };
        let keys = (signing_secret.as_str(), remote.profile_key);
        let mut environment = environment(&coordinates, &pki, &database, &ports, keys);
        environment.extend(choices.integrations);
        environment.extend(calls(choices.nango_calls_per_minute));
        environment.extend(traces(choices.otlp_endpoint));
        let control_settings = Settings {
            program: tools.control.clone(),
            environment,
            admin: ports.control_admin,
            log: folder.join("control.log"),
        };
        control_settings.migrate().await?;
        let control = Some(control_settings.start().await?);
        let edge = (ports.addresses, choices.is_unlimited);
        let envoy = start_envoy(tools, &folder.join("envoy"), edge, &pki, &coordinates).await?;
        let http = client_app::client(&pki)?;
        Ok(Self {
            coordinates,
            pki,
            database,
            nango,
            client_app,
            control_settings,
            control,
            envoy,
            http,
        })
    }

    /// The log files, by the name of what writes them.
    pub fn logs(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("control", self.control_settings.log.clone()),
            ("envoy", self.envoy.process().log().to_owned()),
        ]
    }

    /// A URL on the clients listener.
    pub fn edge(&self, path: &str) -> String {
        format!("{}{path}", self.coordinates.edge_url)
    }

    /// A URL on the public listener.
    pub fn public(&self, path: &str) -> String {
        format!("{}{path}", self.coordinates.public_url)
    }

    /// The stand-in Nango; an error where a real one is used.
    pub fn stand_in(&self) -> anyhow::Result<&StandIn> {
        self.nango.as_ref().context("this stack uses another Nango")
    }

    /// The demo client application; an error where another receiver is used.
    pub fn app(&self) -> anyhow::Result<&ClientApp> {
        self.client_app.as_ref().context("this stack notifies another receiver")
    }

    /// Kills control as a crash would.
    pub async fn kill_control(&mut self) -> anyhow::Result<()> {
        match self.control.take() {
            Some(control) => control.kill().await,
            None => Ok(()),
        }
    }

    pub async fn start_control(&mut self) -> anyhow::Result<()> {
        self.control = Some(self.control_settings.start().await?);
        Ok(())
    }

    /// Ends everything, callers first.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { database, control, envoy, .. } = self;
        envoy.stop().await?;
        if let Some(control) = control {
            control.stop().await?;
        }
        database.stop().await
    }
}

/// Where everybody listens.
#[derive(Debug, Clone, Copy)]
struct Ports {
    addresses: Addresses,
    control_admin: SocketAddr,
}

impl Ports {
    fn choose(choices: &Choices) -> anyhow::Result<Self> {
        let [clients, public, admin, control, control_admin] = ports::free()?;
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses = Addresses {
            clients: loopback(choices.edge_port.unwrap_or(clients)),
            public: loopback(choices.public_port.unwrap_or(public)),
            admin: loopback(admin),
            control: loopback(control),
        };
        Ok(Self { addresses, control_admin: loopback(control_admin) })
    }
}

async fn start_envoy(
    tools: &Tools,
    folder: &Path,
    (addresses, is_unlimited): (Addresses, bool),
    pki: &Pki,
    coordinates: &Coordinates,
) -> anyhow::Result<Envoy> {
    let secrets = EdgeSecrets {
        webhook_keys: coordinates.webhook_secret.clone(),
        assertion_keys: coordinates.assertion_key.clone(),
    };
    Envoy::prepare(folder, &tools.filter, addresses, pki, &secrets)?;
    if is_unlimited {
        configuration::adjust(folder, configuration::raise_limits)?;
    }
    Envoy::start(&tools.envoy, folder, addresses, &[]).await
}

async fn start_nango(
    chosen: Option<RemoteNango>,
    public_url: &str,
    pki: &Pki,
    choices: &Choices,
) -> anyhow::Result<(Option<StandIn>, RemoteNango)> {
    if let Some(remote) = chosen {
        return Ok((None, remote));
    }
    let [secret_key, profile_key, webhook_secret] = [(); 3].map(|()| secrets::nango_key());
    let integrations = choices.integrations.iter().map(|(_, integration)| integration.clone());
    let settings = nango_stand_in::Settings {
        secret_key: secret_key.clone(),
        profile_key: profile_key.clone(),
        signing_keys: KeyRing::parse(webhook_secret.as_bytes())?,
        callback_url: format!("{public_url}/oauth/callback"),
        integrations: integrations.chain([INTEGRATION.to_owned()]).collect(),
        trusted_ca: Some(pki.service.certificate_pem.clone().into_bytes()),
        enforces_cookie: false,
        manners: if choices.is_kind { Manners::KIND } else { Manners::REAL },
    };
    let nango = StandIn::start(settings, 0).await.context("cannot start the stand-in Nango")?;
    nango.send_webhooks_to(format!("{public_url}/webhooks/nango"));
    if let Some(calls) = choices.nango_calls_per_minute {
        nango.take_calls_per_minute(calls);
    }
    let profile_key = Some(profile_key);
    let remote = RemoteNango { url: nango.url(), secret_key, webhook_secret, profile_key };
    Ok((Some(nango), remote))
}

fn calls(per_minute: Option<u32>) -> Option<(String, String)> {
    per_minute.map(|calls| ("NANGO_CALLS_PER_MINUTE".to_owned(), calls.to_string()))
}

/// What is set for a collector; batches are short, for whoever waits for them.
fn traces(endpoint: Option<String>) -> impl Iterator<Item = (String, String)> {
    let settings = endpoint.map(|endpoint| {
        [("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned())]
    });
    settings.into_iter().flatten().map(|(name, value)| (name.to_owned(), value))
}

/// Control's settings, by the names that README and ARCHITECTURE give them.
fn environment(
    coordinates: &Coordinates,
    pki: &Pki,
    database: &Database,
    ports: &Ports,
    (signing_secret, profile_key): (&str, Option<String>),
) -> BTreeMap<String, String> {
    let path = |file: &str| pki.path(file).to_string_lossy().into_owned();
    let profile_key = profile_key.map(|key| ("NANGO_PROFILE_KEY", key));
    let settings = [
        ("HOST", Ipv4Addr::LOCALHOST.to_string()),
        ("PORT", ports.addresses.control.port().to_string()),
        ("ADMIN_PORT", ports.control_admin.port().to_string()),
        ("DATABASE_URL", database.url.clone()),
        ("NANGO_API_URL", coordinates.nango_url.clone()),
        ("NANGO_SECRET_KEY", coordinates.nango_secret_key.clone()),
        ("PUBLIC_URL", coordinates.public_url.clone()),
        ("GITHUB_INTEGRATION_KEY", INTEGRATION.to_owned()),
        ("CLIENT_API_URL", coordinates.client_app_url.clone()),
        ("EDGE_ASSERTION_KEY", coordinates.assertion_key.clone()),
        ("NOTIFICATION_SIGNING_SECRET", signing_secret.to_owned()),
        ("MTLS_CERT_PATH", path("control.crt")),
        ("MTLS_KEY_PATH", path("control.key")),
        // As in a mesh, where one authority signs every workload: any of them can reach control, and the
        // edge's assertion is what keeps them out.
        ("MTLS_CA_PATH", path("mesh-ca.crt")),
        ("INSTANCE", "sandbox".to_owned()),
        // Its users end on Nango's page, whether or not there is a DATA_ENCRYPTION_KEY.
        ("OAUTH_CALLBACK", "redirect".to_owned()),
    ];
    let settings = settings.into_iter().chain(profile_key);
    settings.map(|(name, value)| (name.to_owned(), value)).collect()
}
