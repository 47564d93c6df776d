//! What must be true after everything that went wrong: recorded observations in, violations out.
//!
//! Nothing is asked here of anybody: the database, the receiver, the puller and the clients wrote down
//! what they saw, and the four accounts must agree.

#[cfg(test)]
mod tests;

use super::script::Expected;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    fmt,
};

/// An event as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptEvent {
    pub id: String,
    pub connection: String,
    pub sequence: i64,
    pub r#type: String,
    /// What the client application is to be told, to the byte.
    pub body: String,
}

/// One try that reached the receiver whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// As its header says.
    pub id: String,
    pub body: String,
    pub is_signed: bool,
    /// Whether the receiver took it; its answer may have been lost.
    pub was_taken: bool,
}

/// What one client did and what must have come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The script's.
    pub number: usize,
    /// The connection that its start was answered with.
    pub connection: Option<String>,
    pub expected: Expected,
    /// Why it did not come to its end.
    pub gave_up: Option<String>,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// The database in the end.
    pub events: Vec<KeptEvent>,
    /// The connections in the database in the end, with their states.
    pub connections: BTreeMap<String, String>,
    pub ledger: Vec<Entry>,
    /// At the receiver, in order.
    pub arrivals: Vec<Arrival>,
    /// What the feed gave to its puller, in order.
    pub pulled: Vec<String>,
    /// Why the feed let its puller go no further.
    pub feed_ended: Option<String>,
}

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Violation {
    /// A client did not come to its end.
    GaveUp {
        number: usize,
        connection: Option<String>,
        why: String,
    },
    /// A start was accepted, and its row is not there.
    NoRow {
        connection: String,
    },
    /// A row that no client knows: a start that was repeated was carried out twice.
    NobodyAsked {
        connection: String,
    },
    WrongState {
        connection: String,
        expected: &'static str,
        found: String,
    },
    /// An event that must have been told is not there, or not in its place.
    NoEvent {
        connection: String,
        r#type: &'static str,
    },
    /// The sequences of a connection's events are not 1, 2, 3, …
    NotDense {
        connection: String,
        sequences: Vec<i64>,
    },
    /// An event that the receiver never took.
    Lost {
        id: String,
    },
    /// A notification came before its predecessor was taken.
    OutOfOrder {
        connection: String,
        sequence: i64,
    },
    /// The receiver was told of an event that the database does not have.
    UnknownEvent {
        id: String,
    },
    /// Other bytes than the event's.
    OtherBytes {
        id: String,
    },
    Unsigned {
        id: String,
    },
    FeedEnded {
        why: String,
    },
    NotPulled {
        id: String,
    },
    PulledTwice {
        id: String,
    },
    PulledUnknown {
        id: String,
    },
    /// The feed gave an event before its predecessor.
    PulledOutOfOrder {
        connection: String,
        sequence: i64,
    },
}

impl Violation {
    /// What kind it is, for counting.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::GaveUp { .. } => "clients that did not come to their end",
            Self::NoRow { .. } => "accepted starts without a row",
            Self::NobodyAsked { .. } => "rows that nobody asked for",
            Self::WrongState { .. } => "wrong states",
            Self::NoEvent { .. } => "events that never were",
            Self::NotDense { .. } => "sequences with gaps",
            Self::Lost { .. } => "lost",
            Self::OutOfOrder { .. } => "out of order",
            Self::UnknownEvent { .. } => "unknown events",
            Self::OtherBytes { .. } => "other bytes",
            Self::Unsigned { .. } => "not signed",
            Self::FeedEnded { .. } => "feed: ended",
            Self::NotPulled { .. } => "feed: gaps",
            Self::PulledTwice { .. } => "feed: twice",
            Self::PulledUnknown { .. } => "feed: unknown events",
            Self::PulledOutOfOrder { .. } => "feed: out of order",
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {self:?}", self.kind())
    }
}

/// Everything that is wrong with what was seen.
pub fn violations(seen: &Recording) -> Vec<Violation> {
    let events = Events::of(&seen.events);
    let mut found = BTreeSet::new();
    found.extend(of_clients(seen, &events));
    found.extend(of_sequences(&events));
    found.extend(of_arrivals(seen, &events));
    found.extend(seen.feed_ended.clone().map(|why| Violation::FeedEnded { why }));
    found.extend(of_feed(&seen.pulled, &events));
    found.into_iter().collect()
}

