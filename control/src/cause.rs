//! An error in words: what went wrong, and every cause below it.

use std::error::Error;

/// Says an error and its causes, joined by colons. A cause that its parent already said is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !said.ends_with(&words) {
            said.push_str(": ");
            said.push_str(&words);
        }
        source = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io, num::ParseIntError};

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read it")]
    struct Unreadable(#[source] ParseIntError);

    #[test]
    fn an_error_is_said_with_its_causes() {
        let error = Unreadable("x".parse::<u8>().unwrap_err());
        assert_eq!(chain(&error), "cannot read it: invalid digit found in string");
    }

    #[test]
    fn what_was_said_is_not_repeated() {
        let error = io::Error::other(io::Error::other("closed"));
        assert_eq!(chain(&error), "closed");
    }
}
