"""Plays one of h2spec's client cases: a server's bytes, the client's words, the callers' fate.

h2spec's client half (`h2specd`) has 57 cases.  The tests in this folder tell each of them anew, as
a `Case`; its `id` is h2spec's section and number in it, `6.5.2/1`, and its `clause` the section of
RFC 9113 that rules it.  Where RFC 9113 asks for something else than RFC 7540, which h2spec
follows, RFC 9113 holds, and the case says why.

Two calls are under way on one connection when the server sends the case's bytes: the subject, on
stream 1, and a bystander, on stream 3.  A PING stands behind the bytes, so that it is known when
the client has dealt with them.  What then is judged:

- what the client sends between the bytes and the PING's answer, frame by frame;
- whether it closes the connection, and then says nothing behind its GOAWAY;
- what the subject's caller gets, and the bystander's: an answer, or a typed error;
- that the next call is answered: on this connection if it goes on, else on a new one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import pytest

from containerd_lite.errors import ContainerdError, ProtocolError
from containerd_lite.transport.channel import Channel
from tests.wire import peer
from tests.wire.peer import (
    PATIENCE,
    Closed,
    Field,
    Frame,
    Frames,
    Peer,
    Wire,
    Worker,
    answering,
    descriptors,
    echo,
    word,
)

# Error codes, RFC 9113 section 7.
PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0x1, 0x3, 0x5, 0x6
CANCEL, COMPRESSION_ERROR = 0x8, 0x9

#: A call's whole answer in one header block; what its caller gets is `NotFound`.
NOT_FOUND: tuple[Field, ...] = (*peer.RESPONSE, ("grpc-status", "5"))
#: A field that goes into HPACK's table: who leaves its block out does not read the next one.
LATE: tuple[Field, ...] = (("x-late", "1"),)

_GREETING, _MARKER = b"greeting", b"a marker"
_BODY = b"a message"

#: What a caller gets: the answer, or an error of just this class.
Outcome = bytes | type[ContainerdError]


class Verdict(NamedTuple):
    """What the client must send, given the subject's stream, and how things go on."""

    frames: Callable[[int], list[Frame]]
    is_over: bool = False
    outcome: Outcome | None = None


NOTHING = Verdict(lambda stream_id: [])
SETTINGS_ACK = Verdict(lambda stream_id: [Frame(peer.SETTINGS, peer.ACK, 0, b"")])


def goaway(code: int) -> Verdict:
    """A connection error (5.4.1): GOAWAY, and the end; no stream of the server's was accepted."""
    said = Frame(peer.GOAWAY, 0, 0, word(0) + word(code))
    return Verdict(lambda stream_id: [said], is_over=True, outcome=ProtocolError)


def reset(code: int) -> Verdict:
    """A stream error (5.4.2) of the subject's, which costs the connection nothing."""
    return Verdict(
        lambda stream_id: [Frame(peer.RST_STREAM, 0, stream_id, word(code))],
        outcome=ProtocolError,
    )


def ping_ack(payload: bytes) -> Verdict:
    return Verdict(lambda stream_id: [Frame(peer.PING, peer.ACK, 0, payload)])


@dataclass(frozen=True)
class Case:
    """One case; `sends` makes the server's bytes, given its encoder and the subject's stream.

    `outcome` is what the subject's caller gets, where the verdict alone does not tell: if the
    connection goes on and nothing is said here, the subject is answered behind the case.  Unless
    the server `greets`, the bytes are the first that it sends, in place of its preface.
    """

    id: str
    clause: str
    name: str
    sends: Callable[[Frames, int], bytes]
    wants: Verdict
    outcome: Outcome | None = None
    greets: bool = True

    def __str__(self) -> str:
        return f"{self.id} ({self.name}; RFC 9113, {self.clause})"


Manner = Callable[[bytes, bytes], list[bytes]]
#: How the bytes, and the PING behind them, come.
MANNERS: dict[str, Manner] = {
    "whole": lambda script, behind: [script + behind],
    "byte by byte": lambda script, behind: [bytes((byte,)) for byte in script + behind],
    "half a frame behind": lambda script, behind: [script + behind[:4], behind[4:]],
}


