//! One call of the tool, on a policy that is written for it.

use clap::Parser as _;
use policy::{Arguments, run};
use std::fs;
use tempfile::TempDir;

pub(crate) const APP: &str = "spiffe://acme.example/app";

pub(crate) const CLIENTS: &str = r#"{"version":"7","listener":"clients","assertionKeys":{"filterState":"a"},
    "identity":{"certificate":{"names":["uri","dns"]}},
    "grants":[
        {"principal":"spiffe://acme.example/app","tenants":["acme","acme-*"],"actions":["connect","read"]},
        {"principal":"spiffe://acme.example/app",
            "tenants":["acme"],  "actions":["notify"]},
        {"principal":"spiffe://acme.example/tenant/{tenant}/app","actions":["read"]},
        {"principal":"dns:app.acme.example","tenants":["acme"],"actions":["audit"]}]}"#;

pub(crate) const PUBLIC: &str = r#"{"version":"7","listener":"public","assertionKeys":{"environment":"A"},
    "webhook":{"keys":{"filterState":"w"},"maxBodyBytes":64}}"#;

/// The shipped file of this name, by its path.
pub(crate) fn shipped(name: &str) -> String {
    format!("{}/../../envoy/ecds/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// `CLIENTS` with another source of identity.
pub(crate) fn with_identity(identity: &str) -> String {
    CLIENTS.replace(r#"{"certificate":{"names":["uri","dns"]}}"#, identity)
}

/// `CLIENTS` with grants that are tried beside its own.
pub(crate) fn with_dry_run(grants: &str) -> String {
    CLIENTS.replace("\"grants\":[\n", &format!("\"dryRun\":{{\"grants\":{grants}}},\"grants\":[\n"))
}

/// What the tool said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: u8,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Calls the tool; wrongly called, it ends as clap ends it.
pub(crate) fn call(arguments: &[&str]) -> Said {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all = ["policy"].iter().chain(arguments);
    let code = match Arguments::try_parse_from(all) {
        Ok(arguments) => run(&arguments, &mut out, &mut err).unwrap().code(),
        Err(error) => {
            err.extend(error.to_string().bytes());
            error.exit_code().try_into().unwrap()
        }
    };
    Said { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

/// Calls the tool on a file with this name and text. Its folder is cut out of what is said.
pub(crate) fn call_on((name, text): (&str, &str), arguments: &[&str]) -> Said {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(name);
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let Said { code, out, err } = call(&[arguments, &[file]].concat());
    let cut = |said: String| said.replace(file, name);
    Said { code, out: cut(out), err: cut(err) }
}

/// A request that is asked about.
pub(crate) fn ask<'a>(principal: &'a str, method: &'a str, path: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["explain", "--method", method, "--path", path];
    if !principal.is_empty() {
        arguments.extend(["--principal", principal]);
    }
    arguments
}
