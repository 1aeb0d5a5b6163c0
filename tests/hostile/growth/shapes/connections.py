"""Shapes of what daemons send: HTTP/2 frames, header blocks, gRPC messages, and their values."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

from containerd_lite.errors import FailedPrecondition
from containerd_lite.images.daemon.transfer_registry import CredentialAnswers, _status_in
from containerd_lite.images.daemon.transfer_run import ProgressTracker
from containerd_lite.images.job import Job
from containerd_lite.schema.plain import plain
from containerd_lite.schema.pool import CONTAINERD, decode
from containerd_lite.schema.values import bytes_field, json_of
from containerd_lite.services._events import event_of
from containerd_lite.services._status import translated
from containerd_lite.services._types import AnyValue
from containerd_lite.transport.stream import UNDECODED
from containerd_lite.wire import metadata
from containerd_lite.wire.connection import Connection
from containerd_lite.wire.framing import MAX_MESSAGE, Compressed, MessageReader
from containerd_lite.wire.headers import MAX_HEADER_LIST
from tests.hostile.growth.measuring import Shape, repeating
from tests.wire import peer

#: The bytes of a header block, and of a field's value.
_BLOCK, _VALUE = 64 << 10, MAX_HEADER_LIST - 128
_FRAME = 16 << 10

# ---- frames ----------------------------------------------------------------------------------


def _receive(data: bytes) -> object:
    """Give a connection with one call the bytes of a server; take messages, and send replies."""
    wire = Connection()
    call = wire.start("/a.B/C")
    wire.send(call, last=True)
    data = peer.settings() + data
    view, at = memoryview(data), 0
    while at < len(data) and not wire.lost:
        used = wire.receive(view[at : at + (256 << 10)])
        if not used:
            break
        at += used
        wire.outgoing.clear()
        wire.add_waiting_frames()
        while wire.take(call) is not None:
            pass
    return wire.lost


def _frames(name: str, unit: bytes, before: bytes = b"", **options: Any) -> Shape:
    return repeating(
        "HTTP/2 frames", name, _receive, unit, before=before, **{"per_mib": 4.0, **options}
    )


_RESPONSE = b"\x88\x5f\x10application/grpc"
_OPEN = peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _RESPONSE)
_INFORMATIONAL = b"\x48\x03103"
_BIG = b"\x40\x01a\x7f\xa1\x1e" + b"x" * 4000  # a field that fills the dynamic table
_BIG_AGAIN = b"\xbe" * 15


def _settings(pairs: int) -> bytes:
    return peer.frame(peer.SETTINGS, 0, 0, b"\0\x04\0\0\0\x05" * pairs)


FRAMES = [
    _frames("PING", peer.frame(peer.PING, 0, 0, bytes(8))),
    _frames("SETTINGS", peer.settings()),
    _frames("SETTINGS with one value", _settings(1)),
    _frames("SETTINGS with many values", _settings(2700)),
    _frames(
        "SETTINGS with unknown values", peer.frame(peer.SETTINGS, 0, 0, b"\xff\xff\0\0\0\0" * 2700)
    ),
    _frames("WINDOW_UPDATE of the connection", peer.frame(peer.WINDOW_UPDATE, 0, 0, peer.word(1))),
    _frames("WINDOW_UPDATE of a stream", peer.frame(peer.WINDOW_UPDATE, 0, 1, peer.word(1))),
    _frames("PRIORITY", peer.frame(peer.PRIORITY, 0, 1, bytes(5))),
    _frames("unknown frames", peer.frame(99)),
    _frames("GOAWAY", peer.goaway(1)),
    _frames("empty DATA", peer.frame(peer.DATA, 0, 1), _OPEN),
    _frames(
        "DATA of one byte",
        peer.frame(peer.DATA, 0, 1, b"x"),
        _OPEN + peer.frame(peer.DATA, 0, 1, b"\0\0\x10\0\0"),
    ),
    _frames(
        "padded DATA",
        peer.frame(peer.DATA, peer.PADDED, 1, b"\xff" + bytes(256)),
        _OPEN + peer.frame(peer.DATA, 0, 1, b"\0\0\x10\0\0"),
    ),
    _frames("empty messages", peer.frame(peer.DATA, 0, 1, bytes(5 * 3276)), _OPEN),
    _frames("interim responses", peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _INFORMATIONAL)),
    _frames(
        "interim responses with large fields",
        peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _INFORMATIONAL + _BIG_AGAIN),
        peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _INFORMATIONAL + _BIG),
    ),
    _frames(
        "interim responses with many fields",
        peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _INFORMATIONAL + b"\xbe" * 1500),
        peer.frame(peer.HEADERS, peer.END_HEADERS, 1, _INFORMATIONAL + b"\x40\x01a\x01b"),
    ),
]


def _block(
    name: str, unit: bytes, before: bytes = b"", after: bytes = b"", **options: Any
) -> Shape:
    """A header block in as many CONTINUATION frames as it needs."""

    def make(n: int) -> bytes:
        block = before + unit * n + after
        pieces = [block[at : at + _FRAME] for at in range(0, len(block), _FRAME)] or [b""]
        last = len(pieces) - 1
        return b"".join(
            peer.frame(
                peer.CONTINUATION if number else peer.HEADERS,
                peer.END_HEADERS if number == last else 0,
                1,
                piece,
            )
            for number, piece in enumerate(pieces)
        )

    room = (_BLOCK - len(before) - len(after)) // len(unit)
    return Shape("header block", name, make, _receive, room, **{"memory": 96, **options})


BLOCKS = [
    _block("changes of the table's size", b"\x20", b"", _RESPONSE),
    _block("indexed fields", b"\x88"),
    _block("small fields", b"\x00\x01a\x00", _RESPONSE),
    _block("small fields of the table", b"\x40\x01a\x00", _RESPONSE),
    _block("empty fields", b"\x00\x00\x00", _RESPONSE),
    _block("a long integer", b"\xff", b"\x88\xff"),
    _block("zeros of an integer", b"\x80", b"\x88\xff"),
    _block("Huffman codes", b"\x07", b"\x88\x00\x01a\xff\x81\xfe\x02"),
    _block("fields of the full table", b"\xbe", _RESPONSE + _BIG, memory=256),
]

# ---- messages --------------------------------------------------------------------------------


def _feed(data: bytes) -> object:
    reader = MessageReader()
    reader.encoding = b"gzip"
    view = memoryview(data)
    for at in range(0, len(data), _FRAME):
        reader.feed(view[at : at + _FRAME])
    return reader.messages


def _feed_bytes(data: bytes) -> object:
    reader, view = MessageReader(), memoryview(data)
    for at in range(len(data)):
        reader.feed(view[at : at + 1])
    return reader.messages


def _open(data: bytes) -> object:
    return Compressed(data, MAX_MESSAGE).opened()


#: The window of a stream: a peer cannot send more messages that nobody reads.
_WINDOW = 4 << 20

MESSAGES = [
    repeating("gRPC messages", "empty messages", _feed, bytes(5), limit=_WINDOW, memory=24),
    repeating(
        "gRPC messages",
        "compressed empty messages",
        _feed,
        b"\1" + bytes(4),
        limit=_WINDOW,
        memory=48,
    ),
    repeating(
        "gRPC messages", "messages of two bytes", _feed, b"\0\0\0\0\2xx", limit=_WINDOW, memory=24
    ),
    repeating(
        "gRPC messages",
        "one message in pieces of one byte",
        _feed_bytes,
        b"x",
        before=b"\0\0\x10\0\0",
        limit=1 << 20,
        memory=24,
    ),
    Shape(
        "gRPC messages",
        "gzip zeros",
        lambda n: gzip.compress(bytes(n << 10), 9),
        _open,
        MAX_MESSAGE >> 10,
        memory=1 << 12,
    ),
    repeating(
        "gRPC messages",
        "gzip members without data",
        _open,
        gzip.compress(b"", mtime=0),
        limit=MAX_MESSAGE,
    ),
]


def _status(value: bytes) -> object:
    return metadata.status_of({b"grpc-status": b"5", b"grpc-message": value})


def _metadata(value: bytes) -> object:
    return metadata.decode_metadata([(b"a-bin", value)])


def _explain(text: str) -> object:
    """What ``explain_failure`` does with a daemon's message."""
    return _status_in(text), CredentialAnswers(lambda host: None, {}).safe(text)


