//! What goes out on a connection: answers and packets in one order, through one task.
//!
//! # Bounds
//!
//! * Packets wait until there is room for them in the queue ([`limits::QUEUE`] bytes): a player
//!   that does not read blocks its own sessions, nobody else. One unit larger than that takes the
//!   whole queue.
//! * Answers have room of their own ([`limits::ANSWERS`] bytes), so that they are not held up by
//!   a full queue; a client that goes on asking and reads no answer is cut off.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::Instant,
};

use super::counters::Counters;
use crate::proto::rtp::{Cursor, PacketBatch};

pub(super) mod limits {
    /// Bytes of packets that wait for a connection.
    pub(in super::super) const QUEUE: usize = 1 << 20;
    /// Bytes of answers that wait for a connection.
    pub(in super::super) const ANSWERS: usize = 256 << 10;
    /// Empty batches kept to be filled again.
    pub(in super::super) const SPARE: usize = 8;
    /// Slices to one system call.
    pub(in super::super) const SLICES: usize = 64;
}

#[derive(Debug)]
enum Chunk {
    Answer(
        Bytes,
        #[expect(dead_code, reason = "gives its room back when dropped")] OwnedSemaphorePermit,
    ),
    Packets(PacketBatch, Room),
    /// RTCP, framed.
    Report(Bytes),
    /// Answered when everything before it is written.
    Mark(oneshot::Sender<()>),
    Close,
}

/// Room in the queue; given back when what it was taken for is written.
#[derive(Debug)]
pub(super) struct Room(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

#[derive(Debug)]
struct Shared {
    room: Arc<Semaphore>,
    answers: Arc<Semaphore>,
    spare: Mutex<Vec<PacketBatch>>,
    started: Instant,
    /// When bytes were last taken by the client, in ms since `started`.
    progress_ms: AtomicU64,
}

/// The way in. Cheap to clone; what one clone sends stays in order.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    chunks: mpsc::UnboundedSender<Chunk>,
    shared: Arc<Shared>,
}

/// The connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gone;

/// The other end of [`Queue`]: to be run as a task.
#[derive(Debug)]
pub(super) struct Writer<W> {
    socket: W,
    chunks: mpsc::UnboundedReceiver<Chunk>,
    shared: Arc<Shared>,
    counters: Arc<Counters>,
}

pub(super) fn queue<W>(socket: W, counters: Arc<Counters>) -> (Queue, Writer<W>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        room: Arc::new(Semaphore::new(limits::QUEUE)),
        answers: Arc::new(Semaphore::new(limits::ANSWERS)),
        spare: Mutex::default(),
        started: Instant::now(),
        progress_ms: AtomicU64::new(0),
    });
    let queue = Queue { chunks: sender, shared: Arc::clone(&shared) };
    (queue, Writer { socket, chunks: receiver, shared, counters })
}

impl Queue {
    /// Queues an answer. `Gone` also when too many wait unread.
    pub(super) fn answer(&self, bytes: BytesMut) -> Result<(), Gone> {
        let length = u32::try_from(bytes.len().min(limits::ANSWERS)).unwrap_or(u32::MAX);
        let permit =
            Arc::clone(&self.shared.answers).try_acquire_many_owned(length).map_err(|_| Gone)?;
        self.chunks.send(Chunk::Answer(bytes.freeze(), permit)).map_err(|_| Gone)
    }

    /// Waits for room for `bytes` of packets. Cancel-safe.
    pub(super) async fn room(&self, bytes: usize) -> Result<Room, Gone> {
        let bytes = u32::try_from(bytes.min(limits::QUEUE)).unwrap_or(u32::MAX);
        let acquired = Arc::clone(&self.shared.room).acquire_many_owned(bytes).await;
        acquired.map(Room).map_err(|_| Gone)
    }

    pub(super) fn packets(&self, batch: PacketBatch, room: Room) -> Result<(), Gone> {
        self.chunks.send(Chunk::Packets(batch, room)).map_err(|_| Gone)
    }

    /// A few dozen bytes every few seconds need no room of their own.
    pub(super) fn report(&self, framed: Bytes) -> Result<(), Gone> {
        self.chunks.send(Chunk::Report(framed)).map_err(|_| Gone)
    }

