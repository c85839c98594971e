use super::questions::{Kind, QUESTIONS};
use super::*;

/// An answer to a question of text that no file could be written without.
fn sample(name: &str) -> &'static str {
    match name {
        "issuer" => "https://login.example.com/realms/corp",
        "site" => "https://shop.example.com",
        "upstream_audience" => "inventory",
        "client_id" => "po\"stern:#{",
        "audience" => "orders",
        "scopes" => "orders:read orders:list",
        _ => "",
    }
}

/// Every way through the questions.
fn ways() -> Vec<Answers> {
    let mut ways = vec![Answers::new()];
    for question in QUESTIONS {
        let mut next = Vec::new();
        for way in ways {
            if !(question.when)(&way) {
                next.push(way);
                continue;
            }
            let answers: Vec<&str> = match &question.kind {
                Kind::Choice(choices) => choices.iter().map(|(value, _)| *value).collect(),
                Kind::Text { .. } => vec![sample(question.name)],
            };
            for answer in answers {
                let mut way = way.clone();
                way.insert(question.name, question.take(answer).unwrap());
                next.push(way);
            }
        }
        ways = next;
    }
    ways
}

#[test]
fn every_way_through_the_questions_ends_in_a_file_that_checks() {
    let ways = ways();
    assert_eq!(ways.len(), 14);
    for answers in ways {
        let leaf = Leaf::of(&answers).expect("a grant");
        let written = write::write(leaf, &answers);
        let warnings = check(Path::new("postern.yaml"), &written)
            .map_err(|report| format!("{answers:?}\n{}\n{report}", written.text))
            .unwrap();
        let basic = matches!(leaf, Leaf::Password | Leaf::MachineBasic);
        assert_eq!(!warnings.is_empty(), basic, "{leaf:?}: {warnings}");
        assert!(warnings.diagnostics().iter().all(|found| found.message.starts_with("legacy: ")), "{warnings}");
        let legacy = matches!(leaf, Leaf::Password | Leaf::MachineBasic | Leaf::Hybrid | Leaf::Implicit);
        assert_eq!(written.text.contains("# Legacy. Instead: "), legacy, "{leaf:?}");
    }
}

#[test]
fn answers_are_taken_by_number_by_name_and_by_letter() {
    let question = QUESTIONS.first().unwrap();
    for (answer, taken) in [("1", "yes"), ("YES", "yes"), ("y", "yes"), ("2", "no"), (" n ", "no")] {
        assert_eq!(question.take(answer).as_deref(), Ok(taken), "{answer}");
    }
    for answer in ["", "0", "3", "maybe", "-1"] {
        assert_eq!(question.take(answer), Err("one of `yes`, `no`".to_owned()), "{answer}");
    }
}

#[test]
fn text_is_checked() {
    let take = |name: &str, answer: &str| QUESTIONS.iter().find(|question| question.name == name).unwrap().take(answer);
    for (name, wrong) in [
        ("issuer", "login.example.com"),
        ("issuer", "http://login.example.com"),
        ("issuer", ""),
        ("issuer", "https://login.example.com?x=1"),
        ("issuer", "https://login.example.com/a\nb"),
        ("site", "https://shop.example.com/app"),
        ("site", "https://shop.example\n.com"),
        ("site", "https://shop.example.com#x"),
        ("site", "https://u:p@shop.example.com"),
        ("upstream", "http://127.0.0.1\t:3000"),
        ("upstream", "http://127.0.0.1:3000/v1"),
        ("upstream", "127.0.0.1:3000"),
        ("secret_variable", "MY-SECRET"),
        ("secret_variable", "POSTERN_SESSION_KEY"),
        ("scopes", "a\"b"),
        ("audience", "two words"),
        ("bind", "8080"),
    ] {
        assert!(take(name, wrong).is_err(), "{name}: {wrong}");
    }
    assert_eq!(take("bind", "").as_deref(), Ok("127.0.0.1:8080"));
    assert_eq!(take("scopes", "").as_deref(), Ok(""));
}

#[test]
fn a_file_of_answers_holds_all_that_is_asked_and_nothing_else() {
    let good = "client_is_resource_owner: true\ngets_tokens: yes\nupstream_token: none\nissuer: https://login.example.com\naudience: orders\n";
    let answers = super::answers::read(good).unwrap();
    assert_eq!((answers["bind"].as_str(), answers["gets_tokens"].as_str()), ("127.0.0.1:8080", "yes"));
    for (change, told) in [
        ("isuer: https://x", "`isuer` is no question; did you mean `issuer`?"),
        ("site: https://shop.example.com", "`site` is not asked after the other answers"),
        ("bind: nowhere", "`bind`: expected an address and a port, such as 127.0.0.1:8080, found `nowhere`"),
    ] {
        assert_eq!(super::answers::read(&format!("{good}{change}\n")).unwrap_err(), [told]);
    }
    assert_eq!(super::answers::read("gets_tokens: yes").unwrap_err().len(), 1, "the first question decides the rest");
    assert!(super::answers::read("[1]").is_err());
}
