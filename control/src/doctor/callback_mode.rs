//! Whether callbacks can succeed in the mode that is set: Nango may take them only from the browser that it sent off
//! itself, and only `complete` has its cookie.

use super::finding::Finding;
use crate::{
    config::CallbackMode,
    nango::{NangoClient, Rehearsal},
};
use contract::id::IntegrationId;

const NAME: &str = "OAUTH_CALLBACK";

/// Asks Nango, where the mode depends on it, with the state of an authorization of our own, which ends by that.
pub(super) async fn examine(
    nango: &NangoClient,
    mode: &CallbackMode,
    state: Option<&str>,
) -> Finding {
    match (mode, state) {
        (CallbackMode::Complete { .. }, _) => {
            Finding::ok(NAME, "complete: works whether or not Nango enforces its state cookie")
        }
        (CallbackMode::Redirect, Some(state)) => judge(nango.enforces_cookie(state).await),
        (CallbackMode::Redirect, None) => judge(None),
    }
}

/// The state of an authorization that nobody will use.
pub(super) async fn open(nango: &NangoClient, integration: &IntegrationId) -> Option<String> {
    match nango.rehearse(integration, integration.as_str()).await {
        Rehearsal::SentOff { state, .. } => state,
        Rehearsal::NoSession(_) | Rehearsal::NotSentOff(_) => None,
    }
}

fn judge(enforces_cookie: Option<bool>) -> Finding {
    const MEND: &str = "set OAUTH_CALLBACK=complete, with DATA_ENCRYPTION_KEY";
    match enforces_cookie {
        Some(false) => Finding::ok(NAME, "redirect: Nango does not enforce its state cookie"),
        Some(true) => Finding::fail(
            NAME,
            "redirect: Nango enforces its state cookie, so every user ends on its page \"OAuth state cookie missing\"",
            MEND,
        ),
        None => Finding::warn(
            NAME,
            "redirect: whether Nango enforces its state cookie cannot be seen",
            format!(
                "{MEND}, which works in either case, or mend the integrations and run this again"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status;

    #[test]
    fn the_mode_that_fails_names_the_one_that_works() {
        for (enforces, status) in
            [(Some(false), Status::Ok), (Some(true), Status::Fail), (None, Status::Warn)]
        {
            let finding = judge(enforces);
            assert_eq!(finding.status, status);
            let names = finding.mend.is_some_and(|mend| mend.contains("OAUTH_CALLBACK=complete"));
            assert_eq!(names, status != Status::Ok);
        }
    }
}
