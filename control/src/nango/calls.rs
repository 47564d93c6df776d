//! Which calls there are, whose share each uses, and whether it may be made again.

use super::gate::{Call, Repeat};
use crate::{domain::budget::CallClass, metrics::CallName};

/// A second session would be another one, and nobody would know of the first.
pub(super) const SESSION: Call = Call {
    name: CallName::Session,
    class: Some(CallClass::Start),
    repeat: Repeat::IfUnsent,
    shows_health: true,
};
/// Nango makes a state at each of them, and counts it apart from the calls with a key.
pub(super) const CONNECT: Call =
    Call { name: CallName::Connect, class: None, repeat: Repeat::Never, shows_health: true };
/// A code is good once. What fails may be the provider.
pub(super) const COMPLETE: Call =
    Call { name: CallName::Complete, class: None, repeat: Repeat::Never, shows_health: false };
pub(super) const LOOK_UP: Call = Call {
    name: CallName::LookUp,
    class: Some(CallClass::Confirm),
    repeat: Repeat::Safe,
    shows_health: true,
};
pub(super) const LOOK: Call = Call {
    name: CallName::Look,
    class: Some(CallClass::Upkeep),
    repeat: Repeat::Safe,
    shows_health: true,
};
pub(super) const DELETE: Call = Call { name: CallName::Delete, ..LOOK };
/// What fails may be the provider.
pub(super) const PROFILE: Call = Call {
    name: CallName::Profile,
    class: Some(CallClass::Profile),
    repeat: Repeat::Safe,
    shows_health: false,
};
/// What confirms many at once, and what the sweep walks through.
pub(super) const PAGE_TO_CONFIRM: Call = Call { name: CallName::Page, ..LOOK_UP };
pub(super) const PAGE: Call = Call { name: CallName::Page, ..LOOK };
