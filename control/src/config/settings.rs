//! Reads settings one by one and collects what is wrong with each, so that one restart mends them all.

use super::Environment;
use crate::tls;
use contract::keys::{KeyRing, check_secret};
use secrecy::SecretString;
use std::{
    collections::BTreeMap,
    fmt, io,
    path::{Path, PathBuf},
    str::FromStr,
};
use url::Url;

/// Every setting that is missing or malformed, with its mend. It quotes no value.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidConfig(pub BTreeMap<String, String>);

impl fmt::Display for InvalidConfig {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(problems) = self;
        writeln!(formatter, "{} settings need attention:", problems.len())?;
        for (name, problem) in problems {
            writeln!(formatter, "  {name} {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidConfig {}

/// Reads a file that a setting names.
pub type ReadFile<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<u8>>;

/// The environment and the problems found in it so far.
pub(super) struct Settings<'a> {
    environment: &'a Environment,
    read_file: ReadFile<'a>,
    problems: BTreeMap<String, String>,
}

impl<'a> Settings<'a> {
    pub(super) fn new(environment: &'a Environment, read_file: ReadFile<'a>) -> Self {
        Self { environment, read_file, problems: BTreeMap::new() }
    }

    /// Hands out what was read, if nothing was wrong.
    pub(super) fn finish<T>(self, read: Option<T>) -> Result<T, InvalidConfig> {
        match read {
            Some(read) if self.problems.is_empty() => Ok(read),
            Some(_) | None => Err(InvalidConfig(self.problems)),
        }
    }

    /// A setting that is empty is not set: compose files and charts write empty ones.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    pub(super) fn refuse(&mut self, name: &str, problem: &str) {
        self.problems.insert(name.to_owned(), problem.to_owned());
    }

    /// A setting that must be there; `what` says what to set it to.
    pub(super) fn text(&mut self, name: &str, what: &str) -> Option<String> {
        let value = self.get(name).map(str::to_owned);
        if value.is_none() {
            self.refuse(name, &format!("is missing; set it to {what}"));
        }
        value
    }

    pub(super) fn parse<T: FromStr>(
        &mut self,
        name: &str,
        default: Option<&'a str>,
        what: &str,
    ) -> Option<T> {
        let Some(value) = self.get(name).or(default) else {
            self.refuse(name, &format!("is missing; set it to {what}"));
            return None;
        };
        let parsed = value.parse().ok();
        if parsed.is_none() {
            self.refuse(name, &format!("is malformed; set it to {what}"));
        }
        parsed
    }

    /// One of a few words; the first is the default.
    pub(super) fn choose<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let Some(value) = self.get(name) else { return choices.first().map(|(_, choice)| *choice) };
        let chosen = choices.iter().find(|(word, _)| *word == value).map(|(_, choice)| *choice);
        if chosen.is_none() {
            let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
            self.refuse(name, &format!("is malformed; set it to one of {}", words.join(", ")));
        }
        chosen
    }

    /// A web address.
    pub(super) fn url(&mut self, name: &str, default: Option<&'a str>) -> Option<Url> {
        let what = "a URL that begins with https:// or http://, without user, password and query";
        let url = self.parse::<Url>(name, default, what)?;
        // A path may follow; what is called is put behind it.
        let has_no_more = url.query().is_none() && url.fragment().is_none();
        // It is shown where no secret may be: to tenants, in logs.
        let has_no_more = has_no_more && url.username().is_empty() && url.password().is_none();
        if matches!(url.scheme(), "https" | "http") && url.has_host() && has_no_more {
            Some(url)
        } else {
            self.refuse(name, &format!("is malformed; set it to {what}"));
            None
        }
    }

    /// A web address without path and query.
    pub(super) fn origin(&mut self, name: &str) -> Option<Url> {
        let url = self.url(name, None)?;
        if url.path() == "/" {
            Some(url)
        } else {
            self.refuse(name, "is malformed; set it to a URL without path");
            None
        }
    }

