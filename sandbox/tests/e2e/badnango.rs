//! Ten thousand starts while Nango answers late, refuses, breaks off and keeps silent at random.

use crate::support::{Answer, World};
use contract::{
    action::Action,
    assertion::{self, Target, Vouched},
    header,
    keys::KeyRing,
};
use reqwest::Client;
use sandbox::{
    client_app,
    process::wait_for,
    say,
    stack::{Choices, Stack},
};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::Mutex, task::JoinSet, time::interval};

const STARTS: u64 = 10_000;
const SENDERS: usize = 100;

/// How soon whoever was sent away comes again: not all read when they may.
const RUDENESS: Duration = Duration::from_secs(2);

/// All calls of a start have ten seconds together; the rest is for the database of a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

/// Nango is left alone for a minute at most.
const WELL_WITHIN: Duration = Duration::from_secs(90);

const MEMORY_KIB_MAX: u64 = 100 * 1024;

/// Control's pool, and two connections that listen.
const DATABASE_CONNECTIONS_MAX: i64 = 18;

/// Everything that a start may be answered, each of which must come to pass.
const ANSWERS: [(u16, &str); 4] = [
    (201, ""),
    (422, "provider_unavailable"),
    (502, "vault_misconfigured"),
    (503, "vault_unavailable"),
];

/// And what a machine may answer that is too busy for its database.
const BUSY: (u16, &str) = (503, "unavailable");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_starts_at_a_bad_nango_leave_nothing_behind_but_what_was_answered() {
    // Another seed is another weather.
    #[expect(clippy::disallowed_methods, reason = "whoever runs the test is its main function")]
    let seed = env::var("SANDBOX_SEED").map_or(1, |seed| seed.parse().unwrap());
    let choices = Choices { nango_calls_per_minute: Some(100_000), ..Choices::default() };
    let mut world = World::with(choices).await;
    let process = world.stack.control.as_ref().unwrap().process().id().unwrap();
    let mut tally = Tally::default();
    assert_eq!(Sender::new(&world.stack).start(0, &mut tally).await, None, "{tally:?}");
    let mut database = PgConnection::connect(&world.stack.database.url).await.unwrap();
    let memory_at_first = memory(process, "VmRSS");
    let open_at_first = open_files(process) - connections(&mut database).await;

    let nango = world.stack.stand_in().unwrap();
    nango.have_bad_weather(seed);
    let began = Instant::now();
    send_all(&world.stack, &mut tally).await;
    let seconds = began.elapsed().as_secs();
    let met = nango.clear_up();
    tally.slowest.sort_unstable();
    let of_a_hundred = |share: usize| tally.slowest[tally.slowest.len() * share / 100];
    say::line(&format!(
        "seed {seed}: {STARTS} starts in {seconds} s, half within {:?}, 99 of 100 within {:?}, all within {:?}; \
         answers {:?}; Nango's calls met {met:?}; memory {} KiB at first, {} KiB at most",
        of_a_hundred(50),
        of_a_hundred(99),
        tally.slowest.last().unwrap(),
        tally.answers,
        memory_at_first,
        memory(process, "VmHWM"),
    ));
    assert_eq!(tally.wrong, [] as [String; 0]);
    let seen = tally.answers.keys().map(|(status, code)| (*status, &**code));
    let seen: Vec<_> = seen.filter(|said| *said != BUSY).collect();
    assert_eq!(seen, ANSWERS, "it proves something only if all of them come to pass");
    assert_eq!(met.len(), 12, "and all that the weather has: {met:?}");
    assert!(tally.ids.len() > 2000, "only {} were started", tally.ids.len());
    assert!(memory(process, "VmHWM") < MEMORY_KIB_MAX);

    come_back(&world.stack, &mut tally).await;
    nothing_is_stuck(&mut database, &tally).await;
    let (opened, used) = world.stack.stand_in().unwrap().sessions();
    let refused = tally.refused();
    assert!(used >= tally.ids.len() && opened - tally.ids.len() <= refused, "{opened} sessions");

    // Once Nango has closed its connections, what is open is what was open.
    world.stack.nango.take().unwrap().leave();
    let looked = AtomicI64::new(0);
    let database = Mutex::new(database);
    let returned = wait_for("more files are open than at first", WELL_WITHIN, || async {
        let of_database = connections(&mut *database.lock().await).await;
        let open = open_files(process) - of_database;
        looked.store(open, Ordering::Relaxed);
        Ok((open <= open_at_first).then_some(of_database))
    });
    let of_database =
        returned.await.unwrap_or_else(|late| panic!("{late}: {looked:?}, not {open_at_first}"));
    assert!(of_database <= DATABASE_CONNECTIONS_MAX, "{of_database} to the database");
    let database = database.into_inner();
    database.close().await.unwrap();
    world.finish().await;
}

