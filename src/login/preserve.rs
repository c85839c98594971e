//! A form that met no session, kept until the person has signed in. Comes in: a POST of the site's own page, urlencoded and
//! small enough. Goes out: after the sign-in, once, a page that sends it again. What another site posted is never kept:
//! nobody may have somebody else's browser send a form by making it sign in. Of a form that can't be kept the person is
//! told after the sign-in.
//!
//! The form lies where the site's sessions lie, sealed, under a digest of the attempt's state; so it belongs to the browser
//! that holds the attempt's cookie. Where there is a provider to choose it waits under an attempt that asks nobody, and the
//! choice moves it to the one that does. What one process keeps within the time of an attempt is bounded.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap};
use url::form_urlencoded;

use super::landing::Landing;
use super::{Site, Visit};
use crate::clock::Time;
use crate::kv::{Key, Kv};
use crate::seal::{KeyRing, MasterKeys};
use crate::session::transaction::{LIFETIME, State};
use crate::session::{Asked, Transaction};
use crate::wire::Body;
use crate::wire::body::capped;
use crate::wire::cookies::CookieChanges;
use crate::wire::form;

/// What one process keeps within [`LIFETIME`], in bytes: whoever posts without a session must not fill the store.
const ALLOWANCE: usize = 64 * 1024 * 1024;

/// Fields of a form; a browser could send more, and then it is not kept.
const MOST_FIELDS: usize = 1000;

/// Where a site keeps forms.
#[derive(Debug)]
pub struct Forms {
    /// The largest that is kept, in bytes; 0 = none.
    limit: usize,
    kv: Kv,
    ring: KeyRing,
    /// Since when, and how much, was kept.
    kept: Mutex<(Time, usize)>,
}

/// A form that may be kept.
#[derive(Debug)]
pub struct Form(Bytes);

/// What a request that met no session had with it.
#[derive(Debug, Default)]
pub enum Met {
    /// Nothing that anybody would miss.
    #[default]
    Nothing,
    /// To be sent again afterwards.
    Form(Form),
    /// A form of the site's own page, which can't be kept: the person is told.
    Lost,
}

impl Met {
    pub(super) const fn is_something(&self) -> bool {
        !matches!(self, Self::Nothing)
    }
}

/// The fields of a form that was kept, in their order, to be sent once more.
pub(super) type Fields = Vec<(String, String)>;

impl Forms {
    pub fn new(limit: usize, kv: Kv, keys: &MasterKeys) -> Self {
        Self { limit, kv, ring: keys.ring("kept form"), kept: Mutex::new((Time::from_millis(0), 0)) }
    }

    fn may_keep(&self, bytes: usize, now: Time) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if now.since(kept.0) >= LIFETIME {
            *kept = (now, 0);
        }
        let fits = kept.1 + bytes <= ALLOWANCE;
        kept.1 += if fits { bytes } else { 0 };
        fits
    }
}

impl Site {
    /// Takes the form out of a request that is sent to sign in first, if it is one to be kept. `body` is left as it is
    /// otherwise. What another site's page sent is nothing: nobody here waits for it.
    pub async fn take_form(&self, visit: &Visit<'_>, landing: &Landing, target: &str, body: &mut Body) -> Met {
        if visit.method != Method::POST || !self.is_own(visit) {
            return Met::Nothing;
        }
        self.form_of(visit, landing, target, body).await.map_or(Met::Lost, Met::Form)
    }

