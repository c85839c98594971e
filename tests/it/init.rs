//! `postern init`, driven as a person does it, through a pseudo-terminal (Debian's `script`), along every way through its
//! questions; the file that it writes passes `check`, and serves. And as a script does it, with a file of answers.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::Folder;
use crate::support::gateway::{Gateway, Start};
use crate::support::keys::ring;
use crate::support::provider::Provider;
use crate::support::raw;
use crate::support::upstream::Upstream;

/// Questions by a part of their text, and what an answers file calls them.
const QUESTIONS: &[(&str, &str)] = &[
    ("Do the callers act for themselves", "client_is_resource_owner"),
    ("Can the callers get an access token", "gets_tokens"),
    ("Is it a web application on a server", "web_app"),
    ("Does the issuer insist on hybrid", "issuer_insists_on_hybrid"),
    ("absolutely trusted with its users' passwords", "trusted_with_credentials"),
    ("What kind of client is it?", "client"),
    ("Is the issuer so old", "issuer_lacks_code"),
    ("want a token of its own?", "upstream_token"),
    ("The issuer's address?", "issuer"),
    ("The audience of this API's tokens", "audience"),
    ("Scopes that a caller needs", "scopes"),
    ("The site's address", "site"),
    ("What does the issuer call Postern", "client_id"),
    ("Which environment variable", "secret_variable"),
    ("Where do requests go?", "upstream"),
    ("The audience that a token for it must have?", "upstream_audience"),
    ("Where does Postern listen?", "bind"),
];

/// What the answer to a request without a credential shows of a gateway.
#[derive(Clone, Copy, Debug)]
enum Guards {
    Bearer,
    Basic,
    Site,
}

/// The choices of a way, as they are typed, the grant that follows, and whether it is legacy.
type Way = (&'static [(&'static str, &'static str)], &'static str, bool, Guards);

const WAYS: &[Way] = {
    use Guards::{Basic, Bearer, Site};
    const MACHINE: (&str, &str) = ("client_is_resource_owner", "1");
    const PERSON: (&str, &str) = ("client_is_resource_owner", "2");
    const NO_SITE: (&str, &str) = ("web_app", "n");
    const NO_TRUST: (&str, &str) = ("trusted_with_credentials", "no");
    const TOKENS: (&str, &str) = ("gets_tokens", "yes");
    const NATIVE: (&str, &str) = ("client", "1");
    const SPA: (&str, &str) = ("client", "single_page_app");
    const HAS_CODE: (&str, &str) = ("issuer_lacks_code", "2");
    &[
        (&[MACHINE, TOKENS, ("upstream_token", "1")], "client credentials, by the callers", false, Bearer),
        (&[MACHINE, TOKENS, ("upstream_token", "2")], "client credentials, by the callers", false, Bearer),
        (&[MACHINE, TOKENS, ("upstream_token", "exchange")], "client credentials, by the callers", false, Bearer),
        (&[MACHINE, ("gets_tokens", "n")], "client credentials, by Postern", true, Basic),
        (&[PERSON, ("web_app", "y"), ("issuer_insists_on_hybrid", "2")], "authorization code with PKCE", false, Site),
        (&[PERSON, ("web_app", "1"), ("issuer_insists_on_hybrid", "1")], "hybrid", true, Site),
        (&[PERSON, NO_SITE, ("trusted_with_credentials", "yes")], "resource owner password", true, Basic),
        (&[PERSON, NO_SITE, NO_TRUST, NATIVE, ("upstream_token", "none")], "code with PKCE, by the app", false, Bearer),
        (&[PERSON, NO_SITE, NO_TRUST, NATIVE, ("upstream_token", "own")], "code with PKCE, by the app", false, Bearer),
        (&[PERSON, NO_SITE, NO_TRUST, NATIVE, ("upstream_token", "3")], "code with PKCE, by the app", false, Bearer),
        (
            &[PERSON, NO_SITE, NO_TRUST, SPA, HAS_CODE, ("upstream_token", "1")],
            "code with PKCE, by the app",
            false,
            Bearer,
        ),
        (
            &[PERSON, NO_SITE, NO_TRUST, SPA, HAS_CODE, ("upstream_token", "2")],
            "code with PKCE, by the app",
            false,
            Bearer,
        ),
        (
            &[PERSON, NO_SITE, NO_TRUST, SPA, HAS_CODE, ("upstream_token", "3")],
            "code with PKCE, by the app",
            false,
            Bearer,
        ),
        (&[PERSON, NO_SITE, NO_TRUST, SPA, ("issuer_lacks_code", "1")], "implicit, for sign-in only", true, Site),
    ]
};

/// The program at a terminal of its own.
struct Terminal {
    process: Child,
    /// What stands on the screen since the last answer.
    screen: String,
}

