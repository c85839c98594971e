//! Sign-in and sign-out of people with a browser: Postern as the relying party of a site (OpenID Connect Core, RFC 6749).
//! Comes in: a request at one of a site's doors. Goes out: the answer, and what is to become of our cookies. What a door
//! takes and does stands in one table, [`DOORS`]; each has a file of its own.
//!
//! The room knows neither plan nor routes: whoever wants a browser signed in calls [`Site::begin`].

mod backchannel;
mod callback;
mod error;
mod frontchannel;
pub mod landing;
mod logout;
pub mod pages;
mod preserve;
pub mod response;
mod start;
mod userinfo;

use std::sync::Arc;

use http::{HeaderMap, Method, Response};
use url::Url;

pub use error::{Failure, LoginError};
pub use landing::{Allowed, Landing, Landings};
pub use pages::Brand;
pub use preserve::{Form, Forms, Met};
pub use response::{Carrier, Flow, Mode};
pub use start::{Ask, Needs};

use crate::idp::Registration;
use crate::idp::authorize::Wishes;
use crate::kv::Kv;
use crate::seal::{KeyRing, MasterKeys};
use crate::session::Transactions;
use crate::wire::cookies::{CookieChanges, CookieScope, OwnCookies};
use crate::wire::{Arrival, Body, Facts};

/// One address of a site that is Postern's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    Start,
    Callback,
    SignIn,
    SignOut,
    SignedOut,
    Userinfo,
    BackchannelLogout,
    FrontchannelLogout,
}

/// A door, its path below the prefix, and the methods that it takes.
#[derive(Debug)]
pub struct DoorRow {
    pub door: Door,
    pub path: &'static str,
    pub methods: &'static [Method],
}

const fn row(door: Door, path: &'static str, methods: &'static [Method]) -> DoorRow {
    DoorRow { door, path, methods }
}

/// All doors. The callback takes both methods, so that the one which a site did not ask for is told what is wrong.
pub const DOORS: &[DoorRow] = &[
    row(Door::Start, "start", &[Method::GET]),
    row(Door::Callback, "callback", &[Method::GET, Method::POST]),
    row(Door::SignIn, "sign_in", &[Method::GET]),
    row(Door::SignOut, "sign_out", &[Method::GET, Method::POST]),
    row(Door::SignedOut, "signed_out", &[Method::GET]),
    row(Door::Userinfo, "userinfo", &[Method::GET]),
    row(Door::BackchannelLogout, "backchannel_logout", &[Method::POST]),
    row(Door::FrontchannelLogout, "frontchannel_logout", &[Method::GET]),
];

impl Door {
    /// Its path below the prefix.
    pub fn path(self) -> &'static str {
        DOORS.iter().find(|row| row.door == self).map_or("", |row| row.path)
    }
}

/// A site as it was configured.
#[derive(Debug)]
pub struct SiteSettings {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// The origin that browsers know it by.
    pub url: Url,
    /// Where the doors are: begins with `/`, ends without.
    pub prefix: Box<str>,
    /// Never empty; of several people choose.
    pub registrations: Vec<Arc<Registration>>,
    pub flow: Flow,
    pub mode: Mode,
    pub wishes: Wishes,
    /// Userinfo is asked, and merged into the claims.
    pub userinfo: bool,
    /// Where people land after a sign-out.
    pub after_sign_out: Option<Landing>,
    pub allowed_redirects: Vec<Allowed>,
    /// The name of the session cookie; those of a sign-in begin with it.
    pub cookie: Box<str>,
    pub cookie_scope: CookieScope,
    pub takes_logout_tokens: bool,
    /// The sessions of all sites that take logout tokens: one for a client that several sites have ends them at each.
    pub told: Vec<Arc<crate::session::Sessions>>,
    pub brand: Arc<Brand>,
}

/// A site, alive. Shared by all workers.
pub struct Site {
    settings: SiteSettings,
    landings: Landings,
    transactions: Transactions,
    sessions: Arc<crate::session::Sessions>,
    /// Where it is remembered that a state, or a logout token, was used.
    kv: Kv,
    forms: Forms,
    sign_out_ring: KeyRing,
}

