//! Worlds for the tests: the edge alone before a recorder, or everything.

use contract::{keys::KeyRing, signature};
use http_body_util::StreamBody;
use hyper::{
    HeaderMap,
    body::{Bytes, Frame},
};
use reqwest::{Client, Response, Version};
use sandbox::{
    client_app,
    envoy::{Addresses, EdgeSecrets, Envoy, configuration},
    pki::Pki,
    ports,
    process::wait_for,
    recorder::Recorder,
    secrets,
    stack::{Choices, Stack, WhichDatabase},
    tools::Tools,
};
use serde_json::Value;
use std::{
    collections::HashSet,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use tempfile::TempDir;

pub const SIGNATURE: &str = "x-nango-hmac-sha256";

/// Everything that an edge needs, written and not yet started, so that a test can change it.
pub struct Prepared {
    pub pki: Pki,
    pub secrets: EdgeSecrets,
    /// Variables of Envoy's.
    pub environment: Vec<(&'static str, String)>,
    pub tools: Tools,
    recorder: Recorder,
    addresses: Addresses,
    folder: TempDir,
}

impl Prepared {
    pub async fn new() -> Self {
        Self::with(|_pki| {}).await
    }

    /// With certificates that the test changes first.
    pub async fn with(change: impl FnOnce(&Pki)) -> Self {
        let tools = Tools::for_tests().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::create(&folder.path().join("pki")).unwrap();
        change(&pki);
        let recorder = Recorder::start(&pki).unwrap();
        let [clients, public, admin] = ports::free().unwrap();
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let addresses = Addresses {
            clients: loopback(clients),
            public: loopback(public),
            admin: loopback(admin),
            control: recorder.address,
        };
        let secrets =
            EdgeSecrets { webhook_keys: secrets::nango_key(), assertion_keys: secrets::hex() };
        let environment = Vec::new();
        let prepared = Self { pki, secrets, environment, tools, recorder, addresses, folder };
        let filter = &prepared.tools.filter;
        Envoy::prepare(
            &prepared.envoy_folder(),
            filter,
            addresses,
            &prepared.pki,
            &prepared.secrets,
        )
        .unwrap();
        prepared
    }

    /// Where Envoy reads its files.
    pub fn envoy_folder(&self) -> PathBuf {
        self.folder.path().join("envoy")
    }

    pub fn adjust(&self, change: impl FnOnce(&mut Value) -> anyhow::Result<()>) {
        configuration::adjust(&self.envoy_folder(), change).unwrap();
    }

    pub fn policy(&self, listener: &str, policy: &Value) {
        configuration::replace_policy(&self.envoy_folder(), listener, &policy.to_string()).unwrap();
    }

    /// Replaces a secret before Envoy reads it.
    pub fn secret(&mut self, name: &str, text: &str) {
        configuration::replace(&self.envoy_folder().join("secrets").join(name), text).unwrap();
        match name {
            "webhook-keys" => text.clone_into(&mut self.secrets.webhook_keys),
            _ => text.clone_into(&mut self.secrets.assertion_keys),
        }
    }

    pub async fn start(self) -> Edge {
        let Self { pki, secrets, environment, tools, recorder, addresses, folder } = self;
        let envoy = folder.path().join("envoy");
        let envoy = Envoy::start(&tools.envoy, &envoy, addresses, &environment).await.unwrap();
        let EdgeSecrets { webhook_keys, assertion_keys } = secrets;
        Edge { envoy, recorder, pki, webhook_keys, assertion_keys, _folder: folder }
    }
}

/// Envoy with the filter, before a recorder in control's place.
pub struct Edge {
    pub envoy: Envoy,
    pub recorder: Recorder,
    pub pki: Pki,
    pub webhook_keys: String,
    pub assertion_keys: String,
    _folder: TempDir,
}

impl Edge {
    pub async fn start() -> Self {
        Prepared::new().await.start().await
    }

    pub fn clients(&self, path: &str) -> String {
        format!("https://{}{path}", self.envoy.addresses.clients)
    }

    pub fn public(&self, path: &str) -> String {
        format!("https://{}{path}", self.envoy.addresses.public)
    }

    /// A client application with its certificate.
    pub fn app(&self) -> Client {
        client_app::client(&self.pki).unwrap()
    }

    /// Somebody without a certificate.
    pub fn anybody(&self) -> Client {
        client_app::client_as(&self.pki, None).unwrap()
    }

    /// The access log, once it has a line of each of these.
    pub async fn access_log_of(&self, traceparents: &[&str]) -> Vec<Value> {
        wait_for("the access log is not complete", Duration::from_secs(10), || async {
            let written = self.envoy.access_log()?;
            let named: HashSet<&str> =
                written.iter().filter_map(|line| line["traceparent"].as_str()).collect();
            let is_complete = traceparents.iter().all(|name| named.contains(name));
            Ok(is_complete.then_some(written))
        })
        .await
        .unwrap()
    }

    /// The access log, once it has this many lines.
    pub async fn access_log(&self, lines: usize) -> Vec<Value> {
        wait_for("no access log", Duration::from_secs(10), || async {
            let written = self.envoy.access_log()?;
            Ok((written.len() >= lines).then_some(written))
        })
        .await
        .unwrap()
    }

    /// The sum of every counter whose name in Prometheus' format has this in it.
    pub async fn counted(&self, name: &str) -> u64 {
        let url = format!("http://{}/stats/prometheus", self.envoy.addresses.admin);
        let text = reqwest::get(url).await.unwrap().text().await.unwrap();
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let named =
            lines.filter(|line| line.split('{').next().is_some_and(|start| start.contains(name)));
        named.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }

    pub fn sign(&self, body: &[u8]) -> String {
        signature::sign(&KeyRing::parse(self.webhook_keys.as_bytes()).unwrap(), body)
    }
}

/// The two versions of HTTP that strangers may speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Http {
    One,
    Two,
}

impl Http {
    pub const BOTH: [Self; 2] = [Self::One, Self::Two];

    pub const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    pub const fn version(self) -> Version {
        match self {
            Self::One => Version::HTTP_11,
            Self::Two => Version::HTTP_2,
        }
    }

    /// Somebody without a certificate who speaks this version only.
    pub fn client(self, pki: &Pki) -> Client {
        let ca = reqwest::Certificate::from_pem(pki.service.certificate_pem.as_bytes()).unwrap();
        let client = Client::builder().tls_certs_only([ca]).no_proxy();
        match self {
            Self::One => client.http1_only().build().unwrap(),
            Self::Two => client.http2_prior_knowledge().build().unwrap(),
        }
    }
}

/// How a body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// In one piece, with its length.
    Whole,
    /// In pieces, without a length.
    Pieces,
    /// In pieces, and with trailers after it.
    Trailers,
}

