//! The sources above the file. Comes in: environment variables and the flags of zero-file mode. Goes out: small trees that
//! are laid over the file's, each knowing the variable or flag that it came from.

use super::environment::Environment;
use super::place::{Origin, Spot};
use super::syntax;
use super::tree::{Node, Value};

/// Variables with this prefix are configuration; an unknown one is an error.
pub const PREFIX: &str = "POSTERN__";

/// What the flags of zero-file mode say: one issuer, one upstream, one route, no file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ZeroFile {
    pub issuer: Option<String>,
    pub audience: Vec<String>,
    pub upstream: Option<String>,
    pub scope: Vec<String>,
    pub bind: Option<String>,
    pub admin_bind: Option<String>,
}

/// A mistake that a layer itself has; `keys` is the value path.
pub struct LayerError {
    pub origin: Origin,
    pub keys: Vec<String>,
    pub message: String,
    pub hint: Option<String>,
}

/// What was said for one flag, by the flag or by its variable.
type Said = (Vec<String>, Origin);

/// One value of zero-file mode and where it came from.
struct Given {
    texts: Vec<String>,
    origin: usize,
}

/// Lays `POSTERN__SECTION__KEY=value` over `below`: one tree for each variable.
pub fn variables(
    environment: &Environment,
    below: &[Node],
    origins: &mut Vec<Origin>,
) -> Result<Vec<Node>, Vec<LayerError>> {
    let mut layers: Vec<Node> = Vec::new();
    let mut errors = Vec::new();
    for (name, text) in environment.iter() {
        let Some(keys) = name.strip_prefix(PREFIX) else { continue };
        let origin = Origin::Variable(name.to_owned());
        let written: Vec<&str> = keys.split("__").collect();
        if written.iter().any(|segment| segment.is_empty()) {
            let message = format!("`{name}` does not name a key: expected POSTERN__SECTION__KEY");
            errors.push(LayerError { origin, keys: Vec::new(), message, hint: None });
            continue;
        }
        let keys = spelt_as_below(&written, below);
        match value_of(text) {
            Ok(value) => {
                origins.push(origin);
                let mut node = Node { raw: Some(text.to_owned()), ..Node::new(value, Spot::default()) }.nested(&keys);
                node.stamp(origins.len() - 1);
                layers.push(node);
            }
            Err(message) => errors.push(LayerError { origin, keys, message, hint: None }),
        }
    }
    if errors.is_empty() { Ok(layers) } else { Err(errors) }
}

/// Segments match without case, and `_` also matches `-`: the spelling of what is already there wins, so that
/// `POSTERN__UPSTREAMS__MY_ORDERS__HOST` reaches `upstreams.my-orders.host`.
fn spelt_as_below(written: &[&str], below: &[Node]) -> Vec<String> {
    let folded = |text: &str| text.to_lowercase().replace('-', "_");
    let mut at: Vec<&Node> = below.iter().collect();
    written
        .iter()
        .map(|segment| {
            let matching = |node: &&Node| match &node.value {
                Value::Map(members) => {
                    members.iter().find(|(key, _)| folded(key) == folded(segment)).map(|(key, _)| key.clone())
                }
                _ => None,
            };
            let key = at.iter().find_map(matching).unwrap_or_else(|| segment.to_lowercase());
            at = at.iter().filter_map(|node| node.child(&super::place::Segment::Key(key.clone()))).collect();
            key
        })
        .collect()
}

