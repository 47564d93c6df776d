//! A recording that is well has no violation; each way to break it has its own, and no other.

use super::*;

const A: &str = "connection-a";
const B: &str = "connection-b";

fn event(connection: &str, sequence: i64, r#type: &str) -> KeptEvent {
    let id = format!("{connection}-{sequence}");
    let body = format!("body of {id}");
    KeptEvent { id, connection: connection.to_owned(), sequence, r#type: r#type.to_owned(), body }
}

fn arrival(event: &KeptEvent, was_taken: bool) -> Arrival {
    Arrival { id: event.id.clone(), body: event.body.clone(), is_signed: true, was_taken }
}

fn entry(connection: &str, status: &'static str, events: &[&'static str]) -> Entry {
    let expected = Expected { status, events: events.to_vec() };
    Entry { number: 0, connection: Some(connection.to_owned()), expected, gave_up: None }
}

/// One connection with three events, whose notifications were refused, repeated and mixed with those of
/// another one.
fn well() -> Recording {
    let events = vec![
        event(A, 1, "connection.activated"),
        event(A, 2, "connection.updated"),
        event(A, 3, "connection.deleted"),
        event(B, 1, "connection.failed"),
    ];
    let arrivals = [(0, false), (3, true), (0, true), (0, true), (1, true), (0, true), (2, true)];
    let arrivals = arrivals.map(|(index, was_taken)| arrival(&events[index], was_taken)).to_vec();
    Recording {
        connections: [(A, "deleted"), (B, "failed")]
            .map(|(id, status)| (id.to_owned(), status.to_owned()))
            .into(),
        ledger: vec![
            entry(A, "deleted", &["connection.activated", "connection.deleted"]),
            entry(B, "failed", &["connection.failed"]),
        ],
        arrivals,
        pulled: [3, 0, 1, 2].map(|index: usize| events[index].id.clone()).to_vec(),
        events,
        feed_ended: None,
    }
}

/// What is found when this is done to a recording that is well.
fn found(spoil: impl FnOnce(&mut Recording)) -> Vec<Violation> {
    let mut recording = well();
    spoil(&mut recording);
    violations(&recording)
}

fn id(connection: &str, sequence: i64) -> String {
    format!("{connection}-{sequence}")
}

#[test]
fn what_is_well_has_no_violation() {
    assert_eq!(found(|_| {}), []);
}

#[test]
fn each_client_that_gave_up_is_told_of() {
    let why = "no answer".to_owned();
    let gave_up = |number, connection| Violation::GaveUp { number, connection, why: why.clone() };
    let expected = [gave_up(0, Some(A.to_owned())), gave_up(1, None), gave_up(2, None)];
    let spoilt = found(|seen| {
        seen.ledger[0].gave_up = Some(why.clone());
        let never = Entry { gave_up: Some(why.clone()), ..entry("", "active", &[]) };
        for number in [1, 2] {
            seen.ledger.push(Entry { number, connection: None, ..never.clone() });
        }
    });
    assert_eq!(spoilt, expected);
}

#[test]
fn an_accepted_start_has_a_row() {
    let spoilt = found(|seen| drop(seen.connections.remove(B)));
    assert_eq!(spoilt, [Violation::NoRow { connection: B.to_owned() }]);
}

#[test]
fn a_start_that_was_repeated_has_one_row() {
    let twice = "connection-b-again".to_owned();
    let spoilt = found(|seen| drop(seen.connections.insert(twice.clone(), "pending".to_owned())));
    assert_eq!(spoilt, [Violation::NobodyAsked { connection: twice }]);
}

#[test]
fn a_connection_is_not_stuck() {
    for stuck in ["pending", "deleting", "active"] {
        let spoilt = found(|seen| drop(seen.connections.insert(A.to_owned(), stuck.to_owned())));
        let (connection, found) = (A.to_owned(), stuck.to_owned());
        assert_eq!(spoilt, [Violation::WrongState { connection, expected: "deleted", found }]);
    }
}

