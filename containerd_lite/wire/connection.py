"""All calls of one HTTP/2 connection: bytes in, calls advanced; messages in, bytes out.

What lives here: the life of calls, credit for what was received, SETTINGS, GOAWAY.  What may
not: sockets, clocks, locks.  Whoever drives it serialises access.

An ``H2Connection`` owns the preface, SETTINGS and both HPACK contexts.  The frames of streams, PING
and GOAWAY are ours: h2's state machine closes on GOAWAY, though accepted streams may finish, and
drops the good events that stand before a bad frame.
"""

from __future__ import annotations

from collections import deque

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged
from h2.exceptions import H2Error
from h2.settings import SettingCodes, Settings

from ..errors import ContainerdError, ResourceExhausted
from . import call as states
from . import frames, metadata
from .call import Buffer, Call, IllegalEvent, views_of
from .credit import STREAM_WINDOW, Credit
from .frame_reader import ConnectionFault, FrameReader
from .framing import MAX_MESSAGE, PREFIX_SIZE, prefix
from .headers import MAX_HEADER_LIST, HeaderCodec
from .metadata import Headers, Metadata, Status
from .sender import Sender

#: DATA frames without payload in a row on one stream (CVE-2019-9518).
MAX_EMPTY_FRAMES = 100

_REPLACED = Status(
    metadata.UNAVAILABLE,
    "the connection takes no more calls",
    b"",
    "connection",
    is_unprocessed=True,
)


