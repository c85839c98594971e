//! Lets hyper's half of an HTTP/1.1 connection sleep when there is nothing for it to do. hyper's body wakes the task
//! of its connection with every piece that is taken, so that the next one be read. After the last piece that is a
//! whole turn of the task for nothing, once a request. So that task is woken through a [`Bell`], and who takes a piece
//! hears first whether it rang, and passes that on unless the body is over.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use atomic_waker::AtomicWaker;

/// Between whatever wakes the task of a connection and that task.
#[derive(Debug, Default)]
pub(super) struct Bell {
    task: AtomicWaker,
    /// It rang on a thread that held it.
    held_back: AtomicBool,
}

thread_local! {
    /// The bell whose ringing this thread holds back at the moment. Of this thread alone: what another one rings,
    /// the readiness of a socket above all, is never held back.
    static HELD: Cell<*const Bell> = const { Cell::new(ptr::null()) };
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if ptr::eq(HELD.get(), Arc::as_ptr(self)) {
            self.held_back.store(true, Ordering::Relaxed);
        } else {
            self.ring();
        }
    }
}

/// Lets go of the bell even if what was done meanwhile panicked.
struct Hold;

impl Drop for Hold {
    fn drop(&mut self) {
        HELD.set(ptr::null());
    }
}

impl Bell {
    pub fn ring(&self) {
        self.task.wake();
    }

    /// Does `work`, and says whether it would have rung: who asked must ring then if that is wanted.
    pub fn hold<T>(&self, work: impl FnOnce() -> T) -> (T, bool) {
        HELD.set(ptr::from_ref(self));
        let hold = Hold;
        let done = work();
        drop(hold);
        let rang = self.held_back.load(Ordering::Relaxed);
        if rang {
            self.held_back.store(false, Ordering::Relaxed);
        }
        (done, rang)
    }

    /// `connection`, woken through this bell only.
    pub fn wakes<F: Future + Unpin>(self: Arc<Self>, mut connection: F) -> impl Future<Output = F::Output> {
        let waker = Waker::from(Arc::clone(&self));
        poll_fn(move |cx| {
            self.task.register(cx.waker());
            Pin::new(&mut connection).poll(&mut Context::from_waker(&waker))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_held_back_is_told_of_and_nothing_else_is_held_back() {
        let (bell, other) = (Arc::<Bell>::default(), Arc::<Bell>::default());
        let (count, others) = (Arc::<Count>::default(), Arc::<Count>::default());
        let rings = |count: &Count| count.0.load(Ordering::Relaxed);
        let arm = || {
            bell.task.register(&Waker::from(Arc::clone(&count)));
            other.task.register(&Waker::from(Arc::clone(&others)));
        };
        let (waker, other_waker) = (Waker::from(Arc::clone(&bell)), Waker::from(Arc::clone(&other)));
        arm();
        let ((), rang) = bell.hold(|| {
            waker.wake_by_ref();
            other_waker.wake_by_ref();
        });
        assert!(rang);
        assert_eq!((rings(&count), rings(&others)), (0, 1));
        let ((), rang) = bell.hold(|| ());
        assert!(!rang, "told of once");
        waker.wake_by_ref();
        assert_eq!(rings(&count), 1, "nothing holds it any more");
    }

    #[test]
    fn what_another_thread_rings_is_not_held_back() {
        let bell = Arc::<Bell>::default();
        let count = Arc::<Count>::default();
        bell.task.register(&Waker::from(Arc::clone(&count)));
        let waker = Waker::from(Arc::clone(&bell));
        let ((), rang) = bell.hold(|| {
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake_by_ref());
            })
        });
        assert!(!rang);
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
}