/// A variable's text: YAML flow for lists and maps, YAML quoting, and otherwise the plain text with numbers and booleans
/// recognised. Plain text is never cut at `#` or `:` as YAML would do, since secrets hold such characters.
fn value_of(text: &str) -> Result<Value, String> {
    let trimmed = text.trim();
    let flow =
        (trimmed.starts_with('[') && trimmed.ends_with(']')) || (trimmed.starts_with('{') && trimmed.ends_with('}'));
    let quoted =
        trimmed.len() > 1 && ['"', '\''].iter().any(|quote| trimmed.starts_with(*quote) && trimmed.ends_with(*quote));
    if flow || quoted {
        return syntax::yaml(trimmed).map(|node| node.value).map_err(|error| error.message);
    }
    Ok(match trimmed {
        "" | "null" | "~" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        number if is_number(number) => number.parse().map_or_else(|_| Value::Text(text.to_owned()), Value::Integer),
        _ => Value::Text(text.to_owned()),
    })
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits == "0"
        || (digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0') && !digits.is_empty())
}

impl ZeroFile {
    /// The flag, its variable, and what the operator said, for each that was said; a flag wins over its variable.
    fn given(&self, environment: &Environment) -> [(&'static str, Option<Said>); 6] {
        let one = |text: &Option<String>| text.iter().cloned().collect::<Vec<_>>();
        let find = |flag: &'static str, variable: &str, texts: Vec<String>| {
            let found = if !texts.is_empty() {
                Some((texts, Origin::Flag(flag)))
            } else {
                let text = environment.get(variable).filter(|text| !text.trim().is_empty());
                text.map(|text| (vec![text.to_owned()], Origin::Variable(variable.to_owned())))
            };
            (flag, found)
        };
        [
            find("--issuer", "POSTERN_ISSUER", one(&self.issuer)),
            find("--audience", "POSTERN_AUDIENCE", self.audience.clone()),
            find("--upstream", "POSTERN_UPSTREAM", one(&self.upstream)),
            find("--scope", "POSTERN_SCOPE", self.scope.clone()),
            find("--bind", "POSTERN_BIND", one(&self.bind)),
            find("--admin-bind", "POSTERN_ADMIN_BIND", one(&self.admin_bind)),
        ]
    }

    /// The first thing that asks for zero-file mode, if anything does.
    pub fn asked_for(&self, environment: &Environment) -> Option<Origin> {
        self.given(environment).into_iter().find_map(|(_, found)| found.map(|(_, origin)| origin))
    }

    /// One issuer, one upstream and one route `/**`, as a file would have said it.
    pub fn layer(&self, environment: &Environment, origins: &mut Vec<Origin>) -> Result<Node, Vec<LayerError>> {
        origins.push(Origin::BuiltIn);
        let built_in = Spot { origin: origins.len() - 1, ..Spot::default() };
        let mut missing = Vec::new();
        let mut take = |flag: &'static str, found: Option<Said>, needed: bool| match found {
            Some((texts, origin)) => {
                origins.push(origin);
                Some(Given { texts, origin: origins.len() - 1 })
            }
            None => {
                if needed {
                    missing.push(flag);
                }
                None
            }
        };
        let [issuer, audience, upstream, scope, bind, admin_bind] = self.given(environment);
        let issuer = take(issuer.0, issuer.1, true);
        let audience = take(audience.0, audience.1, true);
        let upstream = take(upstream.0, upstream.1, true);
        let scope = take(scope.0, scope.1, false);
        let bind = take(bind.0, bind.1, false);
        let admin_bind = take(admin_bind.0, admin_bind.1, false);
        if !missing.is_empty() {
            return Err(missing.into_iter().map(needed).collect());
        }
        Ok(skeleton(built_in, Skeleton { issuer, audience, upstream, scope, bind, admin_bind }))
    }
}

fn needed(flag: &'static str) -> LayerError {
    LayerError {
        origin: Origin::Flag(flag),
        keys: Vec::new(),
        message: format!("`{flag}` is needed when there is no configuration file"),
        hint: Some(format!("or set POSTERN_{}", flag.trim_start_matches("--").to_uppercase())),
    }
}

struct Skeleton {
    issuer: Option<Given>,
    audience: Option<Given>,
    upstream: Option<Given>,
    scope: Option<Given>,
    bind: Option<Given>,
    admin_bind: Option<Given>,
}

/// The name of the only issuer, upstream and route.
const ONLY: &str = "default";

fn skeleton(built_in: Spot, said: Skeleton) -> Node {
    let text = |text: &str| Node::text(text, built_in);
    let map = |members: Vec<(&str, Option<Node>)>| {
        let members = members.into_iter().filter_map(|(key, node)| Some((key.to_owned(), node?))).collect();
        Node::new(Value::Map(members), built_in)
    };
    let list = |items: Vec<Node>| Node::new(Value::List(items), built_in);
    let only = |node: Node| map(vec![(ONLY, Some(node))]);

    let audiences = said.audience.map(|given| {
        if given.texts == ["any"] { given.one() } else { given.list(|text| vec![text.trim().to_owned()]) }
    });
    let scopes = said.scope.map(|given| given.list(|text| text.split_ascii_whitespace().map(str::to_owned).collect()));
    let issuer = map(vec![("issuer", said.issuer.map(Given::one)), ("audiences", audiences)]);
    let upstream = map(vec![("servers", said.upstream.map(|given| given.list(|text| vec![text.to_owned()])))]);
    let bearer = map(vec![("issuers", Some(list(vec![text(ONLY)]))), ("scopes", scopes)]);
    let route = map(vec![
        ("name", Some(text(ONLY))),
        ("match", Some(map(vec![("path", Some(text("/**")))]))),
        ("upstream", Some(text(ONLY))),
        ("access", Some(map(vec![("bearer", Some(bearer))]))),
    ]);
    let listeners = said.bind.map(|given| list(vec![map(vec![("bind", Some(given.one()))])]));
    map(vec![
        ("server", listeners.map(|listeners| map(vec![("listeners", Some(listeners))]))),
        ("admin", said.admin_bind.map(|given| map(vec![("bind", Some(given.one()))]))),
        ("issuers", Some(only(issuer))),
        ("upstreams", Some(only(upstream))),
        ("routes", Some(list(vec![route]))),
    ])
}

impl Given {
    fn spot(&self) -> Spot {
        Spot { origin: self.origin, ..Spot::default() }
    }

    fn one(self) -> Node {
        Node::text(self.texts.first().map_or("", |text| text.trim()), self.spot())
    }

    fn list(self, parts: impl Fn(&str) -> Vec<String>) -> Node {
        let items = self.texts.iter().flat_map(|text| parts(text)).map(|text| Node::text(&text, self.spot())).collect();
        Node::new(Value::List(items), self.spot())
    }
}