def _translate(details: bytes) -> object:
    return translated(FailedPrecondition("it", details=((UNDECODED, details),)))


def _field(number: int, body: bytes) -> bytes:
    """A length-delimited field of a message."""
    return bytes((number << 3 | 2,)) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*found, value))


_NESTED = _field(3, _field(1, b"google.rpc.Status") + _field(2, b"\x08\5"))

VALUES = [
    repeating("grpc-message", "percent signs", _status, b"%", limit=_VALUE),
    repeating("grpc-message", "encoded bytes", _status, b"%41", limit=_VALUE),
    repeating("grpc-message", "bytes that are not UTF-8", _status, b"%ff", limit=_VALUE),
    repeating(
        "grpc-status",
        "digits",
        lambda code: metadata.status_of({b"grpc-status": code}),
        b"1",
        limit=_VALUE,
    ),
    repeating("metadata", "commas", _metadata, b",", limit=_VALUE, memory=96),
    repeating("metadata", "base64", _metadata, b"AAAA", limit=_VALUE),
    repeating("metadata", "equals signs", _metadata, b"=", limit=_VALUE),
    repeating("daemon's error", "URLs", _explain, "http://", limit=_VALUE),
    repeating("daemon's error", "queries", _explain, "http://a?b:", limit=_VALUE),
    repeating("daemon's error", "questions", _explain, "?", before="http://a", limit=_VALUE),
    repeating("daemon's error", "statuses", _explain, "unexpected status ", limit=_VALUE),
    repeating(
        "daemon's error", "statuses and colons", _explain, "unexpected status : ", limit=_VALUE
    ),
    repeating("details of a status", "joined errors", _translate, _NESTED, limit=_VALUE, memory=48),
    repeating(
        "details of a status", "empty details", _translate, b"\x1a\0", limit=_VALUE, memory=48
    ),
]

