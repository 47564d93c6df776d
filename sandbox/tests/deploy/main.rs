//! What is deployed, held against the schemas of those who read it and against the code: `docker-compose.yml`, and
//! the manifests of Kubernetes, Istio and Envoy Gateway below `envoy/`. No container engine and no cluster is
//! needed; what that leaves out is said by the tests that leave it out.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop at the first surprise"
)]

mod compose;
mod context;
mod edge;
mod grafana;
mod images;
mod labels;
mod manifests;
mod mesh;
mod meshes;
mod parts;
mod probes;
mod public;
mod references;
mod schema;
mod scraped;
mod settings;
mod strict;
mod upkeep;
