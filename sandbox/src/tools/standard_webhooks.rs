//! The official Standard Webhooks library of another language, which verifies what ours signs.

use super::pip;
use anyhow::{Context as _, ensure};
use serde::Serialize;
use std::{path::PathBuf, process::Stdio};
use tokio::{io::AsyncWriteExt as _, process::Command};

const WHEEL: (&str, &str) = ("standardwebhooks", "1.1.0");

/// Reads cases from its input, and says of each whether the library takes it, or why not.
const SCRIPT: &str = r"
import json, sys
from standardwebhooks import Webhook
def judge(case):
    try:
        Webhook(case['secret']).verify(case['body'].encode(), case['headers'])
        return 'taken'
    except Exception as error:
        return str(error)
print(json.dumps([judge(case) for case in json.load(sys.stdin)]))
";

/// A notification as a receiver has it, and the secret that it verifies with.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    pub secret: String,
    pub headers: std::collections::BTreeMap<String, String>,
    pub body: String,
}

/// Where the library is, for `PYTHONPATH`.
pub async fn folder() -> anyhow::Result<PathBuf> {
    let (name, version) = WHEEL;
    pip::unpack(name, version).await
}

/// What `PyPI`'s library says of each case: `taken`, or why it is refused.
pub async fn judge(cases: &[Case]) -> anyhow::Result<Vec<String>> {
    let folder = folder().await?;
    let mut python = Command::new("python3")
        .args(["-c", SCRIPT])
        .env("PYTHONPATH", folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run python3")?;
    let mut input = python.stdin.take().context("python3 has no input")?;
    input.write_all(&serde_json::to_vec(cases)?).await?;
    drop(input);
    let ran = python.wait_with_output().await?;
    let said = String::from_utf8_lossy(&ran.stderr);
    ensure!(ran.status.success(), "python3 ended with {}: {}", ran.status, said.trim());
    Ok(serde_json::from_slice(&ran.stdout)?)
}
