//! The patterns of a grant: whom it is for, and for which tenants.

use contract::{id::TenantId, principal::Principal};

/// Where the tenant stands in a template.
const PLACEHOLDER: &str = "{tenant}";

/// Ids that begin alike belong together only if a separator says where the common part ends.
const SEPARATORS: [char; 3] = ['-', '_', '.'];

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum UnusablePattern {
    #[error(
        "a template has {{tenant}} once, in the path of a SPIFFE ID or as a label of a DNS name"
    )]
    Template,
    #[error("{0}")]
    Principal(contract::principal::UnknownPrincipal),
    #[error("{0}")]
    Tenant(contract::id::MalformedId),
    #[error(
        "a prefix ends with a separator and a star, as in acme-*; otherwise it covers tenants whose names only begin alike"
    )]
    Prefix,
}

/// Whom a grant is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PrincipalPattern {
    Exact(Principal),
    Template(Template),
}

impl PrincipalPattern {
    pub(super) fn parse(text: &str) -> Result<Self, UnusablePattern> {
        if text.contains(['{', '}']) {
            Template::parse(text).map(Self::Template)
        } else {
            text.parse().map(Self::Exact).map_err(UnusablePattern::Principal)
        }
    }
}

/// Principals that have the tenant in their name, and are granted that tenant only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template {
    prefix: String,
    suffix: String,
}

impl Template {
    fn parse(text: &str) -> Result<Self, UnusablePattern> {
        let (prefix, suffix) = text.split_once(PLACEHOLDER).ok_or(UnusablePattern::Template)?;
        let example = format!("{prefix}t{suffix}");
        match example.parse() {
            Ok(Principal::Spiffe(id)) => {
                // Whoever chose the trust domain would choose the tenant.
                let path = id.as_str().match_indices('/').nth(2).map(|(at, _)| at);
                if path.is_none_or(|path| prefix.len() <= path) {
                    return Err(UnusablePattern::Template);
                }
            }
            Ok(Principal::Dns(name)) => {
                if !prefix.ends_with([':', '.']) || !suffix.starts_with('.') {
                    return Err(UnusablePattern::Template);
                }
                // Names are compared in lower case.
                let example = format!("dns:{}", name.as_str());
                let (prefix, suffix) = example.split_at_checked(prefix.len()).unwrap_or_default();
                let suffix = suffix.strip_prefix('t').unwrap_or_default();
                return Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() });
            }
            Err(_) if prefix.contains(['{', '}']) || suffix.contains(['{', '}']) => {
                return Err(UnusablePattern::Template);
            }
            Err(unknown) => return Err(UnusablePattern::Principal(unknown)),
        }
        Ok(Self { prefix: prefix.to_owned(), suffix: suffix.to_owned() })
    }

    /// The tenant in the name of `principal`, if it is of this template.
    pub(super) fn tenant(&self, principal: &Principal) -> Option<TenantId> {
        let name = principal.to_string();
        let tenant = name.strip_prefix(&self.prefix)?.strip_suffix(&self.suffix)?;
        // One label, as a wildcard certificate has it.
        if matches!(principal, Principal::Dns(_)) && tenant.contains('.') {
            return None;
        }
        tenant.parse().ok()
    }

    /// Whether some principal could be of both templates with the same tenant. Rather too often than
    /// never: what is refused here can be written in another way.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let begin_alike =
            self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix);
        let end_alike =
            self.suffix.ends_with(&other.suffix) || other.suffix.ends_with(&self.suffix);
        let are_as_long = self.prefix.len().saturating_add(self.suffix.len())
            == other.prefix.len().saturating_add(other.suffix.len());
        begin_alike && end_alike && are_as_long
    }
}

/// For which tenants a grant is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TenantPattern {
    Exact(TenantId),
    /// Every tenant whose id goes on after this.
    Prefix(String),
}

impl TenantPattern {
    pub(super) fn parse(text: &str) -> Result<Self, UnusablePattern> {
        let Some(prefix) = text.strip_suffix('*') else {
            return text.parse().map(Self::Exact).map_err(UnusablePattern::Tenant);
        };
        if !prefix.ends_with(SEPARATORS) {
            return Err(UnusablePattern::Prefix);
        }
        let example = format!("{prefix}t");
        match example.parse::<TenantId>() {
            Ok(_) => Ok(Self::Prefix(prefix.to_owned())),
            Err(malformed) => Err(UnusablePattern::Tenant(malformed)),
        }
    }

    pub(super) fn covers(&self, tenant: &TenantId) -> bool {
        match self {
            Self::Exact(exact) => exact == tenant,
            Self::Prefix(prefix) => {
                tenant.as_str().strip_prefix(prefix.as_str()).is_some_and(|rest| !rest.is_empty())
            }
        }
    }

