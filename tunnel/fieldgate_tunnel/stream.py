"""TLS over any transport: one adapter over `ssl.SSLObject` and memory BIOs, for listener and client alike.

It is the protocol of the transport below and the transport of the protocol above. Against asyncio's own TLS it needs a
tenth of the memory, flushes alerts before it closes, keeps a half-closed peer served, holds back both ways, and never
splits one reply over two records.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterable
from typing import Any, cast

from fieldgate_core.errors import DeadlineError

RECORD = 16384
"""Most plaintext that one record holds (RFC 8446, 5.1)."""
RECEIVE_BUFFER = 65536
CLOSE_DEADLINE = 5.0
"""Seconds that a peer has to take our last bytes."""

Connected = Callable[["TlsStream"], asyncio.BaseProtocol]
"""Gives the protocol above, once the handshake is done and the peer verified."""
Settled = Callable[[Exception | None], None]
"""Told once that the handshake is over: None, or why it failed."""


class TlsStream(asyncio.BufferedProtocol, asyncio.Transport):
    """One TLS connection. `buffer` receives for all streams of one event loop, one at a time."""

    def __init__(  # noqa: PLR0913
        self,
        context: ssl.SSLContext,
        connected: Connected,
        settled: Settled,
        *,
        buffer: bytearray,
        deadline: float,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        """`deadline` in seconds for the handshake; `server_hostname` makes this the client and is what is verified.

        `session` is one of the same context with the same server, to be resumed if the server still knows it.
        """
        super().__init__()
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
            session=session,
        )
        self._connected = connected
        self._settled: Settled | None = settled
        self._buffer = buffer
        self._deadline = deadline
        self._timer: asyncio.TimerHandle | None = None
        self._below: asyncio.Transport | None = None
        self._above: asyncio.Protocol | None = None
        self._paused = False
        self._below_held = False
        self._closing = False
        self._below_ended = False
        self._peer_ended = False
        self._own_end_closed = False
        self._failure: Exception | None = None

    # the protocol of the transport below

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake."""
        self._below = cast("asyncio.Transport", transport)
        self._timer = asyncio.get_running_loop().call_later(self._deadline, self._too_late)
        self._handshake()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Lend the shared buffer; it is emptied before anybody else can be lent it."""
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Take what came from the network."""
        self.data_received(memoryview(self._buffer)[:nbytes])

    def data_received(self, data: bytes | memoryview) -> None:
        """Take what came through a transport that borrows no buffer, such as an SSH channel."""
        if self._closing or self._peer_ended:
            return
        self._incoming.write(data)
        self._advance()

    def eof_received(self) -> bool:
        """Take the network's end of input. True keeps the way out open for what is still to be answered."""
        self._below_ended = True
        self._advance()
        return not self._closing

    def pause_writing(self) -> None:
        """Hand the network's back-pressure up."""
        if self._above is not None:
            self._above.pause_writing()

    def resume_writing(self) -> None:
        """Hand the end of back-pressure up."""
        if self._above is not None:
            self._above.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the protocol above, or, in the handshake, whoever waits for it."""
        self._closing = True
        self._cancel_timer()
        self._failure = self._failure or exc
        self._settle(self._failure or ConnectionResetError("the peer closed during the handshake"))
        self._below = None
        above, self._above = self._above, None
        if above is not None:
            above.connection_lost(self._failure)

    # the transport of the protocol above

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes; more than one record's worth is cut."""
        if self._closing or self._own_end_closed or not data:
            return
        self._seal(bytes(data))
        self._flush()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Send pieces, none of them split over two records, as many as fit in each."""
        if self._closing or self._own_end_closed:
            return
        record: list[bytes | bytearray | memoryview] = []
        size = 0
        for piece in list_of_data:
            if size + len(piece) > RECORD and record:
                self._seal(b"".join(record))
                record, size = [], 0
            record.append(piece)
            size += len(piece)
        if record:
            self._seal(b"".join(record))
        self._flush()

    def pause_reading(self) -> None:
        """Stop giving data to the protocol above, and stop taking it from the network."""
        self._paused = True
        if self._below is not None and not self._closing and not self._below_held:
            self._below_held = True
            self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on, with what has already arrived first: only when that is handed up more is taken from the network."""
        if not self._paused:
            return
        self._paused = False
        if self._below is not None and not self._closing:
            asyncio.get_running_loop().call_soon(self._advance)

    def is_reading(self) -> bool:
        """Tell whether the protocol above is given data."""
        return not self._paused and not self._closing

    def can_write_eof(self) -> bool:
        """Half-close is part of TLS (RFC 8446, 6.1)."""
        return True

    def write_eof(self) -> None:
        """Say that nothing more will be sent (close_notify), and go on reading."""
        if self._closing or self._own_end_closed:
            return
        self._own_end_closed = True
        self._notify_close()
        self._end_below()

    def close(self) -> None:
        """Send what is left and close_notify, then close; a peer that does not take it is cut off after a while.

        As on TCP, what the peer is still sending makes it a reset: `write_eof` and its end come first to be sure.
        """
        if self._closing:
            return
        self._closing = True
        if self._settled is None and not self._own_end_closed:
            self._notify_close()
        self._close_below()

    def abort(self) -> None:
        """Close at once; unsent bytes are lost."""
        self._closing = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        """Tell whether the stream is closing or closed."""
        return self._closing

    def get_write_buffer_size(self) -> int:
        """Bytes that the network has not taken yet."""
        return self._below.get_write_buffer_size() if self._below is not None else 0

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set when back-pressure begins and ends, in bytes on the network."""
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    @property
    def session(self) -> ssl.SSLSession | None:
        """The session that a later connection may resume; None after a failure (R-11) or where there is none."""
        established = self._settled is None and self._failure is None
        return self._tls.session if established else None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Give facts of the connection: `ssl_object`, and those of the transport below (`peername`)."""
        if name == "ssl_object":
            return self._tls
        return self._below.get_extra_info(name, default) if self._below is not None else default

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Give the protocol above."""
        return cast("asyncio.Protocol", self._above)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change the protocol above."""
        self._above = cast("asyncio.Protocol", protocol)

    # inside

    def _handshake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._fail(error)
            return
        self._flush()
        self._cancel_timer()
        try:
            above = self._connected(self)
            self._above = cast("asyncio.Protocol", above)
            self._settle(None)
            above.connection_made(self)
        except ssl.SSLError as error:
            self._fail(error)
            return
        except Exception as error:  # noqa: BLE001 - whatever is wrong above ends this connection and no other
            self._give_up(error)
            return
        self._advance()

    def _advance(self) -> None:
        """Go on with the handshake, or hand up what can be read."""
        if self._closing:
            return
        if self._settled is not None:
            if self._below_ended:
                self._fail(ConnectionResetError("the peer closed during the handshake"))
            else:
                self._handshake()
            return
        try:
            self._read()
        except Exception as error:  # noqa: BLE001 - as above
            self._give_up(error)

    def _read(self) -> None:
        above = self._above
        while not self._paused and not self._peer_ended and above is not None:
            if not self._incoming.pending and not self._tls.pending() and not self._below_ended:
                break
            try:
                data = self._tls.read(RECORD)
            except ssl.SSLWantReadError:
                if not self._below_ended:
                    break
                data = b""
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                self._fail(error)
                return
            if data:
                above.data_received(data)
                if self._closing:
                    return
                continue
            self._peer_ended = True
            if not above.eof_received():
                self.close()
                return
        if self._below_held and not self._paused and self._below is not None and not self._closing:
            self._below_held = False
            self._below.resume_reading()
        if self._outgoing.pending:
            self._flush()

    def _seal(self, data: bytes) -> None:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            self._fail(error)

    def _flush(self) -> None:
        if self._outgoing.pending and self._below is not None and not self._below.is_closing():
            self._below.write(self._outgoing.read())

    def _notify_close(self) -> None:
        # unwrap() goes on to look for the peer's close_notify: it breaks the stream if it finds data instead
        waiting = self._incoming.read()
        with contextlib.suppress(ssl.SSLError):
            self._tls.unwrap()
        self._incoming.write(waiting)
        self._flush()

    def _close_below(self, *, linger: bool = False) -> None:
        """Close the transport below; to linger is to end our side and wait until the peer has ended its own."""
        if self._below is None:
            return
        self._cancel_timer()
        self._timer = asyncio.get_running_loop().call_later(CLOSE_DEADLINE, self.abort)
        if linger:
            self._end_below()
        else:
            self._below.close()

    def _end_below(self) -> None:
        if self._below is not None and self._below.can_write_eof():
            self._below.write_eof()

    def _fail(self, error: Exception) -> None:
        """Send the alert that OpenSSL has prepared, then close; no reset may overtake it to the client.

        A client closes at once, so that a bad server cannot delay the verdict on it.
        """
        if self._failure is None:
            self._failure = error
        self._closing = True
        self._flush()
        self._close_below(linger=self._tls.server_side)

    def _give_up(self, error: Exception) -> None:
        context = {"message": "a protocol over TLS failed", "exception": error, "transport": self}
        asyncio.get_running_loop().call_exception_handler(context)
        if self._failure is None:
            self._failure = error
        self.abort()

    def _too_late(self) -> None:
        self._failure = DeadlineError("TLS handshake", self._deadline)
        self.abort()

    def _settle(self, outcome: Exception | None) -> None:
        settled, self._settled = self._settled, None
        if settled is not None:
            settled(outcome)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
