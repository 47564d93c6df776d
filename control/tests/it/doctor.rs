//! The doctor finds what is wrong, says how to mend it, and tells no secret.

use crate::{
    setup::{PROFILE_KEY, SECRET_KEY, Setup, nango},
    support::{ASSERTION_KEYS, PUBLIC_URL, SIGNING_SECRET, TestApp},
};
use chrono::{DateTime, TimeDelta, Utc};
use contract::keys::KeyRing;
use control::{
    clock::Clock,
    config::Environment,
    doctor::{Report, Status, examine, examine_excess},
    domain::sealing::Sealer,
};
use nango_stand_in::{Excess, StandIn, Trouble};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::{ConnectOptions as _, PgPool};
use std::{fs, process::Output};
use tempfile::TempDir;
use tokio::process::Command;

/// Everything that the doctor looks at, well.
pub struct World {
    pub nango: StandIn,
    pub environment: Environment,
    folder: TempDir,
    pub clock: Clock,
}

impl World {
    pub async fn start(pool: &PgPool) -> Self {
        Self::start_with(pool, &format!("{PUBLIC_URL}/oauth/callback")).await
    }

    async fn start_with(pool: &PgPool, nangos_callback_url: &str) -> Self {
        let callback_url = nangos_callback_url.to_owned();
        Self::start_as(pool, Setup { callback_url, ..Setup::default() }).await
    }