#[test]
fn what_happened_was_told_of_and_in_that_order() {
    let missing = |r#type| [Violation::NoEvent { connection: A.to_owned(), r#type }];
    let never = found(|seen| seen.events[0].r#type = "connection.updated".to_owned());
    assert_eq!(never, missing("connection.activated"));
    let swapped = found(|seen| {
        seen.events[0].r#type = "connection.deleted".to_owned();
        seen.events[2].r#type = "connection.activated".to_owned();
    });
    assert_eq!(swapped, missing("connection.deleted"));
}

#[test]
fn sequences_are_dense_from_one() {
    let spoilt = found(|seen| seen.events[3].sequence = 2);
    let gap = Violation::NotDense { connection: B.to_owned(), sequences: vec![2] };
    assert!(spoilt.contains(&gap), "{spoilt:?}");
}

#[test]
fn a_lost_event_is_told_of() {
    let spoilt = found(|seen| drop(seen.arrivals.pop()));
    assert_eq!(spoilt, [Violation::Lost { id: id(A, 3) }]);
}

#[test]
fn an_event_that_was_only_refused_is_lost() {
    let spoilt = found(|seen| seen.arrivals[6].was_taken = false);
    assert_eq!(spoilt, [Violation::Lost { id: id(A, 3) }]);
}

#[test]
fn none_comes_before_its_predecessor_was_taken() {
    let out = |sequence| [Violation::OutOfOrder { connection: A.to_owned(), sequence }];
    assert_eq!(found(|seen| seen.arrivals.swap(4, 6)), out(3));
    // The predecessor was tried, and not taken.
    let early = found(|seen| {
        let second = seen.arrivals.remove(4);
        seen.arrivals.insert(1, second);
    });
    assert_eq!(early, out(2));
    // Nor may it be tried before, even if it was refused then.
    let tried = found(|seen| {
        let early = Arrival { was_taken: false, ..seen.arrivals[4].clone() };
        seen.arrivals.insert(1, early);
    });
    assert_eq!(tried, out(2));
}

#[test]
fn a_repeat_has_the_same_bytes() {
    let spoilt = found(|seen| seen.arrivals[3].body.push(' '));
    assert_eq!(spoilt, [Violation::OtherBytes { id: id(A, 1) }]);
}

#[test]
fn a_repeat_has_the_same_id() {
    let spoilt = found(|seen| seen.arrivals[3].id = "another".to_owned());
    assert_eq!(spoilt, [Violation::UnknownEvent { id: "another".to_owned() }]);
}

#[test]
fn each_try_is_signed_and_one_that_is_not_counts_for_nothing() {
    let spoilt = found(|seen| seen.arrivals[6].is_signed = false);
    assert_eq!(spoilt, [Violation::Lost { id: id(A, 3) }, Violation::Unsigned { id: id(A, 3) }]);
}

#[test]
fn the_feed_goes_on_to_the_end() {
    let why = "410".to_owned();
    let spoilt = found(|seen| seen.feed_ended = Some(why.clone()));
    assert_eq!(spoilt, [Violation::FeedEnded { why }]);
}

#[test]
fn the_feed_has_every_event_once_in_order_and_no_other() {
    let spoilt = |spoil: fn(&mut Vec<String>)| found(|seen| spoil(&mut seen.pulled));
    assert_eq!(spoilt(|pulled| drop(pulled.remove(2))), [Violation::NotPulled { id: id(A, 2) }]);
    let twice = spoilt(|pulled| pulled.push(pulled[1].clone()));
    assert_eq!(twice, [Violation::PulledTwice { id: id(A, 1) }]);
    let unknown = spoilt(|pulled| pulled.push("another".to_owned()));
    assert_eq!(unknown, [Violation::PulledUnknown { id: "another".to_owned() }]);
    let swapped = spoilt(|pulled| pulled.swap(1, 2));
    let out_of_order = Violation::PulledOutOfOrder { connection: A.to_owned(), sequence: 1 };
    assert_eq!(swapped, [out_of_order]);
    assert_eq!(spoilt(Vec::clear).len(), 4);
}
