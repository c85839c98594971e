//! Which route a request takes: host, then path segment by segment, then method (configuration contract, section 3).
//! The order in which routes were written does not matter; two that could tie are refused when the plan is made.

use std::collections::HashMap;

use http::Method;
use smallvec::SmallVec;

/// Hosts that a route is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    /// Lower-case, without port and trailing dot.
    Exact(Box<str>),
    /// `*.suffix`: one label before the suffix. Holds the suffix with its leading dot.
    Wildcard(Box<str>),
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    Literal(Box<str>),
    /// `{name}`: exactly one segment, never empty.
    Parameter(Box<str>),
    /// `**`, last only: the prefix itself and all below it.
    Rest,
}

/// Methods that a route takes. GET includes HEAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Methods {
    Any,
    Only(Box<[Method]>),
}

impl Methods {
    pub fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Any => true,
            Self::Only(methods) => {
                methods.contains(method) || (*method == Method::HEAD && methods.contains(&Method::GET))
            }
        }
    }
}

/// What was found for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'r, 'p, T> {
    Route {
        target: &'r T,
        parameters: Parameters<'r, 'p>,
    },
    /// The best pattern has no route for this method; these it has.
    Method {
        allow: Vec<Method>,
    },
    Nothing,
}

/// Values of `{name}` segments, in the order of the path.
pub type Parameters<'r, 'p> = SmallVec<[(&'r str, &'p str); 4]>;

/// The compiled routes.
#[derive(Debug)]
pub struct Router<T> {
    exact: HashMap<Box<str>, Node<T>>,
    /// The longest suffix first.
    wildcards: Vec<(Box<str>, Node<T>)>,
    any: Node<T>,
}

#[derive(Debug)]
struct Node<T> {
    literals: Vec<(Box<str>, Node<T>)>,
    parameter: Option<Box<Node<T>>>,
    here: Vec<Leaf<T>>,
    rest: Vec<Leaf<T>>,
}

#[derive(Debug)]
struct Leaf<T> {
    methods: Methods,
    names: Box<[Box<str>]>,
    target: T,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { literals: Vec::new(), parameter: None, here: Vec::new(), rest: Vec::new() }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcards: Vec::new(), any: Node::default() }
    }
}

impl<T> Router<T> {
    pub fn insert(&mut self, host: &HostPattern, path: &[Segment], methods: Methods, target: T) {
        let root = match host {
            HostPattern::Any => &mut self.any,
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Wildcard(suffix) => wildcard(&mut self.wildcards, suffix),
        };
        root.insert(path, methods, target);
    }

    /// Finds the route for a host, a normalised path and a method.
    pub fn find<'r, 'p>(&'r self, host: Option<&str>, path: &'p str, method: &Method) -> Found<'r, 'p, T> {
        let exact = host.and_then(|host| self.exact.get(host));
        let wildcards = self.wildcards.iter().filter(|(suffix, _)| host.is_some_and(|host| one_label(host, suffix)));
        let roots = exact.into_iter().chain(wildcards.map(|(_, root)| root)).chain(std::iter::once(&self.any));
        let below = path.strip_prefix('/').unwrap_or(path);
        for root in roots {
            let mut values = SmallVec::new();
            if let Some(leaves) = root.find(Some(below), &mut values) {
                return choose(leaves, &values, method);
            }
        }
        Found::Nothing
    }
}

fn wildcard<'a, T>(wildcards: &'a mut Vec<(Box<str>, Node<T>)>, suffix: &str) -> &'a mut Node<T> {
    let at = match wildcards.iter().position(|(known, _)| **known == *suffix) {
        Some(at) => at,
        None => {
            let at = wildcards.partition_point(|(known, _)| known.len() >= suffix.len());
            wildcards.insert(at, (suffix.into(), Node::default()));
            at
        }
    };
    &mut wildcards[at].1
}

fn one_label(host: &str, suffix: &str) -> bool {
    host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

fn choose<'r, 'p, T>(leaves: &'r [Leaf<T>], values: &[&'p str], method: &Method) -> Found<'r, 'p, T> {
    // A leaf that names the method goes before one that takes any.
    let named = |leaf: &&Leaf<T>| leaf.methods != Methods::Any && leaf.methods.takes(method);
    let leaf = leaves.iter().find(named).or_else(|| leaves.iter().find(|leaf| leaf.methods.takes(method)));
    if let Some(leaf) = leaf {
        let parameters = leaf.names.iter().map(|name| &**name).zip(values.iter().copied()).collect();
        return Found::Route { target: &leaf.target, parameters };
    }
    let mut allow: Vec<Method> = Vec::new();
    for leaf in leaves {
        if let Methods::Only(methods) = &leaf.methods {
            for method in methods {
                let head = (*method == Method::GET).then_some(Method::HEAD);
                for method in std::iter::once(method.clone()).chain(head) {
                    if !allow.contains(&method) {
                        allow.push(method);
                    }
                }
            }
        }
    }
    Found::Method { allow }
}

impl<T> Node<T> {
    fn insert(&mut self, path: &[Segment], methods: Methods, target: T) {
        let mut names = Vec::new();
        let mut node = self;
        for segment in path {
            node = match segment {
                Segment::Rest => {
                    node.rest.push(Leaf { methods, names: names.into(), target });
                    return;
                }
                Segment::Parameter(name) => {
                    names.push(name.clone());
                    node.parameter.get_or_insert_default()
                }
                Segment::Literal(text) => node.literal(text),
            };
        }
        node.here.push(Leaf { methods, names: names.into(), target });
    }

    fn literal(&mut self, text: &str) -> &mut Self {
        let at = match self.literals.binary_search_by(|(known, _)| (**known).cmp(text)) {
            Ok(at) => at,
            Err(at) => {
                self.literals.insert(at, (text.into(), Self::default()));
                at
            }
        };
        &mut self.literals[at].1
    }