    async fn start_as(pool: &PgPool, setup: Setup) -> Self {
        let nango = StandIn::start(nango(&setup), 0).await.unwrap();
        let folder = TempDir::new().unwrap();
        // Nango's clock is a real one.
        let clock = Clock::system();
        let path = |file: &str| folder.path().join(file).to_str().unwrap().to_owned();
        let environment = [
            ("DATABASE_URL", pool.connect_options().to_url_lossy().to_string()),
            ("NANGO_API_URL", nango.url()),
            ("NANGO_SECRET_KEY", SECRET_KEY.to_owned()),
            ("NANGO_PROFILE_KEY", PROFILE_KEY.to_owned()),
            ("PUBLIC_URL", PUBLIC_URL.to_owned()),
            ("GITHUB_INTEGRATION_KEY", "github-dev".to_owned()),
            ("CLIENT_API_URL", "https://app.example".to_owned()),
            ("EDGE_ASSERTION_KEY", ASSERTION_KEYS.to_owned()),
            ("NOTIFICATION_SIGNING_SECRET", SIGNING_SECRET.to_owned()),
            ("MTLS_CERT_PATH", path("control.crt")),
            ("MTLS_KEY_PATH", path("control.key")),
            ("MTLS_CA_PATH", path("ca.crt")),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let world = Self { nango, environment: environment.into(), folder, clock };
        world.certify(-10, 80);
        world
    }

    /// Writes certificates that are valid between two days from now.
    fn certify(&self, from: i64, until: i64) {
        let day = |days| {
            let at: DateTime<Utc> = self.clock.now() + TimeDelta::days(days);
            let seconds = std::time::Duration::from_secs(at.timestamp().try_into().unwrap());
            (std::time::UNIX_EPOCH + seconds).into()
        };
        let params = |name: &str| {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            (params.not_before, params.not_after) = (day(from), day(until));
            params
        };
        let mut ca = params("ca.example");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = params("control.example").signed_by(&key, &ca).unwrap();
        for (file, pem) in [
            ("ca.crt", ca.pem()),
            ("control.crt", leaf.pem()),
            ("control.key", key.serialize_pem()),
        ] {
            fs::write(self.folder.path().join(file), pem).unwrap();
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    pub async fn examine(&self) -> Report {
        let report = examine(&self.environment, &|path| fs::read(path), &self.clock).await;
        let told = format!("{report}{}", report.to_json());
        let key = fs::read_to_string(self.folder.path().join("control.key")).unwrap();
        for secret in
            [SECRET_KEY, PROFILE_KEY, "0123456789abcdef", "MDEyMzQ1", "nango_connect_session", &key]
        {
            assert!(!told.contains(secret), "{told}");
        }
        report
    }

    /// Checks that these findings are not ok, and every other one is.
    pub async fn check(&self, expected: &[(&str, Status, &str)]) {
        let report = self.examine().await;
        let mut unwell: Vec<_> =
            report.findings.iter().filter(|finding| finding.status > Status::Ok).collect();
        for (name, status, seen) in expected {
            let index = unwell.iter().position(|finding| {
                finding.name == *name && finding.status == *status && finding.seen.contains(seen)
            });
            let found =
                unwell.remove(index.unwrap_or_else(|| panic!("no {name}, {seen} in:\n{report}")));
            assert!(found.mend.is_some(), "{name} without its mend");
        }
        assert!(unwell.is_empty(), "{unwell:?}");
        let fails = expected.iter().any(|(_, status, _)| *status == Status::Fail);
        assert_eq!(report.has_failed(), fails, "{report}");
    }
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_service_that_is_well_is_found_well(pool: PgPool) {
    let world = World::start(&pool).await;
    world.check(&[]).await;
    let names: Vec<String> =
        world.examine().await.findings.into_iter().map(|finding| finding.name).collect();
    assert_eq!(
        names,
        [
            "settings",
            "EDGE_ASSERTION_KEY",
            "PUBLIC_URL",
            "DATA_ENCRYPTION_KEY",
            "NOTIFICATION_ALLOWED_NETWORKS",
            "MTLS",
            "MTLS_CERT_PATH",
            "MTLS_CA_PATH",
            "edge",
            "webhook key",
            "database",
            "database pooling",
            "migrations",
            "backlog",
            "database role",
            "database clock",
            "destinations' secrets",
            "missing at Nango",
            "orphaned credentials",
            "NANGO_PROXY_URL",
            "nango",
            "clock",
            "NANGO_SECRET_KEY",
            "NANGO_CALLS_PER_MINUTE",
            "NANGO_SECRET_KEY connections:list",
            "NANGO_SECRET_KEY connections:read",
            "NANGO_SECRET_KEY connections:delete",
            "NANGO_SECRET_KEY connections:read_credentials",
            "NANGO_SECRET_KEY proxy",
            "NANGO_PROFILE_KEY proxy",
            "NANGO_PROFILE_KEY connections:list",
            "NANGO_PROFILE_KEY connections:read_credentials",
            "GITHUB_INTEGRATION_KEY",
            "callback",
            "OAUTH_CALLBACK",
        ]
    );
    assert_eq!(world.nango.connection_ids(), Vec::<String>::new());
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_data_key_that_is_taken_out_too_early_is_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    let (old, new) = (format!("old:{}", "o".repeat(32)), format!("new:{}", "n".repeat(32)));
    keep_secrets(&pool, &old).await;
    world.set("DATA_ENCRYPTION_KEY", &old);
    world.check(&[]).await;
    world.set("DATA_ENCRYPTION_KEY", &format!("{new},{old}"));
    world.check(&[("destinations' secrets", Status::Warn, "1 with `old`")]).await;
    world.set("DATA_ENCRYPTION_KEY", &new);
    world.check(&[("destinations' secrets", Status::Fail, "not each is set")]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn another_key_under_the_same_id_is_found_and_the_service_does_not_start(pool: PgPool) {
    let mut world = World::start(&pool).await;
    let (old, new) = ("o".repeat(32), "n".repeat(32));
    // A bare key has the id 1, as has any other.
    keep_secrets(&pool, &old).await;
    world.set("DATA_ENCRYPTION_KEY", &new);
    let replaced = ("data encryption keys", Status::Fail, "another key than before under `1`");
    world.check(&[replaced]).await;
    let kept = "SELECT count(*) FROM key_checks";
    assert_eq!(sqlx::query_scalar::<_, i64>(kept).fetch_one(&pool).await.unwrap(), 0);
    let ended = run(&["serve"], &world.environment).await;
    let told = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{told}");
    for word in ["DATA_ENCRYPTION_KEY", "another key under the id `1`", "2:new,1:old"] {
        assert!(told.contains(word), "{word} in {told}");
    }
    // With the key from before, and with both, each under its own id.
    world.set("DATA_ENCRYPTION_KEY", &old);
    world.check(&[]).await;
    world.set("DATA_ENCRYPTION_KEY", &format!("2:{new},1:{old}"));
    world.check(&[("destinations' secrets", Status::Warn, "1 with `1`")]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_grant_that_only_a_writer_misses_is_found(pool: PgPool) {
    let world = World::start(&pool).await;
    world.check(&[]).await;
    sqlx::query("REVOKE INSERT ON heartbeats FROM connections_api").execute(&pool).await.unwrap();
    world.check(&[("database", Status::Fail, "permission denied")]).await;
}

/// A destination's secrets, sealed with the first of these keys.
async fn keep_secrets(pool: &PgPool, keys: &str) {
    let sealer = Sealer::new(&KeyRing::parse(keys.as_bytes()).unwrap()).unwrap();
    let owner = control::domain::destination::owner(&"acme".parse().unwrap());
    let sealed = sealer.seal("whsec_", &owner, [7; 12]).unwrap();
    sqlx::query(
        "INSERT INTO destinations (tenant_id, version, url, secrets, updated_at)
         VALUES ('acme', 1, 'https://app.example/', $1, now())",
    )
    .bind(sealed)
    .execute(pool)
    .await
    .unwrap();
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_main_key_that_reaches_tokens_is_a_loud_warning(pool: PgPool) {
    let world = World::start(&pool).await;
    let reads =
        ("NANGO_SECRET_KEY connections:read_credentials", Status::Warn, "every user's token");
    let proxies = ("NANGO_SECRET_KEY proxy", Status::Warn, "sent to any address");
    world.nango.let_main_key(Excess { reads_credentials: true, proxies: false });
    world.check(&[reads]).await;
    world.nango.let_main_key(Excess { reads_credentials: false, proxies: true });
    world.check(&[proxies]).await;
    world.nango.let_main_key(Excess { reads_credentials: true, proxies: true });
    world.check(&[reads, proxies]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn keys_that_are_none_or_each_others_are_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.set("NANGO_SECRET_KEY", "33333333-3333-4333-8333-333333333333");
    world.check(&[("NANGO_SECRET_KEY", Status::Fail, "unknown_account")]).await;
    world.set("NANGO_SECRET_KEY", SECRET_KEY);
    world.set("NANGO_PROFILE_KEY", SECRET_KEY);
    world
        .check(&[
            ("NANGO_PROFILE_KEY proxy", Status::Fail, "has it not"),
            ("NANGO_PROFILE_KEY connections:list", Status::Warn, "needs it not"),
        ])
        .await;
    world.environment.remove("NANGO_PROFILE_KEY");
    world.check(&[("NANGO_PROFILE_KEY", Status::Warn, "ACCOUNT_CHANGE=refuse refuses none")]).await;
    world.set("ACCOUNT_CHANGE", "accept");
    world.check(&[]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn an_integration_that_nango_lacks_is_found_and_the_others_are_well(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.set("SLACK_INTEGRATION_KEY", "slack-dev");
    let missing = ("SLACK_INTEGRATION_KEY", Status::Fail, "no integration `slack-dev`");
    world.check(&[missing]).await;
    world.nango.make_trouble(Trouble::IntegrationGone);
    world
        .check(&[
            missing,
            ("GITHUB_INTEGRATION_KEY", Status::Fail, "sends nobody off"),
            ("callback", Status::Warn, "cannot be seen"),
        ])
        .await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_that_leads_elsewhere_is_found(pool: PgPool) {
    let elsewhere = "https://elsewhere.example/oauth/callback";
    let world = World::start_with(&pool, elsewhere).await;
    world.check(&[("callback", Status::Fail, elsewhere)]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_callback_mode_that_nango_refuses_is_found_and_the_other_is_named(pool: PgPool) {
    let callback_url = format!("{PUBLIC_URL}/oauth/callback");
    let setup = Setup { callback_url, enforces_cookie: true, ..Setup::default() };
    let mut world = World::start_as(&pool, setup).await;
    world.check(&[("OAUTH_CALLBACK", Status::Fail, "Nango enforces its state cookie")]).await;
    assert!(world.examine().await.to_string().contains("set OAUTH_CALLBACK=complete"));
    assert_eq!(world.nango.connection_ids(), [""; 0]);
    world.set("DATA_ENCRYPTION_KEY", "0123456789abcdef");
    world.check(&[]).await;
    world.set("OAUTH_CALLBACK", "redirect");
    world.check(&[("OAUTH_CALLBACK", Status::Fail, "Nango enforces its state cookie")]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_certificate_that_ran_out_is_found_before_and_after(pool: PgPool) {
    let world = World::start(&pool).await;
    let both = |status, seen| [("MTLS_CERT_PATH", status, seen), ("MTLS_CA_PATH", status, seen)];
    world.certify(-80, 10);
    world.check(&both(Status::Warn, "9 days left")).await;
    world.certify(-80, 2);
    world.check(&both(Status::Warn, "47 hours left")).await;
    world.certify(-80, -1);
    world.check(&both(Status::Fail, "expired on")).await;
    world.certify(-10, 80);
    let other = KeyPair::generate().unwrap().serialize_pem();
    fs::write(world.folder.path().join("control.key"), other).unwrap();
    world.check(&[("MTLS", Status::Fail, "control.crt is unusable")]).await;
}

#[sqlx::test(migrations = false)]
async fn a_database_that_is_not_migrated_or_away_is_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.check(&[("migrations", Status::Fail, "are missing")]).await;
    world.set("DATABASE_URL", "postgres://u:dbsecret@127.0.0.1:9/d");
    world.check(&[("database", Status::Fail, "unavailable")]).await;
    assert!(!world.examine().await.to_string().contains("dbsecret"));
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn every_setting_that_cannot_be_read_is_told_and_the_rest_is_looked_at(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.set("PORT", "http");
    world.set("CLIENT_API_URL", "app.example");
    world.set("PUBLIC_URL", "http://connections.example");
    world
        .check(&[
            ("PORT", Status::Fail, "malformed"),
            ("CLIENT_API_URL", Status::Fail, "malformed"),
            ("PUBLIC_URL", Status::Fail, "in the clear"),
            ("callback", Status::Fail, "https://connections.example/oauth/callback"),
        ])
        .await;
    world.environment.remove("NANGO_SECRET_KEY");
    world
        .check(&[
            ("PORT", Status::Fail, "malformed"),
            ("CLIENT_API_URL", Status::Fail, "malformed"),
            ("NANGO_SECRET_KEY", Status::Fail, "missing"),
            ("nango", Status::Warn, "not looked at"),
        ])
        .await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_clock_that_is_wrong_is_found(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.clock = Clock::manual(world.clock.now() + TimeDelta::minutes(2));
    let ahead = ("database clock", Status::Warn, "s ahead of the database's");
    world.check(&[("clock", Status::Fail, "differs from Nango's"), ahead]).await;
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn a_start_warns_of_a_key_that_reaches_tokens_and_of_nothing_else(pool: PgPool) {
    let app = TestApp::start(pool).await;
    let excess = async || {
        let findings = examine_excess(&app.outbox.nango, &app.outbox.catalogue).await;
        findings.into_iter().map(|finding| finding.name).collect::<Vec<_>>()
    };
    assert_eq!(excess().await, Vec::<String>::new());
    app.nango.let_main_key(Excess { reads_credentials: true, proxies: true });
    let both = ["NANGO_SECRET_KEY connections:read_credentials", "NANGO_SECRET_KEY proxy"];
    assert_eq!(excess().await, both);
    app.nango.make_trouble(Trouble::Unavailable);
    assert_eq!(excess().await, Vec::<String>::new());
    app.finish().await;
}

pub async fn run(arguments: &[&str], environment: &Environment) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_control"));
    command.args(arguments).env_clear().envs(environment).output().await.unwrap()
}

#[sqlx::test(migrator = "control::store::MIGRATIONS")]
async fn the_command_ends_with_0_when_nothing_failed_and_with_1_otherwise(pool: PgPool) {
    let mut world = World::start(&pool).await;
    world.nango.let_main_key(Excess { reads_credentials: true, proxies: false });
    let told = run(&["doctor"], &world.environment).await;
    let words = String::from_utf8(told.stdout).unwrap();
    assert_eq!(told.status.code(), Some(0), "{words}");
    assert!(words.contains("\nWARN  NANGO_SECRET_KEY connections:read_credentials"), "{words}");
    world.set("PORT", "http");
    let told = run(&["doctor", "--json"], &world.environment).await;
    assert_eq!(told.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!((&json["ok"], &json["findings"][0]["name"]), (&false.into(), &"PORT".into()));
    assert_eq!(run(&["doctor"], &Environment::new()).await.status.code(), Some(1));
}
