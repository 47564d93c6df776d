//! Spans on their way to a collector: OTLP over HTTP, with our own client. What the collector does not take in
//! time is dropped; nobody who asked for something waits for it.

use crate::{cause::chain, config::TraceConfig};
use futures::future::BoxFuture;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, SpanExporter, WithExportConfig as _, WithHttpConfig as _,
};
use opentelemetry_sdk::{Resource, trace::SdkTracerProvider};
use std::time::Duration;
use tokio::runtime::Handle;

const TIMEOUT: Duration = Duration::from_secs(5);

/// A collector says little.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Why spans cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum CannotExport {
    #[error("cannot make the client of the collector")]
    Client(#[from] reqwest::Error),
    #[error("OTEL_… cannot be used")]
    Exporter(#[from] ExporterBuildError),
}

/// A provider that exports in batches, on a thread of its own. Its sampler, its batches and the resource's
/// attributes are set by OpenTelemetry's own variables.
pub(super) fn provider(config: TraceConfig) -> Result<SdkTracerProvider, CannotExport> {
    let TraceConfig { endpoint, instance } = config;
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .build()?;
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Client { http, runtime: Handle::current() })
        .with_endpoint(endpoint.as_str())
        .with_timeout(TIMEOUT)
        .build()?;
    let resource = Resource::builder()
        .with_service_name("connections-control")
        .with_attribute(opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(opentelemetry::KeyValue::new("service.instance.id", instance))
        .build();
    Ok(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build())
}

/// The exporter's thread has no runtime; requests are made on ours.
#[derive(Debug)]
struct Client {
    http: reqwest::Client,
    runtime: Handle,
}

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> BoxFuture<'b, Result<Response<Bytes>, HttpError>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.runtime.spawn(send(self.http.clone(), request));
        Box::pin(async move { sent.await? })
    }
}

async fn send(
    http: reqwest::Client,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, HttpError> {
    let (parts, body) = request.into_parts();
    let request =
        http.request(parts.method, parts.uri.to_string()).headers(parts.headers).body(body);
    let told = |error: reqwest::Error| HttpError::from(chain(&error.without_url()));
    let mut answer = request.send().await.map_err(told)?;
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        headers.extend(answer.headers().clone());
    }
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(told)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err("an answer without end".into());
        }
    }
    Ok(response.body(Bytes::from(body))?)
}