def each(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test of (case, manner) for each case, in every manner."""
    return pytest.mark.parametrize(
        ("case", "manner"),
        [
            pytest.param(case, manner, id=f"{case.id}, {manner}")
            for case in cases
            for manner in MANNERS
        ],
    )


class _Server:
    """The script of the case on the first connection; on any other, an echo."""

    def __init__(self, case: Case, manner: str) -> None:
        self.case = case
        self.manner = MANNERS[manner]
        self.has_subject = threading.Event()
        self.has_heard = threading.Event()
        self.told: list[Frame] = []
        self.wanted: list[Frame] = []
        self.is_closed = False

    def __call__(self, wire: Wire) -> None:
        if wire.number:
            answering(echo)(wire)
        subject = self._request(wire)
        self.has_subject.set()
        bystander = self._request(wire)
        first = wire.seen[0]  # RFC 9113, 3.4: the client's preface ends with its SETTINGS
        assert (first.kind, first.flags, first.stream_id) == (peer.SETTINGS, 0, 0)
        self.wanted = self.case.wants.frames(subject)
        if self.case.greets:
            self._greet(wire)
        self._play(wire, subject)
        if self.is_closed:
            return
        if not self.case.greets:
            wire.send(peer.frame(peer.SETTINGS, peer.ACK))
        if self.case.outcome is None and self.case.wants.outcome is None:
            wire.send(wire.answer(subject, _BODY))
        wire.send(wire.answer(bystander, _BODY))
        while True:
            echo(wire, wire.request())

    def _request(self, wire: Wire) -> int:
        """The stream of the next request that is whole; nothing is said to the client here."""
        while True:
            found = wire.read()
            if found.kind == peer.HEADERS:
                wire.decoder.decode(found.payload)
            if found.kind in (peer.DATA, peer.HEADERS) and found.flags & peer.END_STREAM:
                return found.stream_id

    def _greet(self, wire: Wire) -> None:
        wire.send(peer.settings(), peer.frame(peer.SETTINGS, peer.ACK), peer.ping(_GREETING))
        while wire.read() != Frame(peer.PING, peer.ACK, 0, _GREETING):
            pass

    def _play(self, wire: Wire, subject: int) -> None:
        script = self.case.sends(wire, subject)
        try:
            try:
                for part in self.manner(script, peer.ping(_MARKER)):
                    wire.send(part)
            except Closed:
                pass  # what it said before it closed is still to be read
            while (found := wire.read()) != Frame(peer.PING, peer.ACK, 0, _MARKER):
                # A GOAWAY may end with words for whoever debugs it (6.8).
                told = found.payload[:8] if found.kind == peer.GOAWAY else found.payload
                self.told.append(found._replace(payload=told))
        except Closed:
            self.is_closed = True
        self.has_heard.set()


def _call(channel: Channel, name: str) -> bytes | ContainerdError:
    try:
        return bytes(channel.unary(f"/h2.Spec/{name}", _BODY, timeout=PATIENCE))
    except ContainerdError as error:
        return error


def _check(name: str, found: object, wanted: Outcome) -> None:
    """What a call came to: its answer, or an error of just the wanted class that names the call."""
    if isinstance(found, ContainerdError):
        assert type(found) is wanted, f"{name}: {found!r}"
        assert found.operation == f"Spec.{name}"
    else:
        assert found == wanted, f"{name}: it was answered"


def play(case: Case, manner: str) -> None:
    """Play a case against a real `Channel` and judge it."""
    before = descriptors()
    server = _Server(case, manner)
    is_over = case.wants.is_over
    with Peer(server) as listening, Channel(listening.address) as channel:
        subject = Worker(_call, channel, "Subject")
        assert server.has_subject.wait(PATIENCE)
        bystander = Worker(_call, channel, "Bystander")
        assert server.has_heard.wait(PATIENCE), f"{case}: the client neither went on nor closed"
        assert server.told == server.wanted, f"{case}: {server.told} is not {server.wanted}"
        assert server.is_closed is is_over, f"{case}: closed is {server.is_closed}"
        _check("Subject", subject.result(), case.outcome or case.wants.outcome or _BODY)
        _check("Bystander", bystander.result(), ProtocolError if is_over else _BODY)
        _check("Next", _call(channel, "Next"), _BODY)
        assert len(listening.seen) == (2 if is_over else 1)
    assert descriptors() == before
