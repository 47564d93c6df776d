//! `control missing`: connections that are missing at Nango, and what an operator decides about them.

use crate::{
    clock::Clock,
    store::{DeletionsHeld, Store, StoreError},
};

const NOTHING: &str =
    "nothing is held: each connection that is missing at Nango is deleted here after two looks\n";

/// Tells what is held, and what can be done.
pub async fn show(store: &Store) -> Result<String, StoreError> {
    let Some(DeletionsHeld { since, missing, live }) = store.deletions_held().await? else {
        return Ok(NOTHING.to_owned());
    };
    Ok(format!(
        "since {since}, {missing} of {live} connections are missing at Nango; none of them is deleted here\n\
         Compare NANGO_SECRET_KEY with the environment that it should be for, and see whether Nango was restored.\n\
         control missing dismiss   they should be there: once Nango is right again, look again\n\
         control missing confirm   they were deleted at Nango: delete these {missing} here, too; their users connect again\n"
    ))
}

/// Deletes here, too, as many as are held.
pub async fn confirm(store: &Store, clock: &Clock) -> Result<String, StoreError> {
    Ok(match store.confirm_deletions(clock.now()).await? {
        Some(DeletionsHeld { missing, .. }) => format!(
            "confirmed: {missing} connections are deleted within minutes, each after another look at Nango\n"
        ),
        None => NOTHING.to_owned(),
    })
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
