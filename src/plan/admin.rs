//! `admin`, checked: sockets that nobody else has, and a token that can't be guessed before anything can be changed.

use super::findings::Findings;
use super::issuers;
use super::server::{bind, collide};
use super::settings::{ActionsSettings, AdminSettings, Bind, ServerSettings};
use crate::config::ValuePath;
use crate::config::admin::Actions;
use crate::seal::Secret;

/// As many characters as 96 random bits have in base64.
const SHORTEST_TOKEN: usize = 16;

pub(super) fn admin(findings: &mut Findings<'_>, server: Option<&ServerSettings>) -> Option<AdminSettings> {
    let at = ValuePath::root().key("admin");
    let admin = &findings.loaded.config.admin;
    let bind = bind(findings, &at.key("bind"), &admin.bind);
    let mut taken: Vec<(&Bind, &str)> = Vec::new();
    for listener in server.iter().flat_map(|server| &server.listeners) {
        taken.push((&listener.bind, "a listener of `server`"));
    }
    let is_free = bind.as_ref().is_none_or(|bind| free(findings, &at.key("bind"), bind, &taken));
    taken.extend(bind.iter().map(|bind| (bind, "`admin.bind`, which only reads")));
    let actions = admin.actions.as_ref().map(|written| actions(findings, &at.key("actions"), written, &taken));
    let actions = match actions {
        None => None,
        Some(checked) => Some(checked?),
    };
    let bind = bind.clone().filter(|_| is_free)?;
    Some(AdminSettings { bind, ready_after: admin.ready_after.0, actions })
}

fn actions(
    findings: &mut Findings<'_>,
    at: &ValuePath,
    written: &Actions,
    taken: &[(&Bind, &str)],
) -> Option<ActionsSettings> {
    let token = token(findings, at, written);
    let Some(text) = &written.bind else {
        findings.missing(at, "bind", "a socket of its own: `unix:/run/postern/admin.sock`");
        return None;
    };
    let at = at.key("bind");
    let bind = bind(findings, &at, text)?;
    if let Bind::Tcp(address) = &bind
        && !address.ip().is_loopback()
    {
        let message = "the token travels in clear to whoever can reach this address";
        findings.warning(&at, message, "a Unix socket, or a loopback address");
    }
    let is_free = free(findings, &at, &bind, taken);
    Some(ActionsSettings { bind, token: token.filter(|_| is_free)? })
}

fn token(findings: &mut Findings<'_>, at: &ValuePath, written: &Actions) -> Option<Secret> {
    let Some(written) = &written.token else {
        findings.missing(at, "token", "`{ file: admin.token }`; make one with `openssl rand -base64 32`");
        return None;
    };
    let at = at.key("token");
    let token = issuers::secret(findings, &at, written)?;
    if token.expose().len() < SHORTEST_TOKEN {
        let message = format!("a token of fewer than {SHORTEST_TOKEN} characters can be guessed");
        findings.error_with(&at, message, "`openssl rand -base64 32`");
        return None;
    }
    if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        findings.error_with(&at, "a token here has no spaces and only ASCII", "it is sent as `Bearer` in a header");
        return None;
    }
    Some(token)
}

fn free(findings: &mut Findings<'_>, at: &ValuePath, bind: &Bind, taken: &[(&Bind, &str)]) -> bool {
    let other = taken.iter().find(|(other, _)| collide(other, bind));
    if let Some((_, what)) = other {
        findings.error(at, format!("`{bind}` is also {what}"));
    }
    other.is_none()
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use crate::config::{Environment, File, Sources, ZeroFile, load};

    fn findings(admin: &str) -> Vec<String> {
        let text = format!(
            "\
server: {{ listeners: [{{ bind: 127.0.0.1:8080 }}] }}
admin: {admin}
upstreams: {{ app: {{ servers: ['http://127.0.0.1:9001'] }} }}
routes: [{{ match: {{ path: /** }}, upstream: app, access: public }}]
"
        );
        let environment = Environment::from_iter([
            ("TOKEN", "0123456789abcdef"),
            ("SHORT", "0123456789abcde"),
            ("SPACED", "0123456789 abcdef"),
        ]);
        let file = File::Text { path: "postern.yaml".into(), text };
        let loaded = load(Sources { file, environment, zero_file: ZeroFile::default() });
        let report = match check(&loaded.map_err(|report| report.to_string()).unwrap()) {
            Ok(checked) => checked.warnings,
            Err(report) => report,
        };
        report.diagnostics().iter().map(|found| format!("{}: {}", found.path, found.message)).collect()
    }

    #[test]
    fn actions_have_a_socket_and_a_token_of_their_own() {
        for good in ["unix:/run/postern/admin.sock", "127.0.0.1:9091", "localhost:9091"] {
            let admin = format!("{{ actions: {{ bind: '{good}', token: {{ env: TOKEN }} }} }}");
            assert_eq!(findings(&admin), Vec::<String>::new(), "{good}");
        }
        for (admin, expected) in [
            ("{ actions: { bind: 'unix:/s' } }", "admin.actions: `token` is missing"),
            ("{ actions: { token: { env: TOKEN } } }", "admin.actions: `bind` is missing"),
            (
                "{ actions: { bind: 'unix:/s', token: { env: SHORT } } }",
                "admin.actions.token: a token of fewer than 16 characters can be guessed",
            ),
            (
                "{ actions: { bind: 'unix:/s', token: { env: SPACED } } }",
                "admin.actions.token: a token here has no spaces and only ASCII",
            ),
            (
                "{ actions: { bind: '127.0.0.1:8080', token: { env: TOKEN } } }",
                "admin.actions.bind: `127.0.0.1:8080` is also a listener of `server`",
            ),
            (
                "{ bind: 'unix:/s', actions: { bind: 'unix:/s', token: { env: TOKEN } } }",
                "admin.actions.bind: `unix:/s` is also `admin.bind`, which only reads",
            ),
            (
                "{ actions: { bind: '0.0.0.0:9091', token: { env: TOKEN } } }",
                "admin.actions.bind: the token travels in clear to whoever can reach this address",
            ),
            ("{ bind: 127.0.0.1:8080 }", "admin.bind: `127.0.0.1:8080` is also a listener of `server`"),
        ] {
            assert_eq!(findings(admin), [expected], "{admin}");
        }
    }
}