    /// Resolves when everything queued before is written (or never will be).
    pub(super) fn mark(&self) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        // When it cannot be sent the receiver resolves at once, as it should.
        let _ = self.chunks.send(Chunk::Mark(sender));
        receiver
    }

    /// Closes when everything queued before is written.
    pub(super) fn close(&self) {
        let _ = self.chunks.send(Chunk::Close);
    }

    /// An empty batch, with memory from an earlier one if there is.
    pub(super) fn batch(&self) -> PacketBatch {
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        spare.pop().unwrap_or_default()
    }

    /// When the client last took anything (or the connection began).
    pub(super) fn progress(&self) -> Instant {
        let ms = self.shared.progress_ms.load(Ordering::Relaxed);
        self.shared.started + Duration::from_millis(ms)
    }
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes until told to close, the queue's last owner is gone, or the socket fails.
    pub(super) async fn run(mut self) -> io::Result<()> {
        let outcome = self.write_all().await;
        // Whoever waits for room learns that there will be none.
        self.shared.room.close();
        let _ = self.socket.shutdown().await;
        outcome
    }

    async fn write_all(&mut self) -> io::Result<()> {
        while let Some(chunk) = self.chunks.recv().await {
            match chunk {
                Chunk::Answer(bytes, _) | Chunk::Report(bytes) => self.write_bytes(&bytes).await?,
                Chunk::Packets(batch, room) => {
                    self.write_batch(&batch).await?;
                    drop(room);
                    self.keep(batch);
                }
                Chunk::Mark(sender) => {
                    let _ = sender.send(());
                }
                Chunk::Close => break,
            }
            // Nothing on TCP. TLS holds back what the socket would not take at once.
            self.socket.flush().await?;
        }
        Ok(())
    }

    async fn write_bytes(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.socket.write(bytes).await?;
            self.progress(written)?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    async fn write_batch(&mut self, batch: &PacketBatch) -> io::Result<()> {
        let mut at = Cursor::default();
        loop {
            let mut slices = [IoSlice::new(&[]); limits::SLICES];
            let count = batch.framed(at, &mut slices);
            let slices = slices.get(..count).unwrap_or_default();
            if slices.is_empty() {
                return Ok(());
            }
            let written = self.socket.write_vectored(slices).await?;
            self.progress(written)?;
            if batch.advance(&mut at, written) {
                return Ok(());
            }
        }
    }

    fn progress(&self, written: usize) -> io::Result<()> {
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let ms = u64::try_from(self.shared.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.shared.progress_ms.store(ms, Ordering::Relaxed);
        self.counters.count_bytes(written);
        Ok(())
    }

    fn keep(&self, mut batch: PacketBatch) {
        batch.clear();
        let mut spare = self.shared.spare.lock().unwrap_or_else(PoisonError::into_inner);
        if spare.len() < limits::SPARE {
            spare.push(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn a_full_queue_keeps_packets_waiting_but_not_answers() {
        let (mut client, server) = tokio::io::duplex(64);
        let (queue, writer) = queue(server, Arc::default());
        let all = queue.room(limits::QUEUE).await.unwrap();
        let waiting = tokio::time::timeout(Duration::from_millis(20), queue.room(1)).await;
        assert!(waiting.is_err());
        queue.answer(BytesMut::from("RTSP/1.0 200 OK\r\n\r\n")).unwrap();
        drop(all);
        queue.room(1).await.unwrap();
        queue.close();
        writer.run().await.unwrap();
        let mut seen = String::new();
        client.read_to_string(&mut seen).await.unwrap();
        assert_eq!(seen, "RTSP/1.0 200 OK\r\n\r\n");
    }

    #[tokio::test]
    async fn a_client_that_reads_no_answers_is_given_up() {
        let (_client, server) = tokio::io::duplex(64);
        let (queue, _writer) = queue(server, Arc::default());
        let answers = (0..10_000).map(|_| queue.answer(BytesMut::from(&[b'x'; 100][..])));
        assert_eq!(answers.filter(|sent| sent.is_ok()).count(), limits::ANSWERS / 100);
    }

    #[tokio::test]
    async fn waiting_for_room_ends_when_the_connection_does() {
        let (client, server) = tokio::io::duplex(64);
        let (queue, writer) = queue(server, Arc::default());
        let _all = queue.room(limits::QUEUE).await.unwrap();
        drop(client);
        queue.answer(BytesMut::from("x")).unwrap();
        assert!(writer.run().await.is_err());
        assert_eq!(queue.room(1).await.err(), Some(Gone));
    }
}
