//! One WebSocket: tungstenite over two byte buffers, between a [`Stream`] and the signalling core.
//!
//! tungstenite has no IO here: bytes read from the stream are fed to it, bytes it writes are queued on the stream.
//! Every limit is explicit (`limits`): message and frame size, bytes waiting to be written, the time of the closing
//! handshake. While a client does not read what it was sent, it is not read from either.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_lite::FutureExt;
use glommio::timer::Timer;
use tungstenite::error::{CapacityError, Error};
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tungstenite::{Message, WebSocket};

use super::signalling::Hub;
use super::tls::Stream;
use crate::bus::client::CloseReason;
use crate::id::SessionId;
use crate::limits::{WS_CLOSE_MS, WS_MESSAGE_BYTES_MAX, WS_WRITE_BUFFER_BYTES_MAX};
use crate::signalling::{SocketEnd, close_text};

/// Bytes read at once. Allocated by tungstenite per session.
const READ_BUFFER_BYTES: usize = 4096;

/// How a session ends from this side.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With a word of the protocol.
    Said(CloseReason),
    /// The core has started anew: the client is to take it for a lost connection and come back.
    Restart,
}

/// What the signalling core wants written, and how much is on its way. Shared by the hub and the session's task.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    texts: RefCell<VecDeque<String>>,
    /// Bytes of `texts`.
    text_bytes: Cell<usize>,
    /// Bytes that the stream has not got rid of.
    stream_bytes: Cell<usize>,
    close: Cell<Option<End>>,
    waker: RefCell<Option<Waker>>,
}

impl Outbox {
    /// Takes a text. `false` if so much waits already that the client must be stalled.
    pub(super) fn push(&self, text: String) -> bool {
        // Compared before adding, so that one message larger than the bound still passes to a client that reads.
        if self.text_bytes.get() + self.stream_bytes.get() > WS_WRITE_BUFFER_BYTES_MAX {
            return false;
        }
        self.text_bytes.set(self.text_bytes.get() + text.len());
        self.texts.borrow_mut().push_back(text);
        self.wake();
        true
    }

    /// Closes after what has been pushed.
    pub(super) fn close(&self, reason: CloseReason) {
        self.close.set(Some(End::Said(reason)));
        self.wake();
    }

    /// Ends the session in the way clients come back from: any close code but 1000 is a lost connection to them.
    pub(super) fn cut(&self) {
        self.close.set(Some(End::Restart));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn pop(&self) -> Option<String> {
        let text = self.texts.borrow_mut().pop_front()?;
        self.text_bytes.set(self.text_bytes.get() - text.len());
        Some(text)
    }

    fn has_work(&self) -> bool {
        !self.texts.borrow().is_empty() || self.close.get().is_some()
    }
}

/// What tungstenite reads from and writes to.
#[derive(Debug, Default)]
struct Pipe {
    input: Vec<u8>,
    taken: usize,
    output: Vec<u8>,
}

impl Pipe {
    fn feed(&mut self, bytes: &[u8]) {
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        }
        self.input.extend_from_slice(bytes);
    }
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut rest = self.input.get(self.taken..).unwrap_or_default();
        if rest.is_empty() {
            // More may come; the end of the stream never reaches tungstenite.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = rest.read(buf)?;
        self.taken += n;
        Ok(n)
    }
}