impl Sending {
    /// The frames of a body, which may be none.
    pub fn frames(self, bytes: &[u8]) -> Vec<Result<Frame<Bytes>, Infallible>> {
        let size = match self {
            Self::Whole => bytes.len(),
            Self::Pieces | Self::Trailers => bytes.len().div_ceil(3),
        };
        let pieces = bytes.chunks(size.max(1));
        let mut frames: Vec<Result<Frame<Bytes>, Infallible>> =
            pieces.map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        if self == Self::Trailers {
            let mut trailers = HeaderMap::new();
            trailers.insert("x-trailer", "1".parse().unwrap());
            frames.push(Ok(Frame::trailers(trailers)));
        }
        frames
    }

    pub fn body(self, bytes: &[u8]) -> reqwest::Body {
        if self == Self::Whole {
            return bytes.to_vec().into();
        }
        reqwest::Body::wrap(StreamBody::new(futures::stream::iter(self.frames(bytes))))
    }
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub version: Version,
}

impl Answer {
    pub async fn of(response: Response) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            version: response.version(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(&self.body)))
    }

    /// Checks that this is a refusal in the one shape that refusals have, and gives its code.
    pub fn problem_code(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], self.status, "{problem}");
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }
}

/// Everything, with a database of its own.
pub struct World {
    pub stack: Stack,
    _folder: TempDir,
}

impl World {
    pub async fn start() -> Self {
        Self::with(Choices::default()).await
    }

    pub async fn with(choices: Choices) -> Self {
        let tools = Tools::for_tests().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let database = match choices.database {
            WhichDatabase::Any | WhichDatabase::Empty => WhichDatabase::Empty,
            WhichDatabase::OwnServer => WhichDatabase::OwnServer,
        };
        let choices = Choices { database, ..choices };
        let stack = Box::pin(Stack::start(&tools, folder.path(), choices)).await.unwrap();
        Self { stack, _folder: folder }
    }

    pub async fn finish(self) {
        self.stack.stop().await.unwrap();
    }
}
