//! A word of a closed list, as the document of the API shows it: the list is the code's own.

use super::{
    destination_health::Standing,
    notification::EventType,
    outcome::{Fault, NoAnswer, Outcome},
    redelivery::Ended,
};
use chrono::DateTime;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, schema::Type},
};

fn words(description: &str, words: impl IntoIterator<Item = &'static str>) -> RefOr<Schema> {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some(description))
        .enum_values(Some(words))
        .into()
}

impl PartialSchema for EventType {
    fn schema() -> RefOr<Schema> {
        words("What happened to a connection.", Self::ALL.map(Self::as_str))
    }
}

impl ToSchema for EventType {}

impl PartialSchema for Outcome {
    fn schema() -> RefOr<Schema> {
        let answered =
            [Self::Delivered { status: 200 }, Self::Refused { status: 500, retry_after: None }];
        let all = answered.into_iter().chain(NoAnswer::ALL.map(Self::NoAnswer));
        words("How a try to notify ended.", all.map(Self::as_str))
    }
}

impl ToSchema for Outcome {}

impl PartialSchema for Fault {
    fn schema() -> RefOr<Schema> {
        let all = [Self::Ours, Self::Network, Self::Theirs];
        words("Whose fault a failed try is.", all.map(Self::as_str))
    }
}

impl ToSchema for Fault {}

impl PartialSchema for Ended {
    fn schema() -> RefOr<Schema> {
        words("How an event's first delivery ended.", Self::ALL.map(Self::as_str))
    }
}

impl ToSchema for Ended {}

impl PartialSchema for Standing {
    fn schema() -> RefOr<Schema> {
        let paused = Self::Paused { probe_at: DateTime::UNIX_EPOCH, probes: 0 };
        words(
            "`paused`: it is tried now and then; `stopped`: not until it is put again.",
            [Self::Active, paused, Self::Stopped].map(Self::as_str),
        )
    }
}

impl ToSchema for Standing {}
