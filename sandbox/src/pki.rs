//! Certificates, made at run time, for one day, by authorities that exist nowhere else.

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};
use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// An authority that signs.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub certificate_pem: String,
    pub key_pem: String,
}

/// A certificate and its key.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate_pem: String,
    pub key_pem: String,
    serial: SerialNumber,
}

/// A name in a certificate.
#[derive(Debug, Clone, Copy)]
pub enum Name<'a> {
    Uri(&'a str),
    Dns(&'a str),
    Loopback,
}

impl Authority {
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let mut params = params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate_pem = params.self_signed(&key)?.pem();
        let key_pem = key.serialize_pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem, key_pem })
    }

    pub fn issue(&self, common_name: &str, names: &[Name<'_>]) -> anyhow::Result<Identity> {
        self.sign(params(common_name, names)?)
    }

    /// One that ends at this time.
    pub fn issue_until(
        &self,
        common_name: &str,
        names: &[Name<'_>],
        end: SystemTime,
    ) -> anyhow::Result<Identity> {
        let mut params = params(common_name, names)?;
        params.not_after = end.into();
        self.sign(params)
    }

    fn sign(&self, mut params: CertificateParams) -> anyhow::Result<Identity> {
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let serial = SerialNumber::from(rand::random::<u64>());
        params.serial_number = Some(serial.clone());
        let key = KeyPair::generate()?;
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate_pem, key_pem: key.serialize_pem(), serial })
    }

    /// The list of what this authority signed and takes back, as PEM.
    pub fn revocation_list(&self, revoked: &[&Identity]) -> anyhow::Result<String> {
        let revoked_certs = revoked.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial.clone(),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }
}

fn params(common_name: &str, names: &[Name<'_>]) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    for name in names {
        params.subject_alt_names.push(match name {
            Name::Uri(uri) => SanType::URI((*uri).try_into()?),
            Name::Dns(name) => SanType::DnsName((*name).try_into()?),
            Name::Loopback => SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        });
    }
    Ok(params)
}

/// Everything that the sandbox's parts prove themselves with.
#[derive(Debug)]
pub struct Pki {
    /// Signs for this deployment: edge, control, and receivers.
    pub service: Authority,
    /// Signs for client applications.
    pub clients: Authority,
    folder: PathBuf,
}

/// The workload identity of the demo client application; `envoy/ecds/edge-clients.yaml` grants it acme.
pub const APP: &str = "spiffe://sandbox.example/app";

impl Pki {
    /// Makes everything and writes it into `folder`.
    pub fn create(folder: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let pki = Self {
            service: Authority::new("sandbox service CA")?,
            clients: Authority::new("sandbox clients CA")?,
            folder: folder.to_owned(),
        };
        pki.write("service-ca.crt", &pki.service.certificate_pem)?;
        pki.write("clients-ca.crt", &pki.clients.certificate_pem)?;
        // For whoever tries out how certificates are renewed, as docs/operating.md says.
        pki.write("service-ca.key", &pki.service.key_pem)?;
        pki.write("clients-ca.key", &pki.clients.key_pem)?;
        let both = format!("{}{}", pki.service.certificate_pem, pki.clients.certificate_pem);
        pki.write("mesh-ca.crt", &both)?;
        // `edge`, `control` and `client-app` are names of docker-compose.yml.
        let server = [Name::Dns("localhost"), Name::Dns("edge"), Name::Loopback];
        pki.write_identity("server", &pki.service.issue("server", &server)?)?;
        let edge = [Name::Uri("spiffe://sandbox.example/edge")];
        pki.write_identity("edge", &pki.service.issue("edge", &edge)?)?;
        let control = [Name::Dns("control"), Name::Dns("localhost"), Name::Loopback];
        pki.write_identity("control", &pki.service.issue("control", &control)?)?;
        let receiver = [Name::Dns("localhost"), Name::Dns("client-app"), Name::Loopback];
        pki.write_identity("receiver", &pki.service.issue("receiver", &receiver)?)?;
        pki.write_identity("app", &pki.clients.issue("app", &[Name::Uri(APP)])?)?;
        Ok(pki)
    }

    /// The path of a file such as `app.crt`, `app.key` or `service-ca.crt`.
    pub fn path(&self, file: &str) -> PathBuf {
        self.folder.join(file)
    }

    /// A server with the identity `name`, for callers with a certificate of this deployment only.
    pub fn server_tls(&self, name: &str) -> anyhow::Result<ServerConfig> {
        server_tls(&self.folder, name)
    }

    pub fn read(&self, file: &str) -> anyhow::Result<String> {
        let path = self.path(file);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// Replaces what the part of this name proves itself with.
    pub fn write_identity(&self, name: &str, identity: &Identity) -> anyhow::Result<()> {
        self.write(&format!("{name}.crt"), &identity.certificate_pem)?;
        self.write(&format!("{name}.key"), &identity.key_pem)
    }

    fn write(&self, file: &str, text: &str) -> anyhow::Result<()> {
        Ok(fs::write(self.path(file), text)?)
    }
}

/// The same, of files that another process made.
pub fn server_tls(folder: &Path, name: &str) -> anyhow::Result<ServerConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(folder.join("service-ca.crt"))?)?;
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.crt")))?
        .collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key")))?;
    let server = ServerConfig::builder().with_client_cert_verifier(verifier);
    Ok(server.with_single_cert(chain, key)?)
}
