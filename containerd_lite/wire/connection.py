"""All calls of one HTTP/2 connection: bytes in, calls advanced; messages in, bytes out.

What lives here: what each frame of the peer's does to the calls and to the connection.  What may
not: sockets, clocks, locks.  Whoever drives it serialises access.

An ``H2Connection`` owns the preface, SETTINGS and both HPACK contexts.  The frames of streams, PING
and GOAWAY are ours: h2's state machine closes on GOAWAY, though accepted streams may finish, and
drops the good events that stand before a bad frame.
"""

from __future__ import annotations

from collections import deque

from h2.settings import SettingCodes

from ..errors import ContainerdError, ResourceExhausted
from ..records import replace
from . import call as states
from . import frames, metadata
from .call import Call, IllegalEvent
from .calls import Calls
from .credit import EARLY_FROM, RENEWED_AT
from .frame_reader import ConnectionFault, FrameReader
from .framing import MAX_MESSAGE
from .header_block import HeaderBlock
from .metadata import Status
from .settings import SettingsFault

#: DATA frames without payload in a row on one stream (CVE-2019-9518).
MAX_EMPTY_FRAMES = 100
#: Streams that the peer ended, and on which it can say no more: so many are remembered.
_REMEMBERED = 100


def _bad_update(increment: int) -> tuple[int, str]:
    """The error code, and what is wrong (RFC 9113, 6.9 and 6.9.1)."""
    if increment:
        return frames.FLOW_CONTROL_ERROR, "WINDOW_UPDATE makes a window over 2**31-1"
    return frames.PROTOCOL_ERROR, "WINDOW_UPDATE of 0"


