//! An answer as rows of words, one fact each: a name, and what it is.

use crate::explain::{Decision, Explanation, Grant};
use std::{
    fmt::Display,
    io::{self, Write},
};

/// One row; the names stand in one column.
pub(crate) fn row(out: &mut dyn Write, name: &str, value: impl Display) -> io::Result<()> {
    writeln!(out, "  {name:<14}  {value}")
}

impl Explanation<'_> {
    /// The decision first, then what led to it.
    pub(crate) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let Self { listener, version, principal, route, action, tenant, decision, dry_run } = self;
        decision.write(out)?;
        row(out, "policy", format_args!("version {version}, listener {listener}"))?;
        if let Some(principal) = principal {
            row(out, "principal", principal)?;
        }
        if let Some(route) = route {
            row(out, "route", route)?;
        }
        if let Some(action) = action {
            row(out, "action", action)?;
        }
        if let Some(tenant) = tenant {
            row(out, "tenant", tenant)?;
        }
        if let Some(would) = dry_run {
            row(out, "dryRun", format_args!("is on, and would do: {would}"))?;
        }
        Ok(())
    }
}

impl Decision<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        match self {
            Self::Permitted { grant, needs } => {
                writeln!(out, "permitted")?;
                match grant {
                    Some(grant) => grant.write(out)?,
                    None => row(out, "grant", "none needed")?,
                }
                needs.iter().try_for_each(|need| row(out, "needs", need))
            }
            Self::Answered { status, allow } => {
                writeln!(out, "answered by the edge")?;
                row(out, "status", status)?;
                write_allow(allow.as_deref(), out)
            }
            Self::Refused { reason, because, status, code, allow } => {
                writeln!(out, "refused: {because}")?;
                row(out, "reason", reason)?;
                row(out, "status", status)?;
                row(out, "code", code)?;
                write_allow(allow.as_deref(), out)
            }
        }
    }
}

impl Grant<'_> {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let text = self.text.map_or("", |text| text.get());
        row(out, "grant", format_args!("grants[{}] {text}", self.index))
    }
}

fn write_allow(allow: Option<&str>, out: &mut dyn Write) -> io::Result<()> {
    allow.map_or(Ok(()), |allow| row(out, "allow", allow))
}
