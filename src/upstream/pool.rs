//! One worker's connections. Comes in: a connection whose answer is over; goes out: the one used last, if it is
//! still good. Everything here belongs to one thread at run time; the locks are never contended, they only make the
//! types fit to be shared.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::balance::Balancer;
use super::error::Failed;
use super::http1::Http1;
use super::http2::{Http2, StreamSlot};
use super::send::{SendOptions, Sent};
use super::{Shared, Upstream};
use crate::clock::Clock;
use crate::deadline::Sweeper;
use crate::wire::Body;

/// Idle HTTP/1.1 connections kept for one server by one worker.
const MOST_IDLE: usize = 1024;
/// HTTP/2 connections to one server by one worker.
pub(super) const MOST_HTTP2: usize = 16;
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// While another worker waits for a connection, every so many returns one is given up for it.
const SHARE_EVERY: u32 = 16;

/// One worker's connections to all upstreams.
#[derive(Debug)]
pub struct Pools {
    clock: Clock,
    sweeper: Option<Sweeper>,
    /// In the order of their upstreams' numbers.
    pools: Mutex<Vec<(u64, Arc<Pool>)>>,
}

/// One worker's connections to one upstream.
#[derive(Debug)]
pub struct Pool {
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) sweeper: Option<Sweeper>,
    pub(super) balancer: Balancer,
    pub(super) shelves: Box<[Shelf]>,
    owner: Weak<Upstream>,
    /// Milliseconds on the clock, as of the last sweep: no request reads the clock for the sake of the pool.
    now: AtomicU64,
}

/// One worker's connections to one server.
#[derive(Debug)]
pub(super) struct Shelf {
    /// A copy of this worker's own, so that no request touches a counter that other workers touch.
    pub label: Arc<str>,
    connections: Mutex<Connections>,
    /// Where several requests can share a connection, only one of them opens it.
    pub opening: tokio::sync::Mutex<()>,
    pub failed_opens: AtomicU32,
    returns: AtomicU32,
}

#[derive(Debug, Default)]
struct Connections {
    /// Boxed, since a connection goes through many hands between two requests.
    #[expect(clippy::vec_box, reason = "the boxes are what is passed on")]
    http1: Vec<Box<Http1>>,
    http2: Vec<Http2>,
    waiters: VecDeque<oneshot::Sender<Box<Http1>>>,
}

/// A connection taken for one request.
#[derive(Debug)]
pub(super) enum Taken {
    Http1(Box<Http1>),
    Http2(Http2, StreamSlot),
}

impl Pools {
    pub fn new(clock: Clock) -> Self {
        Self { clock, sweeper: None, pools: Mutex::default() }
    }

    /// The same, with the worker's sweeper, which spares each request a timer of the runtime. It must be running.
    pub fn with_sweeper(clock: Clock, sweeper: Sweeper) -> Self {
        Self { clock, sweeper: Some(sweeper), pools: Mutex::default() }
    }

    /// Sends a request in origin form and waits for the head of its answer.
    ///
    /// # Errors
    /// [`Failed`] when no answer came that can be passed on.
    pub fn send(
        &self,
        upstream: &Arc<Upstream>,
        request: http::Request<Body>,
        options: SendOptions,
    ) -> impl Future<Output = Result<Sent, Failed>> + Send + use<> {
        self.of(upstream).send(request, options)
    }

    /// This worker's pool for `upstream`; made when first asked for.
    pub fn of(&self, upstream: &Arc<Upstream>) -> Arc<Pool> {
        let id = upstream.shared.id;
        let mut pools = self.lock();
        match pools.binary_search_by_key(&id, |(id, _)| *id) {
            Ok(found) => Arc::clone(&pools[found].1),
            Err(place) => {
                let pool = Pool::new(upstream, self.clock.clone(), self.sweeper.clone());
                pools.insert(place, (id, Arc::clone(&pool)));
                pool
            }
        }
    }

    /// Closes what has been idle too long, and everything of upstreams that are gone.
    pub fn sweep(&self) {
        let pools: Vec<_> = self.lock().iter().map(|(_, pool)| Arc::clone(pool)).collect();
        let now = self.clock.tick().millis();
        pools.iter().for_each(|pool| pool.sweep(now));
        self.lock().retain(|(_, pool)| pool.owner.strong_count() > 0);
    }

