//! The images, as far as they can be built without a registry: each last stage, by Debian's buildah, from files
//! laid out as its build stage does it.

use sandbox::{say, tools::Tools, workspace};
use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

/// The lines of a Dockerfile from its last `FROM` on, which must be `FROM scratch`.
fn last_stage(dockerfile: &str) -> String {
    let text = fs::read_to_string(workspace::root().join(dockerfile)).unwrap();
    let at = text.rfind("\nFROM ").unwrap();
    let stage = text.get(at..).unwrap().trim_start();
    assert!(stage.starts_with("FROM scratch\n"), "{dockerfile} ends with {stage}");
    stage.to_owned()
}

fn run(program: &str, arguments: &[&str]) -> String {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(ran.stdout).unwrap()
}

fn has_buildah() -> bool {
    let found = Command::new("buildah").arg("--version").stdout(Stdio::null()).status();
    let is_found = found.is_ok_and(|status| status.success());
    if !is_found {
        say::doing("not run: images (needs Debian's buildah)");
    }
    is_found
}

/// Builds the stage from what is in `context`, and gives the image's manifest, its configuration, and its layers
/// as lists of names.
fn build(folder: &Path, stage: &str, context: &Path) -> (Value, Value, Vec<Vec<String>>) {
    let at = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let (root, state, oci) = (at("root"), at("state"), at("oci"));
    // Of a build stage there is only the folder that it leaves behind.
    fs::write(folder.join("Dockerfile"), stage.replace("--from=build ", "")).unwrap();
    let storage = ["--root", &root, "--runroot", &state, "--storage-driver", "vfs"];
    let file = at("Dockerfile");
    let context = context.to_string_lossy();
    let build = ["bud", "--isolation", "chroot", "--quiet", "-t", "it", "-f", &file, &context];
    run("buildah", &[&storage[..], &build].concat());
    run("buildah", &[&storage[..], &["push", "--quiet", "it", &format!("oci:{oci}:it")]].concat());
    let read = |file: &Path| -> Value { serde_json::from_slice(&fs::read(file).unwrap()).unwrap() };
    let blob =
        |digest: &Value| folder.join("oci/blobs").join(digest.as_str().unwrap().replace(':', "/"));
    let index = read(&folder.join("oci/index.json"));
    let manifest = read(&blob(&index["manifests"][0]["digest"]));
    let configuration = read(&blob(&manifest["config"]["digest"]));
    let layers = manifest["layers"].as_array().unwrap().iter().map(|layer| {
        let listed = run("tar", &["tzf", &blob(&layer["digest"]).to_string_lossy()]);
        listed.lines().map(str::to_owned).collect()
    });
    let layers = layers.collect();
    (manifest, configuration, layers)
}

#[tokio::test]
async fn the_filters_image_is_what_istio_and_envoy_gateway_pull() {
    if !has_buildah() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let filter = Tools::for_tests().await.unwrap().filter;
    let stage = last_stage("filter/Dockerfile");
    let (manifest, configuration, layers) = build(folder.path(), &stage, filter.parent().unwrap());
    // Istio's fetcher: OCI layers that are gzipped tars, the last of which holds the module.
    for layer in manifest["layers"].as_array().unwrap() {
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");
    }
    assert_eq!(layers, [["plugin.wasm"]]);
    let labels = &configuration["config"]["Labels"];
    assert_eq!(labels["org.opencontainers.image.title"], "connections-filter");
    assert_eq!(labels["org.opencontainers.image.licenses"], "MIT");
    say::doing("not run: filter/Dockerfile's build stage (needs a registry)");
}

#[tokio::test]
async fn controls_image_runs_control_as_nobody_and_has_nothing_else() {
    if !has_buildah() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let control = Tools::for_tests().await.unwrap().control;
    let layout = folder.path().join("image");
    let script = workspace::root().join("control/image.sh");
    let [script, program, layout] = [&script, &control, &layout].map(|path| path.to_str().unwrap());
    run("sh", &[script, program, layout]);
    // `COPY --from=build /image /` is, without a build stage, `COPY image /`.
    let stage = last_stage("control/Dockerfile").replace("/image /", "image /");
    let (_, configuration, layers) = build(folder.path(), &stage, folder.path());
    assert_eq!(configuration["config"]["User"], "65532:65532");
    let files: Vec<&String> = layers.iter().flatten().filter(|name| !name.ends_with('/')).collect();
    let is_expected = |name: &&&String| {
        name.contains(".so")
            || ["usr/local/bin/control", "etc/ssl/certs/ca-certificates.crt", "etc/passwd"]
                .contains(&name.as_str())
    };
    let others: Vec<_> = files.iter().filter(|name| !is_expected(name)).collect();
    assert!(others.is_empty() && files.len() > 4, "{files:?}");
    // What is laid out is enough to run.
    let is_root = nix::unistd::Uid::effective().is_root();
    if is_root {
        let entry = configuration["config"]["Entrypoint"][0].as_str().unwrap();
        let said = run("chroot", &["--userspec=65532:65532", layout, entry, "--version"]);
        assert!(said.starts_with("control "), "{said}");
    } else {
        say::doing("not run: control in its image's folder (chroot needs root)");
    }
    say::doing("not run: control/Dockerfile's build stage (needs a registry)");
}

#[test]
fn every_base_image_is_pinned_and_nothing_runs_as_root_where_it_is_deployed() {
    for dockerfile in ["control/Dockerfile", "filter/Dockerfile", "sandbox/Dockerfile"] {
        let text = fs::read_to_string(workspace::root().join(dockerfile)).unwrap();
        for base in text.lines().filter_map(|line| line.strip_prefix("FROM ")) {
            let base = base.split(' ').next().unwrap();
            let tag = base.split_once(':').map_or("", |(_, tag)| tag);
            let is_pinned =
                base == "scratch" || tag.bytes().filter(|byte| *byte == b'.').count() == 2;
            assert!(is_pinned, "{dockerfile} is based on {base}");
        }
    }
    assert!(last_stage("control/Dockerfile").contains("\nUSER 65532:65532\n"));
}
