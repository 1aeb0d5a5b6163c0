"""What a server may say: whole conversations that keep the rules, and what becomes of their bytes.

A `Conversation` is made of calls' answers, interleaved at random with frames that concern none of
them; it knows what each call must come to.  `mutations` spoil its bytes; `near_frames` are bytes
that were never good.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from urllib.parse import quote

from hypothesis import strategies as st

from tests.wire import peer
from tests.wire.peer import RESPONSE, Field, Frames, data, frame, message, word

#: How many examples a test is run with; `conftest` raises it where the counts are full.
EXAMPLES = 200

_VALUES = ("", "x", "a value", "/containerd.services.v1", "y" * 200)
_TEXTS = ("", "", "", "", "no such thing", "50 % gone", "g\u00fcltig \u2013 nicht", "a\nb")
#: PROTOCOL-HTTP2.md, "Errors": what is not INTERNAL (13).
_OF_RESETS = {7: 14, 8: 1, 11: 8, 12: 7}
#: http-grpc-status-mapping.md.
_OF_HTTP = {"400": 13, "404": 12, "500": 2, "503": 14}
_UNKNOWN, _UNAVAILABLE = 2, 14


@dataclass
class Ending:
    """What a call must come to; `code` is `None` for one that goes on, `text` if it is not told."""

    messages: list[bytes] = field(default_factory=list)
    code: int | None = None
    text: str | None = None
    is_answered: bool = False
    is_unprocessed: bool = False
    initial: tuple[tuple[str, str | bytes], ...] = ()
    trailing: tuple[tuple[str, str | bytes], ...] = ()


@dataclass
class Conversation:
    """A server's bytes behind its SETTINGS, and what becomes of calls 1, 3, 5 …

    `pings` must be acknowledged, `settings` as often as that; `is_open` tells of each call whether
    the client goes on sending.
    """

    is_open: list[bool]
    data: bytes
    endings: list[Ending]
    pings: list[bytes]
    settings: int
    is_draining: bool


class _Server:
    """Writes one conversation, as the dice have it."""

    def __init__(self, dice: Random) -> None:
        self.dice = dice
        self.frames = Frames()
        self.is_open = [dice.random() < 0.3 for _ in range(dice.randint(1, 6))]
        self.endings = [Ending() for _ in self.is_open]
        self.pings: list[bytes] = []
        self.settings = 0
        self.last_id: int | None = None

    def conversation(self) -> Conversation:
        """Each answer a step at a time, and noise in between."""
        out: list[bytes] = []
        answers = [self.answer(2 * n + 1, ending) for n, ending in enumerate(self.endings)]
        while answers:
            if self.dice.random() < 0.3:
                out.append(self.dice.choice(self.noises)())
                continue
            one = self.dice.choice(answers)
            step = next(one, None)
            if step is None:
                answers.remove(one)
            else:
                out.append(step)
        is_draining = self.last_id is not None
        return Conversation(
            self.is_open, b"".join(out), self.endings, self.pings, self.settings, is_draining
        )

    # ---- answers -------------------------------------------------------------------------------

    def answer(self, stream_id: int, ending: Ending) -> Iterator[bytes]:
        """The steps of an answer; each notes what it does to the call, if that still goes on."""
        dice = self.dice
        for _ in range(dice.choice((0, 0, 0, 1, 2))):
            yield self.block(stream_id, [(":status", dice.choice(("100", "103"))), *self.fields()])
        kind = dice.choice(("whole", "whole", "whole", "at once", "http", "stops", "reset"))
        if kind == "at once":
            yield self.trailers(stream_id, ending, RESPONSE)
        elif kind == "http":
            yield from self.refusal(stream_id, ending)
        else:
            is_over = False
            if kind != "reset" or dice.random() < 0.7:
                is_over = yield from self.body(stream_id, ending, kind)
            if kind == "whole" and not is_over:
                yield self.trailers(stream_id, ending, ())
            elif kind == "reset":
                yield self.reset(stream_id, ending)

    def body(self, stream_id: int, ending: Ending, kind: str) -> Generator[bytes, None, bool]:
        """Headers and messages; returns whether the stream ended with them."""
        dice = self.dice
        bodies = [dice.randbytes(dice.choice((0, 1, 30, 300))) for _ in range(dice.randrange(4))]
        is_packed = [dice.random() < 0.3 for _ in bodies]
        parts = [
            message(gzip.compress(body), 1) if packed else message(body)
            for body, packed in zip(bodies, is_packed, strict=True)
        ]
        whole, ends = b"".join(parts), list(accumulate(map(len, parts)))
        more = self.fields()
        head = [*RESPONSE, *more]
        if any(is_packed) or dice.random() < 0.2:
            head.append(("grpc-encoding", "gzip"))
        if kind == "whole" and dice.random() < 0.2:
            head.append(("content-length", str(len(whole))))
            more.append(("content-length", str(len(whole))))
        ending.is_answered = True
        if ending.code is None:
            ending.initial = tuple((str(name), str(value)) for name, value in more)
        yield self.block(stream_id, head)
        cuts = sorted(dice.randrange(len(whole) + 1) for _ in range(dice.randrange(5)))
        if kind == "reset":
            whole = whole[: dice.randrange(len(whole) + 1)]
        last = kind == "whole" and dice.random() < 0.1
        pieces = list(pairwise([0, *(cut for cut in cuts if cut < len(whole)), len(whole)]))
        for number, (start, end) in enumerate(pieces):
            is_last = last and number == len(pieces) - 1
            padding = dice.choice((None, None, 0, 7, 255))
            if ending.code is None:
                ending.messages = [body for body, at in zip(bodies, ends, strict=True) if at <= end]
                ending.code = _UNKNOWN if is_last else None
            yield data(stream_id, whole[start:end], end=is_last, padding=padding)
        return last

    def trailers(self, stream_id: int, ending: Ending, first: tuple[Field, ...]) -> bytes:
        dice = self.dice
        code, text = dice.choice((0, 0, 0, 5, 5, dice.randrange(17))), dice.choice(_TEXTS)
        more = self.fields() if dice.random() < 0.5 else []
        told: list[Field] = [("grpc-status", str(code)), *more]
        if text:
            told.append(("grpc-message", quote(text, safe=" ")))
        if ending.code is None:
            ending.code, ending.text = code, text
            ending.trailing = tuple((str(name), str(value)) for name, value in more)
        return self.block(stream_id, [*first, *told], end=True)

    def refusal(self, stream_id: int, ending: Ending) -> Iterator[bytes]:
        """An answer of something that does not speak gRPC, with a body or without."""
        status, has_body = self.dice.choice(list(_OF_HTTP)), self.dice.random() < 0.5
        fields: list[Field] = [(":status", status), ("content-type", "text/html")]
        if has_body:
            ending.is_answered = ending.is_answered or ending.code is None
            yield self.block(stream_id, fields)
            yield data(stream_id, b"<html></html>", padding=self.dice.choice((None, 3)))
        if ending.code is None:
            ending.code = _OF_HTTP[status]
        if has_body:
            yield data(stream_id, b"", end=True)
        else:
            yield self.block(stream_id, fields, end=True)

    def reset(self, stream_id: int, ending: Ending) -> bytes:
        code = self.dice.randrange(16)
        if ending.code is None:
            ending.code = _OF_RESETS.get(code, 13)
            ending.is_unprocessed = code == 7 and not ending.is_answered
        return peer.rst(stream_id, code)

    # ---- header blocks -------------------------------------------------------------------------

    def fields(self) -> list[Field]:
        dice = self.dice
        return [(f"x-{dice.randrange(5)}", dice.choice(_VALUES)) for _ in range(dice.randrange(3))]

    def block(self, stream_id: int, fields: list[Field], *, end: bool = False) -> bytes:
        """A block in one piece or several, padded or not, with priority or not."""
        dice = self.dice
        block = self.frames.block(fields)
        cuts = sorted(dice.randrange(len(block) + 1) for _ in range(dice.choice((0, 0, 0, 1, 4))))
        first, *pieces = [block[a:b] for a, b in pairwise([0, *cuts, len(block)])]
        flags = peer.END_STREAM if end else 0
        if dice.random() < 0.2:
            first, flags = word(dice.randrange(1 << 32)) + b"\7" + first, flags | peer.HAS_PRIORITY
        if dice.random() < 0.2:
            padding = dice.choice((0, 1, 255))
            first, flags = bytes((padding,)) + first + bytes(padding), flags | peer.PADDED
        if not pieces:
            return frame(peer.HEADERS, flags | peer.END_HEADERS, stream_id, first)
        out = [frame(peer.HEADERS, flags, stream_id, first)]
        out += [frame(peer.CONTINUATION, 0, stream_id, piece) for piece in pieces[:-1]]
        return b"".join([*out, frame(peer.CONTINUATION, peer.END_HEADERS, stream_id, pieces[-1])])

    # ---- what concerns no call -----------------------------------------------------------------

    @property
    def noises(self) -> list[Callable[[], bytes]]:
        often = [self.ping, self.pong, self.unknown, self.priority, self.setting, self.window]
        return [*often * 3, self.goaway]

    def some_id(self) -> int:
        return 2 * self.dice.randrange(len(self.is_open)) + 1

    def ping(self) -> bytes:
        self.pings.append(self.dice.randbytes(8))
        return peer.ping(self.pings[-1])

    def pong(self) -> bytes:
        return peer.ping(self.dice.randbytes(8), peer.ACK)

    def unknown(self) -> bytes:
        dice = self.dice
        kind, flags = dice.randint(10, 255), dice.randrange(256)
        return frame(kind, flags, dice.randrange(9), dice.randbytes(dice.randrange(20)))

    def priority(self) -> bytes:
        return frame(peer.PRIORITY, 0, self.dice.randint(1, 99), word(0) + b"\xff")

    def setting(self) -> bytes:
        dice = self.dice
        self.settings += 1
        values = {
            peer.HEADER_TABLE_SIZE: dice.choice((0, 100, 4096, 1 << 20)),
            peer.MAX_CONCURRENT_STREAMS: dice.choice((0, 1, 100)),
            peer.INITIAL_WINDOW_SIZE: dice.choice((0, 1, 65_535, 1 << 20)),
            peer.MAX_FRAME_SIZE: dice.choice((16_384, 1 << 20)),
            6: dice.choice((100, 1 << 20)),
            0x99: 7,
        }
        return peer.settings({key: values[key] for key in values if dice.random() < 0.4})

    def window(self) -> bytes:
        where = self.dice.choice((0, self.some_id()))
        return peer.window_update(where, self.dice.choice((1, 1000, 1 << 20)))

    def goaway(self) -> bytes:
        """Calls above the last id are given up; the server may go on with them all the same."""
        most = 2 * len(self.is_open) - 1 if self.last_id is None else self.last_id
        self.last_id = self.dice.randint(0, most)
        for number, ending in enumerate(self.endings):
            if 2 * number + 1 > self.last_id and ending.code is None:
                ending.code, ending.is_unprocessed = _UNAVAILABLE, not ending.is_answered
        return peer.goaway(self.last_id, self.dice.choice((0, 11)), b"bye")


def conversation(dice: Random) -> Conversation:
    return _Server(dice).conversation()


#: One conversation each; the seed is what a failing example tells.
conversations = st.builds(conversation, st.randoms(use_true_random=True))


# ---- bytes that break the rules ----------------------------------------------------------------

Mutation = tuple[str, int, int, int]

#: What is done, where, to how many bytes, and with what.
mutations = st.lists(
    st.tuples(
        st.sampled_from(("flip", "insert", "delete", "double", "truncate"))
        | st.sampled_from(("drop a frame", "double a frame", "move a frame", "spoil a header")),
        st.integers(0, 1 << 16),
        st.integers(1, 40),
        st.integers(1, 255),
    ),
    min_size=1,
    max_size=5,
)


def mutated(whole: bytes, changes: list[Mutation]) -> bytes:
    for what, where, size, value in changes:
        change = _of_frames if "frame" in what or "header" in what else _of_bytes
        whole = change(whole, what, where, size, value)
    return whole


def _of_bytes(whole: bytes, what: str, where: int, size: int, value: int) -> bytes:
    at = where % (len(whole) + 1)
    before, piece, behind = whole[:at], whole[at : at + size], whole[at + size :]
    if what == "flip":
        return before + bytes(byte ^ value for byte in piece) + behind
    if what == "insert":
        return before + bytes((value,)) * size + piece + behind
    if what == "double":
        return before + piece * 2 + behind
    return before + behind if what == "delete" else before


def _of_frames(whole: bytes, what: str, where: int, size: int, value: int) -> bytes:
    found, rest = peer.split(whole)
    if not found:
        return whole
    at = where % len(found)
    parts = [frame(*one) for one in found]
    if what == "drop a frame":
        del parts[at]
    elif what == "double a frame":
        parts.insert(at, parts[at])
    elif what == "move a frame":
        parts.insert(size % len(found), parts.pop(at))
    else:
        head = bytearray(parts[at])
        head[size % 9] ^= value
        parts[at] = bytes(head)
    return b"".join(parts) + rest


def near_frames() -> st.SearchStrategy[bytes]:
    """Bytes that look like frames, so that they come far in."""
    flags = st.sampled_from((0, 1, 4, 5, 8, 9, 12, 13, 32, 36, 44, 255))
    ids = st.sampled_from((0, 0, 1, 1, 3, 5, 2, 0x80000001))
    server = Frames()
    whole = (b"\0\0\0\1", b"\x7f\xff\xff\xff", bytes(8), message(b"x"), b"\0\4\x7f\xff\xff\xff")
    blocks = (server.block(RESPONSE), server.block([("grpc-status", "0")]))
    body = st.binary(max_size=30) | st.sampled_from(whole) | st.sampled_from(blocks)
    return st.builds(frame, st.integers(0, 10), flags, ids, body)