    /// Sweeps once a second, for ever: to be run beside the worker's listeners.
    pub async fn tend(&self) {
        loop {
            self.clock.sleep(SWEEP_EVERY).await;
            self.sweep();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(u64, Arc<Pool>)>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(upstream: &Arc<Upstream>, clock: Clock, sweeper: Option<Sweeper>) -> Arc<Self> {
        let shared = Arc::clone(&upstream.shared);
        let pool = Arc::new(Self {
            balancer: Balancer::new(shared.settings.balance, &shared.endpoints),
            shelves: shared.endpoints.iter().map(|endpoint| Shelf::new(&endpoint.label)).collect(),
            owner: Arc::downgrade(upstream),
            now: AtomicU64::new(clock.tick().millis()),
            shared,
            clock,
            sweeper,
        });
        pool.shared.register(&pool);
        pool
    }

    /// A good connection that lies ready, the one used last first; for an upgrade, HTTP/1.1 only.
    pub(super) fn take(&self, index: usize, upgrade: bool) -> Option<Taken> {
        let shelf = &self.shelves[index];
        let mut connections = shelf.lock();
        if !upgrade && !connections.http2.is_empty() {
            return connections.take_http2(self.now());
        }
        let limit = millis(self.shared.settings.pooled_idle);
        let generation = self.shared.endpoints[index].generation();
        loop {
            let mut http1 = connections.http1.pop()?;
            let stale = limit > 0 && self.now().saturating_sub(http1.since) > limit;
            if !stale && http1.generation == generation && http1.is_quiet() {
                http1.reused = true;
                return Some(Taken::Http1(http1));
            }
        }
    }

    /// The least busy HTTP/2 connection, room or not: the request waits for its stream.
    pub(super) fn share_http2(&self, index: usize) -> Option<Taken> {
        let connections = self.shelves[index].lock();
        let http2 = connections.http2.iter().filter(|http2| !http2.sender.is_closed());
        http2.min_by_key(|http2| http2.streams.active()).map(|http2| Taken::of(http2, self.now()))
    }

    pub(super) fn http2_count(&self, index: usize) -> usize {
        self.shelves[index].lock().http2.len()
    }

    pub(super) fn add_http2(&self, index: usize, http2: Http2) -> Taken {
        let taken = Taken::of(&http2, self.now());
        self.shelves[index].lock().http2.push(http2);
        taken
    }

    /// Puts a connection back whose request and answer both ended as they should.
    pub(super) fn put_back(&self, index: usize, mut http1: Box<Http1>) {
        // What came behind the answer is in doubt, and so is the connection.
        if !http1.is_drained() || http1.generation != self.shared.endpoints[index].generation() {
            return;
        }
        http1.since = self.now();
        let shelf = &self.shelves[index];
        let mut connections = shelf.lock();
        // Asked under the lock: who queues up from now on finds the connection on the shelf.
        let waiting = self.shared.limit.waiting();
        if waiting > 0 {
            if !http1.is_quiet() {
                return;
            }
            http1.reused = true;
            let turn = shelf.returns.fetch_add(1, Ordering::Relaxed);
            let elsewhere = waiting > connections.waiters.len();
            if elsewhere && (connections.waiters.is_empty() || turn.is_multiple_of(SHARE_EVERY)) {
                return;
            }
            while let Some(waiter) = connections.waiters.pop_front() {
                match waiter.send(http1) {
                    Ok(()) => return,
                    Err(back) => http1 = back,
                }
            }
        }
        if connections.http1.len() < MOST_IDLE {
            connections.http1.push(http1);
        }
    }

    /// Asks to be given the next connection to this server that is put back.
    pub(super) fn wait_for_returned(&self, index: usize) -> oneshot::Receiver<Box<Http1>> {
        let (give, get) = oneshot::channel();
        let mut connections = self.shelves[index].lock();
        connections.waiters.retain(|waiter| !waiter.is_closed());
        connections.waiters.push_back(give);
        get
    }

    /// Closes one idle connection, the oldest of its server, so that its place goes to somebody who needs one.
    pub(super) fn give_up_idle(&self) -> bool {
        self.shelves.iter().any(|shelf| {
            let mut connections = shelf.lock();
            if !connections.http1.is_empty() {
                drop(connections.http1.remove(0));
                return true;
            }
            let idle = connections.http2.iter().position(|http2| http2.streams.active() == 0);
            idle.map(|index| connections.http2.remove(index)).is_some()
        })
    }

    fn sweep(&self, now: u64) {
        self.now.store(now, Ordering::Relaxed);
        let limit = if self.owner.strong_count() > 0 { millis(self.shared.settings.pooled_idle) } else { 1 };
        for (shelf, endpoint) in self.shelves.iter().zip(&self.shared.endpoints) {
            let generation = endpoint.generation();
            let mut connections = shelf.lock();
            connections.http1.retain_mut(|http1| {
                let kept = limit == 0 || now.saturating_sub(http1.since) < limit;
                kept && http1.generation == generation && http1.is_quiet()
            });
            connections.http2.retain(|http2| {
                let kept = limit == 0 || http2.streams.idle_for(now) < limit;
                kept && http2.generation == generation && !http2.sender.is_closed()
            });
            connections.waiters.retain(|waiter| !waiter.is_closed());
        }
    }

    fn now(&self) -> u64 {
        self.now.load(Ordering::Relaxed)
    }
}

impl Taken {
    fn of(http2: &Http2, now: u64) -> Self {
        Self::Http2(http2.clone(), http2.streams.take(now))
    }
}

impl Connections {
    fn take_http2(&mut self, now: u64) -> Option<Taken> {
        self.http2.retain(|http2| !http2.sender.is_closed());
        let free = self.http2.iter().filter(|http2| http2.streams.has_room());
        free.min_by_key(|http2| http2.streams.active()).map(|http2| Taken::of(http2, now))
    }
}

impl Shelf {
    fn new(label: &str) -> Self {
        Self {
            label: label.into(),
            connections: Mutex::default(),
            opening: tokio::sync::Mutex::default(),
            failed_opens: AtomicU32::new(0),
            returns: AtomicU32::new(0),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// Lets the worker do something beside its requests: once for each HTTP/2 connection, and for a request whose answer
/// came before it was sent whole; never for an ordinary one.
#[expect(clippy::disallowed_methods, reason = "a connection lives on the runtime of the worker that opened it")]
pub(super) fn drive(work: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
    tokio::spawn(work).abort_handle()
}