    /// The leaves of the best pattern below this node: literal before parameter before rest. `below` is what is left
    /// of the path, without a leading slash; `None` at its end. The depth is bounded by the patterns, not the path.
    fn find<'r, 'p>(&'r self, below: Option<&'p str>, values: &mut SmallVec<[&'p str; 4]>) -> Option<&'r [Leaf<T>]> {
        let Some(below) = below else {
            let leaves = if self.here.is_empty() { &self.rest } else { &self.here };
            return (!leaves.is_empty()).then_some(leaves);
        };
        let slash = memchr::memchr(b'/', below.as_bytes());
        let (segment, next) = match slash.and_then(|at| Some((below.get(..at)?, below.get(at + 1..)?))) {
            Some((segment, next)) => (segment, Some(next)),
            None => (below, None),
        };
        if let Ok(at) = self.literals.binary_search_by(|(known, _)| (**known).cmp(segment))
            && let Some(found) = self.literals[at].1.find(next, values)
        {
            return Some(found);
        }
        if let Some(node) = &self.parameter
            && !segment.is_empty()
        {
            values.push(segment);
            if let Some(found) = node.find(next, values) {
                return Some(found);
            }
            values.pop();
        }
        (!self.rest.is_empty()).then_some(&self.rest[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Vec<Segment> {
        text.trim_start_matches('/')
            .split('/')
            .map(|segment| match segment {
                "**" => Segment::Rest,
                _ => match segment.strip_prefix('{').and_then(|name| name.strip_suffix('}')) {
                    Some(name) => Segment::Parameter(name.into()),
                    None => Segment::Literal(segment.into()),
                },
            })
            .collect()
    }

    fn router(routes: &[(&str, &str, &[Method], &'static str)]) -> Router<&'static str> {
        let mut router = Router::default();
        for (host, path, methods, name) in routes {
            let host = match host.strip_prefix('*') {
                _ if host.is_empty() => HostPattern::Any,
                Some(suffix) => HostPattern::Wildcard(suffix.into()),
                None => HostPattern::Exact((*host).into()),
            };
            let methods = if methods.is_empty() { Methods::Any } else { Methods::Only((*methods).into()) };
            router.insert(&host, &pattern(path), methods, *name);
        }
        router
    }

    fn found<'r>(router: &'r Router<&'static str>, host: &str, path: &str) -> Option<&'r str> {
        match router.find(Some(host), path, &Method::GET) {
            Found::Route { target, .. } => Some(target),
            _ => None,
        }
    }

    #[test]
    fn the_more_specific_path_wins_segment_by_segment() {
        let router = router(&[
            ("", "/**", &[], "all"),
            ("", "/users/{id}", &[], "user"),
            ("", "/users/me", &[], "me"),
            ("", "/users/{id}/orders", &[], "orders"),
            ("", "/users/me/**", &[], "mine"),
            ("", "/", &[], "root"),
        ]);
        for (path, want) in [
            ("/", "root"),
            ("/x", "all"),
            ("/users", "all"),
            ("/users/7", "user"),
            ("/users/me", "me"),
            ("/users/", "all"),
            ("/users/7/orders", "orders"),
            ("/users/me/orders", "mine"),
            ("/users/7/x", "all"),
            ("/users/me/", "mine"),
        ] {
            assert_eq!(found(&router, "h", path), Some(want), "{path}");
        }
    }

    #[test]
    fn a_prefix_takes_itself_and_whole_segments_below_it() {
        let router = router(&[("", "/api/**", &[], "api")]);
        assert_eq!(found(&router, "h", "/api"), Some("api"));
        assert_eq!(found(&router, "h", "/api/"), Some("api"));
        assert_eq!(found(&router, "h", "/api/x/y"), Some("api"));
        assert_eq!(found(&router, "h", "/apix"), None);
        assert_eq!(found(&router, "h", "/"), None);
    }

    #[test]
    fn hosts_go_exact_then_longest_wildcard_then_none() {
        let router = router(&[
            ("", "/**", &[], "any"),
            ("a.example.com", "/**", &[], "exact"),
            ("*.example.com", "/x/**", &[], "wild"),
            ("*.b.example.com", "/**", &[], "deep"),
        ]);
        assert_eq!(found(&router, "a.example.com", "/x"), Some("exact"));
        assert_eq!(found(&router, "c.example.com", "/x"), Some("wild"));
        assert_eq!(found(&router, "c.example.com", "/y"), Some("any"));
        assert_eq!(found(&router, "c.b.example.com", "/y"), Some("deep"));
        assert_eq!(found(&router, "d.c.example.com", "/x"), Some("any"));
        assert_eq!(found(&router, "other", "/x"), Some("any"));
    }

    #[test]
    fn a_method_that_the_best_pattern_lacks_never_falls_to_a_lesser_path() {
        let router =
            router(&[("", "/**", &[], "all"), ("", "/a", &[Method::GET], "get"), ("", "/a", &[Method::PUT], "put")]);
        assert!(matches!(router.find(None, "/a", &Method::HEAD), Found::Route { target: &"get", .. }));
        let allow = vec![Method::GET, Method::HEAD, Method::PUT];
        assert_eq!(router.find(None, "/a", &Method::POST), Found::Method { allow });
    }

    #[test]
    fn parameters_are_told_by_name() {
        let router = router(&[("", "/users/{id}/orders/{order}", &[], "o")]);
        let parameters = [("id", "7"), ("order", "9")].into_iter().collect();
        let found = Found::Route { target: &"o", parameters };
        assert_eq!(router.find(None, "/users/7/orders/9", &Method::GET), found);
    }
}
