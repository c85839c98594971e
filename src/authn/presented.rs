//! What a request shows of itself. Comes in: its header fields and query. Goes out: the bearer token in its one place,
//! nothing, or that the request contradicts itself. Nothing is believed here.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;

use super::AuthnError;

/// A credential, shown and not yet believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Presented<'a> {
    /// No credential, or a scheme that this route does not take.
    Nothing,
    Bearer(Token<'a>),
    /// Under the Basic scheme (RFC 7617): a token68, not yet decoded.
    Basic(&'a str),
    /// Under the DPoP scheme (RFC 9449 section 7.1): bound to a key whose proof can't be checked yet.
    Bound,
}

/// Says which, and shows none.
impl std::fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "Nothing",
            Self::Bearer(_) => "Bearer",
            Self::Basic(_) => "Basic",
            Self::Bound => "Bound",
        })
    }
}

/// A b64token (RFC 6750 section 2.1). Never printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Token<'a>(&'a str);

impl<'a> Token<'a> {
    /// One that did not come with a request.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        b64token(text.as_bytes()).map(Self)
    }

    pub(super) const fn expose(self) -> &'a str {
        self.0
    }
}

impl std::fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// `Authorization` must not be repeated, whatever the route: two recipients would read two callers.
pub(super) fn is_repeated(headers: &HeaderMap) -> bool {
    headers.get_all(AUTHORIZATION).iter().nth(1).is_some()
}

/// Finds the credential of a request on a route that takes bearer tokens or Basic credentials.
///
/// # Errors
/// [`AuthnError::Repeated`] for a token in two places (RFC 6750 section 2), [`AuthnError::Malformed`] for a `Bearer`
/// without a b64token.
pub(super) fn find<'a>(headers: &'a HeaderMap, query: Option<&str>) -> Result<Presented<'a>, AuthnError> {
    let Some(field) = headers.get(AUTHORIZATION) else { return Ok(Presented::Nothing) };
    if is_repeated(headers) || query.is_some_and(names_access_token) {
        return Err(AuthnError::Repeated);
    }
    let field = field.as_bytes();
    let scheme_ends = field.iter().position(|byte| !is_tchar(*byte)).unwrap_or(field.len());
    let (scheme, rest) = field.split_at(scheme_ends);
    let is_bearer = scheme.eq_ignore_ascii_case(b"Bearer");
    if !is_bearer && scheme.eq_ignore_ascii_case(b"Basic") {
        return Ok(Presented::Basic(rest.strip_prefix(b" ").and_then(b64token).unwrap_or_default()));
    }
    if !is_bearer && !scheme.eq_ignore_ascii_case(b"DPoP") {
        return Ok(Presented::Nothing);
    }
    // credentials = auth-scheme 1*SP token68 (RFC 9110 section 11.4)
    let token = rest.strip_prefix(b" ").and_then(b64token).ok_or(AuthnError::Malformed)?;
    Ok(if is_bearer { Presented::Bearer(Token(token)) } else { Presented::Bound })
}

/// b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
fn b64token(bytes: &[u8]) -> Option<&str> {
    let start = bytes.iter().position(|byte| *byte != b' ')?;
    let token = bytes.get(start..)?;
    let whole = token.chunks_exact(32).take_while(|block| block.iter().fold(true, |all, byte| all & is_b64(*byte)));
    let begun = whole.count() * 32;
    let rest = token.get(begun..)?;
    let body = begun + rest.iter().position(|byte| !is_b64(*byte)).unwrap_or(rest.len());
    let padding = token.get(body..)?;
    if body == 0 || padding.iter().any(|byte| *byte != b'=') {
        return None;
    }
    std::str::from_utf8(token).ok()
}

const fn is_b64(byte: u8) -> bool {
    // Without branches, so that the compiler judges many bytes at once.
    ((byte | 0x20).wrapping_sub(b'a') < 26)
        | (byte.wrapping_sub(b'0') < 10)
        | (byte == b'-')
        | (byte == b'.')
        | (byte == b'_')
        | (byte == b'~')
        | (byte == b'+')
        | (byte == b'/')
}

/// RFC 9110 section 5.6.2.
const fn is_tchar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        )
}

/// Whether a query has a parameter `access_token`, in any spelling that decodes to it.
fn names_access_token(query: &str) -> bool {
    query.split('&').any(|parameter| {
        let name = parameter.split_once('=').map_or(parameter, |(name, _)| name);
        name == "access_token" || (name.contains('%') && percent_decode_str(name).eq("access_token".bytes()))
    })
}

#[cfg(test)]
mod tests;
