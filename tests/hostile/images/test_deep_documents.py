"""JSON that is nested so deeply that Python's own limit of recursion would end the parser."""

from __future__ import annotations

import sys
import time

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.document import Document

DEEP = [
    b'{"a":' + b"[" * 100_000,
    b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    b'{"a":[' * 100_000 + b"]}" * 100_000,
    b'{"a":' + b'["]]]]",' * 100_000 + b"1" + b"]" * 100_000 + b"}",
    b'{"a":' + b'["\\"]]]]\\\\",' * 100_000 + b"1" + b"]" * 100_000 + b"}",
]


@pytest.mark.parametrize("number", range(len(DEEP)))
def test_a_document_is_refused_before_the_limit_of_recursion(number: int) -> None:
    """Near the limit, the clean-up of any other object would fail as well."""
    start = time.thread_time()
    with pytest.raises(InvalidArgument, match="nested too deeply") as told:
        Document.parse(DEEP[number], "x")
    assert time.thread_time() - start < 2
    assert told.value.__context__ is None  # a RecursionError would be here


@pytest.mark.parametrize("text", ["[[[[[", "{{{{{", "[}{]", '\\"[[[', "]]]}}}"])
def test_brackets_in_strings_are_no_levels(text: str) -> None:
    body = b'{"a":[%s]}' % b",".join([b'["%s"]' % text.encode()] * 1000)
    found = Document.parse(body, "x").fields["a"]
    assert isinstance(found, list)
    assert len(found) == 1000


def test_as_deep_as_allowed() -> None:
    body = b'{"a":' + b"[" * 199 + b"]" * 199 + b"}"
    assert sys.getrecursionlimit() > 400
    Document.parse(body, "x")
    many = b'{"a":[%s]}' % b",".join([b"[" * 198 + b"]" * 198] * 1000)
    Document.parse(many, "x")
    with pytest.raises(InvalidArgument, match="nested too deeply"):
        Document.parse(many.replace(b"[[]]", b"[[[]]]", 1), "x")
