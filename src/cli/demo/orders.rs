//! The sample orders API: what someone wants to protect. It has no authentication of its own and believes whatever
//! `X-Forwarded-User` says. Comes in: requests that the gateway let through. Goes out: JSON, and a stream of events.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::channel::{Channel, Sender};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};

use super::service::{answer, field, json as json_answer};
use super::websocket;
use crate::control::Control;
use crate::wire::Body;
use crate::wire::body::capped;

/// The oldest order is forgotten beyond this.
const KEPT: usize = 500;
const ORDER_LIMIT: usize = 16 * 1024;
/// Events that a slow listener may lag behind before it misses some.
const EVENTS: usize = 64;

/// The API and everything it has.
pub struct Orders {
    control: Control,
    kept: Mutex<Kept>,
    events: broadcast::Sender<Bytes>,
    requests: AtomicU64,
    imported: watch::Sender<u64>,
}

struct Kept {
    last: u64,
    orders: VecDeque<Value>,
}

impl Orders {
    pub fn new(control: Control) -> Arc<Self> {
        let first = json!({ "id": 1, "item": "teapot", "quantity": 1, "placed_by": "the-hatter" });
        Arc::new(Self {
            control,
            kept: Mutex::new(Kept { last: 1, orders: VecDeque::from([first]) }),
            events: broadcast::Sender::new(EVENTS),
            requests: AtomicU64::new(0),
            imported: watch::Sender::new(0),
        })
    }

    /// Requests that reached the API so far.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Bytes of imports that have come so far, also while an import is under way.
    pub fn imported(&self) -> watch::Receiver<u64> {
        self.imported.subscribe()
    }

    pub async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let path = request.uri().path().to_owned();
        let method = request.method().clone();
        let caller = field(request.headers(), "x-forwarded-user").map(str::to_owned);
        match (method, path.as_str()) {
            (Method::OPTIONS, _) => preflight(),
            (_, path) if path.ends_with("/headers") => headers(&request),
            (_, "/public/status") => json_answer(StatusCode::OK, &json!({ "open": true, "caller": caller })),
            (Method::GET | Method::HEAD, "/orders") => self.list(caller.as_deref()),
            (Method::POST, "/orders") => self.place(caller.as_deref(), request.into_body()).await,
            (Method::POST, "/orders/import") => self.import(request.into_body()).await,
            (Method::GET, "/orders/events") => self.stream(caller.as_deref()).await,
            (Method::GET, "/orders/echo") => self.echo(request),
            (Method::GET | Method::HEAD, "/orders/admin/totals") => self.totals(caller.as_deref()),
            (Method::GET | Method::HEAD, path) => self.one(path, caller.as_deref()),
            _ => not_found(),
        }
    }

    fn list(&self, caller: Option<&str>) -> Response<Body> {
        json_answer(StatusCode::OK, &json!({ "orders": self.kept().orders, "caller": caller }))
    }

    fn one(&self, path: &str, caller: Option<&str>) -> Response<Body> {
        let id = path.strip_prefix("/orders/").and_then(|id| id.parse::<u64>().ok());
        match self.kept().orders.iter().find(|order| id.is_some() && order["id"].as_u64() == id) {
            Some(order) => json_answer(StatusCode::OK, &json!({ "order": order, "caller": caller })),
            None => not_found(),
        }
    }

    fn totals(&self, caller: Option<&str>) -> Response<Body> {
        let kept = self.kept();
        let pieces: u64 = kept.orders.iter().filter_map(|order| order["quantity"].as_u64()).sum();
        json_answer(StatusCode::OK, &json!({ "orders": kept.orders.len(), "pieces": pieces, "caller": caller }))
    }

    async fn place(&self, caller: Option<&str>, body: Incoming) -> Response<Body> {
        let Ok(bytes) = capped(body, ORDER_LIMIT).await else {
            return json_answer(StatusCode::PAYLOAD_TOO_LARGE, &json!({ "error": "an order has at most 16 KiB" }));
        };
        let asked: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let item = asked["item"].as_str().unwrap_or("surprise");
        let quantity = asked["quantity"].as_u64().unwrap_or(1);
        let order = self.keep(item, quantity, caller);
        // Nobody may be listening.
        let _ = self.events.send(format!("event: order\ndata: {order}\n\n").into());
        json_answer(StatusCode::CREATED, &json!({ "order": order, "caller": caller }))
    }

    fn keep(&self, item: &str, quantity: u64, caller: Option<&str>) -> Value {
        let mut kept = self.kept();
        kept.last += 1;
        let order = json!({ "id": kept.last, "item": item, "quantity": quantity, "placed_by": caller });
        if kept.orders.len() >= KEPT {
            kept.orders.pop_front();
        }
        kept.orders.push_back(order.clone());
        order
    }

    /// Takes any number of bytes and keeps none.
    async fn import(&self, mut body: Incoming) -> Response<Body> {
        use http_body_util::BodyExt;
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            let Ok(frame) = frame else { return not_found() };
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            bytes += length;
            self.imported.send_modify(|imported| *imported += length);
        }
        json_answer(StatusCode::OK, &json!({ "bytes": bytes }))
    }

    /// Server-sent events: a greeting, then each new order as it is placed.
    async fn stream(&self, caller: Option<&str>) -> Response<Body> {
        let mut events = self.events.subscribe();
        let (mut sender, body) = Channel::<Bytes, std::convert::Infallible>::new(8);
        let hello = format!("event: hello\ndata: {}\n\n", json!({ "caller": caller }));
        self.control.start(async move {
            if sender.send_data(hello.into()).await.is_err() {
                return;
            }
            forward(&mut events, &mut sender).await;
        });
        let body = http_body_util::BodyExt::map_err(body, |never| match never {});
        answer(StatusCode::OK, "text/event-stream", Body::boxed(body))
    }

    /// A WebSocket on which every message comes back.
    fn echo(&self, mut request: Request<Incoming>) -> Response<Body> {
        let Some(switching) = websocket::switch(request.headers()) else { return not_found() };
        self.control.start(websocket::echo(hyper::upgrade::on(&mut request)));
        switching
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn forward(events: &mut broadcast::Receiver<Bytes>, sender: &mut Sender<Bytes>) {
    loop {
        match events.recv().await {
            Ok(event) => match sender.send_data(event).await {
                Ok(()) => {}
                Err(_) => return,
            },
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return,
        }
    }
}

/// What reached the API: every field as it came.
fn headers(request: &Request<Incoming>) -> Response<Body> {
    let each = |(name, value): (&http::HeaderName, &HeaderValue)| {
        json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())])
    };
    let fields: Vec<Value> = request.headers().iter().map(each).collect();
    json_answer(StatusCode::OK, &json!({ "target": request.uri().to_string(), "headers": fields }))
}

/// Any origin may call this API: it is the gateway that decides whether a browser may ask.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("authorization"));
    response
}

fn not_found() -> Response<Body> {
    json_answer(StatusCode::NOT_FOUND, &json!({ "error": "there is no such order" }))
}
