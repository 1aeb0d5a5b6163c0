"""Shapes of what registries, token servers and configuration files send and say."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from urllib3._collections import HTTPHeaderDict

from containerd_lite.child import Ended, run_child
from containerd_lite.deadline import Deadline
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.document import MAX_DOCUMENT, Document
from containerd_lite.registry import (
    addresses,
    credentials,
    hosts,
    hosts_file,
    http_connection,
    http_errors,
    responses,
    session,
    tokens,
)
from containerd_lite.registry.challenges import parse_challenges
from containerd_lite.registry.destinations import Destinations, Url
from containerd_lite.registry.listing import ListLimits, next_page
from containerd_lite.registry.logins import helpers
from containerd_lite.registry.logins.auth_files import AuthFile
from containerd_lite.registry.pace import LeastRate
from containerd_lite.registry.redaction import Redactor
from tests.hostile.growth.measuring import Shape, repeating

#: The longest line of a header, and the most lines, that ``http.client`` accepts.
_LINE, _LINES = 65_500, 100
_BASE = Url.parse("https://registry.example/v2/app/tags/list")


def _header(
    reader: str,
    name: str,
    read: Callable[[Any], object],
    unit: str,
    before: str = "",
    after: str = "",
    **options: Any,
) -> Shape:
    """The shape of one line of a header."""
    # A pattern that is matched against a whole header takes some 200 bytes for each character.
    options = {"memory": 256, **options}
    return repeating(reader, name, read, unit, before=before, after=after, limit=_LINE, **options)


def _lines(
    reader: str, name: str, read: Callable[[Any], object], unit: str, **options: Any
) -> Shape:
    """The shape of a header that occurs as often as ``http.client`` accepts, in long lines."""
    return Shape(reader, name, lambda n: [unit * n] * _LINES, read, _LINE // len(unit), **options)


def _challenge(value: str) -> object:
    return parse_challenges([value])


def _link(value: str) -> object:
    return _links([value])


def _links(values: list[str]) -> object:
    return next_page(SimpleNamespace(header_list=lambda _: values, url=_BASE))  # type: ignore[arg-type]


def _warning(value: str) -> object:
    return session._WARNING.fullmatch(value.strip())


_CONTENT = Descriptor("application/octet-stream", "sha256:" + "0" * 64, 1000)


def _content_range(value: str) -> object:
    """Resume a download; the registry answers with a range."""
    response = SimpleNamespace(status=206, headers={"Content-Range": value}, length=None, url=_BASE)
    return responses.body_start(response, _CONTENT, 10)  # type: ignore[arg-type]


def _scopes(value: str) -> object:
    return tokens.merge_scopes(("repository:app:pull", value))


HEADERS = [
    _header("challenge", "parameters", _challenge, 'a="b",', "Bearer "),
    _header("challenge", "a long token", _challenge, "a"),
    _header("challenge", "a quote without an end", _challenge, "x", 'Bearer a="'),
    _header("challenge", "quotes without an end", _challenge, 'a="\\",', "Bearer "),
    _header("challenge", "backslashes", _challenge, "\\", 'Bearer a="'),
    _header("challenge", "escaped quotes", _challenge, '\\"', 'Bearer a="', '"'),
    _header("challenge", "blanks before an equals sign", _challenge, " ", "Bearer a", "!"),
    _header("challenge", "blanks after an equals sign", _challenge, "a= ", "Bearer "),
    _header("challenge", "schemes", _challenge, "a,", memory=96),
    _lines("challenge", "schemes in many headers", parse_challenges, "a,", memory=96),
    _lines("challenge", "parameters in many headers", parse_challenges, "a=b,", memory=48),
    _header("Link header", "links", _link, "<a>;rel=x,"),
    _header("Link header", "a link without an end", _link, "<"),
    _header("Link header", "targets without an end", _link, "<a"),
    _header("Link header", "quotes without an end", _link, '<>\\"'),
    _header("Link header", "quotes", _link, '<>"'),
    _header("Link header", "backslashes", _link, "\\", '<>"'),
    _header("Link header", "parameters", _link, ";a=b", "<a>"),
    _header("Link header", "blanks in parameters", _link, " ", "<a>;", "x"),
    _header("Link header", "blanks after names", _link, "a ", "<a>;"),
    _header("Link header", "a long target", _link, "a/../", "<", ">;rel=next"),
    _lines("Link header", "many headers", _links, '<>\\"'),
    _header("warning", "backslashes", _warning, "\\\\", '299 - "', "!"),
    _header("warning", "a long agent", _warning, "a", "299 "),
    _header("warning", "quotes", _warning, '299 - "', ""),
    _header("Content-Range", "digits", _content_range, "1", "bytes 10-999/"),
    _header("Content-Range", "ranges", _content_range, "10-999/1000,", "bytes "),
    _header("Content-Range", "blanks", _content_range, " \t", "bytes 10-", "999/1000"),
    _header("scope", "colons", _scopes, "a:", "", "!", memory=24),
    _header("scope", "actions", _scopes, "a,", "a:b:", "!", memory=48),
    _header("scope", "scopes", _scopes, "a:b:c ", memory=48),
    _header("scope", "distinct actions", lambda v: _scopes("a:b:" + v), "pull,push,", memory=48),
    _header("Retry-After", "digits", http_errors.retry_after, "1"),
    _header("Retry-After", "commas", http_errors.retry_after, ",", "Mon"),
    _header("Retry-After", "words", http_errors.retry_after, "a ", memory=24),
    _header("Retry-After", "colons", http_errors.retry_after, ":1", "Mon, 1 Jan 2026 1"),
    _header("Retry-After", "hyphens", http_errors.retry_after, "-1", memory=48),
]

# ---- URLs ------------------------------------------------------------------------------------


def _url(
    name: str, unit: str, before: str = "", after: str = "", limit: int = MAX_DOCUMENT
) -> Shape:
    """A URL in the JSON of a manifest."""
    return repeating("URL", name, Url.parse, unit, before=before, after=after, limit=limit)


URLS = [
    _url("letters of a host", "a", "https://"),
    _url("labels", "a.", "https://", "a/"),
    _url("marks above letters", "\u0315\u0300", "https://"),
    _url("compatibility characters", "\ufdfa", "https://"),
    _url("a long port", "1", "https://a:"),
    _url("zeros of a port", "0", "https://a:", "80/"),
    _url("colons", ":", "https://a"),
    _url("brackets", "[", "https://"),
    _url("an address in brackets", ":", "https://[", "]/"),
    _url("zeros in brackets", "0:", "https://[", "]/"),
    _url("user names", "@", "https://"),
    _url("control characters", "\t", "https://a/"),
    _url("slashes", "/", "https://a"),
    _url("question marks", "?", "https://a/"),
    _url("a long scheme", "a", "", "://a"),
    repeating("redirect", "dots", _BASE.join, "../", limit=_LINE),
    repeating("redirect", "slashes", _BASE.join, "/", limit=_LINE),
    repeating("redirect", "letters", _BASE.join, "a/b/", limit=_LINE),
    repeating("redirect", "semicolons", _BASE.join, ";", limit=_LINE),
    repeating(
        "redirect",
        "marks above letters",
        _BASE.join,
        "\u0315\u0300",
        before="//a",
        limit=MAX_DOCUMENT,
    ),
    repeating("host", "labels", lambda text: hosts.own_host(text), "a.", after="a", limit=64 << 10),
    repeating("host", "numbers", addresses.is_loopback, "1.", after="1", limit=64 << 10),
]

# ---- files -----------------------------------------------------------------------------------


def _hosts(body: str) -> object:
    return hosts_file._HostsFile(Path("hosts.toml"), "registry.example", None).hosts(body.encode())


def _toml(name: str, unit: str, before: str = "", after: str = "", **options: Any) -> Shape:
    return repeating(
        "hosts.toml",
        name,
        _hosts,
        unit,
        before=before,
        after=after,
        limit=64 << 10,
        **{"memory": 256, **options},
    )


def _numbered_toml(name: str, line: Callable[[int], str], **options: Any) -> Shape:
    size = len(line(0))
    return Shape(
        "hosts.toml",
        name,
        lambda n: "".join(map(line, range(1000, 1000 + n))),
        _hosts,
        (64 << 10) // size - 1,
        **options,
    )


_FILE = AuthFile(Path("config.json"), repositories=False)


def _docker(body: bytes) -> object:
    return _FILE.parse(body, lambda config: credentials._find(config, _FILE, "docker.io"))


def _auths(name: str, item: str, **options: Any) -> Shape:
    size = len(item.replace("#", "0" * 7)) + 1
    options = {"is_table": True, **options}

    def make(n: int) -> bytes:
        items = ",".join(item.replace("#", f"{number:07}") for number in range(n))
        return f'{{"auths":{{{items}}}}}'.encode()

    return Shape("docker config", name, make, _docker, (MAX_DOCUMENT - 16) // size, **options)


def _run_helper(body: bytes) -> object:
    """Run a program that writes what it reads."""
    return run_child(
        ["/bin/cat"],
        "it",
        input=body,
        environment={},
        deadline=Deadline(None),
        max_output=1 << 20,
    )


def _helper(body: bytes) -> object:
    try:
        return helpers._parse_output(Ended(0, body, b""))
    except helpers._HelperError:
        return None


FILES = [
    _toml("blank lines", "\n"),
    _toml("comments", "#\n"),
    _toml("a long text", "x", 'server = "', '"'),
    _toml("escapes", "\\t", 'server = "', '"'),
    _toml("a text of several lines", "x\n", 'server = """', '"""'),
    _toml("quotes in a text of several lines", '""\\\n', 'server = """', '"""'),
    _toml("a long number", "1", "a = "),
    _toml("underscores", "1_", "a = ", "1"),
    _toml("lists in lists", "[", "a = "),
    _toml("tables in tables", "{a=", "a = "),
    _toml("an array", "1,", "a = [", "]", memory=24),
    Shape(
        "hosts.toml",
        "a key of many parts",
        lambda n: "a." * n + "a = 1\n",
        _hosts,
        hosts_file._MAX_DOTS,
        memory=4096,
    ),
    _toml("blanks", " ", "a", "= 1"),
    _toml("a long duration", "1m", 'dial_timeout = "', '!"', memory=256),
    _toml("a duration of many digits", "1", 'dial_timeout = "', 's"'),
    _numbered_toml("lines of many dots", lambda n: f"k{n}." + "a." * 254 + "a = 1\n", memory=1024),
    _numbered_toml("tables of many dots", lambda n: f"[k{n}." + "a." * 254 + "a]\n", memory=1024),
    _numbered_toml(
        "tables of many dots in one", lambda n: "[" + "a." * 254 + f"k{n}]\n", memory=256
    ),
    _numbered_toml("arrays of tables", lambda n: "[[a]]\n", memory=256),
    _numbered_toml("arrays of tables in arrays", lambda n: "[[a.a.a.a]]\n", memory=256),
    _numbered_toml("inline tables", lambda n: f"k{n} = {{a.b.c = 1}}\n", memory=256),
    _numbered_toml("hosts", lambda n: f'[host."https://h{n}"]\n', memory=256),
    _auths("logins of other hosts", '"#":{}', memory=48),
    _auths("logins of the same host", '"docker.io/#":{}', memory=64),
    _auths("logins that end in nothing", '"docker.io/#":{"auth":""}', memory=64),
    repeating(
        "docker config",
        "a long login",
        _docker,
        b"eHg6",
        before=b'{"auths":{"docker.io":{"auth":"',
        after=b'"}}}',
        limit=MAX_DOCUMENT,
    ),
    repeating(
        "helper",
        "a long secret",
        _helper,
        b"x",
        before=b'{"Username":"u","Secret":"',
        after=b'"}',
        limit=1 << 20,
    ),
    repeating("helper", "blanks", _helper, b" ", limit=1 << 20),
    repeating("helper", "output", _run_helper, b"x", limit=1 << 20),
]

# ---- bodies ----------------------------------------------------------------------------------


class _Socket:
    """A socket from which a whole response can be read."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))

    def settimeout(self, seconds: float) -> None:
        pass