impl Terminal {
    fn start(folder: &Folder, arguments: &str) -> Self {
        let command = format!("{} init {arguments}", env!("CARGO_BIN_EXE_postern"));
        let process = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .current_dir(folder.path(""))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("`script` is part of every Debian");
        Self { process, screen: String::new() }
    }

    /// Reads until an answer is wanted; false at the end.
    fn until_asked(&mut self) -> bool {
        self.screen.clear();
        let mut bytes = Vec::new();
        let output = self.process.stdout.as_mut().expect("piped");
        let mut byte = [0];
        while output.read(&mut byte).is_ok_and(|read| read > 0) {
            bytes.push(byte[0]);
            if bytes.ends_with(b"\n> ") {
                self.screen = String::from_utf8(bytes).expect("text");
                return true;
            }
        }
        self.screen = String::from_utf8(bytes).expect("text");
        false
    }

    fn answer(&mut self, text: &str) {
        let input = self.process.stdin.as_mut().expect("piped");
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).expect("it reads");
    }

    /// The exit code, once the program has ended.
    fn end(mut self) -> i32 {
        while self.until_asked() {}
        self.process.wait().expect("it ended").code().expect("it was not killed")
    }
}

/// The question that the screen ends with.
fn asked(screen: &str) -> &'static str {
    let found = QUESTIONS.iter().filter_map(|(text, name)| Some((screen.rfind(text)?, *name))).max();
    found.unwrap_or_else(|| panic!("no question: {screen}")).1
}

fn init(folder: &Folder, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.arg("init").args(arguments).current_dir(folder.path("")).stdin(Stdio::null());
    command.output().expect("the program starts")
}

fn check(file: &Path, environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postern"));
    command.args(["check", "--config"]).arg(file).envs(environment.iter().copied());
    command.output().expect("the program starts")
}

