//! WebSockets: the upgrade is a request like any other until the upstream has switched; then bytes flow both ways.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::support::standard::{HOST, Layout, Standard};
use crate::support::tokens::good;

const MESSAGES: usize = 100_000;

/// A real WebSocket server that echoes, and remembers the heads that it saw.
async fn echo_server() -> (std::net::SocketAddr, JoinHandle<()>, std::sync::Arc<std::sync::Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    let heads = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let seen = heads.clone();
    let accepting = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                #[expect(clippy::result_large_err, reason = "the callback's type is the library's")]
                let keep = |request: &Request, response: Response| {
                    seen.lock().unwrap().push(request.clone());
                    Ok(response)
                };
                let Ok(socket) = tokio_tungstenite::accept_hdr_async(stream, keep).await else { return };
                let (mut out, mut messages) = socket.split();
                while let Some(Ok(message)) = messages.next().await {
                    let over = message.is_close();
                    if (message.is_text() || message.is_binary()) && out.feed(message).await.is_err() || over {
                        break;
                    }
                    let _ = out.flush().await;
                }
                let _ = out.close().await;
            });
        }
    });
    (address, accepting, heads)
}

async fn standard(server: std::net::SocketAddr) -> Standard {
    let layout = Layout {
        upstreams: format!("  sockets: {{ servers: [\"http://{server}\"] }}\n"),
        routes: format!(
            "  - {{ name: ws, match: {{ hosts: [{HOST}], path: /ws/** }}, upstream: sockets, \
             access: {{ bearer: {{ issuers: [corp], scopes: [read] }} }} }}\n"
        ),
        ..Layout::default()
    };
    Standard::start_with(layout).await
}

async fn connect(standard: &Standard, token: Option<&str>) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = format!("ws://{HOST}/ws/echo").into_client_request().expect("a request");
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().expect("a value"));
    }
    request.headers_mut().insert("x-forwarded-user", "root".parse().expect("a value"));
    let stream = TcpStream::connect(standard.address()).await.expect("the gateway takes connections");
    stream.set_nodelay(true).expect("nodelay");
    tokio_tungstenite::client_async(request, stream).await.map(|(socket, _)| socket)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_messages_come_back_in_order() {
    let (server, accepting, heads) = echo_server().await;
    let standard = standard(server).await;
    let socket = connect(&standard, Some(&good("read"))).await.expect("the upgrade passes");
    let (mut out, mut back) = socket.split();
    let sending = tokio::spawn(async move {
        for number in 0..MESSAGES {
            out.feed(Message::text(format!("message {number}"))).await.expect("it goes out");
        }
        out.flush().await.expect("it goes out");
        out
    });
    for number in 0..MESSAGES {
        let message = back.next().await.expect("a message").expect("no error");
        assert_eq!(message.into_text().expect("text"), format!("message {number}"));
    }
    sending.await.expect("all were sent").close().await.expect("a close");
    assert!(matches!(back.next().await, Some(Ok(Message::Close(_))) | None), "closed in order");
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 1);
    let users: Vec<_> = heads[0].headers().get_all("x-forwarded-user").iter().collect();
    assert_eq!(users, ["alice"]);
    assert!(!heads[0].headers().contains_key("authorization"));
    accepting.abort();
}

/// Without a credential there is a 401, never a redirect and never an upgrade.
#[tokio::test]
async fn an_upgrade_without_a_token_is_refused() {
    let (server, accepting, heads) = echo_server().await;
    let standard = standard(server).await;
    for (token, status) in [(None, 401), (Some(good("write")), 403), (Some("garbage".to_owned()), 401)] {
        match connect(&standard, token.as_deref()).await {
            Err(Error::Http(answer)) => {
                assert_eq!(answer.status(), status);
                assert!(!answer.headers().contains_key("location"));
            }
            other => panic!("{:?}", other.map(|_| "an upgrade")),
        }
    }
    assert!(heads.lock().unwrap().is_empty());
    accepting.abort();
}

/// A tunnel is a connection like any other: it is counted until it ends.
#[tokio::test]
async fn a_tunnel_counts_as_a_connection() {
    let (server, accepting, _) = echo_server().await;
    let standard = standard(server).await;
    let mut socket = connect(&standard, Some(&good("read"))).await.expect("the upgrade passes");
    socket.send(Message::text("hello")).await.expect("it goes out");
    assert!(matches!(socket.next().await, Some(Ok(Message::Text(_)))), "the tunnel is open");
    let metrics = crate::support::raw::get(standard.gateway.admin, "localhost", "/metrics").await.text();
    assert!(metrics.contains("\npostern_connections 1\n"), "{metrics}");
    accepting.abort();
}

/// A large message passes too, in both directions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_messages_pass() {
    let (server, accepting, _) = echo_server().await;
    let standard = standard(server).await;
    let mut socket = connect(&standard, Some(&good("read"))).await.expect("the upgrade passes");
    let large = vec![7_u8; 8 << 20];
    socket.send(Message::binary(large.clone())).await.expect("it goes out");
    let back = socket.next().await.expect("a message").expect("no error");
    assert!(back.into_data() == large);
    accepting.abort();
}