    /// The path of a file that `check` finds usable.
    pub(super) fn file<T>(
        &mut self,
        name: &str,
        what: &str,
        check: impl FnOnce(&Path, &[u8]) -> Result<T, tls::Unusable>,
    ) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(name, what)?);
        let problem = match (self.read_file)(&path) {
            Ok(content) => check(&path, &content).err().map(|unusable| unusable.to_string()),
            Err(error) => Some(format!("{} cannot be read: {error}", path.display())),
        };
        match problem {
            None => Some(path),
            Some(problem) => {
                self.refuse(name, &format!("is not {what}: {problem}"));
                None
            }
        }
    }

    /// What a file says that a setting may name; nothing, where it names none.
    pub(super) fn parse_file<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&[u8]) -> Result<T, Vec<String>>,
    ) -> Option<T> {
        let path = PathBuf::from(self.get(name)?);
        let parsed = match (self.read_file)(&path) {
            Ok(content) => parse(&content),
            Err(error) => Err(vec![format!("cannot be read: {error}")]),
        };
        parsed
            .map_err(|problems| {
                let problems = problems.join("\n    ");
                self.refuse(name, &format!("is unusable: {}\n    {problems}", path.display()));
            })
            .ok()
    }

    /// Whether a secret was given at all. One that is only white space was: whatever was to fill it in is empty, and
    /// without it the service would do less than its operator believes.
    pub(super) fn has_secret(&self, name: &str) -> bool {
        self.environment.get(name).is_some_and(|value| !value.is_empty())
    }

    /// A secret that must be there, and must not be one that can be guessed.
    pub(super) fn secret(&mut self, name: &str, what: &str) -> Option<SecretString> {
        let text = self.text(name, what)?;
        match check_secret(&text) {
            Ok(()) => Some(SecretString::from(text)),
            Err(unusable) => {
                self.refuse(name, &format!("is unusable: {unusable}; set it to {what}"));
                None
            }
        }
    }

    pub(super) fn optional_secret(&mut self, name: &str, what: &str) -> Option<SecretString> {
        if self.has_secret(name) { self.secret(name, what) } else { None }
    }

    /// A password that another service made and judges: it may be short.
    pub(super) fn password(&mut self, name: &str, what: &str) -> Option<String> {
        let password = self.text(name, what)?;
        if !is_password(&password) {
            self.refuse(name, &format!("{UNREADABLE}; set it to {what}"));
        }
        Some(password)
    }

    /// Refuses an address whose password is empty or unreadable; one without any is for other kinds of login.
    pub(super) fn password_within(&mut self, name: &str) {
        let url = self.get(name).unwrap_or_default();
        if !password_of(url).is_none_or(|password| is_password(&password)) {
            self.refuse(name, "has a user and an empty or unreadable password; set the password, or leave the colon out");
        }
    }

    /// Refuses a list of headers, as `OpenTelemetry` reads it, in which one has no value: it is a token, as a rule.
    pub(super) fn headers(&mut self, name: &str) {
        let mut entries = self.get(name).unwrap_or_default().split(',');
        let is_whole =
            |entry: &str| entry.split_once('=').is_some_and(|(_, it)| is_password(it.trim()));
        if self.has_secret(name) && !entries.all(is_whole) {
            self.refuse(name, "has a header without a value; set it to name=value,name=value");
        }
    }

    pub(super) fn optional(&self, name: &str) -> Option<&'a str> {
        self.get(name)
    }

    /// Secrets of our own making, or of Nango's; `what` says which form each has.
    pub(super) fn keys(&mut self, name: &str, what: &str) -> Option<KeyRing> {
        let text = self.text(name, what)?;
        match KeyRing::parse(text.as_bytes()) {
            Ok(keys) => Some(keys),
            Err(unusable) => {
                self.refuse(name, &format!("is unusable: {unusable}; set it to {what}"));
                None
            }
        }
    }
}

/// What a key of our own making looks like.
pub(super) const RANDOM_TEXT: &str = "a random text of at least 16 characters, or id:text,id:text";

const UNREADABLE: &str =
    "is empty, or holds a byte order mark or another character that is no text";

/// Whether a password can be what somebody typed.
fn is_password(text: &str) -> bool {
    let is_damaged =
        |it: char| it.is_control() || it == '\u{feff}' || it == char::REPLACEMENT_CHARACTER;
    !text.trim().is_empty() && !text.contains(is_damaged)
}

/// The password in an address, as it is meant; nothing, where there is no place for one.
fn password_of(url: &str) -> Option<String> {
    let (_scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user_and_password, _host) = authority.rsplit_once('@')?;
    let (_user, password) = user_and_password.split_once(':')?;
    // A form's value is encoded in the same way, but for these two.
    let form = format!("password={}", password.replace('+', "%2B").replace('&', "%26"));
    let (_, password) = url::form_urlencoded::parse(form.as_bytes()).next()?;
    Some(password.into_owned())
}