/// The database's events, by id and by connection in order.
struct Events<'a> {
    by_id: HashMap<&'a str, &'a KeptEvent>,
    by_connection: BTreeMap<&'a str, Vec<&'a KeptEvent>>,
}

impl<'a> Events<'a> {
    fn of(kept: &'a [KeptEvent]) -> Self {
        let mut by_connection: BTreeMap<&str, Vec<&KeptEvent>> = BTreeMap::new();
        for event in kept {
            by_connection.entry(&event.connection).or_default().push(event);
        }
        for events in by_connection.values_mut() {
            events.sort_by_key(|event| event.sequence);
        }
        Self { by_id: kept.iter().map(|event| (event.id.as_str(), event)).collect(), by_connection }
    }
}

fn of_clients(seen: &Recording, events: &Events<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut known = HashSet::new();
    for Entry { number, connection, expected, gave_up } in &seen.ledger {
        if let Some(why) = gave_up {
            let (connection, why) = (connection.clone(), why.clone());
            found.push(Violation::GaveUp { number: *number, connection, why });
        }
        let Some(id) = connection else { continue };
        known.insert(id.as_str());
        match seen.connections.get(id) {
            None => found.push(Violation::NoRow { connection: id.clone() }),
            Some(status) if status != expected.status => found.push(Violation::WrongState {
                connection: id.clone(),
                expected: expected.status,
                found: status.clone(),
            }),
            Some(_as_expected) => {}
        }
        let told = events.by_connection.get(id.as_str()).map(Vec::as_slice).unwrap_or_default();
        found.extend(missing_event(told, id, expected));
    }
    let rows = seen.connections.keys().filter(|id| !known.contains(id.as_str()));
    found.extend(rows.map(|id| Violation::NobodyAsked { connection: id.clone() }));
    found
}

/// The first of the expected events that does not follow the one before it.
fn missing_event(told: &[&KeptEvent], id: &str, expected: &Expected) -> Option<Violation> {
    let mut told = told.iter();
    let missing = expected.events.iter().find(|wanted| !told.any(|event| event.r#type == **wanted));
    missing.map(|wanted| Violation::NoEvent { connection: id.to_owned(), r#type: wanted })
}

fn of_sequences(events: &Events<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    for (connection, events) in &events.by_connection {
        let sequences: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        if !sequences.iter().copied().eq((1..).take(sequences.len())) {
            let connection = (*connection).to_owned();
            found.push(Violation::NotDense { connection, sequences });
        }
    }
    found
}

fn of_arrivals(seen: &Recording, events: &Events<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut taken = HashSet::new();
    for Arrival { id, body, is_signed, was_taken } in &seen.arrivals {
        if !is_signed {
            found.push(Violation::Unsigned { id: id.clone() });
            continue;
        }
        let Some(event) = events.by_id.get(id.as_str()) else {
            found.push(Violation::UnknownEvent { id: id.clone() });
            continue;
        };
        if event.body != *body {
            found.push(Violation::OtherBytes { id: id.clone() });
        }
        // A repeat may come late; whoever comes first may not come early.
        let before = event.sequence.saturating_sub(1);
        let connection = event.connection.as_str();
        if before > 0 && !taken.contains(&(connection, before)) {
            let connection = connection.to_owned();
            found.push(Violation::OutOfOrder { connection, sequence: event.sequence });
        }
        if *was_taken {
            taken.insert((connection, event.sequence));
        }
    }
    let is_lost =
        |event: &&KeptEvent| !taken.contains(&(event.connection.as_str(), event.sequence));
    let lost = seen.events.iter().filter(is_lost);
    found.extend(lost.map(|event| Violation::Lost { id: event.id.clone() }));
    found
}

fn of_feed(pulled: &[String], events: &Events<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut newest: HashMap<&str, i64> = HashMap::new();
    for id in pulled {
        let Some(event) = events.by_id.get(id.as_str()) else {
            found.push(Violation::PulledUnknown { id: id.clone() });
            continue;
        };
        if !seen.insert(id.as_str()) {
            found.push(Violation::PulledTwice { id: id.clone() });
            continue;
        }
        let last = newest.insert(&event.connection, event.sequence).unwrap_or_default();
        if event.sequence <= last {
            let connection = event.connection.clone();
            found.push(Violation::PulledOutOfOrder { connection, sequence: event.sequence });
        }
    }
    let missing = events.by_id.keys().filter(|id| !seen.contains(*id));
    found.extend(missing.map(|id| Violation::NotPulled { id: (*id).to_owned() }));
    found
}