/// What became of starts.
#[derive(Debug, Default)]
struct Tally {
    answers: BTreeMap<(u16, String), usize>,
    ids: BTreeSet<String>,
    /// How many of them had an idempotency key.
    keyed: usize,
    slowest: Vec<Duration>,
    wrong: Vec<String>,
}

impl Tally {
    fn refused(&self) -> usize {
        let refused = self.answers.iter().filter(|((status, _), _)| *status != 201);
        refused.map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        for (answer, count) in other.answers {
            *self.answers.entry(answer).or_default() += count;
        }
        self.ids.extend(other.ids);
        self.keyed += other.keyed;
        self.slowest.extend(other.slowest);
        self.wrong.extend(other.wrong);
    }
}

/// A client application that the edge has let through.
struct Sender {
    http: Client,
    url: String,
    keys: KeyRing,
}

const PATH: &str = "/tenants/acme/connections";

impl Sender {
    fn new(stack: &Stack) -> Self {
        Self {
            http: client_app::client(&stack.pki).unwrap(),
            url: format!("{}{PATH}", stack.coordinates.control_url),
            keys: KeyRing::parse(stack.coordinates.assertion_key.as_bytes()).unwrap(),
        }
    }

    /// Starts a connection; when to come back, if it was sent away.
    async fn start(&self, number: u64, tally: &mut Tally) -> Option<Duration> {
        let vouched = Vouched {
            principal: Some("spiffe://acme.example/app".parse().unwrap()),
            tenant: Some("acme".parse().unwrap()),
            action: Some(Action::Connect),
            request_id: Some(format!("start-{number}")),
            ..Vouched::default()
        };
        #[expect(clippy::disallowed_methods, reason = "the edge's clock is the real one")]
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now_ms = u64::try_from(now.as_millis()).unwrap();
        let target = Target { method: "POST", path: PATH };
        let body = json!({"sub": format!("user-{number}"), "provider": "github"});
        let mut request = self.http.post(&self.url).json(&body).timeout(ANSWERED_WITHIN);
        for (name, value) in [
            (header::ASSERTION, assertion::sign(&self.keys, target, &vouched, now_ms)),
            (header::PRINCIPAL, "spiffe://acme.example/app".to_owned()),
            (header::TENANT, "acme".to_owned()),
            (header::ACTION, Action::Connect.to_string()),
            (header::REQUEST_ID, format!("start-{number}")),
        ] {
            request = request.header(name, value);
        }
        let is_keyed = number.is_multiple_of(2);
        if is_keyed {
            request = request.header("idempotency-key", format!("start-{number}"));
        }
        let began = Instant::now();
        let answer = match request.send().await {
            Ok(response) => Answer::of(response).await,
            Err(error) => {
                tally.wrong.push(format!("start {number}: no answer: {error:?}"));
                return None;
            }
        };
        tally.slowest.push(began.elapsed());
        if answer.status == 201 {
            tally.ids.insert(answer.json()["connectionId"].as_str().unwrap().to_owned());
            tally.keyed += usize::from(is_keyed);
            *tally.answers.entry((201, String::new())).or_default() += 1;
            return None;
        }
        let said = (answer.status, answer.problem_code());
        let retry_after = answer.headers.get("retry-after").and_then(|it| it.to_str().ok());
        let retry_after = retry_after.and_then(|it| it.parse().ok()).map(Duration::from_secs);
        let listed = (said.0, said.1.as_str());
        let is_listed = listed == BUSY || ANSWERS.contains(&listed);
        if !is_listed || retry_after.is_some() != (said.0 == 503) {
            tally.wrong.push(format!("start {number}: {answer:?}"));
        }
        *tally.answers.entry(said).or_default() += 1;
        retry_after
    }
}

