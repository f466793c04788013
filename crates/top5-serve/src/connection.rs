//! Connections: accepted, limited in number and in how long they may keep the server waiting, and let finish at the end.

use std::io;
use std::net::TcpListener as StdListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::time::{Sleep, sleep, timeout};
use top5::graph::Stop;

use crate::app::App;
use crate::door;
use crate::request::earned;
use crate::start::StartError;

/// How often the wish to stop is looked for, how long the server still takes requests then at least, and how long it rests when the
/// system has no more sockets.
const PULSE: Duration = Duration::from_millis(50);

/// Serves until `stop` is set and what was asked before is answered.
pub(crate) fn run(app: Arc<App>, listener: StdListener, stop: &Stop) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(app.options.decoders)
        .thread_keep_alive(Duration::MAX)
        .build()?;
    // One thread that decodes must be there, and stays: where the system starts none, tokio panics.
    let refused = |error: io::Error| io::Error::new(error.kind(), StartError::from(error));
    std::thread::Builder::new().spawn(|| ()).map_err(refused)?;
    drop(runtime.spawn_blocking(|| ()));
    let served = runtime.block_on(serve(app, listener, stop));
    // What still decodes belongs to requests that were cut off.
    runtime.shutdown_background();
    served
}

async fn serve(app: Arc<App>, listener: StdListener, stop: &Stop) -> io::Result<()> {
    let listener = TcpListener::from_std(listener)?;
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(app.options.connections));
    let draining = async {
        while !stop.is_set() {
            sleep(PULSE).await;
        }
        app.draining.store(true, Ordering::Relaxed);
        // What was sent before is accepted and read, however busy the machine is.
        sleep(app.options.drain_delay.max(PULSE)).await;
    };
    let accepting = accept(&app, &listener, &room, &graceful);
    until(draining, accepting).await;
    drop(listener);
    // Those that are not done by then are dropped with the runtime.
    let _ = timeout(app.options.shutdown_timeout, graceful.shutdown()).await;
    Ok(())
}

/// Does the second, which never ends, until the first ends.
async fn until(first: impl Future<Output = ()>, second: impl Future<Output = ()>) {
    let (mut first, mut second) = (Box::pin(first), Box::pin(second));
    std::future::poll_fn(|context| match first.as_mut().poll(context) {
        Poll::Ready(()) => Poll::Ready(()),
        Poll::Pending => second.as_mut().poll(context),
    })
    .await;
}

async fn accept(
    app: &Arc<App>,
    listener: &TcpListener,
    room: &Arc<Semaphore>,
    graceful: &GracefulShutdown,
) {
    loop {
        // Others wait in the system's queue.
        let Ok(place) = Arc::clone(room).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            sleep(PULSE).await; // no more sockets, perhaps
            continue;
        };
        let _ = stream.set_nodelay(true);
        let app = Arc::clone(app);
        let patience = app.options.patience;
        let service = service_fn(move |request| door::answer(Arc::clone(&app), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(patience)
            .max_buf_size(door::LONGEST_HEAD)
            .serve_connection(TokioIo::new(Patient::new(stream, patience)), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // Whatever a client does to its connection is no concern of others.
            let _ = connection.await;
            drop(place);
        });
    }
}

/// A connection that is given up when its client reads nothing for too long, or too slowly what lies ready for it.
struct Patient {
    stream: TcpStream,
    patience: Duration,
    /// Runs out unless the client reads what lies ready.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, stalled: None }
    }

    fn watch(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            if let (Some(stalled), Ok(bytes)) = (&mut self.stalled, &written) {
                let until = stalled.deadline() + earned(*bytes);
                stalled.as_mut().reset(until);
            }
            return Poll::Ready(written);
        }
        let patience = self.patience;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patient {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    /// Called when nothing lies ready any more.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stalled = None;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::net::TcpSocket;

    use super::*;

    #[test]
    fn clients_that_read_a_little_now_and_then_are_cut_off() {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let patience = Duration::from_secs(1);
        let mut answered = Ok(());
        runtime.block_on(async {
            let (listener, client) = (TcpSocket::new_v4().unwrap(), TcpSocket::new_v4().unwrap());
            listener.set_send_buffer_size(4096).unwrap();
            client.set_recv_buffer_size(4096).unwrap();
            listener.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = listener.listen(1).unwrap();
            let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
            let mut served = Patient::new(listener.accept().await.unwrap().0, patience);
            // Slower than the slowest rate, and never long without a byte.
            let reading = async {
                loop {
                    sleep(patience / 20).await;
                    let _ = client.try_read(&mut [0; 512]);
                }
            };
            let writing = async {
                let mut left = 64 << 10;
                while left > 0 && answered.is_ok() {
                    let rest = vec![0; left];
                    let written =
                        poll_fn(|context| Pin::new(&mut served).poll_write(context, &rest));
                    answered = written.await.map(|bytes| left -= bytes);
                }
            };
            until(writing, reading).await;
        });
        assert_eq!(answered.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
