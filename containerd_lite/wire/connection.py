"""The effect of received frames on the calls of a connection.

``Connection`` has no lock, so its caller must serialize access.

An ``H2Connection`` handles the preface, SETTINGS and both HPACK contexts. This module handles PING,
GOAWAY and the frames of streams without h2, because h2's state machine has two problems. When
GOAWAY arrives, h2 closes the connection, although the server allows accepted streams to finish.
When an invalid frame arrives, h2 drops the events of the valid frames before the invalid frame.
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

#: Maximum number of consecutive DATA frames without payload on one stream (CVE-2019-9518).
MAX_EMPTY_FRAMES = 100
#: Maximum number of remembered streams that the peer has ended. DATA or HEADERS that arrive on a
#: stream after the peer has ended it are an error.
_MAX_ENDED = 100


def _window_update_error(increment: int) -> tuple[int, str]:
    """Return the error code and the message for an invalid increment of a window.

    See RFC 9113, 6.9 and 6.9.1.
    """
    if increment:
        return (
            frames.FLOW_CONTROL_ERROR,
            "received WINDOW_UPDATE that raises a window above 2**31-1",
        )
    return frames.PROTOCOL_ERROR, "received WINDOW_UPDATE with increment 0"


class Connection(Calls):
    """The client's end of one gRPC connection.

    The code that drives a connection passes received bytes to ``receive``, sends the buffers in
    ``outgoing``, and handles the changed calls that ``take_touched`` returns.

    Attributes:
        is_draining: Whether the connection refuses new calls.
        is_ready: Whether the peer has sent valid SETTINGS, so that it certainly speaks HTTP/2.
        lost: The status with which the connection was lost, or ``None`` while it is open.
        outgoing: The buffers to send.
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
        self._ended_by_peer: deque[int] = deque(maxlen=_MAX_ENDED)  # stream ids
        self._frame_reader = FrameReader(
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
        """Process received bytes, and return the number of processed bytes.

        The caller must pass the unprocessed bytes again, followed by the next received bytes. If
        the peer breaks a rule of HTTP/2, this method raises no exception, but ends every call and
        stores the reason in ``lost``.
        """
        if self.lost:
            return len(data)
        try:
            used = self._frame_reader.feed(data)
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

    def _find_call(self, stream_id: int) -> Call | None:
        """Return the call of a stream, or ``None`` if the stream is closed.

        Raises:
            ConnectionFault: The stream is idle.
        """
        call = self._calls.get(stream_id)
        if call is None and (not stream_id & 1 or stream_id >= self._next_id):
            raise ConnectionFault(
                frames.PROTOCOL_ERROR, f"received a frame for idle stream {stream_id}"
            )
        return call

    def _ignore_late_frame(self, stream_id: int) -> None:
        """Ignore DATA or HEADERS on a closed stream, unless the peer itself has ended the stream.

        If this client has reset the stream, the peer can have sent the frame before the peer
        received RST_STREAM.

        Raises:
            ConnectionFault: The peer has ended the stream, or the stream is idle.
        """
        self._find_call(stream_id)
        if stream_id in self._ended_by_peer:
            raise ConnectionFault(
                frames.STREAM_CLOSED,
                f"received a frame on stream {stream_id} after the peer had ended it",
            )

    def _on_data(self, body: memoryview, flags: int, stream_id: int, size: int) -> None:
        credit = self._credit
        credit.window -= size
        if credit.window < 0:
            raise ConnectionFault(
                frames.FLOW_CONTROL_ERROR, "received DATA beyond the connection's window"
            )
        call = self._calls.get(stream_id)
        if call is None:
            self._ignore_late_frame(stream_id)
            return
        call.receive_window -= size
        last = flags & frames.END_STREAM
        if call.receive_window < 0:
            self._refuse_stream(
                call, frames.FLOW_CONTROL_ERROR, "received DATA beyond the stream's window"
            )
            return
        if last or call.state != states.RECEIVING:
            try:
                call.advance(states.DATA_END if last else states.MESSAGE_DATA)
            except IllegalEvent as fault:
                self._refuse_stream(call, frames.PROTOCOL_ERROR, str(fault))
                return
        if call.expected is not None or call.empty_frames or not body:
            self._count_data(call, len(body))
        reader = call.reader
        try:
            reader.feed(body)
        except ContainerdError as fault:
            self._refuse_body(call, fault)
            return
        if reader.messages:
            self.touched[call] = None
        elif reader.wanted >= EARLY_FROM:
            credit.grant_early(call)
        if size != len(body):
            credit.repay(call, size - len(body))
        if last:
            self._finish_call(call, None)

    def _refuse_body(self, call: Call, fault: ContainerdError) -> None:
        """End a call whose body is too large, or does not consist of valid messages."""
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
        self._end_call(call, status)

    def _count_data(self, call: Call, size: int) -> None:
        """Check the limit of empty DATA frames, and subtract ``size`` from ``call.expected``."""
        if call.expected is not None:
            call.expected -= size
        if size:
            call.empty_frames = 0
            return
        call.empty_frames += 1
        if call.empty_frames > MAX_EMPTY_FRAMES:
            raise ConnectionFault(frames.ENHANCE_YOUR_CALM, "received too many empty DATA frames")

    def _on_headers(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        # Even the block of an ended call must be decoded, because each block changes HPACK's state.
        try:
            block = self._codec.decode(bytes(payload))
        except ValueError as error:
            raise ConnectionFault(frames.COMPRESSION_ERROR, str(error)) from error
        call = self._calls.get(stream_id)
        if call is None:
            self._ignore_late_frame(stream_id)
            return
        last = flags & frames.END_STREAM
        is_first = call.state == states.AWAITING
        problem = block.problem
        if not problem and (not block.http_status) == is_first:
            problem = "a response without :status" if is_first else "trailers with :status"
        if last and block.is_informational:
            problem = "an informational response (1xx) with END_STREAM"
        if problem:
            self._refuse_stream(
                call, frames.PROTOCOL_ERROR, f"received a malformed header block: {problem}"
            )
        elif block.is_informational:
            call.advance(states.INFORMATIONAL)
        elif last:
            call.advance(states.TRAILERS)
            call.http_status = call.http_status or block.http_status
            self._finish_call(call, block)
        elif not is_first:
            self._refuse_stream(call, frames.PROTOCOL_ERROR, "received response headers twice")
        else:
            self._start_response(call, block)

    def _start_response(self, call: Call, block: HeaderBlock) -> None:
        call.advance(states.RESPONSE)
        call.http_status = block.http_status
        call.initial_fields = block.fields
        call.expected = block.length
        call.reader.encoding = block.encoding
        if not block.is_grpc:  # the body has no messages, but the trailers can have a status
            call.reader.discard()

    def _finish_call(self, call: Call, trailers: HeaderBlock | None) -> None:
        """End a call whose stream the peer has ended.

        If the client's side of the stream is still open, this method resets the stream.
        """
        self._ended_by_peer.append(call.stream_id)
        if call.expected:
            message = f"the body's length and content-length differ by {abs(call.expected)} bytes"
            self._refuse_stream(call, frames.PROTOCOL_ERROR, message)
            return
        status = trailers.status if trailers is not None else None
        if trailers is not None:
            call.trailing_fields = trailers.fields
        if status is None:
            status = metadata.status_of_http(call.http_status)
        if status.code == metadata.OK and not call.reader.is_between_messages:
            status = Status(metadata.INTERNAL, "the last message is incomplete", b"", "stream")
        if call.is_sending or call.unsent:
            self.outgoing.append(frames.rst_stream(call.stream_id, frames.NO_ERROR))
        self._end_call(call, status)

    def _refuse_stream(self, call: Call, error: int, message: str) -> None:
        """Reset a stream on which the peer broke a rule, and end the stream's call."""
        self.outgoing.append(frames.rst_stream(call.stream_id, error))
        self._end_call(call, Status(metadata.INTERNAL, message, b"", "stream"))

    def _on_reset(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        call = self._find_call(stream_id)
        if call is not None:
            self._ended_by_peer.append(stream_id)
            answered = call.state != states.AWAITING
            self._end_call(call, metadata.status_of_reset(frames.unpack_word(payload)[0], answered))

    def _on_push(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        raise ConnectionFault(frames.PROTOCOL_ERROR, "received PUSH_PROMISE, but push is disabled")

    def _on_ping(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        if not flags & frames.ACK:
            self._sender.reply(frames.ping_ack(payload))

    def _on_window_update(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        increment = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        sender = self._sender
        if not stream_id:
            sender.window += increment
            if not increment or sender.window > frames.MAX_WINDOW:
                raise ConnectionFault(*_window_update_error(increment))
        else:
            call = self._find_call(stream_id)
            if call is None:
                return
            call.send_window += increment
            if not increment or call.send_window > frames.MAX_WINDOW:
                self._refuse_stream(call, *_window_update_error(increment))
                return
        if sender.blocked:
            self._send_blocked()

    # ---- SETTINGS and GOAWAY ---------------------------------------------------------------

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
                call.send_window += shift  # the window can become negative (RFC 9113, 6.9.2)
                if call.send_window > frames.MAX_WINDOW:
                    raise ConnectionFault(
                        frames.FLOW_CONTROL_ERROR,
                        "received SETTINGS that raise a window above 2**31-1",
                    )
        self._open_queued()
        self._send_blocked()

    def _on_goaway(self, payload: memoryview, flags: int, stream_id: int, size: int) -> None:
        self.is_draining = True
        last_id = frames.unpack_word(payload)[0] & frames.MAX_WINDOW
        reason = bytes(payload[8:200]).decode("utf-8", "replace") or "GOAWAY"
        message = f"the peer is closing the connection ({reason})"
        status = Status(metadata.UNAVAILABLE, message, b"", "connection", is_unprocessed=True)
        self._end_queued(status)
        for call in list(self._calls.values()):
            if call.stream_id > last_id:
                # If the server has answered, it has started the call, even if GOAWAY denies this.
                was_answered = call.state != states.AWAITING
                self._end_call(call, replace(status, is_unprocessed=not was_answered))
