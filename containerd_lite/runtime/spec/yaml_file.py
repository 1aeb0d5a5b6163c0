"""Parses CDI files of YAML. Only programs that find such files load this module and PyYAML."""

from __future__ import annotations

from ...errors import FailedPrecondition, InvalidArgument
from ...oci.document import Document

try:
    from yaml import (  # type: ignore[import-untyped, import-not-found, unused-ignore]
        YAMLError,
        safe_load,
    )
except ImportError:
    raise FailedPrecondition(
        "PyYAML is not installed",
        remedy="Install PyYAML, or have the vendor's tool write a CDI file of JSON",
    ) from None


def parse_yaml(body: bytes, path: str) -> Document:
    """Parse a YAML mapping.

    Raises:
        InvalidArgument: ``body`` is not YAML, or not a mapping.
    """
    try:
        return Document.of(safe_load(body.decode()), path)
    except (YAMLError, ValueError, RecursionError) as error:
        reason = str(error).replace("\n", " ")
        raise InvalidArgument(f"{path} is not valid YAML ({reason})") from None
