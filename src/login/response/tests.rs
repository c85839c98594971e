//! What is an answer to which question.

use super::*;

fn read(query: &str) -> Result<Returned, ResponseError> {
    read_as(query, Flow::CODE, Mode::QUERY)
}

fn read_as(query: &str, flow: Flow, mode: Mode) -> Result<Returned, ResponseError> {
    Returned::read(&Form::parse(query.as_bytes()).unwrap(), flow, mode)
}

#[test]
fn a_code_is_read_with_its_state_and_issuer() {
    let returned = read("state=s&code=c&iss=https%3A%2F%2Fid.example&session_state=x").unwrap();
    assert_eq!((&*returned.state, returned.issuer.as_deref()), ("s", Some("https://id.example")));
    let Answer::Granted(front) = returned.answer else { unreachable!() };
    assert!(front.code.unwrap().equals(b"c") && front.id_token.is_none());
}

#[test]
fn an_error_is_read_and_made_fit_for_a_log() {
    let returned = read("state=s&error=access_denied&error_description=no%0d%0a%1b[31mway%C3%A9").unwrap();
    let Answer::Refused(error) = returned.answer else { unreachable!() };
    assert_eq!(error.to_string(), "access_denied (no???[31mway?)");
    let long = read(&format!("state=s&error={}", "x".repeat(5000))).unwrap();
    let Answer::Refused(error) = long.answer else { unreachable!() };
    assert_eq!(error.error.len(), LONGEST_SHOWN);
}

#[test]
fn what_is_no_answer_to_the_question_is_refused() {
    for (query, error) in [
        ("", ResponseError::State),
        ("code=c", ResponseError::State),
        ("state=&code=c", ResponseError::State),
        (&format!("code=c&state={}", "s".repeat(65_536)), ResponseError::State),
        ("state=s", ResponseError::Missing("code")),
        ("state=s&code=", ResponseError::Missing("code")),
        ("state=s&code=c&error=x", ResponseError::Neither),
        ("state=s&code=c&id_token=t", ResponseError::Unwanted("id_token")),
        ("state=s&code=c&access_token=t", ResponseError::Unwanted("access_token")),
        (&format!("state=s&code={}", "c".repeat(LONGEST_CODE + 1)), ResponseError::TooLong("code")),
    ] {
        assert_eq!(read(query).err(), Some(error), "{query:.60}");
    }
}

#[test]
fn an_answer_holds_what_its_flow_promises_and_nothing_else() {
    let flows = [
        Flow::CODE,
        Flow::CODE_ID_TOKEN,
        Flow::CODE_TOKEN,
        Flow::CODE_ID_TOKEN_TOKEN,
        Flow::ID_TOKEN,
        Flow::ID_TOKEN_TOKEN,
    ];
    let parts = ["&code=c", "&id_token=i", "&access_token=a&token_type=Bearer&expires_in=60"];
    for flow in flows {
        let promised = [flow.code, flow.id_token, flow.access_token];
        let words = promised.iter().zip(["code", "id_token", "token"]).filter(|(is, _)| **is).map(|(_, word)| word);
        assert_eq!(flow.name, words.collect::<Vec<_>>().join(" "), "the name says what it holds");
        assert!(flow.code || flow.id_token, "never an access token alone");
        for held in 0..8u8 {
            let holds = [held & 1 != 0, held & 2 != 0, held & 4 != 0];
            let query: String = parts.iter().zip(holds).filter(|(_, holds)| *holds).map(|(part, _)| *part).collect();
            let read = read_as(&format!("state=s{query}"), flow, Mode::FORM_POST);
            assert_eq!(read.is_ok(), holds == promised, "{}: {query}", flow.name);
        }
    }
}

#[test]
fn an_access_token_that_is_not_understood_is_no_answer() {
    let read = |more: &str| read_as(&format!("state=s&code=c&access_token=a{more}"), Flow::CODE_TOKEN, Mode::FORM_POST);
    assert_eq!(read("").err(), Some(ResponseError::Token(FrontTokenError::Type)));
    assert_eq!(read("&token_type=mac").err(), Some(ResponseError::Token(FrontTokenError::Type)));
}

#[test]
fn a_signed_answer_stands_alone_and_a_plain_one_is_none() {
    let read = |query: &str| read_as(query, Flow::CODE, Mode::QUERY.signed());
    // {"alg":"ES256"}, {"iss":"https://id.example","state":"s","code":"c","exp":1}
    let token =
        "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJodHRwczovL2lkLmV4YW1wbGUiLCJzdGF0ZSI6InMiLCJjb2RlIjoiYyIsImV4cCI6MX0.AAAA";
    let returned = read(&format!("response={token}")).unwrap();
    assert_eq!((&*returned.state, returned.issuer.as_deref()), ("s", Some("https://id.example")));
    assert!(returned.signed.is_some_and(|signed| signed.equals(token.as_bytes())));
    assert_eq!(read("state=s&code=c").err(), Some(ResponseError::Missing("response")));
    assert_eq!(read(&format!("response={token}&state=s")).err(), Some(ResponseError::Beside));
    assert!(matches!(read("response=x").err(), Some(ResponseError::Signed(_))));
    let plain = read_as(&format!("state=s&code=c&response={token}"), Flow::CODE, Mode::QUERY);
    assert_eq!(plain.err(), Some(ResponseError::Unwanted("response")));
}

#[test]
fn each_mode_has_its_name_and_its_requests() {
    assert_eq!(Mode::QUERY.name(Flow::CODE), None);
    assert_eq!(Mode::FORM_POST.name(Flow::CODE), Some("form_post"));
    assert_eq!(Mode::FRAGMENT.name(Flow::CODE_ID_TOKEN), Some("fragment"));
    assert_eq!(Mode::QUERY.signed().name(Flow::CODE), Some("query.jwt"));
    let calls = |mode: Mode| {
        [(Method::GET, "a=b"), (Method::GET, ""), (Method::POST, ""), (Method::POST, "a=b"), (Method::HEAD, "")]
            .map(|(method, query)| mode.call(&method, query))
    };
    assert_eq!(calls(Mode::QUERY), [Some(Call::Query), Some(Call::Query), None, None, None]);
    assert_eq!(calls(Mode::FORM_POST), [None, None, Some(Call::Form), None, None]);
    assert_eq!(calls(Mode::FRAGMENT), [None, Some(Call::Page), Some(Call::OwnForm), None, None]);
}
