//! `control missing`: connections that are missing at Nango, and what an operator decides about them.

use crate::{
    clock::Clock,
    store::{Confirmation, DeletionsHeld, Store, StoreError},
};

const NOTHING: &str =
    "nothing is held: each connection that is missing at Nango is deleted here after two looks\n";

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum MissingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "{found} connections are missing by now, and not {expected}: nothing was changed; look at them again with `control missing`"
    )]
    Counted { found: u64, expected: u64 },
}

/// Tells what is held, and what can be done.
pub async fn show(store: &Store) -> Result<String, StoreError> {
    let Some(DeletionsHeld { since, missing, live }) = store.deletions_held().await? else {
        return Ok(NOTHING.to_owned());
    };
    // Some may be there again since they were held, and some may be missing on top of them.
    let count = store.unconfirmed().await?;
    Ok(format!(
        "since {since}, {missing} of {live} connections are missing at Nango; none of them is deleted here\n\
         Compare NANGO_SECRET_KEY with the environment that it should be for, and see whether Nango was restored.\n\
         control missing dismiss   they should be there: once Nango is right again, look again\n\
         control missing confirm --count {count}   they were deleted at Nango: delete the {count} that are missing now here, too; \
         their users connect again\n"
    ))
}

/// Deletes here, too, those that are missing now: as many as were `expected`, or none.
pub async fn confirm(store: &Store, clock: &Clock, expected: u64) -> Result<String, MissingError> {
    match store.confirm_deletions(expected, clock.now()).await? {
        Confirmation::Done(confirmed) => Ok(format!(
            "confirmed: {confirmed} connections are deleted within minutes, each after another look at Nango\n"
        )),
        Confirmation::Counted(found) => Err(MissingError::Counted { found, expected }),
        Confirmation::NothingHeld => Ok(NOTHING.to_owned()),
    }
}

/// Forgets what was found missing, and looks again.
pub async fn dismiss(store: &Store, clock: &Clock) -> Result<String, StoreError> {
    Ok(match store.dismiss_deletions(clock.now()).await? {
        Some(DeletionsHeld { missing, .. }) => format!(
            "dismissed: {missing} connections stay; if Nango still does not list them, they are held again within minutes\n"
        ),
        None => NOTHING.to_owned(),
    })
}
