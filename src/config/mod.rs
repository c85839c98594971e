//! What the operator wrote. Comes in: a file, environment variables and flags. Goes out: [`Config`], plain data whose
//! strings may still be wrong, with the place of every value; `plan` turns it into what runs.
//!
//! [`load`] merges the sources (defaults, then the file, the environment, flags; later wins) and reports every mistake of
//! form at once. Mistakes of meaning, such as a route to an upstream that is not there, are `plan`'s to find.

pub mod admin;
pub mod client;
pub mod diagnostic;
pub mod environment;
mod fault;
pub mod forward;
pub mod issuer;
mod layers;
pub mod load;
pub mod place;
pub mod places;
pub mod redis;
pub mod route;
pub mod secret;
pub mod server;
pub mod session;
pub mod site;
mod syntax;
pub mod telemetry;
mod tree;
pub mod upstream;
pub mod values;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use diagnostic::{Diagnostic, Report, Severity};
pub use environment::Environment;
pub use layers::ZeroFile;
pub use load::{File, Loaded, Sources, load};
pub use place::{Place, Segment, ValuePath};

/// The whole configuration of a gateway.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Postern configuration")]
pub struct Config {
    pub server: server::Server,
    pub admin: admin::Admin,
    pub telemetry: telemetry::Telemetry,
    /// Identity providers whose tokens are believed, by a name of your own.
    pub issuers: BTreeMap<String, issuer::Issuer>,
    /// What Postern is to an issuer, by a name of your own; one entry a registration.
    pub clients: BTreeMap<String, client::Client>,
    /// Browser applications that people sign in to, by a name of your own.
    pub sites: BTreeMap<String, site::Site>,
    /// Where sign-ins are kept.
    pub sessions: session::Sessions,
    /// Where requests go, by a name of your own.
    pub upstreams: BTreeMap<String, upstream::Upstream>,
    /// Which requests go where and who may pass; the order does not matter.
    pub routes: Vec<route::Route>,
}

/// The JSON Schema of [`Config`], for editors and for the documentation.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Config)
}

#[cfg(test)]
mod tests;
