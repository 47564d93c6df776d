//! What a checkout does from its own folder: a copy of it leaves it alone, and its shell says what it sees.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use sandbox::{pki, workspace};
use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::Arc,
    thread,
};
use tempfile::TempDir;

/// As much of a checkout as tells that it is one, with the real program built in it.
fn checkout() -> TempDir {
    let folder = tempfile::tempdir_in(workspace::root().join("target")).unwrap();
    let at = |path: &str| folder.path().join(path);
    for folder in ["sandbox", "target/debug", "target/sandbox", "docs"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    for file in ["Cargo.lock", "sandbox/Cargo.toml", "docs/shell.sh"] {
        fs::copy(workspace::root().join(file), at(file)).unwrap();
    }
    fs::hard_link(workspace::program("sandbox"), at("target/debug/sandbox")).unwrap();
    folder
}

/// Something that runs, and says that it is the sandbox's.
fn runs() -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", "read line; exit 0", "sandbox"]);
    command.stdin(Stdio::piped()).spawn().unwrap()
}

fn down(checkout: &Path) -> String {
    let mut down = Command::new(checkout.join("target/debug/sandbox"));
    let down =
        down.arg("down").current_dir("/").env("CARGO_MANIFEST_DIR", checkout.join("sandbox"));
    let down = down.stdin(Stdio::null()).output().unwrap();
    assert!(down.status.success(), "{}", String::from_utf8_lossy(&down.stderr));
    String::from_utf8(down.stdout).unwrap()
}

fn write_state(checkout: &Path, root: &Path, supervisor: u32) {
    let state = serde_json::json!({"root": root, "supervisor": supervisor, "children": []});
    fs::write(checkout.join("target/sandbox/up.json"), state.to_string()).unwrap();
}

#[test]
fn a_copied_checkout_stops_what_was_started_in_it_and_nothing_of_the_original() {
    let (original, copy) = (checkout(), checkout());
    let mut running = runs();
    write_state(original.path(), original.path(), running.id());
    // The copy has all that the original had.
    write_state(copy.path(), original.path(), running.id());
    let said = down(copy.path());
    assert!(said.contains("no sandbox runs here"), "{said}");
    assert_eq!(running.try_wait().unwrap(), None, "the copy stopped the original's");
    let said = down(original.path());
    assert!(said.contains("is stopped"), "{said}");
    assert!(running.wait().unwrap().code().is_none(), "it was not asked to end");
}

/// A shell that has read `docs/shell.sh` in the folder of a checkout.
fn shell(checkout: &Path, env: &str, command: &str, environment: &[(&str, &str)]) -> Output {
    fs::write(checkout.join("target/sandbox/sandbox.env"), env).unwrap();
    Command::new("bash")
        .args(["-c", &format!(". docs/shell.sh && {command}")])
        .current_dir(checkout)
        .env_clear()
        .env("PATH", env!("PATH"))
        .env("HOME", checkout)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[test]
fn a_copied_checkout_has_no_shell_for_the_originals_sandbox() {
    let (original, copy) = (checkout(), checkout());
    let of =
        |folder: &TempDir| format!("SANDBOX_ROOT='{}'\nTENANT='acme'\n", folder.path().display());
    let refused = shell(copy.path(), &of(&original), "echo \"tenant $TENANT\"", &[]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success() && said.contains("is a copy"), "{said}");
    let taken = shell(copy.path(), &of(&copy), "echo \"tenant $TENANT\"", &[]);
    assert_eq!(String::from_utf8(taken.stdout).unwrap(), "tenant acme\n");
}

/// A public listener with a certificate for `tunnel.example` and this machine, which answers everything with 200.
fn listener(authority: &pki::Authority) -> u16 {
    let names = [pki::Name::Dns("tunnel.example"), pki::Name::Loopback];
    let identity = authority.issue("server", &names).unwrap();
    let chain = rustls_pemfile(&identity.certificate_pem);
    let key: PrivateKeyDer<'static> =
        rustls::pki_types::pem::PemObject::from_pem_slice(identity.key_pem.as_bytes()).unwrap();
    let config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut tls = rustls::StreamOwned::new(connection, socket.unwrap());
            let mut seen = [0; 4096];
            if tls.read(&mut seen).is_ok() {
                drop(tls.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
                tls.conn.send_close_notify();
                drop(tls.flush());
            }
        }
    });
    port
}

fn rustls_pemfile(pem: &str) -> Vec<rustls::pki_types::CertificateDer<'static>> {
    use rustls::pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::pem_slice_iter(pem.as_bytes()).map(Result::unwrap).collect()
}

#[test]
fn the_shell_works_behind_a_tunnel_and_tells_an_answer_from_a_failed_handshake() {
    let checkout = checkout();
    let ours = pki::Authority::new("sandbox service CA").unwrap();
    let theirs = pki::Authority::new("the system's CA").unwrap();
    let write = |file: &str, text: &str| {
        let path = checkout.path().join(file);
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    };
    let ca = write("service-ca.crt", &ours.certificate_pem);
    // What the system trusts, and where its resolver says that the tunnel is.
    let system = write("system.pem", &theirs.certificate_pem);
    let system = [("CURL_CA_BUNDLE", system.as_str())];
    let env = |public_url: &str, public_ca: &str| {
        format!("PUBLIC_URL='{public_url}'\nCA_CERT='{ca}'\nPUBLIC_CA_CERT='{public_ca}'\n")
    };
    let webhook = |env: &str| {
        let ended = shell(checkout.path(), env, "webhook key", &system);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ended.status.success(), text(ended.stdout), text(ended.stderr))
    };

    let here = format!("https://127.0.0.1:{}", listener(&ours));
    assert_eq!(webhook(&env(&here, &ca)), (true, "200\n".to_owned(), String::new()));
    let port = listener(&theirs);
    write(".curlrc", &format!("resolve = tunnel.example:{port}:127.0.0.1\n"));
    let tunnel = format!("https://tunnel.example:{port}");
    assert_eq!(webhook(&env(&tunnel, "")), (true, "200\n".to_owned(), String::new()));
    // A certificate that is not to be trusted is no answer.
    let (is_well, status, said) = webhook(&env(&tunnel, &ca));
    assert!(!is_well && status == "000\n" && said.contains("certificate"), "{status}{said}");
}