def _response(data: bytes) -> int:
    """Read a whole response as the client does; return the size of its body."""
    request = http_connection.ActiveRequest(
        "registry.example", "/", Deadline(None), 30.0, LeastRate(0, 30.0), Destinations(), None
    )
    raw = http_connection.BoundedResponse(_Socket(data), method="GET")  # type: ignore[arg-type]
    raw.attach(_Socket(data), request)  # type: ignore[arg-type]
    try:
        raw.begin()
        HTTPHeaderDict(raw.msg.items()).getlist("a")
        buffer, total = memoryview(bytearray(1 << 16)), 0
        while count := raw.readinto(buffer):
            total += count
        return total
    except http_errors.TRANSPORT_FAULTS:
        return -1
    finally:
        raw.close()


def _wire(
    name: str,
    unit: bytes,
    before: bytes = b"",
    after: bytes = b"",
    limit: int | None = None,
    **options: Any,
) -> Shape:
    return repeating(
        "HTTP response", name, _response, unit, before=before, after=after, limit=limit, **options
    )


_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"


def _chunks(name: str, chunk: bytes, limit: int | None = None) -> Shape:
    """A body of equal chunks; of small ones, as many as a body may have."""
    limit = limit or len(chunk) * http_connection._FREE_CHUNKS
    return _wire(name, chunk, _CHUNKED, b"0\r\n\r\n", limit)


