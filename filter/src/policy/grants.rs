//! Who may do what for whom.

use super::{
    document::GrantDocument,
    pattern::{PrincipalPattern, Template, TenantPattern},
};
use contract::{action::Action, id::TenantId, principal::Principal};
use std::collections::{BTreeSet, HashMap};

/// The position of a grant in the policy, for an operator who asks which one it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GrantIndex(pub usize);

/// Every grant of a policy, arranged by what a request is looked up by.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grants {
    exact: HashMap<Principal, OfPrincipal>,
    templates: Vec<(Template, Granted)>,
}

/// What one principal is granted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct OfPrincipal {
    exact: HashMap<TenantId, Vec<Granted>>,
    prefixes: Vec<(TenantPattern, Granted)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Granted {
    actions: BTreeSet<Action>,
    index: GrantIndex,
}

impl Grants {
    /// The grant that allows `principal` this action for this tenant.
    pub fn find(
        &self,
        principal: &Principal,
        tenant: &TenantId,
        action: Action,
    ) -> Option<GrantIndex> {
        let exact = self.exact.get(principal).into_iter();
        let exact = exact.flat_map(|granted| granted.of_tenant(tenant));
        let by_template = self.templates.iter().filter_map(|(template, granted)| {
            (template.tenant(principal).as_ref() == Some(tenant)).then_some(granted)
        });
        let mut granted = exact.chain(by_template);
        granted.find(|granted| granted.actions.contains(&action)).map(|granted| granted.index)
    }

    /// Some grant of `principal`, whatever it allows.
    pub fn find_any(&self, principal: &Principal) -> Option<GrantIndex> {
        let of_principal = self.exact.get(principal).into_iter();
        let exact = of_principal.flat_map(|of_principal| {
            let prefixes = of_principal.prefixes.iter().map(|(_, granted)| granted.index);
            of_principal.exact.values().flatten().map(|granted| granted.index).chain(prefixes)
        });
        let by_template = self.templates.iter().filter_map(|(template, granted)| {
            template.tenant(principal).map(|_tenant| granted.index)
        });
        exact.chain(by_template).min()
    }

    /// Reads what the policy grants, and writes down what is wrong with it.
    pub(super) fn read(
        documents: Vec<GrantDocument>,
        place: &str,
        problems: &mut Vec<String>,
    ) -> Self {
        let mut grants = Self::default();
        for (index, document) in documents.into_iter().enumerate() {
            let mut report = Report { place: format!("{place}[{index}]"), problems };
            grants.add(GrantIndex(index), document, &mut report);
        }
        grants
    }

    fn add(&mut self, index: GrantIndex, document: GrantDocument, report: &mut Report<'_>) {
        let GrantDocument { principal, tenants, actions: listed } = document;
        let actions: BTreeSet<Action> = listed.iter().copied().collect();
        if actions.is_empty() || actions.len() < listed.len() {
            report.say(".actions: name at least one, and each once");
        }
        let granted = Granted { actions, index };
        match PrincipalPattern::parse(&principal) {
            Err(unusable) => report.say(&format!(".principal: {unusable}")),
            Ok(PrincipalPattern::Template(template)) => {
                if !tenants.is_empty() {
                    report.say(".tenants: the template says which tenant");
                }
                self.add_template(template, granted, report);
            }
            Ok(PrincipalPattern::Exact(principal)) => {
                if tenants.is_empty() {
                    report.say(".tenants: name at least one");
                }
                for tenant in tenants {
                    match TenantPattern::parse(&tenant) {
                        Err(unusable) => report.say(&format!(".tenants: {tenant:?}: {unusable}")),
                        Ok(pattern) => {
                            self.add_exact(&principal, pattern, granted.clone(), report);
                        }
                    }
                }
            }
        }
    }

    fn add_template(&mut self, template: Template, granted: Granted, report: &mut Report<'_>) {
        let templates = self.templates.iter();
        let others = templates.filter(|(other, _)| other.overlaps(&template));
        let exact = self.exact.iter().flat_map(|(principal, of_principal)| {
            let tenant = template.tenant(principal).map(TenantPattern::Exact);
            tenant.map(|tenant| of_principal.overlapping(&tenant)).unwrap_or_default()
        });
        others
            .map(|(_, other)| other)
            .chain(exact)
            .for_each(|other| report.overlap(&granted, other));
        self.templates.push((template, granted));
    }

    fn add_exact(
        &mut self,
        principal: &Principal,
        pattern: TenantPattern,
        granted: Granted,
        report: &mut Report<'_>,
    ) {
        let by_template = self.templates.iter().filter_map(|(template, other)| {
            template.tenant(principal).filter(|tenant| pattern.covers(tenant)).map(|_tenant| other)
        });
        let of_principal = self.exact.get(principal).into_iter();
        let exact = of_principal.flat_map(|of_principal| of_principal.overlapping(&pattern));
        by_template.chain(exact).for_each(|other| report.overlap(&granted, other));
        let of_principal = self.exact.entry(principal.clone()).or_default();
        match pattern {
            TenantPattern::Exact(tenant) => {
                of_principal.exact.entry(tenant).or_default().push(granted);
            }
            TenantPattern::Prefix(_) => of_principal.prefixes.push((pattern, granted)),
        }
    }
}

impl OfPrincipal {
    fn of_tenant(&self, tenant: &TenantId) -> impl Iterator<Item = &Granted> {
        let exact = self.exact.get(tenant).into_iter().flatten();
        let covering = self.prefixes.iter().filter(|(pattern, _)| pattern.covers(tenant));
        exact.chain(covering.map(|(_, granted)| granted))
    }

    fn overlapping(&self, pattern: &TenantPattern) -> Vec<&Granted> {
        match pattern {
            TenantPattern::Exact(tenant) => self.of_tenant(tenant).collect(),
            TenantPattern::Prefix(_) => {
                let exact = self.exact.iter().filter(|(tenant, _)| pattern.covers(tenant));
                let prefixes = self.prefixes.iter().filter(|(other, _)| other.overlaps(pattern));
                let exact = exact.flat_map(|(_, granted)| granted);
                exact.chain(prefixes.map(|(_, granted)| granted)).collect()
            }
        }
    }
}

/// Where the problems of one grant go.
struct Report<'a> {
    place: String,
    problems: &'a mut Vec<String>,
}

impl Report<'_> {
    fn say(&mut self, what: &str) {
        self.problems.push(format!("{}{what}", self.place));
    }

    /// Two grants may not say something about the same principal, tenant and action: whoever takes one
    /// of them out believes that the access is gone.
    fn overlap(&mut self, one: &Granted, other: &Granted) {
        let GrantIndex(index) = other.index;
        for action in one.actions.intersection(&other.actions) {
            self.say(&format!(": grants {action} where grant {index} does already"));
        }
    }
}
