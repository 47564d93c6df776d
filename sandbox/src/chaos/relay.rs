//! A wire between two processes that can be cut: what goes over it is passed on, byte for byte, or not.

use std::{
    future::pending,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

/// Between two tries to have the port back.
const TRY_AGAIN: Duration = Duration::from_millis(20);

const BUFFER: usize = 16 * 1024;

/// How a wire is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cut {
    /// What is open breaks, and who connects is refused: nobody is there.
    Refuses,
    /// Nothing passes and nothing breaks: the packets are lost. What was sent arrives when it ends.
    Stalls,
    /// What is open breaks, and so does each new connection.
    Resets,
    /// The other end is gone and nobody says so: what is open, or comes meanwhile, stays open and is dead, and
    /// stays so when it is over.
    Vanishes,
}

impl Cut {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuses => "refuses",
            Self::Stalls => "stalls",
            Self::Resets => "resets",
            Self::Vanishes => "vanishes",
        }
    }
}

/// How the wire is.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    cut: Option<Cut>,
    /// Counts how often all that was open was broken.
    breaks: u64,
}

impl State {
    fn breaks(self, born: u64) -> bool {
        self.breaks != born || matches!(self.cut, Some(Cut::Refuses | Cut::Resets))
    }
}

/// A running wire. It ends when this is dropped.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    state: watch::Sender<State>,
    server: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of loopback.
    pub async fn start(target: SocketAddr) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), vec![target]).await
    }

    /// Listens on `address`. Of several targets each has its turn, and one that is not there is passed
    /// over.
    pub async fn start_at(address: SocketAddr, targets: Vec<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (state, watched) = watch::channel(State::default());
        let server = tokio::spawn(serve(address, listener, targets.into(), watched));
        Ok(Self { address, state, server })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts the wire, or mends it.
    pub fn cut(&self, cut: Option<Cut>) {
        self.state.send_modify(|state| state.cut = cut);
    }

    /// Breaks everything that is open, once.
    pub fn break_all(&self) {
        self.state.send_modify(|state| state.breaks = state.breaks.wrapping_add(1));
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(
    address: SocketAddr,
    first: TcpListener,
    targets: Arc<[SocketAddr]>,
    mut state: watch::Receiver<State>,
) {
    let mut listener = Some(first);
    let mut turn = 0_usize;
    loop {
        if state.borrow_and_update().cut == Some(Cut::Refuses) {
            listener = None;
            if state.changed().await.is_err() {
                return;
            }
            continue;
        }
        let open = match listener.take() {
            Some(open) => open,
            None => match TcpListener::bind(address).await {
                Ok(open) => open,
                Err(error) => {
                    tracing::warn!(%error, "the wire cannot listen again yet");
                    sleep(TRY_AGAIN).await;
                    continue;
                }
            },
        };
        tokio::select! {
            changed = state.changed() => if changed.is_err() { return },
            accepted = open.accept() => if let Ok((caller, _)) = accepted {
                tokio::spawn(pass(caller, Arc::clone(&targets), turn, state.clone()));
                turn = turn.wrapping_add(1);
            },
        }
        listener = Some(open);
    }
}

/// Passes one connection on until it ends or breaks.
async fn pass(
    mut caller: TcpStream,
    targets: Arc<[SocketAddr]>,
    turn: usize,
    state: watch::Receiver<State>,
) {
    let born = state.borrow().breaks;
    let mut breaking = state.clone();
    let is_broken = breaking.wait_for(|state| state.breaks(born));
    let mut vanishing = state.clone();
    let is_dead =
        async { vanishing.wait_for(|state| state.cut == Some(Cut::Vanishes)).await.is_ok() };
    let whole = async {
        // A wire that is cut tells its caller nothing, not even that nobody is there.
        flows(&mut state.clone()).await?;
        let mut target = connect(&targets, turn).await?;
        let (from_caller, to_caller) = caller.split();
        let (from_target, to_target) = target.split();
        let passed = tokio::try_join!(
            pump(from_caller, to_target, state.clone()),
            pump(from_target, to_caller, state.clone()),
        );
        if passed.is_err() {
            target.set_zero_linger()?;
        }
        passed
    };
    let frozen = async move {
        let mut whole = pin!(whole);
        tokio::select! {
            biased;
            // Nobody goes on with it, and nobody closes it.
            _ = is_dead => pending().await,
            ended = &mut whole => ended,
        }
    };
    let ended = tokio::select! {
        _ = is_broken => Err(io::ErrorKind::ConnectionReset.into()),
        ended = frozen => ended,
    };
    // What is dropped after this is reset; the target's side is closed, or was reset above.
    if ended.is_err()
        && let Err(error) = caller.set_zero_linger()
    {
        tracing::warn!(%error, "a connection is closed and not reset");
    }
}

async fn connect(targets: &[SocketAddr], turn: usize) -> io::Result<TcpStream> {
    let first = turn.checked_rem(targets.len()).unwrap_or_default();
    let in_turn = targets.iter().cycle().skip(first).take(targets.len());
    let mut failed = io::ErrorKind::ConnectionRefused.into();
    for target in in_turn {
        match TcpStream::connect(target).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Passes one direction on, to its end.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        flows(&mut state).await?;
        match buffer.get(..count) {
            None | Some([]) => return to.shutdown().await,
            Some(bytes) => to.write_all(bytes).await?,
        }
    }
}

/// Waits until the wire is not stalled.
async fn flows(state: &mut watch::Receiver<State>) -> io::Result<()> {
    let flowing = state.wait_for(|state| state.cut != Some(Cut::Stalls)).await;
    flowing.map(drop).map_err(|_ended| io::ErrorKind::ConnectionAborted.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::timeout;

    /// Long enough for loopback; what has not come by then does not come.
    const SOON: Duration = Duration::from_millis(200);

    /// Answers every byte with itself, after its own name.
    async fn echo(name: u8) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&[name, byte[0]]).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn say(stream: &mut TcpStream, byte: u8) -> io::Result<[u8; 2]> {
        let mut answer = [0; 2];
        stream.write_all(&[byte]).await?;
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn what_is_said_is_passed_on_both_ways() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(say(&mut stream, 1).await.unwrap(), [b'a', 1]);
        assert_eq!(say(&mut stream, 2).await.unwrap(), [b'a', 2]);
    }

    #[tokio::test]
    async fn targets_take_turns_and_who_is_not_there_is_passed_over() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap().local_addr().unwrap();
        let targets = vec![echo(b'a').await, gone, echo(b'b').await];
        let relay = Relay::start_at((Ipv4Addr::LOCALHOST, 0).into(), targets).await.unwrap();
        let mut heard = Vec::new();
        for _ in 0..3 {
            let mut stream = TcpStream::connect(relay.address()).await.unwrap();
            heard.push(say(&mut stream, 0).await.unwrap()[0]);
        }
        assert_eq!(heard, [b'a', b'b', b'b']);
    }

    #[tokio::test]
    async fn a_stalled_wire_passes_nothing_and_breaks_nothing() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut before = TcpStream::connect(relay.address()).await.unwrap();
        say(&mut before, 1).await.unwrap();
        relay.cut(Some(Cut::Stalls));
        let mut during = TcpStream::connect(relay.address()).await.unwrap();
        for stream in [&mut before, &mut during] {
            assert!(timeout(SOON, say(stream, 7)).await.is_err());
        }
        relay.cut(None);
        for stream in [&mut before, &mut during] {
            let mut answer = [0; 2];
            stream.read_exact(&mut answer).await.unwrap();
            assert_eq!(answer, [b'a', 7]);
        }
    }

    #[tokio::test]
    async fn what_met_a_wire_that_vanished_is_dead_for_good_and_open() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut before = TcpStream::connect(relay.address()).await.unwrap();
        say(&mut before, 1).await.unwrap();
        relay.cut(Some(Cut::Vanishes));
        let mut during = TcpStream::connect(relay.address()).await.unwrap();
        for _ in 0..2 {
            for stream in [&mut before, &mut during] {
                assert!(
                    timeout(SOON, say(stream, 7)).await.is_err(),
                    "neither answered nor broken"
                );
            }
            relay.cut(None);
        }
        let mut after = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(say(&mut after, 2).await.unwrap(), [b'a', 2]);
    }

    #[tokio::test]
    async fn a_wire_that_refuses_breaks_what_is_open_and_is_back_when_it_is_mended() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut stream = TcpStream::connect(relay.address()).await.unwrap();
        say(&mut stream, 1).await.unwrap();
        relay.cut(Some(Cut::Refuses));
        assert!(stream.read_exact(&mut [0]).await.is_err());
        // Whoever came just before is broken as well.
        let refused = loop {
            if let Err(refused) = TcpStream::connect(relay.address()).await {
                break refused;
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        relay.cut(None);
        let mut back = connect(&[relay.address()], 0).await;
        while back.is_err() {
            tokio::task::yield_now().await;
            back = connect(&[relay.address()], 0).await;
        }
        assert_eq!(say(&mut back.unwrap(), 2).await.unwrap(), [b'a', 2]);
    }

    #[tokio::test]
    async fn a_wire_that_resets_lets_everybody_in_and_breaks_every_connection() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut before = TcpStream::connect(relay.address()).await.unwrap();
        say(&mut before, 1).await.unwrap();
        relay.cut(Some(Cut::Resets));
        let mut during = TcpStream::connect(relay.address()).await.unwrap();
        for stream in [&mut before, &mut during] {
            assert!(say(stream, 1).await.is_err());
        }
    }

    #[tokio::test]
    async fn breaking_all_breaks_what_is_open_and_nothing_later() {
        let relay = Relay::start(echo(b'a').await).await.unwrap();
        let mut before = TcpStream::connect(relay.address()).await.unwrap();
        say(&mut before, 1).await.unwrap();
        relay.break_all();
        let broken = before.read_exact(&mut [0]).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::ConnectionReset);
        let mut after = TcpStream::connect(relay.address()).await.unwrap();
        assert_eq!(say(&mut after, 2).await.unwrap(), [b'a', 2]);
    }

    #[tokio::test]
    async fn who_hangs_up_is_heard_at_the_other_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let relay = Relay::start(listener.local_addr().unwrap()).await.unwrap();
        let stream = TcpStream::connect(relay.address()).await.unwrap();
        let (mut arrived, _) = listener.accept().await.unwrap();
        drop(stream);
        assert_eq!(arrived.read(&mut [0]).await.unwrap(), 0);
    }
}