/// A request at a door.
#[derive(Debug)]
pub struct Visit<'a> {
    pub facts: &'a Facts,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    /// Without the `?`.
    pub query: &'a str,
    pub cookies: &'a OwnCookies,
}

/// What comes of a visit, whether it went well or not.
#[derive(Debug)]
pub struct Entered {
    pub answer: Result<Response<Body>, LoginError>,
    pub along: Along,
}

/// What goes along with whatever answer a visit gets.
#[derive(Debug, Default)]
pub struct Along {
    pub cookies: CookieChanges,
    /// Where the person wanted to go, once that is known: for a link to begin again.
    pub return_to: Option<Box<str>>,
    /// Whom a provider has signed out everywhere.
    pub signed_out: Option<SignedOut>,
}

/// A person that a provider has signed out: what is remembered of this person's tokens may no longer be so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedOut {
    /// The issuer's identifier.
    pub issuer: Box<str>,
    pub subject: Box<str>,
}

impl Site {
    /// `kv` is where it is remembered what was used.
    pub fn new(
        settings: SiteSettings,
        sessions: Arc<crate::session::Sessions>,
        kv: Kv,
        forms: Forms,
        keys: &MasterKeys,
    ) -> Self {
        let landings = Landings::new(settings.url.clone(), settings.allowed_redirects.clone());
        let scope = settings.attempt_scope();
        let transactions = Transactions::new(&settings.name, &settings.cookie, scope, keys);
        Self { settings, landings, transactions, sessions, kv, forms, sign_out_ring: keys.ring("sign-out") }
    }

    pub const fn settings(&self) -> &SiteSettings {
        &self.settings
    }

    pub const fn sessions(&self) -> &Arc<crate::session::Sessions> {
        &self.sessions
    }

    /// The address by which a program may send its user to sign in; `rd` may be added to it.
    pub fn sign_in_address(&self) -> String {
        self.address(Door::Start)
    }

    /// The site's own address of a door.
    pub fn path(&self, door: Door) -> String {
        format!("{}/{}", self.settings.prefix, door.path())
    }

    /// The same for somebody elsewhere. Made of the configuration alone: no field of a request has a part in it.
    fn address(&self, door: Door) -> String {
        format!("{}{}", self.settings.url.origin().ascii_serialization(), self.path(door))
    }

    fn registration(&self, name: &str) -> Option<&Arc<Registration>> {
        self.settings.registrations.iter().find(|registration| **registration.name() == *name)
    }

    /// Serves a request at a door.
    pub async fn enter(&self, door: Door, facts: &Facts, arrival: Arrival, cookies: &OwnCookies) -> Entered {
        let mut along = Along::default();
        let Arrival { method, path, headers, body, .. } = arrival;
        let query = path.query().unwrap_or_default();
        let visit = Visit { facts, method: &method, headers: &headers, query, cookies };
        let answer = match door {
            Door::Start => self.start(&visit, &mut along.cookies).await,
            Door::Callback => self.callback(&visit, body, &mut along).await,
            Door::SignIn => self.choose(&visit),
            Door::SignOut => self.sign_out(&visit, body, &mut along).await,
            Door::SignedOut => Ok(self.signed_out(&visit, &mut along)),
            Door::Userinfo => self.userinfo(&visit).await,
            Door::BackchannelLogout => self.backchannel_logout(&visit, body, &mut along).await,
            Door::FrontchannelLogout => self.frontchannel_logout(&visit, &mut along).await,
        };
        let answer = answer.map(|mut response| {
            pages::protect(response.headers_mut());
            response
        });
        Entered { answer, along }
    }
}

impl SiteSettings {
    /// The cookies of an attempt: they come back with what the provider causes, which no `Strict` cookie does, and with a
    /// POST of its page only `None` ones do.
    fn attempt_scope(&self) -> CookieScope {
        use crate::wire::cookies::SameSite;
        let same_site =
            if self.mode.is_cross_site_post() && self.cookie_scope.secure { SameSite::None } else { SameSite::Lax };
        CookieScope { same_site, ..self.cookie_scope.clone() }
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Site({})", self.settings.name)
    }
}