const ENVIRONMENT: [(&str, &str); 3] = [
    ("POSTERN_CLIENT_SECRET", "a secret"),
    ("POSTERN_SESSION_KEY", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="),
    ("POSTERN__ADMIN__BIND", "127.0.0.1:0"),
];

#[tokio::test]
async fn every_way_through_the_questions_ends_in_a_file_that_checks_and_serves() {
    let provider = Provider::start(&ring().set()).await;
    let upstream = Upstream::echo().await;
    let details = BTreeMap::from([
        ("issuer", provider.issuer()),
        ("audience", "orders".to_owned()),
        ("scopes", "orders:read".to_owned()),
        ("site", "http://localhost".to_owned()),
        ("client_id", "shop".to_owned()),
        ("secret_variable", String::new()),
        ("upstream", format!("http://{}", upstream.address)),
        ("upstream_audience", "inventory".to_owned()),
        ("bind", "127.0.0.1:0".to_owned()),
    ]);
    for (choices, grant, is_legacy, guards) in WAYS {
        let folder = Folder::new();
        let mut answers = details.clone();
        answers.extend(choices.iter().map(|(name, answer)| (*name, (*answer).to_owned())));
        let (mut told, mut questions) = (String::new(), Vec::new());
        let mut terminal = Terminal::start(&folder, "");
        while terminal.until_asked() {
            told.push_str(&terminal.screen);
            let name = asked(&terminal.screen);
            questions.push(name);
            terminal.answer(&format!("{}\n", answers[name]));
        }
        let last = terminal.screen.clone();
        assert_eq!(terminal.end(), 0, "{choices:?}\n{told}{last}");
        assert!(choices.iter().all(|(name, _)| questions.contains(name)), "{choices:?}: {questions:?}");
        assert!(told.contains("Grant: ") && told.contains(grant), "{choices:?}\n{told}");
        assert_eq!(told.contains("This is legacy. Instead: "), *is_legacy, "{choices:?}\n{told}");
        assert!(last.contains("postern serve --config postern.yaml"), "{last}");
        let file = folder.path("postern.yaml");
        let checked = check(&file, &ENVIRONMENT);
        assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
        serves(&std::fs::read_to_string(&file).expect("a file"), *guards, &provider.issuer()).await;
    }
    assert!(upstream.seen().is_empty(), "nobody has passed");
}

/// The gateway runs on it, and lets nobody through who shows nothing.
async fn serves(config: &str, guards: Guards, issuer: &str) {
    let gateway = Gateway::start_as(Start { config, environment: &ENVIRONMENT, ..Start::default() }).await;
    let request = "GET /x HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\nSec-Fetch-Mode: navigate\r\nConnection: close\r\n\r\n";
    let answer = raw::request(gateway.address(), request).await;
    match guards {
        Guards::Site => {
            assert_eq!(answer.status, 302, "{config}");
            assert!(answer.value("location").expect("an address").starts_with(issuer), "{config}");
        }
        Guards::Bearer | Guards::Basic => {
            let scheme = if matches!(guards, Guards::Basic) { "Basic " } else { "Bearer " };
            assert_eq!(answer.status, 401, "{config}");
            assert!(answer.value("www-authenticate").expect("a challenge").starts_with(scheme), "{config}");
        }
    }
}

#[test]
fn an_answer_that_is_none_is_asked_for_again_and_who_leaves_leaves_nothing() {
    let folder = Folder::new();
    let mut terminal = Terminal::start(&folder, "");
    assert!(terminal.until_asked());
    assert!(terminal.screen.contains("1) Yes") && terminal.screen.contains("2) No"), "{}", terminal.screen);
    for wrong in ["maybe\n", "3\n", "\n"] {
        terminal.answer(wrong);
        assert!(terminal.until_asked());
        assert!(terminal.screen.contains("Expected: one of `yes`, `no`."), "{}", terminal.screen);
    }
    terminal.answer("yes\n");
    assert!(terminal.until_asked() && asked(&terminal.screen) == "gets_tokens");
    // The interrupt character of the terminal.
    terminal.answer("\u{3}");
    assert_ne!(terminal.end(), 0);
    assert!(!folder.path("postern.yaml").exists());
}

#[test]
fn nothing_is_written_over() {
    let folder = Folder::new();
    let file = folder.write("postern.yaml", "# mine\n");
    let answers = folder.write("answers.yaml", GOOD);
    let mut terminal = Terminal::start(&folder, "");
    assert!(!terminal.until_asked(), "nobody answers a dozen questions for nothing: {}", terminal.screen);
    assert!(terminal.screen.contains("postern.yaml is there already"), "{}", terminal.screen);
    assert_eq!(terminal.end(), 2);
    let again = init(&folder, &["--answers", answers.to_str().expect("a path")]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), "# mine\n");
    let elsewhere = init(&folder, &["--answers", "answers.yaml", "--output", "other.yaml"]);
    assert_eq!(elsewhere.status.code(), Some(0), "{}", String::from_utf8_lossy(&elsewhere.stderr));
    assert!(folder.path("other.yaml").exists());
    // `check` tells the format by the name.
    for name in ["other.toml", "other"] {
        let refused = init(&folder, &["--answers", "answers.yaml", "--output", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(String::from_utf8_lossy(&refused.stderr).contains("name it .yaml or .yml"), "{name}");
        assert!(!folder.path(name).exists(), "{name}");
    }
}

const GOOD: &str = "\
client_is_resource_owner: false
web_app: true
issuer_insists_on_hybrid: false
issuer: https://login.example.com
site: https://shop.example.com
client_id: shop
";

#[test]
fn a_script_gives_its_answers_in_a_file() {
    let folder = Folder::new();
    folder.write("answers.yaml", GOOD);
    let made = init(&folder, &["--answers", "answers.yaml", "--output", "-"]);
    let (text, told) = (String::from_utf8(made.stdout).expect("text"), String::from_utf8(made.stderr).expect("text"));
    assert_eq!(made.status.code(), Some(0), "{told}");
    assert!(told.contains("Grant: authorization code with PKCE") && told.contains("openssl rand -base64 32"), "{told}");
    assert!(!text.contains("$") && text.contains("client_secret: { env: POSTERN_CLIENT_SECRET }"), "{text}");
    let file = folder.write("made.yaml", &text);
    assert_eq!(check(&file, &ENVIRONMENT).status.code(), Some(0));
    for (change, told) in [
        ("web_ap: true\n", "`web_ap` is no question; did you mean `web_app`?"),
        ("audience: orders\n", "`audience` is not asked after the other answers"),
        ("bind: x\n", "`bind`: expected an address and a port"),
    ] {
        folder.write("wrong.yaml", format!("{GOOD}{change}"));
        let refused = init(&folder, &["--answers", "wrong.yaml", "--output", "wrong-out.yaml"]);
        let said = String::from_utf8(refused.stderr).expect("text");
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(told), "{said}");
    }
    folder.write("half.yaml", GOOD.replace("client_id: shop\n", ""));
    let refused = init(&folder, &["--answers", "half.yaml", "--output", "wrong-out.yaml"]);
    assert!(String::from_utf8(refused.stderr).expect("text").contains("`client_id` is missing"));
    assert!(!folder.path("wrong-out.yaml").exists());
    let nobody = init(&folder, &[]);
    assert_eq!(nobody.status.code(), Some(2));
    assert!(String::from_utf8(nobody.stderr).expect("text").contains("postern init --answers FILE"));
}
