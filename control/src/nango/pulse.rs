//! What the last call with our key showed: whether Nango answers, and takes the key.

use super::NangoError;
use crate::domain::health::Vault;
use std::sync::{Mutex, PoisonError};

#[derive(Debug, Default)]
pub(super) struct Pulse(Mutex<Vault>);

impl Pulse {
    /// Passes a result on and remembers what it showed.
    pub(super) async fn of<T>(
        &self,
        call: impl Future<Output = Result<T, NangoError>>,
    ) -> Result<T, NangoError> {
        let result = call.await;
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *last = after(*last, result.as_ref().err());
        result
    }

    pub(super) fn last(&self) -> Vault {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn after(last: Vault, error: Option<&NangoError>) -> Vault {
    match (error, last) {
        // Nobody asked it.
        (Some(NangoError::Busy { .. }), _) => last,
        (Some(NangoError::Unreachable(_)), Vault::Silent { calls }) => {
            Vault::Silent { calls: calls.saturating_add(1) }
        }
        (Some(NangoError::Unreachable(_)), _) => Vault::Silent { calls: 1 },
        (Some(NangoError::Refused { status: 401 | 403, .. }), _) => Vault::RefusesKey,
        (Some(NangoError::Refused { .. } | NangoError::Malformed(_)) | None, _) => Vault::Answers,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_until_there_is_an_answer() {
        let silent = || Some(NangoError::Unreachable(String::new()));
        let refused = |status| Some(NangoError::Refused { status, code: String::new() });
        let mut last = Vault::NotAsked;
        for (error, expected) in [
            (silent(), Vault::Silent { calls: 1 }),
            (silent(), Vault::Silent { calls: 2 }),
            (refused(400), Vault::Answers),
            (silent(), Vault::Silent { calls: 1 }),
            (refused(401), Vault::RefusesKey),
            (refused(403), Vault::RefusesKey),
            (None, Vault::Answers),
            (Some(NangoError::Malformed("")), Vault::Answers),
        ] {
            last = after(last, error.as_ref());
            assert_eq!(last, expected, "{error:?}");
        }
    }
}
