//! Bodies stream: both ways, byte by byte where that matters, with flat memory, over every protocol that the gateway
//! speaks.

mod grpc;
mod trailers;
mod websocket;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::support::gateway::resident;
use crate::support::raw::{self, Connection, Until};
use crate::support::standard::{HOST, Layout, Standard, authorization};
use crate::support::upstream::{Reply, Step};
use crate::support::{eventually, h2};

const GIBIBYTE: u64 = 1 << 30;
const MEBIBYTE: u64 = 1 << 20;

/// The highest resident memory of a process while it is watched.
struct Watch {
    highest: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Watch {
    fn new(process: u32) -> Self {
        let (highest, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (kept, stopped) = (Arc::clone(&highest), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                kept.fetch_max(resident(process), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { highest, stop, thread: Some(thread) }
    }

    fn highest(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("a thread that only looks");
        }
        self.highest.load(Ordering::SeqCst)
    }
}

fn assert_under(limit: u64, watch: Watch, about: &str) {
    let highest = watch.highest();
    assert!(highest > 0 && highest < limit * MEBIBYTE, "{about}: {} MiB resident", highest / MEBIBYTE);
    println!("{about}: at most {} MiB resident", highest / MEBIBYTE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_comes_down_through_flat_memory() {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {GIBIBYTE}\r\n\r\n");
    let script = Reply::Script(vec![Step::send(head), Step::Repeat(vec![b'd'; MEBIBYTE as usize], 1024)]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let watch = Watch::new(standard.gateway.process_id());
    let mut connection = Connection::open(standard.address()).await;
    connection.send(format!("GET /public/big HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n").as_bytes()).await;
    connection.until_received(b"\r\n\r\n").await;
    let received = connection.received();
    let end = received.windows(4).position(|window| window == b"\r\n\r\n").expect("a head") + 4;
    let mut count = (received.len() - end) as u64;
    let mut stream = connection.into_stream();
    let mut buffer = vec![0; MEBIBYTE as usize];
    while let length @ 1.. = stream.read(&mut buffer).await.expect("the answer goes on") {
        assert!(buffer[..length].iter().all(|byte| *byte == b'd'));
        count += length as u64;
    }
    assert_eq!(count, GIBIBYTE);
    assert_under(64, watch, "1 GiB down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_goes_up_through_flat_memory() {
    let standard = Standard::start().await;
    let watch = Watch::new(standard.gateway.process_id());
    let mut stream = Connection::open(standard.address()).await.into_stream();
    let read = authorization("read");
    let head = format!(
        "POST /api/big HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n{read}Content-Length: {GIBIBYTE}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.expect("the gateway reads");
    let piece = vec![b'u'; MEBIBYTE as usize];
    for _ in 0..1024 {
        stream.write_all(&piece).await.expect("the gateway reads on");
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    let seen = standard.seen();
    assert_eq!((seen[0].body_bytes, seen[0].whole), (GIBIBYTE, true));
    assert_under(64, watch, "1 GiB up");
}

/// Chunks of unknown length, both ways at once, over one request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_up_while_the_answer_comes_down() {
    let gate = Arc::new(Semaphore::new(0));
    let script = Reply::Script(vec![
        Step::send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        Step::Await(gate.clone()),
        Step::Body,
        Step::send("5\r\nworld\r\n0\r\n\r\n"),
    ]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let mut connection = Connection::open(standard.address()).await;
    let head =
        format!("POST /public/duplex HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n");
    connection.send(head.as_bytes()).await;
    connection.until_received(b"hello").await;
    gate.add_permits(1);
    connection.send(b"6\r\nsecond\r\n0\r\n\r\n").await;
    let answer = connection.answer().await;
    assert_eq!((answer.text().as_str(), answer.whole), ("helloworld", true));
    assert_eq!(standard.seen()[0].body, b"firstsecond");
}

/// Events arrive one by one: the next is only sent when the one before has been read.
#[tokio::test]
async fn events_are_delivered_one_by_one() {
    let gate = Arc::new(Semaphore::new(0));
    let mut steps =
        vec![Step::send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")];
    for number in 0..100 {
        let event = format!("data: event {number}\n\n");
        steps.extend([Step::Await(gate.clone()), Step::send(format!("{:x}\r\n{event}\r\n", event.len()))]);
    }
    steps.push(Step::send("0\r\n\r\n"));
    let script = Reply::Script(steps);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;

    let mut connection = Connection::open(standard.address()).await;
    connection
        .send(format!("GET /public/events HTTP/1.1\r\nHost: {HOST}\r\nAccept: text/event-stream\r\n\r\n").as_bytes())
        .await;
    connection.until_received(b"text/event-stream").await;
    for number in 0..100 {
        gate.add_permits(1);
        connection.until_received(format!("data: event {number}\n\n").as_bytes()).await;
    }
    assert!(connection.answer().await.whole);

    // The same to an HTTP/2 client: each event is a frame of its own as soon as it is there.
    let mut send = h2::connect(standard.address()).await;
    let request =
        http::Request::get(format!("http://{HOST}/public/events")).body(http_body_util::Full::default()).unwrap();
    let mut body = send.send_request(request).await.expect("an answer").into_body();
    for number in 0..100 {
        gate.add_permits(1);
        let frame = http_body_util::BodyExt::frame(&mut body).await.expect("a frame").expect("no error");
        assert_eq!(frame.into_data().expect("data"), format!("data: event {number}\n\n"));
    }
}

/// Connections that wait cost memory, not much of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_are_held() {
    const MANY: usize = 10_000;
    let (_, hard) = rlimit::Resource::NOFILE.get().expect("a limit");
    let wanted = 12_000;
    // Both ends of every connection are on this machine, each in a process of its own.
    let raised = rlimit::increase_nofile_limit(wanted.max(hard)).expect("a limit that can be raised");
    assert!(raised >= wanted, "this test needs a limit of {wanted} open files; the hard limit is {raised}");
    let layout = Layout {
        server:
            "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 2\n  limits: { connections: 11000, idle_timeout: 5m }\n"
                .to_owned(),
        ..Layout::default()
    };
    let standard = Standard::start_with(layout).await;
    let watch = Watch::new(standard.gateway.process_id());
    let ask = format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n");
    let mut held = Vec::with_capacity(MANY);
    while held.len() < MANY {
        // Each has made one request, as a client does that then keeps its connection.
        let opened = (0..100).map(|_| async {
            let mut connection = Connection::open(standard.address()).await;
            connection.send(ask.as_bytes()).await;
            assert_eq!(connection.answer().await.status, 200);
            connection
        });
        held.extend(futures_util::future::join_all(opened).await);
        standard.seen();
    }
    assert!(standard.gateway.open_files() >= MANY);
    // None was dropped, and all are still served.
    for connection in held.iter_mut().step_by(100) {
        connection.send(ask.as_bytes()).await;
        assert_eq!(connection.answer().await.status, 200);
    }
    assert_under(300, watch, "10,000 idle connections");
    drop(held);
    eventually("their files are closed", raw::PATIENCE, || (standard.gateway.open_files() < 200).then_some(())).await;
}

/// `Expect: 100-continue`: who is refused is refused before it sends; who may pass hears 100 first.
#[tokio::test]
async fn a_client_that_asks_first_is_told_first() {
    let standard = Standard::start().await;
    let head = |target: &str, lines: &str| {
        format!("POST {target} HTTP/1.1\r\nHost: {HOST}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n{lines}\r\n")
    };
    let mut refused = Connection::open(standard.address()).await;
    refused.send(head("/api/x", "").as_bytes()).await;
    let talk = refused.read(Until::Answers(1)).await;
    assert_eq!(talk.answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [401], "no 100 before the refusal");

    let mut admitted = Connection::open(standard.address()).await;
    admitted.send(head("/api/x", &authorization("read")).as_bytes()).await;
    admitted.until_received(b"HTTP/1.1 100").await;
    admitted.send(b"hello").await;
    assert_eq!(admitted.answer().await.status, 200);
    assert_eq!(standard.seen()[0].body, b"hello");
}

/// Interim answers of the upstream other than 100 and 101 are its own business.
#[tokio::test]
async fn early_hints_are_dropped() {
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n".repeat(3);
    let script =
        Reply::Script(vec![Step::Send(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").into_bytes())]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let mut connection = Connection::open(standard.address()).await;
    connection.send(format!("GET /public/x HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes()).await;
    let talk = connection.read(Until::Answers(1)).await;
    assert_eq!(talk.answers.len(), 1);
    assert_eq!((talk.answers[0].status, talk.answers[0].text().as_str()), (200, "ok"));
}

/// Answers without a length end with the connection, or in chunks: whole either way.
#[tokio::test]
async fn an_answer_without_a_length_arrives_whole() {
    let script = Reply::Script(vec![Step::send("HTTP/1.1 200 OK\r\nX-Kept: y\r\n\r\nuntil the end"), Step::Close]);
    let standard = Standard::start_before(Layout::default(), move |_| script.clone()).await;
    let answer = standard.get("/public/x", None).await;
    assert_eq!((answer.text().as_str(), answer.whole, answer.value("x-kept")), ("until the end", true, Some("y")));
}

/// Connections to the upstream are used again.
#[tokio::test]
async fn upstream_connections_are_kept() {
    let layout =
        Layout { server: "  listeners: [{ bind: 127.0.0.1:0 }]\n  workers: 1\n".to_owned(), ..Layout::default() };
    let standard = Standard::start_with(layout).await;
    let started = Instant::now();
    for _ in 0..100 {
        assert_eq!(standard.get("/public/x", None).await.status, 200);
    }
    assert!(
        standard.upstream.connections() <= 2,
        "{} connections in {:?}",
        standard.upstream.connections(),
        started.elapsed()
    );
}

/// Unix sockets on both sides.
#[tokio::test]
async fn unix_sockets_work_both_ways() {
    let folder = crate::support::Folder::for_sockets();
    let (front, back) = (folder.path("gw.sock"), folder.path("up.sock"));
    let listener = tokio::net::UnixListener::bind(&back).expect("a socket");
    let upstream = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("the gateway connects");
        let mut buffer = vec![0; 4096];
        let length = stream.read(&mut buffer).await.expect("a request");
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix").await.expect("an answer");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    });
    let layout = Layout {
        server: format!("  listeners: [{{ bind: 127.0.0.1:0 }}, {{ bind: \"unix:{}\" }}]\n", front.display()),
        upstreams: format!("  local: {{ servers: [\"unix:{}\"] }}\n", back.display()),
        routes: "  - { name: local, match: { path: /local/** }, upstream: local, access: public }\n".to_owned(),
        ..Layout::default()
    };
    let _standard = Standard::start_with(layout).await;
    let mut client = tokio::net::UnixStream::connect(&front).await.expect("the gateway listens");
    client.write_all(b"GET /local/x HTTP/1.1\r\nHost: any.test\r\nConnection: close\r\n\r\n").await.expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("unix"), "{answer}");
    let request = upstream.await.expect("the upstream");
    assert!(request.starts_with("GET /local/x HTTP/1.1\r\n"), "{request}");
}