    async fn form_of(&self, visit: &Visit<'_>, landing: &Landing, target: &str, body: &mut Body) -> Option<Form> {
        let limit = self.forms.limit;
        // An attempt brings nobody back to a longer address: the form would be sent to another.
        let comes_back = Transaction::kept_return(landing.as_str()) == target;
        if limit == 0 || !comes_back || !is_urlencoded(visit.headers) {
            return None;
        }
        let length = visit.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > limit) {
            return None;
        }
        let bytes = capped(std::mem::replace(body, Body::Empty), limit).await.ok()?;
        (!bytes.is_empty() && fields(&bytes).is_some()).then_some(Form(bytes))
    }

    /// Keeps a form for an attempt. A form that can't be kept is lost, and the person signs in all the same.
    pub(super) async fn keep_form(&self, form: Form, state: &State, now: Time) {
        if !self.forms.may_keep(form.0.len(), now) {
            tracing::warn!(site = &*self.settings.name, "too many forms are kept; this one is lost");
            return;
        }
        let sealed = self.forms.ring.seal(state.digest().as_bytes(), &form.0);
        if let Err(error) = self.forms.kv.put(&self.form_key(state), sealed.into(), LIFETIME).await {
            tracing::warn!(site = &*self.settings.name, %error, "a form could not be kept");
        }
    }

    /// An attempt that waits for the choice of a provider, and the form with it. Goes out: what the choice has to name.
    pub(super) async fn await_choice(
        &self,
        met: Met,
        visit: &Visit<'_>,
        landing: &Landing,
        changes: &mut CookieChanges,
    ) -> State {
        let now = visit.facts.now;
        let waiting = Transaction::new(&self.settings.name, "", landing.as_str(), Asked::default(), now);
        if let Met::Form(form) = met {
            self.keep_form(form, &waiting.state, now).await;
        }
        let waiting = Transaction { has_form: true, ..waiting };
        changes.extend(self.transactions.begin(&waiting, visit.cookies, now));
        waiting.state
    }

    /// What waited for this choice, at this browser, to be sent to this very address. It waits no longer. `state` names it
    /// in the link that was chosen, which another site's page can't know.
    pub(super) async fn chosen_for(
        &self,
        state: Option<&str>,
        visit: &Visit<'_>,
        landing: &Landing,
        changes: &mut CookieChanges,
    ) -> Met {
        let found = state.and_then(|state| self.transactions.find(state, visit.cookies, visit.facts.now).ok());
        let Some((waiting, cleared)) = found else { return Met::Nothing };
        if !waiting.client.is_empty() || *waiting.return_to != *Transaction::kept_return(landing.as_str()) {
            return Met::Nothing;
        }
        changes.extend(cleared);
        self.kept(&waiting.state).await.map_or(Met::Lost, |bytes| Met::Form(Form(bytes)))
    }

    /// The form that was kept for an attempt, which is gone then.
    pub(super) async fn kept_form(&self, state: &State) -> Option<Fields> {
        fields(&self.kept(state).await?)
    }

    async fn kept(&self, state: &State) -> Option<Bytes> {
        if self.forms.limit == 0 {
            return None;
        }
        let sealed = self.forms.kv.take(&self.form_key(state)).await.unwrap_or_else(|error| {
            tracing::warn!(site = &*self.settings.name, %error, "a form that was kept could not be found");
            None
        })?;
        let opened = self.forms.ring.open(state.digest().as_bytes(), &sealed).ok()?;
        Some(Bytes::copy_from_slice(&opened.plain))
    }

    fn form_key(&self, state: &State) -> Key {
        Key::new("form", &[self.settings.name.as_bytes(), state.digest().as_bytes()])
    }
}

fn is_urlencoded(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(form::MEDIA_TYPE)
}

/// The fields, if a page in UTF-8 can send the very same again.
fn fields(bytes: &[u8]) -> Option<Fields> {
    let is_text = percent_encoding::percent_decode(bytes).decode_utf8().is_ok_and(|text| !text.contains('\0'));
    let fields: Fields = form_urlencoded::parse(bytes).into_owned().take(MOST_FIELDS + 1).collect();
    // `isindex` and `_charset_` mean something else to browsers than to whoever posted them.
    let is_plain = fields.iter().all(|(name, _)| name != "_charset_" && name != "isindex");
    (is_text && is_plain && fields.len() <= MOST_FIELDS).then_some(fields)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;
    use crate::kv::{MemoryKv, MemoryKvLimits};
    use crate::seal::MasterKey;

    #[test]
    fn only_what_a_page_can_send_again_is_kept() {
        let of = |text: &[u8]| fields(text).map(|fields| fields.len());
        assert_eq!(of(b"a=1&a=2&b=%C3%BC+x%0D%0A"), Some(3));
        assert_eq!(of(b"a=%ff"), None);
        assert_eq!(of(b"a=%00"), None);
        assert_eq!(of(b"_charset_=utf-8"), None);
        assert_eq!(of("a=1&".repeat(MOST_FIELDS + 1).as_bytes()), None);
    }

    #[test]
    fn what_is_kept_at_once_is_bounded() {
        let now = Time::from_seconds(1_000_000);
        let kv = Kv::Memory(MemoryKv::new(MemoryKvLimits { entries: 1, bytes: 1 }, ManualClock::at(now).clock()));
        let keys = MasterKeys::new([MasterKey::from_bytes([7; 32])]).unwrap();
        let forms = Forms::new(1, kv, &keys);
        assert!(forms.may_keep(ALLOWANCE - 10, now) && forms.may_keep(10, now));
        assert!(!forms.may_keep(1, now.plus(LIFETIME - Duration::from_secs(1))));
        assert!(forms.may_keep(1, now.plus(LIFETIME)));
    }
}
