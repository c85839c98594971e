use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;

const LIMIT: usize = 16 * 1024;

fn encoded(text: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

fn token(header: &str) -> String {
    format!("{}.{}.{}", encoded(header), encoded("{}"), encoded([1; 64]))
}

fn refused(text: &str) -> TokenError {
    Jws::parse(text, LIMIT).unwrap_err()
}

#[test]
fn a_token_is_taken_apart_as_it_is() {
    let text = token(r#"{"alg":"ES256","kid":"k 1","typ":"at+jwt","x":[1,{"y":null}]}"#);
    let jws = Jws::parse(&text, LIMIT).unwrap();
    assert_eq!(
        jws.header,
        Header { algorithm: Algorithm::Es256, kid: Some("k 1".to_owned()), typ: Some("at+jwt".to_owned()) }
    );
    assert_eq!((jws.payload.as_slice(), jws.signature.as_slice()), (b"{}".as_slice(), [1; 64].as_slice()));
    assert_eq!(jws.signing_input, text.rsplit_once('.').unwrap().0);
}

#[test]
fn a_token_has_three_segments() {
    let good = token(r#"{"alg":"ES256"}"#);
    let [header, payload, signature]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    assert!(Jws::parse(&good, good.len()).is_ok());
    let cases = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        header.to_owned(),
        format!("{header}.{payload}"),
        format!("{header}.{payload}."),
        format!(".{payload}.{signature}"),
        format!(".{good}"),
        format!("{good}."),
        format!("{good}.{signature}"),
        format!("{header}.{payload}..{signature}.{signature}"),
        format!("{header}..{payload}.{signature}"),
        ".".repeat(5000),
        "a.".repeat(5000),
    ];
    for case in cases {
        assert_eq!(refused(&case), TokenError::Malformed, "{case:.80}");
    }
    assert_eq!(Jws::parse(&good, good.len() - 1).unwrap_err(), TokenError::Malformed);
}

#[test]
fn base64url_has_one_spelling() {
    let (header, payload, signature) =
        (encoded(r#"{"alg":"ES256"}"#), encoded(r#"{"a":"??>>~~"}"#), encoded([0xfb; 64]));
    assert!(Jws::parse(&format!("{header}.{payload}.{signature}"), LIMIT).is_ok());
    assert!(signature.contains('-') || signature.contains('_'));
    let trailing_bits = {
        let mut changed = signature.clone();
        let last = changed.pop().unwrap();
        changed.push(if last == 'w' { 'x' } else { (last as u8 + 1) as char });
        changed
    };
    let spellings = [
        (header.clone(), payload.clone(), trailing_bits),
        (header.clone(), payload.clone(), format!("{signature}==")),
        (header.clone(), payload.clone(), format!("{signature}=")),
        (header.clone(), payload.clone(), signature.replace('-', "+").replace('_', "/")),
        (header.clone(), payload.clone(), format!("{signature} ")),
        (header.clone(), payload.clone(), format!("{signature}\n")),
        (header.clone(), payload.clone(), format!("{signature}AAA")),
        (header.clone(), format!("{payload}=="), signature.clone()),
        (header.clone(), format!(" {payload}"), signature.clone()),
        (header.clone(), format!("{}%3D", payload), signature.clone()),
        (format!("{header}="), payload.clone(), signature.clone()),
        (format!("\t{header}"), payload.clone(), signature.clone()),
        (format!("{}\u{200b}", header), payload, signature),
    ];
    for (header, payload, signature) in spellings {
        assert_eq!(refused(&format!("{header}.{payload}.{signature}")), TokenError::Malformed);
    }
}

#[test]
fn algorithms_without_a_public_key_are_refused() {
    for name in
        ["none", "None", "NONE", "nOnE", "", "HS256", "HS384", "HS512", "rs256", "ES256 ", "RSA-OAEP", "dir", "Ed448"]
    {
        let text = token(&serde_json::json!({ "alg": name }).to_string());
        assert_eq!(refused(&text), TokenError::Algorithm, "{name}");
    }
    assert_eq!(refused("eyJhbGciOiJub25lIn0.e30."), TokenError::Algorithm);
    for header in [r#"{"alg":null}"#, r#"{"alg":["RS256"]}"#, r#"{"alg":256}"#, "{}", r#"{"Alg":"RS256"}"#] {
        assert_eq!(refused(&token(header)), TokenError::Malformed, "{header}");
    }
}

#[test]
fn headers_are_strict_json() {
    for header in [
        "",
        "null",
        "[]",
        r#"["RS256"]"#,
        "{\"alg\":\"RS256\"} x",
        r#"{"alg":"RS256","alg":"RS256"}"#,
        r#"{"alg":"none","alg":"RS256"}"#,
        r#"{"alg":"RS256","\u0061lg":"none"}"#,
        r#"{"alg":"RS256","jwk":{"k":1,"k":2}}"#,
        "\u{feff}{\"alg\":\"RS256\"}",
        r#"{"alg":"RS256","kid":1}"#,
        r#"{"alg":"RS256","kid":null}"#,
        r#"{"alg":"RS256","kid":["a"]}"#,
        r#"{"alg":"RS256","typ":null}"#,
        r#"{"alg":"RS256","typ":{}}"#,
        r#"{"alg":"RS256","cty":1}"#,
        r#"{"alg":"RS256""#,
    ] {
        assert_eq!(refused(&token(header)), TokenError::Malformed, "{header}");
    }
    let nested = format!(r#"{{"alg":"RS256","a":{}{}}}"#, "[".repeat(4000), "]".repeat(4000));
    assert_eq!(refused(&token(&nested)), TokenError::Malformed);
    let latin = [&b"{\"alg\":\"RS256\",\"kid\":\"\xe4\"}"[..]].concat();
    assert_eq!(refused(&format!("{}.e30.AAAA", encoded(latin))), TokenError::Malformed);
}

#[test]
fn every_crit_is_one_that_we_do_not_understand() {
    for header in [
        r#"{"alg":"RS256","crit":["exp"],"exp":1}"#,
        r#"{"alg":"RS256","crit":[]}"#,
        r#"{"alg":"RS256","crit":["alg"]}"#,
        r#"{"alg":"RS256","crit":["b64"],"b64":false}"#,
        r#"{"alg":"RS256","crit":["b64"],"b64":true}"#,
        r#"{"alg":"RS256","b64":false}"#,
        r#"{"alg":"RS256","crit":null}"#,
        r#"{"alg":"RS256","crit":"exp"}"#,
        r#"{"alg":"none","crit":{}}"#,
    ] {
        assert_eq!(refused(&token(header)), TokenError::Critical, "{header}");
    }
}

#[test]
fn encrypted_and_nested_tokens_are_refused() {
    for header in [
        r#"{"alg":"RS256","enc":"A128GCM"}"#,
        r#"{"alg":"RSA-OAEP","enc":"A128GCM"}"#,
        r#"{"alg":"RS256","zip":"DEF"}"#,
        r#"{"alg":"RS256","cty":"JWT"}"#,
        r#"{"alg":"RS256","cty":"application/jwt"}"#,
    ] {
        assert_eq!(refused(&token(header)), TokenError::Nested, "{header}");
    }
    assert!(Jws::parse(&token(r#"{"alg":"RS256","cty":"application/json"}"#), LIMIT).is_ok());
    let five = format!("{}.AAAA.AAAA.AAAA.AAAA", encoded(r#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#));
    assert_eq!(refused(&five), TokenError::Malformed);
}

#[test]
fn a_signature_is_no_longer_than_any_key_makes_it() {
    let with = |bytes: usize| format!("{}.e30.{}", encoded(r#"{"alg":"RS256"}"#), encoded(vec![7; bytes]));
    assert!(Jws::parse(&with(1024), LIMIT).is_ok());
    assert_eq!(refused(&with(1100)), TokenError::Malformed);
}

#[test]
fn media_types_lose_one_application_and_no_more() {
    assert_eq!(without_application("application/at+jwt"), "at+jwt");
    assert_eq!(without_application("Application/AT+JWT"), "AT+JWT");
    assert_eq!(without_application("application/application/jwt"), "application/jwt");
    assert_eq!(without_application("jwt"), "jwt");
    assert_eq!(without_application("äpplication/jwt"), "äpplication/jwt");
}
