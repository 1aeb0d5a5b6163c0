"""Header values of gRPC, both ways."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument
from containerd_lite.wire import frames, metadata
from containerd_lite.wire.metadata import (
    Status,
    decode_binary,
    decode_message,
    decode_metadata,
    encode_metadata,
    encode_timeout,
    status_of,
    status_of_http,
    status_of_reset,
)

SECONDS = {b"u": 1e-6, b"m": 1e-3, b"S": 1.0, b"M": 60.0, b"H": 3600.0}


@pytest.mark.parametrize(
    ("seconds", "value"),
    [
        (0, b"1u"),
        (-5, b"1u"),
        (1e-9, b"1u"),
        (0.5, b"500000u"),
        (9.999999, b"9999999u"),
        (10, b"10000m"),
        (99.999999, b"99999m"),
        (100, b"100000m"),
        (100.5, b"100500m"),  # purerpc: more than 8 digits
        (99_999.999, b"99999999m"),
        (100_000, b"100000S"),
        (1e8, b"1666666M"),
        (1e8 * 60, b"1666666H"),
        (1e30, b"99999999H"),
        (float("inf"), b"99999999H"),
    ],
)
def test_timeout(seconds: float, value: bytes) -> None:
    assert encode_timeout(seconds) == value


@given(st.floats(1e-6, 3e11))
def test_a_timeout_is_short_and_never_longer_than_asked_for(seconds: float) -> None:
    value = encode_timeout(seconds)
    assert re.fullmatch(rb"[1-9]\d{0,7}[HMSmu]", value)
    said = int(value[:-1]) * SECONDS[value[-1:]]
    assert said <= seconds * (1 + 1e-12)
    assert said >= seconds * 0.98 - 1e-6


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", ""),
        (b"plain text", "plain text"),
        (b"%E2%9C%93 50%25", "✓ 50%"),
        ("✓".encode(), "✓"),
        (b"100% sure", "100% sure"),
        (b"%", "%"),
        (b"%4", "%4"),
        (b"%zz%41", "%zzA"),
        (b"%FF", "\ufffd"),
        (b"\xff", "\ufffd"),
        (b"%0A", "\n"),
    ],
)
def test_message(value: bytes, text: str) -> None:
    assert decode_message(value) == text


@given(st.binary())
def test_decoding_a_message_never_fails_nor_drops(value: bytes) -> None:
    assert bool(decode_message(value)) == bool(value)


def test_metadata_out() -> None:
    given = (("Containerd-Namespace", "k8s.io"), ("x-bin", b"\xff\xfe\xfd\xfc"), ("t-bin", "é"))
    assert encode_metadata(given) == [
        (b"containerd-namespace", b"k8s.io"),
        (b"x-bin", b"//79/A"),  # no padding
        (b"t-bin", b"w6k"),
    ]
    assert encode_metadata((("a", b"bytes"), ("b", ""))) == [(b"a", b"bytes"), (b"b", b"")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "x"),
        (":path", "x"),
        ("a b", "x"),
        ("a\n", "x"),
        ("ä", "x"),
        ("\ud800", "x"),
        ("grpc-timeout", "x"),
        ("GRPC-x", "x"),
        ("a", "x\r\nb: y"),
        ("a", "x\0"),
        ("a", " x"),
        ("a", "x "),
        ("a", "é"),
        ("a", "\ud800"),
        ("a", b"\x7f"),
    ],
)
def test_metadata_that_cannot_be_sent(name: str, value: str | bytes) -> None:
    with pytest.raises(InvalidArgument):
        encode_metadata(((name, value),))


def test_metadata_in() -> None:
    fields = [
        (b":status", b"200"),
        (b"content-type", b"application/grpc"),
        (b"grpc-status", b"0"),
        (b"a", b"1"),
        (b"a", b"\xe9"),
        (b"x-bin", b"//79/A==,AQ, AQI ,***,"),
    ]
    found = (
        ("a", "1"),
        ("a", "é"),
        ("x-bin", b"\xff\xfe\xfd\xfc"),
        ("x-bin", b"\x01"),
        ("x-bin", b"\x01\x02"),
        ("x-bin", b""),
    )
    assert decode_metadata(fields) == found


@given(st.binary())
def test_binary_round_trip(raw: bytes) -> None:
    ((_, value),) = encode_metadata((("x-bin", raw),))
    assert b"=" not in value
    assert decode_binary(value) == raw
    assert decode_binary(value + b"=" * (-len(value) % 4)) == raw


@given(st.binary(max_size=20))
def test_binary_never_fails(value: bytes) -> None:
    decode_binary(value)


@pytest.mark.parametrize("code", range(18))
def test_status_from_the_peer(code: int) -> None:
    fields = {b"grpc-status": b"%d" % code, b"grpc-message": b"%41"}
    assert status_of(fields) == Status(code, "A")


@pytest.mark.parametrize(
    ("http", "code"),
    [
        (b"400", metadata.INTERNAL),
        (b"401", metadata.UNAUTHENTICATED),
        (b"403", metadata.PERMISSION_DENIED),
        (b"404", metadata.UNIMPLEMENTED),
        (b"429", metadata.UNAVAILABLE),
        (b"431", metadata.INTERNAL),
        (b"502", metadata.UNAVAILABLE),
        (b"503", metadata.UNAVAILABLE),
        (b"504", metadata.UNAVAILABLE),
        (b"200", metadata.UNKNOWN),
        (b"500", metadata.UNKNOWN),
        (b"", metadata.UNKNOWN),
        (b"\xff", metadata.UNKNOWN),
    ],
)
def test_status_from_http(http: bytes, code: int) -> None:
    status = status_of_http(http)
    assert (status.code, status.origin) == (code, "stream")


@pytest.mark.parametrize("value", [b"", b"-1", b"x", b"1.0", b"9" * 10, b"\xb2", b" 0"])
def test_status_that_is_no_number(value: bytes) -> None:
    status = status_of({b"grpc-status": value, b"grpc-message": b"why"})
    assert status.code == metadata.UNKNOWN
    assert "why" in status.message


@pytest.mark.parametrize(("value", "raw"), [(b"AQI", b"\1\2"), (b"AQI=", b"\1\2"), (b"*", b"")])
def test_status_details(value: bytes, raw: bytes) -> None:
    fields = {b"grpc-status": b"5", b"grpc-status-details-bin": value}
    assert status_of(fields).details == raw


@pytest.mark.parametrize("code", range(16))
def test_status_from_a_reset(code: int) -> None:
    expected = {
        frames.REFUSED_STREAM: metadata.UNAVAILABLE,
        frames.CANCEL: metadata.CANCELLED,
        frames.ENHANCE_YOUR_CALM: metadata.RESOURCE_EXHAUSTED,
        frames.INADEQUATE_SECURITY: metadata.PERMISSION_DENIED,
    }.get(code, metadata.INTERNAL)
    status = status_of_reset(code)
    assert (status.code, status.origin) == (expected, "stream")
    assert status.is_unprocessed == (code == frames.REFUSED_STREAM)
    assert not status_of_reset(code, was_answered=True).is_unprocessed