class Connection:
    """The client's end of one gRPC connection.

    Give bytes to ``receive``, send what lies in ``outgoing``, and look at the calls that
    ``take_touched`` returns.  ``lost`` is the status that ended the connection, ``None`` while it
    lives; ``is_draining`` says that no call can be started on it any more; ``is_ready``, that the
    peer has shown itself to speak HTTP/2.
    """

    def __init__(
        self,
        *,
        authority: str = "localhost",
        user_agent: str = "containerd-lite",
        max_message: int = MAX_MESSAGE,
    ) -> None:
        self.lost: Status | None = None
        self.is_draining = False
        self.is_ready = False
        self._h2 = _new_h2()
        self._codec = HeaderCodec(self._h2, authority, user_agent)
        self._max_message = max_message
        self._sender = Sender()
        self.outgoing = self._sender.outgoing
        self._calls: dict[int, Call] = {}
        self._queued: deque[Call] = deque()
        self._touched: dict[Call, None] = {}
        self._next_id = 1
        self._max_calls = 1 << 31
        self._frames = FrameReader(
            {
                frames.DATA: self._on_data,
                frames.HEADERS: self._on_headers,
                frames.RST_STREAM: self._on_reset,
                frames.SETTINGS: self._on_settings,
                frames.PUSH_PROMISE: self._on_push,
                frames.PING: self._on_ping,
                frames.GOAWAY: self._on_goaway,
                frames.WINDOW_UPDATE: self._on_window_update,
            }
        )
        self._h2.initiate_connection()
        self.outgoing.append(self._h2.data_to_send())
        self._credit = Credit(self.outgoing)

    # ---- calls -----------------------------------------------------------------------------

    def start(self, path: str, request: Metadata = (), timeout: float | None = None) -> Call:
        """Begin a call of ``/package.Service/Method``; ``timeout`` in seconds goes to the peer.

        Raises ``InvalidArgument``, and then nothing has begun.
        """
        call = Call(path, request, timeout, STREAM_WINDOW, self._max_message)
        if self.lost or self.is_draining:
            closing = Status(metadata.UNAVAILABLE, "the connection is closing", b"", "connection")
            call.end(self.lost or closing)
        elif len(self._calls) >= self._max_calls:
            self._codec.fragments(path, request)  # what is wrong, is wrong now and not later
            self._queued.append(call)
        else:
            self._open(call)
        return call

    def _open(self, call: Call) -> None:
        block = self._codec.encode(call.path, call.request, call.timeout)
        call.stream_id, self._next_id = self._next_id, self._next_id + 2
        if self._next_id > frames.MAX_WINDOW:
            self.is_draining = True  # stream ids are used up
        call.send_window = self._sender.initial_window
        self._calls[call.stream_id] = call
        call.advance(states.STARTED)
        self.outgoing.append(frames.headers(call.stream_id, block, self._sender.max_frame))
        if call.unsent or not call.is_sending:
            self._touch(self._sender.offer(call))

    def send(self, call: Call, *parts: Buffer, last: bool = False) -> None:
        """Queue one message, given in parts that are sent as they are: do not change them.

        ``last`` closes the sending side behind it; with no parts it only does that.
        """
        if call.is_done or not call.is_sending:
            return
        if parts:
            views = views_of(parts)
            length = sum(map(len, views))
            call.outbox.append(memoryview(prefix(length)))
            call.outbox.extend(views)
            call.unsent += PREFIX_SIZE + length
        call.is_sending = not last
        if call.stream_id:
            self._touch(self._sender.offer(call))

    def cancel(self, call: Call, status: Status) -> None:
        """End a call from this side with ``status``; does nothing to a call that is done."""
        if call.is_done:
            return
        if call.stream_id:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.CANCEL))
        else:
            self._queued.remove(call)
        self._end(call, status)

    def take(self, call: Call) -> bytes | bytearray | None:
        """The call's oldest unread message, ``None`` if there is none; returns its credit."""
        return self._credit.take(call)

    def _touch(self, calls: list[Call]) -> None:
        for call in calls:
            self._touched[call] = None

    def _end(self, call: Call, status: Status) -> None:
        call.end(status)
        self._touched[call] = None
        self._calls.pop(call.stream_id, None)
        self._sender.forget(call)
        self._open_queued()

    def _open_queued(self) -> None:
        while self._queued and len(self._calls) < self._max_calls and not self.is_draining:
            self._open(self._queued.popleft())
        if self.is_draining:
            self._end_queued(self.lost or _REPLACED)

    def _end_queued(self, status: Status) -> None:
        while self._queued:
            call = self._queued.popleft()
            call.end(status)
            self._touched[call] = None

    def take_touched(self) -> list[Call]:
        """The calls that something happened to since this was asked last."""
        touched = list(self._touched)
        self._touched.clear()
        return touched

    @property
    def is_idle(self) -> bool:
        return not self._calls and not self._queued

    # ---- receiving -------------------------------------------------------------------------

    def receive(self, data: memoryview) -> int:
        """Take bytes that came; returns how many were used: what was not is to come again.

        Never raises for what a peer sent: a broken connection ends every call, and ``lost``
        tells why.
        """
        if self.lost:
            return len(data)
        try:
            used = self._frames.feed(data)
        except ConnectionFault as fault:
            if fault.code != frames.NO_ERROR:
                self.outgoing.append(frames.goaway(fault.code))
            self.lose(Status(metadata.INTERNAL, str(fault), b"", "connection"))
            return len(data)
        self._credit.renew()
        return used

    def _live(self, stream_id: int) -> Call | None:
        """The call of a stream; ``None`` for one that is closed; any other id is a fault."""
        call = self._calls.get(stream_id)
        if call is None and (not stream_id & 1 or stream_id >= self._next_id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a frame for idle stream {stream_id}")
        return call

    def _on_data(self, body: memoryview, flags: int, stream_id: int, size: int) -> None:
        self._credit.received(size)
        call = self._live(stream_id)
        if call is None:
            return
        call.receive_window -= size
        last = bool(flags & frames.END_STREAM)
        if call.receive_window < 0:
            self._refuse(call, frames.FLOW_CONTROL_ERROR, "the stream's window overflowed")
            return
        try:
            call.advance(states.DATA_END if last else states.MESSAGE_DATA)
            self._feed(call, body)
        except IllegalEvent as fault:
            self._refuse(call, frames.PROTOCOL_ERROR, str(fault))
            return
        except ContainerdError as fault:
            exhausted = isinstance(fault, ResourceExhausted)
            code = metadata.RESOURCE_EXHAUSTED if exhausted else metadata.INTERNAL
            self._refuse(call, frames.CANCEL, fault.message, code)
            return
        if size != len(body):
            self._credit.repay(call, size - len(body))
        if last:
            self._finish(call, [])

    def _feed(self, call: Call, body: memoryview) -> None:
        call.empty_frames = 0 if len(body) else call.empty_frames + 1
        if call.empty_frames > MAX_EMPTY_FRAMES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a flood of empty DATA frames")
        call.reader.feed(body)
        self._credit.grant_early(call)
        if call.reader.messages:
            self._touched[call] = None

    def _on_headers(self, block: memoryview, flags: int, stream_id: int, size: int) -> None:
        call = self._live(stream_id)
        try:  # also for calls that are gone: HPACK must stay in step
            fields = self._codec.decode(bytes(block))
        except ValueError as error:
            raise ConnectionFault(frames.COMPRESSION_ERROR, str(error)) from error
        if call is None:
            return
        http_status = next((value for name, value in fields if name == b":status"), b"")
        try:
            if flags & frames.END_STREAM:
                call.advance(states.TRAILERS)
                call.http_status = call.http_status or http_status
                self._finish(call, fields)
            elif http_status[:1] == b"1":
                call.advance(states.INFORMATIONAL)
            else:
                call.advance(states.RESPONSE)
                call.http_status = http_status
                call.initial_fields = fields
                self._check_answer(call, dict(fields))
        except IllegalEvent as fault:
            self._refuse(call, frames.PROTOCOL_ERROR, str(fault))

    def _check_answer(self, call: Call, fields: dict[bytes, bytes]) -> None:
        """What is no answer of gRPC's has a body that is no messages: end the call before it."""
        kind = fields.get(b"content-type", b"application/grpc")
        if call.http_status != b"200" or not kind.startswith(b"application/grpc"):
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.CANCEL))
            self._end(call, metadata.status_of_http(call.http_status))

    def _finish(self, call: Call, trailers: Headers) -> None:
        """The peer ended the stream; tell it so if our side is still open."""
        call.trailing_fields = trailers
        status = metadata.status_of(trailers, call.http_status)
        if status.code == metadata.OK and not call.reader.is_between_messages:
            status = Status(metadata.INTERNAL, "the last message was cut short", b"", "stream")
        if call.is_sending or call.unsent:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.NO_ERROR))
        self._end(call, status)

    def _refuse(self, call: Call, error: int, message: str, code: int = metadata.INTERNAL) -> None:
        """Reset a stream on which the peer broke a rule."""
        self.outgoing.append(frames.rst_stream(call.stream_id, error))
        self._end(call, Status(code, message, b"", "stream"))

    def _on_reset(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        call = self._live(stream_id)
        if call is not None:
            answered = call.state != states.AWAITING
            self._end(call, metadata.status_of_reset(frames.unpack_word(payload)[0], answered))

    def _on_push(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")

    def _on_ping(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        if not flags & frames.ACK:
            self._sender.reply(frames.ping_ack(bytes(payload)))

    def _on_window_update(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        increment = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        error = frames.FLOW_CONTROL_ERROR if increment else frames.PROTOCOL_ERROR
        said = "WINDOW_UPDATE of 0, or a window over 2**31-1"
        if not stream_id:
            if not self._sender.widen(increment) or not increment:
                raise ConnectionFault(error, said)
        else:
            call = self._live(stream_id)
            if call is None:
                return
            call.send_window += increment
            if not increment or call.send_window > frames.MAX_WINDOW:
                self._refuse(call, error, said)
                return
        self._touch(self._sender.pump())

    # ---- the connection's own --------------------------------------------------------------

    def _on_settings(self, frame: memoryview, flags: int, stream_id: int, size: int) -> None:
        try:
            events = self._h2.receive_data(bytes(frame))
        except H2Error as error:
            goaway = self._h2.data_to_send()  # its code is the right one
            self.outgoing.append(goaway or frames.goaway(frames.PROTOCOL_ERROR))
            raise ConnectionFault(frames.NO_ERROR, f"SETTINGS: {error}") from error
        self.is_ready = True
        acknowledgement = self._h2.data_to_send()
        if acknowledgement:
            self._sender.reply(acknowledgement)
        for event in events:
            if isinstance(event, RemoteSettingsChanged):
                changed = event.changed_settings.items()
                self._apply_settings({int(code): new.new_value for code, new in changed})

    def _apply_settings(self, changed: dict[int, int]) -> None:
        self._sender.max_frame = self._h2.max_outbound_frame_size
        if SettingCodes.HEADER_TABLE_SIZE in changed:
            self._codec.table_size_changed()
        self._max_calls = changed.get(SettingCodes.MAX_CONCURRENT_STREAMS, self._max_calls)
        window = changed.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if window is not None:
            shift = window - self._sender.initial_window
            self._sender.initial_window = window
            for call in self._calls.values():
                call.send_window += shift  # may go below zero: RFC 9113, 6.9.2
                if call.send_window > frames.MAX_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a window over 2**31-1")
        self._open_queued()
        self._touch(self._sender.pump())

    def _on_goaway(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        self.is_draining = True
        last_id = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        reason = bytes(payload[8:200]).decode("utf-8", "replace") or "GOAWAY"
        status = Status(
            metadata.UNAVAILABLE,
            f"the peer is closing the connection ({reason})",
            origin="connection",
            is_unprocessed=True,
        )
        self._end_queued(status)
        for call in list(self._calls.values()):
            if call.stream_id > last_id:
                self._end(call, status)

    def lose(self, status: Status) -> None:
        """The connection is gone, or given up: every call ends with ``status``."""
        if self.lost is not None:
            return
        self.lost = status
        self.is_draining = True
        self._end_queued(status)
        for call in list(self._calls.values()):
            self._end(call, status)


def _new_h2() -> H2Connection:
    h2 = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    h2.local_settings = Settings(
        client=True,
        initial_values={
            SettingCodes.ENABLE_PUSH: 0,
            SettingCodes.INITIAL_WINDOW_SIZE: STREAM_WINDOW,
            SettingCodes.MAX_HEADER_LIST_SIZE: MAX_HEADER_LIST,
        },
    )
    return h2
