"""Base64, hexadecimal digits and PEM: strict decoders for untrusted documents, and encoders.

A decoder that ignores characters accepts many texts for the same bytes, so this module refuses all
texts that an encoder does not write.
"""

from __future__ import annotations

import base64
import binascii

from ..errors import InvalidArgument

#: The maximum number of blocks of one PEM text.
_MAX_BLOCKS = 16
#: The white space that may stand between the lines of a block.
_SPACE = b" \t\r\n"
#: The number of characters in a line of a block that ``to_pem`` writes.
_LINE = 64


def to_base64(data: bytes) -> str:
    """Encode bytes in standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode()


def from_base64(text: str | None, what: str) -> bytes:
    """Decode standard base64 with padding (RFC 4648, section 4).

    Raises:
        InvalidArgument: ``text`` is not the base64 of any bytes. ``what`` names it.
    """
    try:
        data = base64.b64decode((text or "").encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise InvalidArgument(f"{what} is not base64") from None
    if to_base64(data) != text:
        raise InvalidArgument(f"{what} is not canonical base64")
    return data


def from_base64url(text: str | None, what: str) -> bytes:
    """Decode base64url without padding (RFC 7515, appendix C).

    Raises:
        InvalidArgument: ``text`` is not the base64url of any bytes. ``what`` names it.
    """
    text = text or ""
    try:
        data = base64.b64decode(
            (text + "=" * (-len(text) % 4)).encode("ascii"), altchars=b"-_", validate=True
        )
    except (ValueError, binascii.Error):
        raise InvalidArgument(f"{what} is not base64url") from None
    if base64.urlsafe_b64encode(data).decode().rstrip("=") != text:
        raise InvalidArgument(f"{what} is not canonical base64url")
    return data


def from_hex(text: str, size: int, what: str) -> bytes:
    """Decode hexadecimal digits in lower case.

    Args:
        text: The digits.
        size: The number of bytes.
        what: The name of the text in error messages.

    Raises:
        InvalidArgument: ``text`` is not ``2 * size`` hexadecimal digits in lower case.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size or data.hex() != text:
        raise InvalidArgument(f"{what} is not {2 * size} hexadecimal digits in lower case")
    return data


def to_pem(data: bytes, label: str) -> str:
    """Return a PEM block (RFC 7468) with a label such as ``"CERTIFICATE"``."""
    text = to_base64(data)
    lines = (text[start : start + _LINE] for start in range(0, len(text), _LINE))
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def from_pem(text: bytes, label: str, what: str) -> tuple[bytes, ...]:
    """Return the content of all blocks of a PEM text (RFC 7468).

    Args:
        text: The text. Only white space may stand between the blocks.
        label: The label that each block must have, such as ``"CERTIFICATE"``.
        what: The name of the text in error messages.

    Raises:
        InvalidArgument: ``text`` has other content than blocks with this label.
    """
    begin, end = (f"-----{word} {label}-----".encode() for word in ("BEGIN", "END"))
    blocks: list[bytes] = []
    rest = text.strip()
    while rest:
        body, found, rest = rest.removeprefix(begin).partition(end)
        if not found or body[:1] not in (b"\n", b"\r") or len(blocks) == _MAX_BLOCKS:
            raise InvalidArgument(f"{what} is not a list of at most {_MAX_BLOCKS} PEM {label}s")
        blocks.append(from_base64(body.translate(None, _SPACE).decode("ascii", "replace"), what))
        rest = rest.strip()
    return tuple(blocks)
