//! Which settings control has, by the table of its page; a test holds that to be whole.

use anyhow::bail;

const PAGE: &str = include_str!("../../../control/README.md");

/// Each provider has one, and which providers there are is the operator's to say.
const OF_A_PROVIDER: &str = "_INTEGRATION_KEY";

/// Of other programs, which a process of control reads all the same.
const OF_OTHERS: [&str; 4] = ["HOSTNAME", "RUST_BACKTRACE", "SSL_CERT_DIR", "SSL_CERT_FILE"];

/// More letters than this are another name, and no slip.
const SLIPS_MAX: usize = 4;

/// Refuses what is no setting of control: it would change nothing, and nobody would be told.
pub(super) fn check(name: &str) -> anyhow::Result<()> {
    let is_of_a_provider = name.strip_suffix(OF_A_PROVIDER).is_some_and(|it| !it.is_empty());
    if is_of_a_provider || names().any(|known| known == name) {
        return Ok(());
    }
    let nearest = names().map(|known| (slips(known, name), known)).min();
    match nearest {
        Some((slips, nearest)) if slips <= SLIPS_MAX && slips < name.len() => {
            bail!("control has no setting {name}; is {nearest} meant?")
        }
        Some(_) | None => bail!("control has no setting {name}; control/README.md has them all"),
    }
}

/// The names in the first column of the page's tables, and `OpenTelemetry`'s own below them.
fn names() -> impl Iterator<Item = &'static str> {
    let cells = PAGE.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let of_telemetry = words(PAGE).filter(|word| word.starts_with("OTEL_"));
    let ours = cells.flat_map(words).filter(|word| word.len() > 3 && !word.starts_with('_'));
    ours.chain(of_telemetry).chain(OF_OTHERS)
}

fn words(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(|it: char| !(it.is_ascii_uppercase() || it.is_ascii_digit() || it == '_'))
}

/// How many letters are to be put in, taken out or replaced to make one of the other.
fn slips(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, letter) in one.bytes().enumerate() {
        let mut diagonal = index;
        let mut left = index.saturating_add(1);
        let mut next = vec![left];
        for (above, found) in row.iter().skip(1).zip(other.bytes()) {
            let replaced = diagonal.saturating_add(usize::from(found != letter));
            left = replaced.min(above.saturating_add(1)).min(left.saturating_add(1));
            diagonal = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_setting_is_refused_with_the_nearest_that_is_one() {
        for name in [
            "PORT",
            "HOST",
            "DATABASE_URL",
            "DB_PASSWORD",
            "MTLS_CA_PATH",
            "LOG_LEVEL",
            "ENVIRONMENT",
            "INSTANCE",
            "NOTIFICATION_SIGNING_SECRET",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "OTEL_EXPORTER_OTLP_HEADERS",
            "GITLAB_INTEGRATION_KEY",
            "SSL_CERT_FILE",
        ] {
            assert!(check(name).is_ok(), "{name}");
        }
        for (name, said) in [
            ("LOGLEVEL", "control has no setting LOGLEVEL; is LOG_LEVEL meant?"),
            ("OAUTH_CALBACK", "is OAUTH_CALLBACK meant?"),
            ("log_level", "control has no setting log_level"),
            ("NOPE_NOT_AT_ALL_ANYTHING", "NOPE_NOT_AT_ALL_ANYTHING; control/README.md has them"),
            ("_INTEGRATION_KEY", "no setting _INTEGRATION_KEY"),
            ("NOPE", "no setting NOPE"),
            ("", "no setting"),
        ] {
            let refused = check(name).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        assert_eq!([slips("", "abc"), slips("abc", "abc"), slips("abc", "axcd")], [3, 0, 2]);
    }
}