def _header_lines(line: Callable[[int], bytes]) -> Callable[[int], bytes]:
    def make(n: int) -> bytes:
        return _OK + b"".join(line(n) for _ in range(_LINES - 1)) + b"\r\n"

    return make


def _token(body: bytes) -> object:
    document = Document.parse(body, "the token")
    return tokens._lifetime(document), tokens._BEARER.fullmatch(document.text("token"))


def _page(body: bytes) -> object:
    return ListLimits("it").check(Document.parse(body, "it").texts("tags"))


def _error(body: bytes) -> object:
    return http_errors.error_codes(body)


def _redact_token(token: bytes) -> object:
    redactor = Redactor()
    redactor.add([token.decode()])
    return redactor.text("secret" * 40)


def _redact_text(text: bytes) -> object:
    redactor = Redactor()
    redactor.add(["secret-secret-secret" * 100])
    return redactor.text(text.decode())


def _json(
    reader: str,
    name: str,
    read: Callable[[Any], object],
    unit: bytes,
    before: bytes,
    after: bytes,
    limit: int,
    marks: int = 0,
    **options: Any,
) -> Shape:
    """A JSON body of at most ``limit`` bytes; ``marks`` of a unit count as values."""
    room = (limit - len(before) - len(after)) // len(unit)
    if marks:
        room = min(room, ((1 << 19) - 8) // marks)
    return Shape(reader, name, lambda n: before + unit * n + after, read, room, **options)


_MIB = 1 << 20
BODIES = [
    Shape(
        "HTTP response",
        "long lines of headers",
        _header_lines(lambda n: b"a: " + b"x" * n + b"\r\n"),
        _response,
        _LINE,
    ),
    Shape(
        "HTTP response",
        "folded lines",
        _header_lines(lambda n: b" " * n + b"x\r\n"),
        _response,
        _LINE,
    ),
    Shape(
        "HTTP response",
        "lines without a colon",
        _header_lines(lambda n: b"x" * n + b"\r\n"),
        _response,
        _LINE,
    ),
    Shape(
        "HTTP response",
        "carriage returns",
        _header_lines(lambda n: b"a:" + b"\r" * n + b"\r\n"),
        _response,
        _LINE,
        memory=96,
    ),
    _wire("a long status line", b"x", b"HTTP/1.1 200 ", limit=_LINE),
    _wire("interim responses", b"HTTP/1.1 100 Continue\r\n\r\n", b"", _OK + b"\r\n", limit=99 * 25),
    _chunks("chunks of one byte", b"1\r\nx\r\n"),
    _chunks("chunks of 64 bytes", b"40\r\n" + b"x" * 64 + b"\r\n", 16 << 20),
    _chunks("chunks with extensions", b"1;" + b"x" * 1000 + b"\r\nx\r\n"),
    _wire("a long extension", b"x", _CHUNKED + b"1;", b"\r\nx\r\n0\r\n\r\n", limit=_LINE),
    _wire("zeros of a chunk's size", b"0", _CHUNKED, b"1\r\nx\r\n0\r\n\r\n", limit=_LINE),
    _wire("trailers", b"a: b\r\n", _CHUNKED + b"0\r\n", b"\r\n", limit=99 * 6),
    _wire("a plain body", b"x", _OK + b"\r\n", limit=64 << 20),
    _json("token", "a long token", _token, b"x", b'{"token":"', b'"}', _MIB),
    _json("token", "equals signs", _token, b"=", b'{"token":"a', b'!"}', _MIB),
    _json("token", "a long time", _token, b"1", b'{"issued_at":"2026-01-01T00:00:00.', b'"}', _MIB),
    _json("token", "a long lifetime", _token, b"1", b'{"expires_in":', b"}", _MIB),
    _json("error body", "errors", _error, b"{},", b'{"errors":[', b"{}]}", _MIB, memory=96),
    _json("error body", "a long message", _error, b"s", b'{"errors":[{"message":"', b'"}]}', _MIB),
    _json("secrets", "a long token", _redact_token, b"a%", b"", b"", tokens._MAX_TOKEN, memory=256),
    _json("secrets", "parts of a token", _redact_text, b"secret-se", b"", b"", 1 << 14, memory=256),
    _json("error body", "HTML", _error, b"<p>", b"", b"", _MIB),
    _json(
        "list of tags", "tags", _page, b'"v1",', b'{"tags":[', b'"v1"]}', MAX_DOCUMENT, 1, memory=32
    ),
]

REGISTRIES = [*HEADERS, *URLS, *FILES, *BODIES]
