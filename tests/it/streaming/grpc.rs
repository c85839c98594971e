//! gRPC with a real server and a real client (tonic): a bidirectional stream, its metadata and its trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::stream::{poll_fn, unfold};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::metadata::MetadataMap;
use tonic::server::{Grpc, NamedService};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::support::standard::{HOST, Layout, Standard};
use crate::support::tokens::good;

const PATH: &str = "/test.Chat/Talk";

#[derive(Clone, PartialEq, prost::Message)]
struct Note {
    #[prost(string, tag = "1")]
    text: String,
    #[prost(uint64, tag = "2")]
    number: u64,
}

type Notes = Pin<Box<dyn Stream<Item = Result<Note, Status>> + Send>>;

/// What `tonic-build` would generate for `service Chat { rpc Talk(stream Note) returns (stream Note); }`.
#[derive(Clone)]
struct Chat;

impl NamedService for Chat {
    const NAME: &'static str = "test.Chat";
}

impl Service<http::Request<tonic::body::Body>> for Chat {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move { Ok(Grpc::new(ProstCodec::<Note, Note>::default()).streaming(Talk, request).await) })
    }
}

struct Talk;

impl Service<Request<Streaming<Note>>> for Talk {
    type Response = Response<Notes>;
    type Error = Status;
    type Future = BoxFuture<Self::Response, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Note>>) -> Self::Future {
        Box::pin(async move { Ok(talk(request)) })
    }
}

/// Says who is calling, then echoes each note; "end" ends the talk with a status of its own, in the trailers.
fn talk(request: Request<Streaming<Note>>) -> Response<Notes> {
    let text = |name: &str| request.metadata().get(name).map(|value| value.to_str().unwrap_or("?").to_owned());
    let (user, token) = (text("x-forwarded-user"), text("authorization"));
    let mut notes = request.into_inner();
    let (out, mut answers) = mpsc::channel(4);
    tokio::spawn(async move {
        let greeting = Note { text: format!("{user:?} {token:?}"), number: 0 };
        let _ = out.send(Ok(greeting)).await;
        while let Ok(Some(note)) = notes.message().await {
            if note.text == "end" {
                let mut trailers = MetadataMap::new();
                trailers.insert("x-told", note.number.to_string().parse().expect("a value"));
                let _ = out.send(Err(Status::with_metadata(Code::OutOfRange, "that was all", trailers))).await;
                return;
            }
            let _ = out.send(Ok(note)).await;
        }
    });
    let mut response = Response::new(Box::pin(poll_fn(move |context| answers.poll_recv(context))) as Notes);
    response.metadata_mut().insert("x-hello", "there".parse().expect("a value"));
    response
}

async fn server() -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let incoming =
        unfold(listener, async |listener| Some((listener.accept().await.map(|(stream, _)| stream), listener)));
    let serving = tokio::spawn(async move {
        let _ = Server::builder().add_service(Chat).serve_with_incoming(Box::pin(incoming)).await;
    });
    (address, serving)
}

async fn standard(server: SocketAddr) -> Standard {
    let layout = Layout {
        upstreams: format!("  chat: {{ servers: [\"h2c://{server}\"] }}\n"),
        routes: format!(
            "  - {{ name: chat, match: {{ hosts: [{HOST}], path: /test.Chat/** }}, upstream: chat, \
             access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}\n"
        ),
        ..Layout::default()
    };
    Standard::start_with(layout).await
}

/// A channel to the gateway that names the standard host.
async fn channel(standard: &Standard) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", standard.address())).expect("an address");
    endpoint.origin(format!("http://{HOST}").parse().expect("an origin")).connect().await.expect("a connection")
}

/// Opens a talk: what is sent into it, and what comes back.
async fn open(
    channel: Channel,
    token: Option<&str>,
) -> Result<(mpsc::Sender<Note>, Response<Streaming<Note>>), Status> {
    let (say, mut said) = mpsc::channel::<Note>(4);
    let mut request = Request::new(poll_fn(move |context| said.poll_recv(context)));
    if let Some(token) = token {
        request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    request.metadata_mut().insert("x-forwarded-user", "root".parse().expect("a value"));
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.expect("a ready channel");
    let path = http::uri::PathAndQuery::from_static(PATH);
    let answer = client.streaming(request, path, ProstCodec::<Note, Note>::default()).await?;
    Ok((say, answer))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bidirectional_stream_talks_and_ends_with_its_trailers() {
    let (address, serving) = server().await;
    let standard = standard(address).await;
    let (say, answer) = open(channel(&standard).await, Some(&good("read"))).await.expect("the call passes");
    assert_eq!(answer.metadata().get("x-hello").expect("metadata"), "there");
    let mut back = answer.into_inner();
    let greeting = back.message().await.expect("no error").expect("a note");
    assert_eq!(greeting.text, "Some(\"alice\") None", "identity is the gateway's, the token stays");
    for number in 1..=1000 {
        // One at a time: the next is said only when the answer to the last is there.
        let note = Note { text: format!("note {number}"), number };
        say.send(note.clone()).await.expect("it goes out");
        assert_eq!(back.message().await.expect("no error").expect("a note"), note);
    }
    say.send(Note { text: "end".to_owned(), number: 1000 }).await.expect("it goes out");
    let status = back.message().await.expect_err("the talk ends with a status");
    assert_eq!((status.code(), status.message()), (Code::OutOfRange, "that was all"));
    assert_eq!(status.metadata().get("x-told").expect("a trailer"), "1000");
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_the_client_ends_ends_well() {
    let (address, serving) = server().await;
    let standard = standard(address).await;
    let (say, answer) = open(channel(&standard).await, Some(&good("read"))).await.expect("the call passes");
    let mut back = answer.into_inner();
    back.message().await.expect("no error").expect("a greeting");
    drop(say);
    assert_eq!(back.message().await.expect("status OK"), None);
    serving.abort();
}

/// Many talks over one connection do not wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_on_one_connection_are_independent() {
    let (address, serving) = server().await;
    let standard = standard(address).await;
    let channel = channel(&standard).await;
    let mut talks = Vec::new();
    for _ in 0..50 {
        let (say, answer) = open(channel.clone(), Some(&good("read"))).await.expect("the call passes");
        talks.push((say, answer.into_inner()));
    }
    for (number, (say, back)) in talks.iter_mut().enumerate().rev() {
        back.message().await.expect("no error").expect("a greeting");
        let note = Note { text: "hello".to_owned(), number: number as u64 };
        say.send(note.clone()).await.expect("it goes out");
        assert_eq!(back.message().await.expect("no error").expect("a note"), note);
    }
    serving.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_call_gets_a_status_that_grpc_knows() {
    let (address, serving) = server().await;
    let standard = standard(address).await;
    for (token, code) in [
        (None, Code::Unauthenticated),
        (Some("garbage".to_owned()), Code::Unauthenticated),
        (Some(good("write")), Code::PermissionDenied),
    ] {
        let status = open(channel(&standard).await, token.as_deref()).await.expect_err("a refusal");
        assert_eq!(status.code(), code);
    }
    serving.abort();
    let _ = serving.await;
    let status = open(channel(&standard).await, Some(&good("read"))).await.expect_err("nobody is there");
    assert_eq!(status.code(), Code::Unavailable);
}
