"""Strict decoding of base64 and hexadecimal digits from untrusted documents.

A decoder that ignores characters accepts many texts for the same bytes, so this module refuses all
texts that an encoder does not write.
"""

from __future__ import annotations

import base64
import binascii

from ..errors import InvalidArgument


def from_base64(text: str | None, what: str) -> bytes:
    """Decode standard base64 with padding (RFC 4648, section 4).

    Raises:
        InvalidArgument: ``text`` is not the base64 of any bytes. ``what`` names it.
    """
    try:
        data = base64.b64decode((text or "").encode("ascii"), validate=True)
    except (ValueError, binascii.Error):
        raise InvalidArgument(f"{what} is not base64") from None
    if base64.b64encode(data).decode() != text:
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
