//! A body that is a JSON object.
//!
//! The derived reader of a struct takes an array too, and reads its items as the fields in their order: a body
//! that no document describes, and that would mean something else once a field is added.

use super::{ApiError, plain};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use std::{fmt, marker::PhantomData};
use utoipa::ToSchema;

/// What an object says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData)).map(Self)
    }
}

/// Nothing can be said beside the path.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// What a body says that need not be there; `null` is none.
pub(super) fn optional<'de, T>(body: &'de [u8]) -> Result<T, ApiError>
where
    T: Deserialize<'de> + Default,
{
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    let mut reader = serde_json::Deserializer::from_slice(body);
    // It says which member, as for the bodies that must be there.
    let said = serde_path_to_error::deserialize::<_, Option<Object<T>>>(&mut reader);
    let said = said.map_err(|error| ApiError::BadRequest(plain::said(&error.to_string())))?;
    reader.end().map_err(|error| ApiError::BadRequest(plain::said(&error.to_string())))?;
    Ok(said.map(|Object(said)| said).unwrap_or_default())
}

struct Members<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, members: M) -> Result<T, M::Error> {
        T::deserialize(MapAccessDeserializer::new(members))
    }
}
