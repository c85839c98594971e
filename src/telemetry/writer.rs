//! Lines on their way to stdout or stderr. Comes in: whole lines, from any thread, which never waits. Goes out: batches,
//! from one thread of its own, which may wait for as long as the reader likes; what does not fit meanwhile is dropped
//! and counted, so that a full disk or a stuck reader stops no request.

use std::io::{ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Bytes that wait to be written.
const CAPACITY: usize = 1 << 20;
/// Enough for one write to be worth it.
const BATCH: usize = 32 << 10;
/// How long a line waits for company.
const LINGER: Duration = Duration::from_millis(10);

/// Takes lines and lets a thread write them. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct LineWriter(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Told when lines have come, and when a batch is out.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: Vec<u8>,
    lines: u64,
    writing: bool,
    closed: bool,
}

impl LineWriter {
    /// # Errors
    /// When stdout is closed or no thread can be started.
    pub fn stdout(name: &str) -> std::io::Result<Self> {
        let own = std::io::stdout().as_fd().try_clone_to_owned()?;
        Self::start(name, std::fs::File::from(own))
    }

    /// # Errors
    /// When stderr is closed or no thread can be started.
    pub fn stderr(name: &str) -> std::io::Result<Self> {
        let own = std::io::stderr().as_fd().try_clone_to_owned()?;
        Self::start(name, std::fs::File::from(own))
    }

    /// Starts the thread `name` that writes to `sink`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(name: &str, sink: impl Write + Send + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let writing = Arc::clone(&shared);
        std::thread::Builder::new().name(name.to_owned()).spawn(move || writing.write_all_to(sink))?;
        Ok(Self(Arc::new(Handle(shared))))
    }

    /// Takes one line, its line feed included. Never waits for the reader.
    pub fn line(&self, line: &[u8]) {
        let shared = &self.0.0;
        let mut queue = shared.queue();
        if queue.bytes.len() + line.len() > CAPACITY {
            drop(queue);
            shared.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let before = queue.bytes.len();
        queue.bytes.extend_from_slice(line);
        queue.lines += 1;
        let crossed = before < BATCH && queue.bytes.len() >= BATCH;
        drop(queue);
        // The thread needs to hear of the first line, and of a full batch; not of those between.
        if before == 0 || crossed {
            shared.changed.notify_all();
        }
    }

    /// Lines that were lost because nobody read them, or the sink failed.
    pub fn dropped(&self) -> u64 {
        self.0.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until all lines are out, at most `limit`. Says whether they are.
    pub fn flush(&self, limit: Duration) -> bool {
        let shared = &self.0.0;
        let busy = |queue: &mut Queue| queue.writing || !queue.bytes.is_empty();
        let waited = shared.changed.wait_timeout_while(shared.queue(), limit, busy);
        let (queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        queue.bytes.is_empty() && !queue.writing
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.queue().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut sink: impl Write) {
        let mut batch = Vec::new();
        while let Some(lines) = self.take(&mut batch) {
            if write(&mut sink, &batch).is_err() {
                self.dropped.fetch_add(lines, Ordering::Relaxed);
            }
            batch.clear();
            self.queue().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines and takes them all; `None` when there will be no more.
    fn take(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let waiting = |queue: &mut Queue| queue.bytes.is_empty() && !queue.closed;
        let queue = self.changed.wait_while(self.queue(), waiting).unwrap_or_else(PoisonError::into_inner);
        let filling = |queue: &mut Queue| queue.bytes.len() < BATCH && !queue.closed;
        let waited = self.changed.wait_timeout_while(queue, LINGER, filling);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if queue.bytes.is_empty() {
            return None;
        }
        std::mem::swap(batch, &mut queue.bytes);
        queue.writing = true;
        Some(std::mem::take(&mut queue.lines))
    }
}

/// Like `write_all`, but a sink that others made non-blocking is waited for, so that no line is torn.
fn write(sink: &mut impl Write, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match sink.write(bytes) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(LINGER),
            Err(error) => return Err(error),
        }
    }
    sink.flush()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A sink whose writes are received by the test, one after the other; it blocks until they are.
    struct Watched(SyncSender<Vec<u8>>);

    impl Write for Watched {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map_err(|_| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn watched() -> (LineWriter, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (LineWriter::start("lines", Watched(sender)).unwrap(), receiver)
    }

    #[test]
    fn lines_come_out_in_order_and_in_batches() {
        let (writer, written) = watched();
        for number in 0..100 {
            writer.line(format!("{number}\n").as_bytes());
        }
        let mut text = Vec::new();
        let wanted: String = (0..100).map(|number| format!("{number}\n")).collect();
        let mut batches = 0;
        while text.len() < wanted.len() {
            text.extend(written.recv_timeout(LONG).unwrap());
            batches += 1;
        }
        assert_eq!(String::from_utf8(text).unwrap(), wanted);
        assert!(batches < 100);
        assert!(writer.flush(LONG));
        assert_eq!(writer.dropped(), 0);
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_no_time() {
        let (writer, written) = watched();
        let line = vec![b'x'; 1000];
        // Nobody reads: one batch is in the thread's hands, one fills the queue, the rest is dropped.
        for _ in 0..5000 {
            writer.line(&line);
        }
        assert!(writer.dropped() > 0);
        assert!(!writer.flush(Duration::from_millis(1)));
        let mut received = 0;
        while received < 5000 - usize::try_from(writer.dropped()).unwrap() {
            received += written.recv_timeout(LONG).unwrap().len() / 1000;
        }
        writer.line(b"again\n");
        assert_eq!(written.recv_timeout(LONG).unwrap(), b"again\n");
    }

    #[test]
    fn lines_into_a_closed_sink_are_counted_as_dropped() {
        let (writer, written) = watched();
        drop(written);
        writer.line(b"one\n");
        writer.line(b"two\n");
        assert!(writer.flush(LONG));
        assert_eq!(writer.dropped(), 2);
    }

    #[test]
    fn the_last_lines_are_written_when_the_writer_is_gone() {
        let (writer, written) = watched();
        writer.line(b"last\n");
        drop(writer);
        assert_eq!(written.recv_timeout(LONG).unwrap(), b"last\n");
        assert!(written.recv_timeout(LONG).is_err());
    }
}