    /// Whether both cover some tenant.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (pattern, Self::Exact(tenant)) | (Self::Exact(tenant), pattern) => {
                pattern.covers(tenant)
            }
            (Self::Prefix(one), Self::Prefix(other)) => {
                one.starts_with(other) || other.starts_with(one)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::principal::UnknownPrincipal;

    fn template(text: &str) -> Template {
        match PrincipalPattern::parse(text).unwrap() {
            PrincipalPattern::Template(template) => template,
            PrincipalPattern::Exact(principal) => panic!("{principal}"),
        }
    }

    #[track_caller]
    fn check_tenant(text: &str, principal: &str, expected: Option<&str>) {
        let tenant = template(text).tenant(&principal.parse().unwrap());
        assert_eq!(tenant.map(String::from).as_deref(), expected, "{text} {principal}");
    }

    #[test]
    fn a_template_takes_the_tenant_from_the_principals_name() {
        let path = "spiffe://acme.example/tenant/{tenant}/app";
        check_tenant(path, "spiffe://acme.example/tenant/t1/app", Some("t1"));
        check_tenant(path, "spiffe://acme.example/tenant/a.b_c-d/app", Some("a.b_c-d"));
        check_tenant(path, "spiffe://acme.example/tenant/t1/t2/app", None);
        check_tenant(path, "spiffe://acme.example/tenant/t1/application", None);
        check_tenant(path, "spiffe://acme.example/tenant/t1", None);
        check_tenant(path, "spiffe://rival.example/tenant/t1/app", None);
        check_tenant(path, "spiffe://acme.example/x/tenant/t1/app", None);
        check_tenant(path, "spiffe://acme.example/tenant/-t1/app", None);
        check_tenant(path, "dns:t1.acme.example", None);
        let last = "spiffe://cluster.local/ns/apps/sa/app-{tenant}";
        check_tenant(last, "spiffe://cluster.local/ns/apps/sa/app-t1", Some("t1"));
        check_tenant(last, "spiffe://cluster.local/ns/apps/sa/app-", None);
        let label = "dns:{tenant}.Apps.acme.example";
        check_tenant(label, "dns:T1.apps.acme.example", Some("t1"));
        check_tenant(label, "dns:t1.t2.apps.acme.example", None);
        check_tenant(label, "dns:apps.acme.example", None);
    }

    #[test]
    fn a_template_that_could_be_misread_is_refused() {
        for text in [
            "spiffe://{tenant}/app",
            "spiffe://{tenant}.example/app",
            "spiffe://acme.example{tenant}/app",
            "spiffe://acme.example/{tenant}/{tenant}",
            "spiffe://acme.example/{id}/app",
            "spiffe://acme.example/{tenant/app",
            "spiffe://acme.example/}{tenant}/app",
            "spiffe://acme.example/{tenant}/}app",
            "dns:app-{tenant}.acme.example",
            "dns:{tenant}",
            "dns:acme.{tenant}",
        ] {
            assert_eq!(PrincipalPattern::parse(text), Err(UnusablePattern::Template), "{text}");
        }
        let nobody = PrincipalPattern::parse("{tenant}");
        assert_eq!(nobody, Err(UnusablePattern::Principal(UnknownPrincipal::Kind)));
        let malformed = PrincipalPattern::parse("spiffe://acme.example//{tenant}");
        assert_eq!(malformed, Err(UnusablePattern::Principal(UnknownPrincipal::Path)));
    }

    #[test]
    fn a_prefix_covers_what_goes_on_after_its_separator() {
        let prefix = TenantPattern::parse("acme-*").unwrap();
        for (tenant, is_covered) in [
            ("acme-1", true),
            ("acme-a-b", true),
            ("acme-", false),
            ("acme", false),
            ("acmes", false),
            ("Acme-1", false),
        ] {
            assert_eq!(prefix.covers(&tenant.parse().unwrap()), is_covered, "{tenant}");
        }
        for text in ["*", "acme*", "-*", "a*-*", "acme-**", "a/-*"] {
            assert!(TenantPattern::parse(text).is_err(), "{text}");
        }
    }

    #[track_caller]
    fn check_tenants_overlap(one: &str, other: &str, expected: bool) {
        let [one, other] = [one, other].map(|text| TenantPattern::parse(text).unwrap());
        assert_eq!(one.overlaps(&other), expected, "{one:?} {other:?}");
        assert_eq!(other.overlaps(&one), expected, "{other:?} {one:?}");
    }

    #[test]
    fn two_tenant_patterns_overlap_if_some_tenant_is_of_both() {
        check_tenants_overlap("acme", "acme", true);
        check_tenants_overlap("acme", "rival", false);
        check_tenants_overlap("acme-1", "acme-*", true);
        check_tenants_overlap("acme", "acme-*", false);
        check_tenants_overlap("acme-*", "acme-*", true);
        check_tenants_overlap("acme-*", "acme-a-*", true);
        check_tenants_overlap("acme-*", "rival-*", false);
    }

    #[track_caller]
    fn check_templates_overlap(one: &str, other: &str, expected: bool) {
        assert_eq!(template(one).overlaps(&template(other)), expected, "{one} {other}");
        assert_eq!(template(other).overlaps(&template(one)), expected, "{other} {one}");
    }

    #[test]
    fn two_templates_overlap_if_some_principal_could_be_of_both_with_one_tenant() {
        let app = "spiffe://acme.example/tenant/{tenant}/app";
        check_templates_overlap(app, app, true);
        check_templates_overlap(app, "spiffe://acme.example/tenant/{tenant}/web", false);
        check_templates_overlap(app, "spiffe://acme.example/{tenant}/app", false);
        check_templates_overlap(app, "spiffe://rival.example/tenant/{tenant}/app", false);
        // The tenant aa, as `aaa`.
        let [one, other] = ["spiffe://acme.example/a{tenant}", "spiffe://acme.example/{tenant}a"];
        check_templates_overlap(one, other, true);
    }
}
