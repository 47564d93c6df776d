//! What the edge and everything behind it must agree on, without I/O, clock, environment or randomness.
//!
//! # Glossary
//!
//! The code, the tables, the API and the documents use these words and no synonyms.
//!
//! | say | means |
//! |---|---|
//! | Tenant | who owns connections |
//! | Principal | the workload that is calling, proven by its certificate |
//! | Caller | a principal inside one request, as the edge vouched for it |
//! | Grant | which tenants a principal may act for, and by which actions |
//! | Vouch | to set the edge headers and the assertion that proves them |
//! | Provider | the outside service: GitHub, Google, Slack, Notion |
//! | Integration | our configured way to a provider; Nango calls its id `providerConfigKey` |
//! | Connection | one end user's authorised link through one integration |
//! | Attempt | one try to authorise a connection: a start or a reconnect |
//! | Vault | Nango, where the tokens are |
//! | Budget | how many calls the vault takes a minute, shared out by class among all replicas |
//! | Breaker | what leaves the vault alone while it is ill |
//! | `NangoConnectionId` | the vault's name for a connection; never our `ConnectionId` |
//! | Webhook | what Nango sends in |
//! | Receipt | the record that a webhook was taken |
//! | Hint | what a webhook claims; it says where to look, and proves nothing |
//! | Transition | what one event changes: state, audit, notification, jobs |
//! | Notification | what a client application is told |
//! | Destination | where a client application wants to be told |
//! | Delivery | one notification on its way to one destination |
//! | Outcome | how one HTTP try of a delivery ended |
//! | Redelivery | an event's delivery that somebody asked for once more |
//! | Probe | the one delivery that is sent to a destination that is paused |
//! | Outbox | what must still happen: deliveries, receipts to confirm, jobs |
//! | `AuditEvent` | one line of the trail |
//! | Denial | why the edge refused |

pub mod action;
pub mod assertion;
pub mod capability;
pub mod header;
pub mod id;
pub mod keys;
pub mod nango;
pub mod principal;
pub mod problem;
pub mod signature;

#[cfg(test)]
mod rfc_4231;
