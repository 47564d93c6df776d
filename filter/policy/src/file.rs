//! A policy out of a file: as JSON, or inside the ECDS file that Envoy is given.

use filter::policy::{Policy, UnusablePolicy};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{fs, path::Path};

/// The only type of configuration that reaches the filter as the text that was written.
const STRING_VALUE: &str = "type.googleapis.com/google.protobuf.StringValue";

/// A policy that loads, with what only its text can tell.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) policy: Policy,
    pub(crate) texts: Texts,
    /// What is wrong around it.
    pub(crate) warnings: Vec<&'static str>,
}

/// The grants as the operator wrote them: the policy keeps what they mean.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Texts {
    grants: Option<Vec<Box<RawValue>>>,
    pub(crate) dry_run: Option<DryRun>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct DryRun {
    pub(crate) grants: Vec<Box<RawValue>>,
}

impl Texts {
    pub(crate) fn grants(&self) -> &[Box<RawValue>] {
        self.grants.as_deref().unwrap_or_default()
    }
}

/// Everything that keeps a file from being a policy.
#[derive(Debug)]
pub(crate) struct Unusable(pub(crate) Vec<String>);

impl Unusable {
    fn because(problem: impl ToString) -> Self {
        Self(vec![problem.to_string()])
    }
}

pub(crate) fn load(path: &Path) -> Result<Loaded, Unusable> {
    let text = fs::read_to_string(path).map_err(Unusable::because)?;
    if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
        let Discovery { json, warnings } = Discovery::read(&text).map_err(Unusable::because)?;
        // Its lines are counted from its own beginning.
        let in_file = |problem: String| format!("configuration.value: {problem}");
        parse(&json, warnings)
            .map_err(|Unusable(problems)| Unusable(problems.into_iter().map(in_file).collect()))
    } else {
        parse(&text, Vec::new())
    }
}

fn parse(json: &str, warnings: Vec<&'static str>) -> Result<Loaded, Unusable> {
    let policy =
        Policy::parse(json.as_bytes()).map_err(|UnusablePolicy(problems)| Unusable(problems))?;
    // A grant that loads has no white space in its strings, so that it can be told on one line.
    let one_line = json.split_whitespace().collect::<Vec<_>>().join(" ");
    let texts = serde_json::from_str(&one_line).map_err(Unusable::because)?;
    Ok(Loaded { policy, texts, warnings })
}

/// What matters here of an ECDS file.
struct Discovery {
    json: String,
    warnings: Vec<&'static str>,
}

impl Discovery {
    fn read(yaml: &str) -> Result<Self, String> {
        let document: Value = serde_saphyr::from_str(yaml).map_err(|error| {
            // Below its first line stands the place, drawn.
            let error = error.to_string();
            format!("no YAML: {}", error.lines().next().unwrap_or_default())
        })?;
        let resources = document.get("resources").and_then(Value::as_array);
        // A second one would go unchecked.
        let Some([resource]) = resources.map(Vec::as_slice) else {
            return Err("resources: must be one".to_owned());
        };
        let config = resource
            .pointer("/typed_config/config")
            .ok_or("resources[0].typed_config.config: missing")?;
        let at = |pointer: &str| config.pointer(pointer).and_then(Value::as_str);
        if at("/configuration/@type") != Some(STRING_VALUE) {
            return Err(format!("configuration: must be a {STRING_VALUE}"));
        }
        let json = at("/configuration/value").ok_or("configuration.value: must be a text")?;
        Ok(Self { json: json.to_owned(), warnings: warnings(config) })
    }
}

/// Two settings of Envoy's that the filter stands on. They are no part of the policy, so that it loads
/// without them.
fn warnings(config: &Value) -> Vec<&'static str> {
    let is_on = |name: &str| config.get(name).and_then(Value::as_bool) == Some(true);
    let opens = config.get("failure_policy").and_then(Value::as_str) == Some("FAIL_OPEN");
    let stops = is_on("allow_on_headers_stop_iteration");
    let found = [
        (
            !stops,
            "allow_on_headers_stop_iteration is not true: a request that waits for its body hangs",
        ),
        (
            opens || is_on("fail_open"),
            "failure_policy is FAIL_OPEN: after a crash requests pass by the filter",
        ),
    ];
    found.into_iter().filter_map(|(is_found, text)| is_found.then_some(text)).collect()
}