# ---- values of messages ----------------------------------------------------------------------


def _content(body: bytes) -> object:
    return bytes_field(body, 2)


def _decode(name: str) -> Callable[[bytes], object]:
    return lambda body: plain(decode(CONTAINERD.message(name), body))


_ENVELOPE = CONTAINERD.message("containerd.types.Envelope")


def _read_event(body: bytes) -> object:
    """Read an event of which ``body`` is the payload."""
    return event_of(decode(_ENVELOPE, _field(4, _field(1, _EVENT) + _field(2, body)))).event


class _Progress:
    """What reads the progress of a transfer by the daemon."""

    def __init__(self) -> None:
        self.tracker = ProgressTracker(Job(None), "it", "done", 1.0)

    def read(self, values: list[AnyValue]) -> object:
        return [self.tracker.report(value) for value in values]


def _read_progress(values: list[AnyValue]) -> object:
    return _Progress().read(values)


def _progress(n: int) -> list[AnyValue]:
    kind = "containerd.types.transfer.Progress"
    return [
        AnyValue(kind, _field(1, b"waiting") + _field(2, b"layer%d" % number))
        for number in range(n)
    ]


def _plain_json(unit: bytes, before: bytes, after: bytes = b"") -> dict[str, Any]:
    return {"unit": unit, "before": before, "after": after, "limit": MAX_MESSAGE}


_IMAGES = "containerd.services.images.v1.ListImagesResponse"
_CONTAINER = "containerd.services.containers.v1.GetContainerResponse"
_EVENT = b"containerd.services.images.v1.ImageCreate"
_LABELS = b"\x1a\4\x0a\0\x12\0"

DAEMON = [
    repeating("content", "fields of two bytes", _content, b"\x08\0", limit=MAX_MESSAGE),
    repeating(
        "content", "long numbers", _content, b"\x08" + b"\x80" * 9 + b"\0", limit=MAX_MESSAGE
    ),
    repeating("content", "a number without an end", _content, b"\x80", limit=MAX_MESSAGE),
    repeating("content", "empty pieces", _content, b"\x12\0", limit=MAX_MESSAGE),
    repeating(
        "spec",
        "empty lists",
        json_of,
        b"[],",
        before=b'{"a":[',
        after=b"0]}",
        limit=MAX_MESSAGE,
        memory=48,
    ),
    repeating("spec", "lists without an end", json_of, b"[", limit=MAX_MESSAGE),
    repeating(
        "spec", "a long number", json_of, b"1", before=b'{"a":', after=b"}", limit=MAX_MESSAGE
    ),
    repeating(
        "spec", "a list", json_of, b"0,", before=b"[", after=b"0]", limit=MAX_MESSAGE, memory=24
    ),
    repeating("message", "empty images", _decode(_IMAGES), b"\x0a\0", limit=1 << 16, memory=2048),
    repeating("event", "fields of two bytes", _read_event, b"\x08\0", limit=MAX_MESSAGE),
    repeating("event", "equal labels", _read_event, b"\x12\0", limit=MAX_MESSAGE),
    Shape(
        "event",
        "labels",
        lambda n: b"".join(_field(2, _field(1, b"%07d" % number)) for number in range(n)),
        _read_event,
        MAX_MESSAGE // 11,
        memory=64,
        growth=1.5,  # protobuf's own map of strings: from 262,144 to 524,288 labels, n^1.43
    ),
    Shape(
        "progress",
        "names",
        _progress,
        _read_progress,
        per_mib=4.0,
        memory=64,
        is_table=True,
        weigh=lambda values: sum(len(value.value) for value in values),
    ),
]

CONNECTIONS = [*FRAMES, *BLOCKS, *MESSAGES, *VALUES, *DAEMON]
