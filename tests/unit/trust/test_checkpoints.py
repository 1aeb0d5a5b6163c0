"""Checkpoints of transparency logs: signed notes, whose other signatures do not matter."""

from __future__ import annotations

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.trust.checkpoints import LogCheckpoint
from tests.harness.transparency import b64, note_line

ROOT = b64(b"r" * 32)
SIGNATURE = note_line("log.example", b"hint", b"signature")
NOTE = f"log.example\n7\n{ROOT}\n\n{SIGNATURE}"


def test_a_checkpoint_is_read() -> None:
    found = LogCheckpoint.parse(NOTE)
    assert (found.origin, found.name, found.size, found.root) == (
        "log.example",
        "log.example",
        7,
        b"r" * 32,
    )
    assert found.signed_bytes == f"log.example\n7\n{ROOT}\n".encode()
    assert [(each.name, each.hint, each.signature) for each in found.signatures] == [
        ("log.example", b"hint", b"signature")
    ]
    assert not found.has_tree_id


def test_the_origin_of_rekor_1_has_the_id_of_a_tree() -> None:
    found = LogCheckpoint.parse(NOTE.replace("log.example\n", "log.example - 123\n", 1))
    assert found.has_tree_id
    assert (found.origin, found.name) == ("log.example - 123", "log.example")


@pytest.mark.parametrize("name", ["log.example - x", "log.example -1", "a b - 1", "- 1"])
def test_an_origin_without_the_id_of_a_tree_is_a_name(name: str) -> None:
    found = LogCheckpoint.parse(NOTE.replace("log.example\n", f"{name}\n", 1))
    assert (found.has_tree_id, found.name) == (False, name)


def test_lines_after_the_root_are_signed_and_otherwise_ignored() -> None:
    text = NOTE.replace(f"{ROOT}\n", f"{ROOT}\nTimestamp: 1\nmore\n", 1)
    assert LogCheckpoint.parse(text).signed_bytes.endswith(b"\nTimestamp: 1\nmore\n")


def test_signatures_of_witnesses_are_read_in_any_order() -> None:
    witness = note_line("witness.example/name", b"wwww", b"x" * 72)
    for text in (NOTE + witness, NOTE.replace(SIGNATURE, witness + SIGNATURE)):
        assert len(LogCheckpoint.parse(text).signatures) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n",
        NOTE[:-1],  # no newline at the end
        NOTE + "\n",
        NOTE.replace("\n\n", "\n"),
        NOTE.replace(SIGNATURE, ""),
        NOTE.replace("7\n", "", 1),
        NOTE.replace("log.example\n", "", 1),
        NOTE.replace("log.example\n", "\n", 1),
        NOTE.replace(f"{ROOT}\n", "", 1),
        NOTE.replace(f"{ROOT}\n", f"{ROOT}\n\nmore\n", 1),
        NOTE.replace("7\n", "-7\n", 1),
        NOTE.replace("7\n", "07\n", 1),
        NOTE.replace("7\n", "+7\n", 1),
        NOTE.replace("7\n", "7 \n", 1),
        NOTE.replace("7\n", "\u0667\n", 1),  # a digit, but not an ASCII digit
        NOTE.replace("7\n", f"{2**63}\n", 1),
        NOTE.replace("7\n", f"{'9' * 400}\n", 1),
        NOTE.replace(ROOT, b64(b"r" * 31)),
        NOTE.replace(ROOT, ROOT.rstrip("=")),
        NOTE.replace("log.example\n", "log\texample\n", 1),
        NOTE.replace("\n7\n", "\r\n7\r\n", 1),
        NOTE.replace("\u2014 ", "- "),
        NOTE.replace("\u2014 ", "\u2014  "),
        NOTE.replace(SIGNATURE, note_line("log+example", b"hint", b"signature")),
        NOTE.replace(SIGNATURE, note_line("log.example", b"hint", b"")),
        NOTE.replace(SIGNATURE, SIGNATURE.replace(" log", " log ")),
        NOTE.replace(SIGNATURE, SIGNATURE.replace("=", "")),
        NOTE + SIGNATURE * 64,
        NOTE.replace(f"{ROOT}\n", f"{ROOT}\n{'x' * (64 << 10)}\n", 1),
    ],
)
def test_what_is_not_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="the checkpoint"):
        LogCheckpoint.parse(text)
