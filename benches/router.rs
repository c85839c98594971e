//! What finding a route costs among a thousand of them on ten hosts.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use http::Method;
use postern::plan::router::{Found, HostPattern, Methods, Router, Segment};

const HOSTS: usize = 10;
/// On each host, each with four routes.
const SERVICES: usize = 25;

fn pattern(path: &str) -> Vec<Segment> {
    let segment = |text: &str| match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
        Some(name) => Segment::Parameter(name.into()),
        None if text == "**" => Segment::Rest,
        None => Segment::Literal(text.into()),
    };
    path.split('/').skip(1).map(segment).collect()
}

/// Every tenth host is a wildcard.
fn router() -> Router<usize> {
    let mut router = Router::default();
    let mut number = 0;
    for host in 0..HOSTS {
        let host = match host {
            0 => HostPattern::Wildcard(".tenants.example.com".into()),
            _ => HostPattern::Exact(format!("host{host}.example.com").into()),
        };
        for service in 0..SERVICES {
            for path in ["v1/status", "v1/users/{id}", "v1/users/{id}/orders/{order}", "files/**"] {
                router.insert(&host, &pattern(&format!("/service{service}/{path}")), Methods::Any, number);
                number += 1;
            }
        }
    }
    assert_eq!(number, 1000);
    router
}

fn benches(criterion: &mut Criterion) {
    let router = router();
    let mut group = criterion.benchmark_group("router");
    for (name, host, path, there) in [
        ("literal", "host7.example.com", "/service17/v1/status", true),
        ("parameter", "host7.example.com", "/service17/v1/users/4711/orders/12", true),
        ("rest", "host7.example.com", "/service17/files/2024/11/report.pdf", true),
        ("wildcard host", "acme.tenants.example.com", "/service17/v1/status", true),
        ("miss", "host7.example.com", "/service17/v2/status", false),
        ("unknown host", "elsewhere.example.org", "/service17/v1/status", false),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let found = router.find(Some(black_box(host)), black_box(path), &Method::GET);
                assert_eq!(matches!(found, Found::Route { .. }), there);
            });
        });
    }
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
