//! A try that is looked at: the same way, signature and bounds, on a connection of its own.

use super::{
    Answered, Limits, Notifier, Sent, Target,
    failed::Failed,
    read, request,
    target::Ready,
    trust::{Seen, Shown},
};
use crate::{
    domain::rehearsal::{Certificate, Handshake},
    tls,
};
use chrono::{DateTime, Utc};
use contract::id::EventId;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ProtocolVersion, pki_types::CertificateDer};
use std::{
    convert::Infallible,
    future::pending,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tokio::time::timeout;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

/// How a try went, and what it met on its way.
#[derive(Debug)]
pub struct Rehearsed {
    pub sent: Sent,
    /// Nothing, where it did not come to one, or the way is the operator's.
    pub address: Option<SocketAddr>,
    /// Nothing, where it did not come to one.
    pub handshake: Option<Handshake>,
}

/// What a try met until it ended, however it did.
#[derive(Default)]
struct Met {
    address: Option<SocketAddr>,
    version: Option<ProtocolVersion>,
    answered: Option<Answered>,
}

impl Notifier {
    /// Sends an event that nobody keeps, on a new connection, and says what that met.
    pub async fn rehearse(
        &self,
        target: &Target,
        event: EventId,
        body: &str,
        now: DateTime<Utc>,
    ) -> Rehearsed {
        let ready = match target.0.as_ref() {
            Ok(ready) => ready,
            Err(unready) => {
                let failed = Failed::new(unready.why(), unready.to_string());
                return Rehearsed { sent: Sent::failed(failed), address: None, handshake: None };
            }
        };
        let limits = self.shared.limits;
        let (mut met, seen) = (Met::default(), Arc::<Seen>::default());
        let trying = exchange(ready, (event, body), now, (&mut met, &seen, limits));
        let failed = match timeout(limits.total, trying).await {
            Ok(Ok(())) => None,
            Ok(Err(failed)) => Some(ready.way.told(failed)),
            Err(_elapsed) => Some(Failed::timeout()),
        };
        let Met { address, version, answered } = met;
        let identity = ready.way.trust.identity();
        let shown = seen.shown();
        let mut handshake = ready
            .way
            .server_name()
            .filter(|_| !shown.chain.is_empty() || version.is_some())
            .map(|name| describe(&name.to_str(), version, shown, identity.is_some()));
        let sent = Sent::of(answered, failed, identity.as_deref(), now);
        if ready.way.is_operators() {
            let chain = handshake.iter_mut().flat_map(|handshake| &mut handshake.chain);
            chain.for_each(|it| it.names.retain(|name| name.parse::<IpAddr>().is_err()));
            return Rehearsed { sent, address: None, handshake };
        }
        Rehearsed { sent, address, handshake }
    }
}

async fn exchange(
    ready: &Ready,
    event: (EventId, &str),
    now: DateTime<Utc>,
    (met, seen, limits): (&mut Met, &Arc<Seen>, Limits),
) -> Result<(), Failed> {
    let (stream, address) = ready.way.connect().await?;
    met.address = Some(address);
    let io: Box<dyn super::connector::Io> = match ready.way.server_name() {
        None => Box::new(stream),
        Some(name) => {
            let config = ready.way.trust.observed(Arc::clone(seen))?;
            let stream = ready.way.secure(stream, name, config).await?;
            met.version = stream.get_ref().1.protocol_version();
            Box::new(stream)
        }
    };
    let broken = |error: hyper::Error| Failed::of_exchange(&error);
    let (mut sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(broken)?;
    let mut request = request(ready.uri.clone(), &ready.secrets, event, now)?;
    prepare(&mut request, ready);
    let asking = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        read(response, &mut met.answered, limits.body, now).await;
        Ok(())
    };
    // How it ends, the request is told.
    let driving = async {
        let _ended = connection.await.is_ok();
        pending::<Infallible>().await
    };
    tokio::select! {
        answered = asking => answered,
        never = driving => match never {},
    }
}

/// What the pooled client does for its requests by itself.
fn prepare<B>(request: &mut hyper::Request<B>, ready: &Ready) {
    let authority = ready.uri.authority().map(|authority| authority.as_str().to_owned());
    if let Some(value) = authority.and_then(|text| text.parse().ok()) {
        request.headers_mut().insert(hyper::header::HOST, value);
    }
    if let Some(path) = ready.uri.path_and_query() {
        *request.uri_mut() = path.clone().into();
    }
}

fn describe(
    server_name: &str,
    version: Option<ProtocolVersion>,
    shown: Shown,
    is_ours_there: bool,
) -> Handshake {
    // It prints as TLSv1_3.
    let spoken = |version: ProtocolVersion| {
        format!("{version:?}").trim_start_matches("TLSv").replace('_', ".")
    };
    let version = version.map(spoken);
    Handshake {
        server_name: server_name.to_owned(),
        tls_version: version,
        chain: shown.chain.iter().filter_map(certificate).collect(),
        asked_for_our_certificate: shown.asked_for_ours,
        showed_our_certificate: shown.asked_for_ours && is_ours_there,
    }
}

fn certificate(der: &CertificateDer<'static>) -> Option<Certificate> {
    let (_rest, certificate) = X509Certificate::from_der(der).ok()?;
    let names = certificate.subject_alternative_name().ok().flatten();
    let names = names.map(|names| names.value.general_names.iter().filter_map(name).collect());
    Some(Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        not_after: tls::time(certificate.validity().not_after),
        names: names.unwrap_or_default(),
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|address| address.to_string())
        }
        GeneralName::OtherName(..)
        | GeneralName::RFC822Name(_)
        | GeneralName::X400Address(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EDIPartyName(_)
        | GeneralName::RegisteredID(_)
        | GeneralName::Invalid(..) => None,
    }
}
