"""Debug output of frames: a line each, however their bytes come, and never what they carry."""

from __future__ import annotations

import logging

import pytest

from containerd_lite.wire.connection import Connection
from containerd_lite.wire.frame_log import FrameLog
from tests.wire import peer
from tests.wire.client import PATH, Client
from tests.wire.peer import frame

FRAMES = {
    peer.data(3, b"secret"): "DATA, stream 3, 6 bytes",
    frame(0, 9, 3, b"\0secret"): "DATA, stream 3, 7 bytes, END_STREAM, PADDED",
    frame(1, 5, 1, b""): "HEADERS, stream 1, 0 bytes, END_STREAM, END_HEADERS",
    frame(1, 0x20, 1, b"12345"): "HEADERS, stream 1, 5 bytes, PRIORITY",
    frame(4, 1, 0, b""): "SETTINGS, stream 0, 0 bytes, ACK",
    frame(4, 0, 0, b"123456"): "SETTINGS, stream 0, 6 bytes",
    frame(6, 1, 0, b"12345678"): "PING, stream 0, 8 bytes, ACK",
    frame(9, 4, 0x7FFFFFFF, b"x" * 300): "CONTINUATION, stream 2147483647, 300 bytes, END_HEADERS",
    frame(0xAA, 0, 5, b"grease"): "frame of type 170, stream 5, 6 bytes",
}


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, without the connection's number."""
    found = [record.getMessage() for record in caplog.records]
    caplog.clear()
    return [line.partition(" ")[2].partition(" ")[2] for line in found]


@pytest.fixture(autouse=True)
def _on(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite.wire")


@pytest.mark.parametrize("step", [1, 2, 8, 9, 10, 1000])
def test_frames_are_found_in_whatever_pieces_they_come(
    caplog: pytest.LogCaptureFixture, step: int
) -> None:
    data = b"PREFACE" + b"".join(FRAMES)
    log = FrameLog("connection 7 sent", preface=7)
    for at in range(0, len(data), step):
        log.add((data[at : at + step],), step)
    assert lines(caplog) == [f"sent {line}" for line in FRAMES.values()]


def test_only_what_was_sent_of_the_buffers_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    log = FrameLog("connection 7 sent")
    one, other = frame(0, 0, 1, b"abc"), frame(0, 0, 3, b"def")
    log.add((one, other), len(one) + 8)
    assert lines(caplog) == ["sent DATA, stream 1, 3 bytes"]
    log.add((memoryview(other)[8:],), 4)
    assert lines(caplog) == ["sent DATA, stream 3, 3 bytes"]


def test_a_call_from_beginning_to_end(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    lines(caplog)
    call = client.wire.start(PATH)
    client.give(client.server.answer(1, b"secret"))
    assert call.status is not None
    found = lines(caplog)
    assert found[0] == f"stream 1: call of {PATH}"
    assert [line.partition(",")[0] for line in found[1:]] == [
        "received HEADERS",
        "received DATA",
        "received HEADERS",
    ]
    assert "secret" not in caplog.text


def test_the_frame_that_breaks_the_connection_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    lines(caplog)
    client.give(frame(0, 0, 5, b"x"))
    assert client.wire.lost
    assert lines(caplog) == ["received DATA, stream 5, 1 bytes"]


def test_a_connection_made_while_the_logger_is_off_logs_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "containerd_lite.wire")
    wire = Connection()
    caplog.set_level(logging.DEBUG, "containerd_lite.wire")
    assert wire.sent_log is None
    wire.receive(memoryview(peer.settings()))
    wire.start(PATH)
    assert lines(caplog) == []
