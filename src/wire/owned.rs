//! Names of header fields that only the gateway sets. Comes in: a field name as a client wrote it. Goes out: whether a
//! back end could read it as one of ours.
//!
//! CGI, PHP, WSGI and others fold bytes of a name into one (`X_Forwarded_User` and `X.Forwarded.User` become
//! `HTTP_X_FORWARDED_USER`), so names are compared with every byte that is no letter or digit taken for `-`.

use http::header::{HeaderMap, HeaderName};
use smallvec::SmallVec;

/// Owned whatever follows.
const PREFIXES: [&str; 6] =
    ["x-forwarded-", "x-auth-request-", "x-postern-", "x-original-", "x-consumer-", "client-cert"];

/// Owned as they are.
const NAMES: [&str; 3] = ["forwarded", "x-rewrite-url", "x-request-id"];

/// The names that are removed from whatever comes in, on every route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedNames {
    /// Folded, and none of them covered by the fixed ones.
    extra: Box<[Box<str>]>,
    /// Whether some owned name begins with this byte: most names are let go after one look.
    begins: [bool; 256],
}

impl OwnedNames {
    /// The fixed names and those that some route's identity fields have.
    pub fn new(extra: &[HeaderName]) -> Self {
        let mut begins = [false; 256];
        for first in PREFIXES.iter().chain(&NAMES).filter_map(|name| name.bytes().next()) {
            begins[usize::from(first)] = true;
            begins[usize::from(first.to_ascii_uppercase())] = true;
        }
        let mut names: Vec<Box<str>> = Vec::new();
        for name in extra {
            let folded: String = name.as_str().bytes().map(|byte| char::from(fold(byte))).collect();
            if !is_fixed(&folded) && !names.iter().any(|have| **have == *folded) {
                names.push(folded.into());
            }
        }
        for byte in 0..=u8::MAX {
            begins[usize::from(byte)] |= names.iter().any(|name| name.bytes().next() == Some(fold(byte)));
        }
        Self { extra: names.into(), begins }
    }

    /// Whether a back end could read `name` as one of ours.
    pub fn owns(&self, name: &str) -> bool {
        match name.as_bytes().first() {
            Some(first) if self.begins[usize::from(*first)] => {}
            _ => return false,
        }
        is_fixed(name) || self.extra.iter().any(|owned| owned.len() == name.len() && begins_with(name, owned))
    }

    /// Removes every field with an owned name; from header sections and trailer sections alike.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let found: SmallVec<[HeaderName; 8]> =
            headers.keys().filter(|name| self.owns(name.as_str())).cloned().collect();
        for name in found {
            headers.remove(name);
        }
    }
}

fn is_fixed(name: &str) -> bool {
    PREFIXES.iter().any(|prefix| begins_with(name, prefix))
        || NAMES.iter().any(|owned| owned.len() == name.len() && begins_with(name, owned))
}

/// Ends at the first byte that differs: for ordinary names the first or second.
fn begins_with(name: &str, folded: &str) -> bool {
    name.len() >= folded.len() && name.bytes().zip(folded.bytes()).all(|(byte, want)| fold(byte) == want)
}

const fn fold(byte: u8) -> u8 {
    if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn owned() -> OwnedNames {
        OwnedNames::new(&[HeaderName::from_static("remote-user"), HeaderName::from_static("x_tenant")])
    }

    #[test]
    fn every_owned_name_is_owned_in_every_spelling_that_folds() {
        for name in [
            "x-forwarded-for",
            "X-Forwarded-User",
            "x_forwarded_user",
            "x.forwarded-user",
            "x-forwarded_user",
            "x~forwarded!user",
            "x-forwarded-client-cert",
            "forwarded",
            "FORWARDED",
            "x-auth-request-email",
            "X_Auth_Request_Email",
            "x-postern-identity",
            "x-original-url",
            "x.original.method",
            "x-rewrite-url",
            "x_rewrite_url",
            "client-cert",
            "client_cert_chain",
            "x-consumer-id",
            "x-request-id",
            "x_request_id",
            "remote-user",
            "Remote_User",
            "x-tenant",
            "x_tenant",
            "x.Tenant",
        ] {
            assert!(owned().owns(name), "{name}");
        }
    }

    #[test]
    fn ordinary_names_are_not_owned() {
        for name in [
            "",
            "x",
            "accept",
            "cookie",
            "content-type",
            "content-length",
            "client-id",
            "from",
            "forwarded-x",
            "x-forwarded",
            "x-forward-user",
            "xforwarded-user",
            "x-real-ip",
            "x-requested-with",
            "x-rewrite-url-2",
            "remote-users",
            "remoteuser",
            "x-tenant-id",
            "traceparent",
            "authorization",
        ] {
            assert!(!owned().owns(name), "{name}");
        }
    }

    #[test]
    fn stripping_takes_repeats_and_leaves_the_rest() {
        let mut headers = HeaderMap::new();
        for name in ["x-forwarded-user", "x_forwarded_user", "accept", "remote_user", "x-forwarded-user"] {
            headers.append(HeaderName::try_from(name).unwrap(), HeaderValue::from_static("a"));
        }
        owned().strip(&mut headers);
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["accept"]);
        assert_eq!(headers.len(), 1);
    }

    /// An owned name with each separator replaced by some other token byte, each letter in some case, and, where only
    /// the beginning is owned, with something behind it.
    fn spelling() -> impl Strategy<Value = String> {
        let names: Vec<&str> = PREFIXES.into_iter().chain(NAMES).chain(["remote-user", "x-tenant"]).collect();
        let separators = prop::sample::select("-_.!#$%&'*+^`|~".chars().collect::<Vec<_>>());
        let choices = prop::collection::vec((separators, any::<bool>()), 32);
        (prop::sample::select(names), choices, "[a-z0-9_.-]{0,12}").prop_map(|(name, choices, behind)| {
            let spelt: String = name
                .chars()
                .zip(choices)
                .map(|(byte, (separator, upper))| match byte {
                    '-' => separator,
                    _ if upper => byte.to_ascii_uppercase(),
                    _ => byte,
                })
                .collect();
            if PREFIXES.contains(&name) { spelt + &behind } else { spelt }
        })
    }

    proptest! {
        #[test]
        fn no_spelling_of_an_owned_name_survives(
            names in prop::collection::vec(spelling(), 1..8),
            others in prop::collection::vec("(accept|cookie|x-trace-[a-z]{1,8}|te)", 0..8),
        ) {
            let mut headers = HeaderMap::new();
            for name in names.iter().chain(&others) {
                headers.append(HeaderName::try_from(name.as_str()).unwrap(), HeaderValue::from_static("a"));
            }
            owned().strip(&mut headers);
            prop_assert_eq!(headers.len(), others.len());
            for other in &others {
                prop_assert!(headers.contains_key(other.as_str()));
            }
        }
    }
}
