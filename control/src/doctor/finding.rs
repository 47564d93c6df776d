//! What was found, and how it is told to people and to machines.

use serde::Serialize;
use std::fmt;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It was not looked at, and need not be.
    Skip,
    Ok,
    /// It works, and is not as it should be.
    Warn,
    /// It does not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub name: String,
    pub status: Status,
    pub seen: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

impl Finding {
    pub(super) fn ok(name: &str, seen: impl Into<String>) -> Self {
        Self { name: name.to_owned(), status: Status::Ok, seen: seen.into(), mend: None }
    }

    pub(super) fn skip(name: &str, seen: impl Into<String>) -> Self {
        Self { status: Status::Skip, ..Self::ok(name, seen) }
    }

    pub(super) fn warn(name: &str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status: Status::Warn, mend: Some(mend.into()), ..Self::ok(name, seen) }
    }

    pub(super) fn fail(name: &str, seen: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { status: Status::Fail, mend: Some(mend.into()), ..Self::ok(name, seen) }
    }
}

/// All findings, in the order in which they are best mended.
#[derive(Debug, Serialize)]
pub struct Report {
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn has_failed(&self) -> bool {
        self.findings.iter().any(|finding| finding.status == Status::Fail)
    }

    /// For machines.
    pub fn to_json(&self) -> String {
        let report = serde_json::json!({"ok": !self.has_failed(), "findings": self.findings});
        format!("{report:#}")
    }
}

/// For people.
impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
        for Finding { name, status, seen, mend } in &self.findings {
            let status = match status {
                Status::Skip => "skip",
                Status::Ok => "ok",
                Status::Warn => "WARN",
                Status::Fail => "FAIL",
            };
            writeln!(formatter, "{status:<4}  {name:<width$}  {seen}")?;
            if let Some(mend) = mend {
                writeln!(formatter, "{:4}  {:width$}  mend: {mend}", "", "")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_fails_with_its_worst_finding_and_says_each_mend() {
        let ok = Finding::ok("database", "answers");
        let warn = Finding::warn("key", "may too much", "take it away");
        let fail = Finding::fail("nango", "silent", "look");
        let skip = Finding::skip("edge", "not asked");
        assert!(!Report { findings: vec![ok.clone(), warn.clone(), skip.clone()] }.has_failed());
        let report = Report { findings: vec![ok, warn, fail, skip] };
        assert!(report.has_failed());
        assert_eq!(
            report.to_string(),
            "ok    database  answers\n\
             WARN  key       may too much\n\u{20}               mend: take it away\n\
             FAIL  nango     silent\n\u{20}               mend: look\n\
             skip  edge      not asked\n"
        );
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["ok"], false);
        assert_eq!(json["findings"][3]["status"], "skip");
        assert_eq!(
            json["findings"][1],
            serde_json::json!({"name": "key", "status": "warn", "seen": "may too much", "mend": "take it away"})
        );
    }
}
