//! What the first look at a request costs: the scan of its raw head, and the normal form of its path.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on should stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use http::uri::PathAndQuery;
use postern::server::head::{HeadLimits, Scan, scan};
use postern::wire::path::NormalPath;

const LIMITS: HeadLimits = HeadLimits { target: 8192, header: 65_536, field: 16_384, fields: 100 };

const SMALL: &str = "GET /status HTTP/1.1\r\nHost: api.example.com\r\nAccept: */*\r\n\r\n";

const TYPICAL: &str = "POST /orders/v1/customers/4711/orders?page=2&size=50 HTTP/1.1\r\n\
    Host: api.example.com\r\n\
    Connection: keep-alive\r\n\
    Content-Length: 1432\r\n\
    Content-Type: application/json\r\n\
    Accept: application/json, text/plain, */*\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n\
    Origin: https://app.example.com\r\n\
    Referer: https://app.example.com/orders\r\n\
    Sec-Fetch-Dest: empty\r\n\
    Sec-Fetch-Mode: cors\r\n\
    Sec-Fetch-Site: same-site\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n";

fn heads(criterion: &mut Criterion) {
    // An RS256 token of ordinary size.
    let typical = format!("{TYPICAL}Authorization: Bearer {}\r\n\r\n", "eyJhbGci".repeat(120));
    let mut group = criterion.benchmark_group("head");
    for (name, head) in [("small", SMALL), ("typical", &typical)] {
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let scanned = scan(black_box(head.as_bytes()), &LIMITS).unwrap();
                assert!(matches!(scanned, Scan::Complete(_)));
            });
        });
    }
    group.finish();
}

fn paths(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("path");
    for (name, target) in [
        ("plain", "/orders/v1/customers/4711/orders?page=2&size=50"),
        ("with escapes", "/orders/v1/customers/J%c3%bcrgen%20M%C3%BCller/%6frders?page=2&size=50"),
    ] {
        let target = PathAndQuery::from_static(target);
        group.bench_function(name, |bencher| {
            bencher.iter(|| NormalPath::of(black_box(&target)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(all, heads, paths);
criterion_main!(all);