async fn send_all(stack: &Stack, tally: &mut Tally) {
    let sender = Arc::new(Sender::new(stack));
    let next = Arc::new(AtomicU64::new(1));
    let mut tasks = JoinSet::new();
    for _ in 0..SENDERS {
        let (sender, next) = (Arc::clone(&sender), Arc::clone(&next));
        tasks.spawn(async move {
            let mut tally = Tally::default();
            let mut pace = interval(RUDENESS);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number > STARTS {
                    return tally;
                }
                if sender.start(number, &mut tally).await.is_some() {
                    pace.reset();
                    pace.tick().await;
                }
            }
        });
    }
    for of_one in tasks.join_all().await {
        tally.add(of_one);
    }
}

/// Once the weather is fair, whoever comes back is served.
async fn come_back(stack: &Stack, tally: &mut Tally) {
    let sender = Sender::new(stack);
    let began = Instant::now();
    let before = tally.ids.len();
    let mut number = STARTS;
    let mut pace = interval(RUDENESS);
    while tally.ids.len() == before {
        assert!(began.elapsed() < WELL_WITHIN, "nothing can be started any more");
        pace.tick().await;
        number += 1;
        sender.start(number, tally).await;
    }
    assert_eq!(tally.wrong, [] as [String; 0]);
}

/// What was answered 201 is there and waits for its user, and of nothing else is there a trace.
async fn nothing_is_stuck(database: &mut PgConnection, tally: &Tally) {
    let kept: Vec<String> = sqlx::query_scalar("SELECT connection_id::text FROM connections")
        .fetch_all(&mut *database)
        .await
        .unwrap();
    assert_eq!(kept.into_iter().collect::<BTreeSet<_>>(), tally.ids);
    let started = i64::try_from(tally.ids.len()).unwrap();
    let keyed = i64::try_from(tally.keyed).unwrap();
    for (what, query, expected) in [
        (
            "pending connections with an open attempt and an hour's time",
            "SELECT count(*) FROM connections JOIN attempts USING (tenant_id, connection_id)
             WHERE connections.status = 'pending' AND attempts.status = 'open' AND open_attempt_id = attempt_id
               AND deadline_at = connections.created_at + interval '1 hour' AND due_at = deadline_at AND lease IS NULL",
            started,
        ),
        ("attempts", "SELECT count(*) FROM attempts", started),
        ("states", "SELECT count(*) FROM callback_states", started),
        ("audit lines", "SELECT count(*) FROM audit_events", started),
        ("kept answers", "SELECT count(*) FROM idempotency_keys WHERE status = 201", keyed),
        (
            "claimed keys",
            "SELECT count(*) FROM idempotency_keys WHERE status IS NULL AND until > clock_timestamp()",
            0,
        ),
        ("jobs", "SELECT count(*) FROM jobs", 0),
        ("deliveries", "SELECT count(*) FROM deliveries", 0),
        (
            "forgotten transactions",
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND state LIKE 'idle in transaction%' AND state_change < clock_timestamp() - interval '5 seconds'",
            0,
        ),
    ] {
        let count: i64 = sqlx::query_scalar(query).fetch_one(&mut *database).await.unwrap();
        assert_eq!(count, expected, "{what}");
    }
}

/// What `/proc/<pid>/status` says, in KiB.
fn memory(process: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

fn open_files(process: u32) -> i64 {
    let files = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    i64::try_from(files.count()).unwrap()
}

/// Control's connections to its database; ours is one more.
async fn connections(database: &mut PgConnection) -> i64 {
    let query = "SELECT count(*) FROM pg_stat_activity
         WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
    sqlx::query_scalar(query).fetch_one(database).await.unwrap()
}
