//! A relay between a replica and the database that counts the transactions that end on its connections: the database's own
//! counters hold its maintenance as well.

use sqlx::{
    ConnectOptions as _, PgPool,
    postgres::{PgConnectOptions, PgSslMode},
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Where a replica connects to, so that its transactions are counted.
pub struct Counted {
    pub url: String,
    ended: Arc<AtomicU64>,
}

impl Counted {
    pub async fn start(pool: &PgPool) -> Self {
        let database = PgConnectOptions::clone(&pool.connect_options());
        let target = (database.get_host().to_owned(), database.get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = database.host("127.0.0.1").port(port).ssl_mode(PgSslMode::Disable);
        let ended = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&ended);
        tokio::spawn(async move {
            while let Ok((replica, _)) = listener.accept().await {
                let (from, mut to) = replica.into_split();
                let server = TcpStream::connect(&target).await.unwrap();
                let (answers, mut questions) = server.into_split();
                let mut from = from;
                tokio::spawn(async move { copy(&mut from, &mut questions).await.is_ok() });
                let counter = Arc::clone(&counter);
                tokio::spawn(async move { pass_on(answers, &mut to, &counter).await.is_some() });
            }
        });
        Self { url: plain.to_url_lossy().to_string(), ended }
    }

    /// How many ended so far.
    pub fn transactions(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }
}

/// Passes the server's messages on: a type, a length that counts itself, and the rest.
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html>
async fn pass_on(
    mut answers: OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    ended: &AtomicU64,
) -> Option<()> {
    let mut has_run = false;
    loop {
        let kind = answers.read_u8().await.ok()?;
        let length = answers.read_u32().await.ok()?;
        let mut rest = vec![0; usize::try_from(length).ok()?.checked_sub(4)?];
        answers.read_exact(&mut rest).await.ok()?;
        match (kind, rest.as_slice()) {
            // CommandComplete and ErrorResponse: not after a ping, which is a Sync alone.
            (b'C' | b'E', _) => has_run = true,
            // ReadyForQuery, in no transaction.
            (b'Z', b"I") => {
                ended.fetch_add(u64::from(has_run), Ordering::SeqCst);
                has_run = false;
            }
            _ => {}
        }
        let mut message = vec![kind];
        message.extend(length.to_be_bytes());
        message.extend(rest);
        to.write_all(&message).await.ok()?;
    }
}
