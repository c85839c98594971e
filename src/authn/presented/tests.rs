use http::HeaderValue;

use super::*;

fn shown(fields: &[&[u8]], query: Option<&str>) -> Result<Option<String>, AuthnError> {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(field).unwrap());
    }
    find(&headers, query).map(|presented| match presented {
        // A scheme of its own, for routes that take it.
        Presented::Nothing | Presented::Basic(_) => None,
        Presented::Bearer(token) => Some(token.expose().to_owned()),
        Presented::Bound => Some("(bound)".to_owned()),
    })
}

#[test]
fn a_bearer_token_is_taken_from_its_one_place() {
    for field in ["Bearer abc", "bearer abc", "BEARER abc", "bEaReR abc", "Bearer  abc", "Bearer     abc"] {
        assert_eq!(shown(&[field.as_bytes()], None), Ok(Some("abc".to_owned())), "{field}");
    }
    for token in ["a", "aA0-._~+/", "a.b.c", "abc=", "abc=====", "..."] {
        assert_eq!(shown(&[format!("Bearer {token}").as_bytes()], Some("a=b")), Ok(Some(token.to_owned())));
    }
    assert_eq!(shown(&[b"DPoP abc"], None), Ok(Some("(bound)".to_owned())));
    assert_eq!(shown(&[b"dpop abc"], None), Ok(Some("(bound)".to_owned())));
}

#[test]
fn no_credential_and_foreign_schemes_are_nothing() {
    assert_eq!(shown(&[], None), Ok(None));
    assert_eq!(shown(&[], Some("access_token=abc")), Ok(None));
    for field in [
        "",
        "Basic YWxpY2U6cHc=",
        "Basic",
        "Negotiate abc",
        "BearerX abc",
        "Bearers abc",
        "XBearer abc",
        "abc",
        "a.b.c",
        "Digest a=\"b\", c=d",
        "Token abc",
    ] {
        assert_eq!(shown(&[field.as_bytes()], None), Ok(None), "{field}");
    }
    assert_eq!(shown(&[b"Basic \xe4"], None), Ok(None));
}

#[test]
fn a_bearer_without_a_b64token_is_malformed() {
    for field in [
        &b"Bearer"[..],
        b"bearer",
        b"Bearer ",
        b"Bearer    ",
        b"Bearer =",
        b"Bearer =abc",
        b"Bearer a=b",
        b"Bearer a b",
        b"Bearer abc ",
        b"Bearer abc,def",
        b"Bearer abc, Bearer def",
        b"Bearer \"abc\"",
        b"Bearer token=abc",
        b"Bearer\tabc",
        b"Bearer \tabc",
        b"Bearer,abc",
        b"Bearer:abc",
        b"Bearer=abc",
        b"Bearer a%20b",
        b"Bearer \xc3\xa4",
        b"Bearer a\xffb",
        b"Bearer {}",
        b"DPoP",
        b"DPoP a b",
    ] {
        assert_eq!(shown(&[field], None), Err(AuthnError::Malformed), "{}", String::from_utf8_lossy(field));
    }
}

#[test]
fn two_credentials_are_one_too_many() {
    assert_eq!(shown(&[b"Bearer abc", b"Bearer abc"], None), Err(AuthnError::Repeated));
    assert_eq!(shown(&[b"Bearer abc", b"Basic abc"], None), Err(AuthnError::Repeated));
    assert_eq!(shown(&[b"Basic abc", b""], None), Err(AuthnError::Repeated));
    for query in [
        "access_token=abc",
        "a=b&access_token=abc",
        "access_token",
        "access_token=",
        "a&access%5Ftoken=abc",
        "%61ccess_token=x",
    ] {
        assert_eq!(shown(&[b"Bearer abc"], Some(query)), Err(AuthnError::Repeated), "{query}");
    }
    for query in
        ["", "token=abc", "Access_Token=abc", "access_tokens=1", "xaccess_token=1", "a=access_token", "access_token2&b"]
    {
        assert!(shown(&[b"Bearer abc"], Some(query)).is_ok(), "{query}");
    }
}

#[test]
fn every_byte_of_a_token_is_judged_wherever_it_stands() {
    for byte in 0..=u8::MAX {
        let fits = byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        assert_eq!(is_b64(byte), fits, "{byte:#04x}");
        for at in [1, 31, 32, 63, 64, 68] {
            let mut token = [b'a'; 70];
            token[at] = byte;
            assert_eq!(b64token(&token).is_some(), fits, "{byte:#04x} at {at}");
        }
    }
    for length in [1, 31, 32, 33, 64, 65] {
        let token = "a".repeat(length) + "==";
        assert_eq!(b64token(token.as_bytes()), Some(&*token));
    }
}