impl Write for Pipe {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(buf);
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Why the conversation is over, and what is still to be done about it.
enum Over {
    /// The client has closed; its reply is queued.
    ByClient(SocketEnd),
    /// We close, telling the core.
    ByFault(CloseCode, &'static str),
    /// The core closes.
    ByCore(End),
    /// No bytes can go either way.
    Dead,
}

/// A conversation from the answered handshake to its end.
pub(super) struct Conversation {
    stream: Stream,
    socket: WebSocket<Pipe>,
    outbox: Rc<Outbox>,
    hub: Rc<Hub>,
    session: SessionId,
}

impl Conversation {
    /// `early` is what came behind the request's head.
    pub(super) fn new(
        stream: Stream,
        early: &[u8],
        hub: Rc<Hub>,
        session: SessionId,
        outbox: Rc<Outbox>,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(usize::MAX)
            .max_message_size(Some(WS_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(WS_MESSAGE_BYTES_MAX));
        let mut pipe = Pipe::default();
        pipe.feed(early);
        Self {
            stream,
            socket: WebSocket::from_raw_socket(pipe, Role::Server, Some(config)),
            outbox,
            hub,
            session,
        }
    }

    /// Runs until the socket is closed.
    pub(super) async fn run(mut self) {
        let over = self.talk().await;
        let frame = |code, reason: String| CloseFrame {
            code,
            reason: reason.into(),
        };
        match over {
            Over::Dead => {
                self.hub.closed(self.session, SocketEnd::Abnormal);
                return;
            }
            Over::ByClient(end) => self.hub.closed(self.session, end),
            Over::ByCore(end) => {
                let (code, text) = match end {
                    End::Said(reason) => (CloseCode::Normal, close_text(reason)),
                    End::Restart => (CloseCode::Restart, "signalling starts anew".to_owned()),
                };
                let _ = self.socket.close(Some(frame(code, text)));
            }
            Over::ByFault(code, text) => {
                let _ = self.socket.close(Some(frame(code, text.to_owned())));
                self.hub.closed(self.session, SocketEnd::Abnormal);
            }
        }
        let farewell = self.farewell();
        let deadline = async {
            Timer::new(Duration::from_millis(WS_CLOSE_MS)).await;
        };
        farewell.or(deadline).await;
    }

    async fn talk(&mut self) -> Over {
        loop {
            // What was read first, so that the answers leave together.
            if let Some(over) = self.read_messages() {
                return over;
            }
            if let Some(over) = self.write_messages() {
                return over;
            }
            if poll_fn(|cx| self.poll_progress(cx)).await.is_err() {
                return Over::Dead;
            }
            glommio::yield_if_needed().await;
        }
    }

    /// Until there is something to do: bytes were read, or the core wants something.
    fn poll_progress(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(Err(error)) = self.stream.poll_flush(cx) {
            return Poll::Ready(Err(error));
        }
        let waiting = self.stream.queued();
        self.outbox.stream_bytes.set(waiting);
        if self.outbox.has_work() {
            return Poll::Ready(Ok(()));
        }
        self.outbox
            .waker
            .borrow_mut()
            .get_or_insert_with(|| cx.waker().clone())
            .clone_from(cx.waker());
        if waiting > WS_WRITE_BUFFER_BYTES_MAX {
            // It asks (pings, say) and does not read the answers; the flush wakes us when it does.
            return Poll::Pending;
        }
        let mut buf = self.hub.read_buffer.borrow_mut();
        match self.stream.poll_read(cx, &mut buf) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Ready(Ok(n)) => {
                self.socket.get_mut().feed(buf.get(..n).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Gives every whole message to the core.
    fn read_messages(&mut self) -> Option<Over> {
        while self.outbox.close.get().is_none() {
            match self.socket.read() {
                Ok(Message::Text(text)) => self.hub.frame(self.session, &text),
                Ok(Message::Binary(_)) => self.hub.binary(self.session),
                Ok(Message::Close(frame)) => {
                    let end = frame.map_or(SocketEnd::Abnormal, |f| SocketEnd::Code(f.code.into()));
                    return Some(Over::ByClient(end));
                }
                // tungstenite answers pings itself; they cost us something, so they cost the client budget.
                Ok(_) => self.hub.control(self.session),
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) => return Some(fault(&error)),
            }
        }
        None
    }

    /// Gives everything the core wants said to the stream.
    fn write_messages(&mut self) -> Option<Over> {
        while let Some(text) = self.outbox.pop() {
            if self.socket.write(Message::text(text)).is_err() {
                return Some(Over::Dead);
            }
        }
        if self.forward().is_err() {
            return Some(Over::Dead);
        }
        self.outbox.close.get().map(Over::ByCore)
    }

    /// Moves what tungstenite has written to the stream.
    fn forward(&mut self) -> io::Result<()> {
        // Also writes replies to pings and closes. Its only errors are those of a socket that is closing.
        let _ = self.socket.flush();
        let output = std::mem::take(&mut self.socket.get_mut().output);
        if !output.is_empty() {
            self.stream.queue(&output)?;
        }
        self.outbox.stream_bytes.set(self.stream.queued());
        Ok(())
    }

    /// Sends the close frame, ends our side, and reads until the client has ended its own: a socket closed with
    /// unread bytes would be reset, and the close frame lost with it.
    async fn farewell(&mut self) {
        if self.forward().is_err() || poll_fn(|cx| self.stream.poll_flush(cx)).await.is_err() {
            return;
        }
        self.stream.shutdown().await;
        let mut waste = [0_u8; 1024];
        while let Ok(1..) = poll_fn(|cx| self.stream.poll_read(cx, &mut waste)).await {}
    }
}

impl Drop for Conversation {
    /// Also after a panic: the core must not keep a session without a socket. It ignores those it has closed.
    fn drop(&mut self) {
        self.hub.closed(self.session, SocketEnd::Abnormal);
    }
}

fn fault(error: &Error) -> Over {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => {
            Over::ByFault(CloseCode::Size, "message too large")
        }
        Error::Utf8(_) => Over::ByFault(CloseCode::Invalid, "text is not UTF-8"),
        Error::Protocol(_) => Over::ByFault(CloseCode::Protocol, "not WebSocket"),
        _ => Over::Dead,
    }
}
