//! The service as a process of its own, on a test's database and at its Nango, on a host whose clock may be wrong.

use crate::{
    setup::{PROFILE_KEY, SECRET_KEY},
    support::{ASSERTION_KEYS, PUBLIC_URL, SIGNING_SECRET, TestApp},
};
use serde_json::Value;
use sqlx::ConnectOptions as _;
use std::{
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;
use tokio::time::{interval, timeout};

/// A replica takes this long at most to start, or to notice something.
const SOON: Duration = Duration::from_mins(1);

/// A control service that ends when it is dropped.
pub struct Process {
    child: Child,
    admin: u16,
    _folder: TempDir,
}

impl Process {
    /// Starts a replica of `app`, on a host whose clock is so many seconds ahead.
    pub fn start(app: &TestApp, clock_shift: i64) -> Self {
        Self::start_at(app, app.pool.connect_options().to_url_lossy().to_string(), clock_shift)
    }

    /// The same, with the database at another address.
    pub fn start_at(app: &TestApp, database: String, clock_shift: i64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [port, admin] = free_ports();
        let mut command = Command::new(env!("CARGO_BIN_EXE_control"));
        command.env_clear().envs([
            ("DATABASE_URL", database),
            ("NANGO_API_URL", app.nango.url()),
            ("NANGO_SECRET_KEY", SECRET_KEY.to_owned()),
            ("NANGO_PROFILE_KEY", PROFILE_KEY.to_owned()),
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("INSTANCE", "test".to_owned()),
            ("GITHUB_INTEGRATION_KEY", "github-dev".to_owned()),
            ("EDGE_ASSERTION_KEY", ASSERTION_KEYS.to_owned()),
            ("CLIENT_API_URL", app.destination.replace("/webhooks/connections", "")),
            ("NOTIFICATION_SIGNING_SECRET", SIGNING_SECRET.to_owned()),
            ("NANGO_CALLS_PER_MINUTE", "100000".to_owned()),
            ("HOST", "127.0.0.1".to_owned()),
            ("PORT", port.to_string()),
            ("ADMIN_PORT", admin.to_string()),
        ]);
        if clock_shift != 0 {
            let library = folder.path().join("clock_shift.so");
            let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/clock_shift.c");
            let mut compiler = Command::new("cc");
            compiler.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source);
            assert!(compiler.status().unwrap().success(), "the linker's C compiler is needed");
            command.env("LD_PRELOAD", library);
            command.env("CLOCK_SHIFT_SECONDS", clock_shift.to_string());
        }
        // Its log is this test's, and shown when the test fails.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        Self { child, admin, _folder: folder }
    }

    /// What a probe is answered; nothing, before it listens.
    pub async fn readyz(&self) -> Option<(u16, Value)> {
        let url = format!("http://127.0.0.1:{}/readyz", self.admin);
        let answer = reqwest::get(url).await.ok()?;
        Some((answer.status().as_u16(), answer.json().await.ok()?))
    }

    /// Goes on when it is ready.
    pub async fn until_ready(&self) -> Value {
        until("it is not ready", async || {
            self.readyz().await.filter(|(status, _)| *status == 200).map(|(_, health)| health)
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Asks again until there is an answer.
pub async fn until<T>(otherwise: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        let mut often = interval(Duration::from_millis(2));
        loop {
            often.tick().await;
            if let Some(answer) = ask().await {
                return answer;
            }
        }
    };
    timeout(SOON, asking).await.unwrap_or_else(|_elapsed| panic!("{otherwise}"))
}

fn free_ports() -> [u16; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap().port())
}
