"""A small writer of DER, for the structures that ``cryptography`` does not write."""

from __future__ import annotations

from datetime import datetime

SEQUENCE, SET = 0x30, 0x31


def der(tag: int, *parts: bytes) -> bytes:
    """Return a value with its tag and its length."""
    content = b"".join(parts)
    length = len(content)
    if length < 0x80:
        return bytes([tag, length]) + content
    size = (length.bit_length() + 7) // 8
    return bytes([tag, 0x80 | size]) + length.to_bytes(size, "big") + content


def sequence(*parts: bytes) -> bytes:
    return der(SEQUENCE, *parts)


def set_of(*parts: bytes) -> bytes:
    return der(SET, *sorted(parts))


def integer(value: int) -> bytes:
    return der(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def octet_string(data: bytes) -> bytes:
    return der(0x04, data)


def null() -> bytes:
    return der(0x05)


def explicit(number: int, *parts: bytes) -> bytes:
    """Return a constructed value with a context tag."""
    return der(0xA0 | number, *parts)


def utf8_string(text: str) -> bytes:
    return der(0x0C, text.encode())


def generalized_time(time: datetime) -> bytes:
    fraction = f".{time.microsecond:06}".rstrip("0") if time.microsecond else ""
    return der(0x18, f"{time:%Y%m%d%H%M%S}{fraction}Z".encode())


def object_identifier(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in (40 * first + second, *rest):
        octets = [arc & 0x7F]
        while arc := arc >> 7:
            octets.append(0x80 | arc & 0x7F)
        content += bytes(reversed(octets))
    return der(0x06, content)