class Connection(Calls):
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
        scheme: str = "http",
        user_agent: str = "containerd-lite",
        max_message: int = MAX_MESSAGE,
    ) -> None:
        super().__init__(
            authority=authority, scheme=scheme, user_agent=user_agent, max_message=max_message
        )
        self.is_ready = False
        self._ended: deque[int] = deque(maxlen=_REMEMBERED)  # streams that the peer ended
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
            used = len(data)
            if fault.code != frames.NO_ERROR:
                self.outgoing.append(frames.goaway(fault.code))
            self.lose(Status(metadata.INTERNAL, str(fault), b"", "connection"))
        else:
            if self._credit.window <= RENEWED_AT:
                self._credit.renew()
        if self._received_log is not None:
            self._received_log.add((data,), used)
        return used

    def _live(self, stream_id: int) -> Call | None:
        """The call of a stream; ``None`` for one that is closed; any other id is a fault."""
        call = self._calls.get(stream_id)
        if call is None and (not stream_id & 1 or stream_id >= self._next_id):
            raise ConnectionFault(frames.PROTOCOL_ERROR, f"a frame for idle stream {stream_id}")
        return call

    def _passed_over(self, stream_id: int) -> None:
        """DATA or HEADERS for a stream without a call; its own end is the last a peer may send.

        On a stream that we ended there may be some on their way.
        """
        self._live(stream_id)
        if stream_id in self._ended:
            raise ConnectionFault(
                frames.STREAM_CLOSED, f"more came on stream {stream_id}, which the peer had ended"
            )

    def _on_data(self, body: memoryview, flags: int, stream_id: int, size: int) -> None:
        credit = self._credit
        credit.window -= size
        if credit.window < 0:
            raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "the connection's window overflowed")
        call = self._calls.get(stream_id)
        if call is None:
            self._passed_over(stream_id)
            return
        call.receive_window -= size
        last = flags & frames.END_STREAM
        if call.receive_window < 0:
            self._refuse(call, frames.FLOW_CONTROL_ERROR, "the stream's window overflowed")
            return
        if last or call.state != states.RECEIVING:
            try:
                call.advance(states.DATA_END if last else states.MESSAGE_DATA)
            except IllegalEvent as fault:
                self._refuse(call, frames.PROTOCOL_ERROR, str(fault))
                return
        if call.expected is not None or call.empty_frames or not body:
            self._count(call, len(body))
        reader = call.reader
        try:
            reader.feed(body)
        except ContainerdError as fault:
            self._refuse_message(call, fault)
            return
        if reader.messages:
            self.touched[call] = None
        elif reader.wanted >= EARLY_FROM:
            credit.grant_early(call)
        if size != len(body):
            credit.repay(call, size - len(body))
        if last:
            self._finish(call, None)

    def _refuse_message(self, call: Call, fault: ContainerdError) -> None:
        """End a call for what its body is: too large, or no messages."""
        exhausted = isinstance(fault, ResourceExhausted)
        status = Status(
            metadata.RESOURCE_EXHAUSTED if exhausted else metadata.INTERNAL,
            fault.message,
            b"",
            "stream",
        )
        if call.reader.is_discarding:
            status = metadata.status_of_http(call.http_status)
        self.outgoing.append(frames.rst_stream(call.stream_id, frames.CANCEL))
        self._end(call, status)

    def _count(self, call: Call, size: int) -> None:
        """Against content-length, if one was told, and the limit on empty frames in a row."""
        if call.expected is not None:
            call.expected -= size
        if size:
            call.empty_frames = 0
            return
        call.empty_frames += 1
        if call.empty_frames > MAX_EMPTY_FRAMES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "a flood of empty DATA frames")

    def _on_headers(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        try:  # also for calls that are gone: HPACK must stay in step
            block = self._codec.decode(bytes(payload))
        except ValueError as error:
            raise ConnectionFault(frames.COMPRESSION_ERROR, str(error)) from error
        call = self._calls.get(stream_id)
        if call is None:
            self._passed_over(stream_id)
            return
        last = flags & frames.END_STREAM
        is_first = call.state == states.AWAITING
        problem = block.problem
        if not problem and (not block.http_status) == is_first:
            problem = "a response without :status" if is_first else "trailers with :status"
        if last and block.is_informational:
            problem = "informational headers that end the stream"
        if problem:
            self._refuse(call, frames.PROTOCOL_ERROR, f"malformed: {problem}")
        elif block.is_informational:
            call.advance(states.INFORMATIONAL)
        elif last:
            call.advance(states.TRAILERS)
            call.http_status = call.http_status or block.http_status
            self._finish(call, block)
        elif not is_first:
            self._refuse(call, frames.PROTOCOL_ERROR, "response headers came twice")
        else:
            self._answered(call, block)

    def _answered(self, call: Call, block: HeaderBlock) -> None:
        call.advance(states.RESPONSE)
        call.http_status = block.http_status
        call.initial_fields = block.fields
        call.expected = block.length
        call.reader.encoding = block.encoding
        if not block.is_grpc:  # its body is no messages; its trailers may have a status yet
            call.reader.discard()

    def _finish(self, call: Call, trailers: HeaderBlock | None) -> None:
        """The peer ended the stream; tell it so if our side is still open."""
        self._ended.append(call.stream_id)
        if call.expected:
            said = f"the body was not as long as its content-length: {call.expected} bytes off"
            self._refuse(call, frames.PROTOCOL_ERROR, said)
            return
        status = trailers.status if trailers is not None else None
        if trailers is not None:
            call.trailing_fields = trailers.fields
        if status is None:
            status = metadata.status_of_http(call.http_status)
        if status.code == metadata.OK and not call.reader.is_between_messages:
            status = Status(metadata.INTERNAL, "the last message was cut short", b"", "stream")
        if call.is_sending or call.unsent:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.NO_ERROR))
        self._end(call, status)

    def _refuse(self, call: Call, error: int, message: str) -> None:
        """Reset a stream on which the peer broke a rule."""
        self.outgoing.append(frames.rst_stream(call.stream_id, error))
        self._end(call, Status(metadata.INTERNAL, message, b"", "stream"))

    def _on_reset(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        call = self._live(stream_id)
        if call is not None:
            self._ended.append(stream_id)
            answered = call.state != states.AWAITING
            self._end(call, metadata.status_of_reset(frames.unpack_word(payload)[0], answered))

    def _on_push(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "PUSH_PROMISE, though push is off")

    def _on_ping(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        if not flags & frames.ACK:
            self._sender.reply(frames.ping_ack(payload))

    def _on_window_update(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        increment = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        sender = self._sender
        if not stream_id:
            sender.window += increment
            if not increment or sender.window > frames.MAX_WINDOW:
                raise ConnectionFault(*_bad_update(increment))
        else:
            call = self._live(stream_id)
            if call is None:
                return
            call.send_window += increment
            if not increment or call.send_window > frames.MAX_WINDOW:
                self._refuse(call, *_bad_update(increment))
                return
        if sender.blocked:
            self._pump()

    # ---- the connection's own --------------------------------------------------------------

    def _on_settings(self, frame: memoryview, flags: int, stream_id: int, size: int) -> None:
        try:
            acknowledgement, changed = self._settings.receive(bytes(frame))
        except SettingsFault as fault:
            self.outgoing.append(fault.goaway)
            raise
        self.is_ready = True
        if acknowledgement:
            self._sender.reply(acknowledgement)
        if changed:
            self._apply_settings(changed)

    def _apply_settings(self, changed: dict[int, int]) -> None:
        self._sender.max_frame = self._settings.max_frame
        if SettingCodes.HEADER_TABLE_SIZE in changed:
            self._codec.table_size_changed()
        self._max_calls = changed.get(SettingCodes.MAX_CONCURRENT_STREAMS, self._max_calls)
        self._codec.max_header_list = changed.get(
            SettingCodes.MAX_HEADER_LIST_SIZE, self._codec.max_header_list
        )
        window = changed.get(SettingCodes.INITIAL_WINDOW_SIZE)
        if window is not None:
            shift = window - self._sender.initial_window
            self._sender.initial_window = window
            for call in self._calls.values():
                call.send_window += shift  # may go below zero: RFC 9113, 6.9.2
                if call.send_window > frames.MAX_WINDOW:
                    raise ConnectionFault(frames.FLOW_CONTROL_ERROR, "a window over 2**31-1")
        self._open_queued()
        self._pump()

    def _on_goaway(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        self.is_draining = True
        last_id = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        reason = bytes(payload[8:200]).decode("utf-8", "replace") or "GOAWAY"
        said = f"the peer is closing the connection ({reason})"
        status = Status(metadata.UNAVAILABLE, said, b"", "connection", is_unprocessed=True)
        self._end_queued(status)
        for call in list(self._calls.values()):
            if call.stream_id > last_id:
                # Whoever has answered has looked at the call, whatever the GOAWAY says.
                was_answered = call.state != states.AWAITING
                self._end(call, replace(status, is_unprocessed=not was_answered))
