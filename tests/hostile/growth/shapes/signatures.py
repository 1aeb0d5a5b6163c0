"""Shapes of signatures: bundles, annotations, checkpoints, trusted roots, and inclusion proofs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from containerd_lite.trust.bundles import _MAX_PEM, MAX_BUNDLE, Bundle, material_of_annotations
from containerd_lite.trust.checkpoints import MAX_CHECKPOINT, LogCheckpoint
from containerd_lite.trust.trust_root import MAX_ROOT, TrustRoot
from tests.harness.transparency import RekorLog, SigningKey, Verifier, b64, hashedrekord_1
from tests.hostile.growth.measuring import Shape

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle+json;version=0.2"
_ENVELOPE = {"payload": "e30=", "payloadType": "a/b", "signatures": [{"sig": "AA=="}]}
_LOG = RekorLog(1)
_ENTRY = json.dumps(_LOG.add(hashedrekord_1(b"m", b"s", Verifier.of_key(SigningKey()))))
_CERTIFICATE = '{"rawBytes":"AAAA"}'
_PEM = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"
_NOTE = f"log.example\n7\n{b64(b'r' * 32)}\n"
_LINE = "\u2014 log.example aGludHNpZ25hdHVyZQ==\n"
_ROOT_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"


def _bundle(name: str, unit: str, before: str, after: str, **options: Any) -> Shape:
    """A bundle with a list of equal items in its material."""
    start = f'{{"mediaType":"{_MEDIA_TYPE}","dsseEnvelope":{json.dumps(_ENVELOPE)},'
    start += f'"verificationMaterial":{{{before}'
    room = (MAX_BUNDLE - len(start) - len(after) - 8) // (len(unit) + 1)

    def make(n: int) -> bytes:
        return f"{start}{','.join([unit] * n)}{after}}}}}".encode()

    return Shape("bundle", name, make, Bundle.parse, room, **options)


def _text(
    reader: str, name: str, make: Callable[[int], str], largest: int, **options: Any
) -> Shape:
    return Shape(reader, name, make, READERS[reader], largest, **options)


def _root(name: str, field: str, unit: str) -> Shape:
    def make(n: int) -> bytes:
        return f'{{"mediaType":"{_ROOT_TYPE}","{field}":[{",".join([unit] * n)}]}}'.encode()

    return Shape("trusted root", name, make, TrustRoot.parse, MAX_ROOT // (len(unit) + 1))


READERS: dict[str, Callable[[Any], object]] = {
    "cosign's certificate": lambda text: material_of_annotations(
        {"dev.sigstore.cosign/certificate": text}
    ),
    "cosign's entry": lambda text: material_of_annotations({"dev.sigstore.cosign/bundle": text}),
    "checkpoint": LogCheckpoint.parse,
}

SIGNATURES = [
    _bundle("entries", _ENTRY, '"publicKey":{},"tlogEntries":[', "]"),
    _bundle("hashes", f'"{b64(b"h" * 32)}"', '"publicKey":{},"tlogEntries":[{"hashes":[', "]}]"),
    _bundle("certificates", _CERTIFICATE, '"x509CertificateChain":{"certificates":[', "]}"),
    _bundle(
        "timestamps",
        '{"signedTimestamp":"AA=="}',
        '"publicKey":{},"timestampVerificationData":{"rfc3161Timestamps":[',
        "]}",
    ),
    _text("cosign's certificate", "blocks", lambda n: _PEM * n, _MAX_PEM // len(_PEM)),
    _text("cosign's certificate", "lines", lambda n: _PEM[:28] + "MAA=\n" * n, _MAX_PEM // 5),
    _text("cosign's certificate", "spaces", lambda n: " " * n + "x", _MAX_PEM - 1),
    _text("cosign's certificate", "borders", lambda n: _PEM[:27] * n, _MAX_PEM // 27),
    _text("cosign's entry", "brackets", lambda n: '{"a":' * n, MAX_BUNDLE // 5, memory=32),
    _text(
        "checkpoint",
        "signatures",
        lambda n: f"{_NOTE}\n{_LINE * n}",
        MAX_CHECKPOINT // len(_LINE.encode()) - 4,
    ),
    _text("checkpoint", "lines", lambda n: f"{_NOTE}{'x' + chr(10)}" * n, MAX_CHECKPOINT // 80),
    _text(
        "checkpoint",
        "spaces in a signature",
        lambda n: f"{_NOTE}\n\u2014 {' ' * n}\n",
        MAX_CHECKPOINT - 200,
    ),
    _text(
        "checkpoint",
        "a long origin",
        lambda n: f"{'a - 1' * n}\n{_NOTE[12:]}\n{_LINE}",
        MAX_CHECKPOINT // 5 - 100,
    ),
    _root("logs", "tlogs", json.dumps(_LOG.trusted())),
    _root(
        "authorities",
        "certificateAuthorities",
        f'{{"certChain":{{"certificates":[{_CERTIFICATE}]}},"validFor":'
        '{"start":"2026-01-01T00:00:00Z"}}',
    ),
]
