//! Why no answer came, read from errors: each names one [`NoAnswer`] and says it in words for people.

use super::resolver::Unresolved;
use crate::{
    cause::{self, chain},
    domain::outcome::NoAnswer,
};
use std::{
    error::Error,
    io,
    net::{IpAddr, SocketAddr},
};

/// A try that ended before an answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{said}")]
pub(super) struct Failed {
    pub(super) why: NoAnswer,
    pub(super) said: String,
    /// The receiver broke the handshake off with an alert, as it does when our certificate does not please.
    pub(super) is_alert: bool,
}

/// What this process can run out of: files of its own and of the host, memory, buffers. The values are
/// Linux's.
const OUR_LIMITS: [i32; 4] = [24, 23, 12, 105];

/// No local port is left; towards an IPv6 address it says that this host has no IPv6.
const NO_LOCAL_ADDRESS: i32 = 99;

impl Failed {
    pub(super) fn new(why: NoAnswer, said: impl Into<String>) -> Self {
        Self { why, said: said.into(), is_alert: false }
    }

    pub(super) fn timeout() -> Self {
        Self::new(NoAnswer::Timeout, "no answer in time")
    }

    pub(super) fn of_lookup(name: &str, unresolved: Unresolved) -> Self {
        let (why, said) = match unresolved {
            Unresolved::NoSuchName => {
                (NoAnswer::NoSuchName, format!("{name} has no address, or is no name"))
            }
            Unresolved::Trouble(said) => {
                (NoAnswer::OurResolver, format!("{name} cannot be looked up: {said}"))
            }
            Unresolved::Limits(said) => {
                (NoAnswer::OurLimits, format!("{name} cannot be looked up: {said}"))
            }
        };
        Self::new(why, said)
    }

    /// The same with this name in the place of every address.
    pub(super) fn naming(self, host: &str) -> Self {
        let characters: Vec<char> = self.said.chars().collect();
        let pieces = characters.chunk_by(|one, next| is_of_address(*one) == is_of_address(*next));
        Self {
            said: pieces.map(|piece| named(&piece.iter().collect::<String>(), host)).collect(),
            ..self
        }
    }

    pub(super) fn of_connect(address: SocketAddr, error: &io::Error) -> Self {
        let is_ours = error.raw_os_error().is_some_and(|code| {
            OUR_LIMITS.contains(&code) || (code == NO_LOCAL_ADDRESS && address.is_ipv4())
        });
        let why = if is_ours {
            NoAnswer::OurLimits
        } else if error.kind() == io::ErrorKind::TimedOut {
            NoAnswer::Timeout
        } else {
            NoAnswer::Connect
        };
        Self::new(why, format!("{address}: {error}"))
    }

    /// Whatever breaks between connection and request is the handshake's.
    pub(super) fn of_handshake(error: &io::Error) -> Self {
        let is_alert = tls_error(error).is_some_and(is_alert);
        Self { why: NoAnswer::Handshake, said: chain(error), is_alert }
    }

    /// What the HTTP client says, which holds what the connector said.
    pub(super) fn of_exchange(error: &(dyn Error + 'static)) -> Self {
        if let Some(failed) = causes(error).find_map(|cause| cause.downcast_ref::<Self>()) {
            return failed.clone();
        }
        // Under TLS 1.3 a receiver refuses our certificate when the handshake is over for us.
        let is_alert = tls_error(error).is_some_and(is_alert);
        let why = if is_alert { NoAnswer::Handshake } else { NoAnswer::Broken };
        Self { why, said: chain(error), is_alert }
    }
}

const fn is_of_address(character: char) -> bool {
    character.is_ascii_hexdigit() || matches!(character, '.' | ':' | '[' | ']')
}

/// The name, where the piece is an address, whatever stops or introduces it.
fn named(piece: &str, host: &str) -> String {
    let is_address =
        |text: &&str| text.parse::<IpAddr>().is_ok() || text.parse::<SocketAddr>().is_ok();
    let within = [piece, piece.trim_end_matches([':', '.']), piece.trim_matches([':', '.'])];
    match within.into_iter().find(is_address) {
        // What has no digit is a word with colons.
        Some(address) if address.contains(|it: char| it.is_ascii_digit()) => {
            piece.replacen(address, host, 1)
        }
        Some(_) | None => piece.to_owned(),
    }
}

fn is_alert(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::AlertReceived(_))
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    causes(error).find_map(cause::tls_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_runs_out_of_is_its_own_fault() {
        let (v4, v6) = ("192.0.2.1:443".parse().unwrap(), "[2001:db8::1]:443".parse().unwrap());
        let why =
            |address, code| Failed::of_connect(address, &io::Error::from_raw_os_error(code)).why;
        // EMFILE, ENFILE, ENOMEM, ENOBUFS.
        for code in [24, 23, 12, 105] {
            assert_eq!(why(v4, code), NoAnswer::OurLimits, "{code}");
        }
        assert_eq!((why(v4, 99), why(v6, 99)), (NoAnswer::OurLimits, NoAnswer::Connect));
        // ECONNREFUSED, ENETUNREACH, EHOSTUNREACH; ETIMEDOUT.
        for code in [111, 101, 113] {
            assert_eq!(why(v4, code), NoAnswer::Connect, "{code}");
        }
        assert_eq!(why(v4, 110), NoAnswer::Timeout);
    }

    #[test]
    fn a_name_stands_in_the_place_of_every_address_and_of_nothing_else() {
        for (said, expected) in [
            ("10.0.0.7:443: Connection refused", "app.internal: Connection refused"),
            ("[fd00::7]:443: Connection refused", "app.internal: Connection refused"),
            ("10.0.0.7:443 does not answer", "app.internal does not answer"),
            (
                "only for IpAddress(10.0.0.7), fd00::7.",
                "only for IpAddress(app.internal), app.internal.",
            ),
            ("at:10.0.0.7", "at:app.internal"),
            (
                "Error::Decode: dead beef 1.2 at 12:30: \u{e9}",
                "Error::Decode: dead beef 1.2 at 12:30: \u{e9}",
            ),
        ] {
            let failed = Failed::new(NoAnswer::Connect, said).naming("app.internal");
            assert_eq!((failed.said.as_str(), failed.why), (expected, NoAnswer::Connect));
        }
    }

    #[test]
    fn a_name_that_is_none_is_theirs_and_a_resolver_that_is_silent_ours() {
        let why = |unresolved| Failed::of_lookup("app.example", unresolved).why;
        assert_eq!(why(Unresolved::NoSuchName), NoAnswer::NoSuchName);
        assert_eq!(why(Unresolved::Trouble("again".to_owned())), NoAnswer::OurResolver);
        assert_eq!(why(Unresolved::Limits("memory".to_owned())), NoAnswer::OurLimits);
    }

    #[test]
    fn an_alert_is_the_handshakes_whenever_it_comes() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRequired);
        let late = io::Error::new(io::ErrorKind::InvalidData, alert);
        let failed = Failed::of_exchange(&late);
        assert_eq!((failed.why, failed.is_alert), (NoAnswer::Handshake, true));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        let failed = Failed::of_exchange(&reset);
        assert_eq!((failed.why, failed.is_alert), (NoAnswer::Broken, false));
    }
}
