"""``hosts.toml`` and Docker's folders of certificates: what is found, and what is said of bad ones.

Where it matters, what containerd does is in its core/remotes/docker/config/hosts.go.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from traceback import format_exception

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument
from containerd_lite.registry.hosts import CAPABILITIES, Host, TlsFiles, own_host
from containerd_lite.registry.hosts_file import find_hosts

pytestmark = pytest.mark.interpreter

HUB = "https://registry-1.docker.io"
LOCAL = "127.0.0.1:5000"
MIRROR = "[host.'https://m.example']\n"
TLS = "skip_verify = true\n"


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("utf-8", "surrogateescape"))


def read(
    folder: Path, text: str, namespace: str = "docker.io", plain_http: bool | None = None
) -> tuple[Host, ...]:
    write(folder, {"_default/hosts.toml": text, "_default/notes": ""})
    return find_hosts(namespace, [folder], plain_http)


def bases(hosts: tuple[Host, ...]) -> str:
    """The URLs, without the usual path in their ends."""
    return " ".join(str(host.base).removesuffix("/v2/") for host in hosts)


@pytest.mark.parametrize(
    ("namespace", "text", "expected"),
    [
        ("docker.io", "# nothing", HUB), ("docker.io", "server = ''", HUB),
        ("docker.io", MIRROR, f"https://m.example {HUB}"),
        ("docker.io", "server = 'https://docker.io'", "https://docker.io"),
        ("docker.io", "server = 'm.example:81'", "https://m.example:81"),
        ("docker.io", "server = 'http-cache.example'", "https://http-cache.example"),
        ("docker.io", "server = 'HTTPS://m.example'", "https://m.example"),
        ("docker.io", "server = 'https://[2001:db8::1]:81'", "https://[2001:db8::1]:81"),
        ("docker.io", "server = '[2001:db8::1]:81/a'", "https://[2001:db8::1]:81/a"),
        ("docker.io", "server = 'localhost:81'", "http://localhost:81"),
        ("docker.io", "server = '127.0.0.1:81/a'", "http://127.0.0.1:81/a"),
        ("docker.io", "server = '[::1]:81'", "http://[::1]:81"),
        ("docker.io", TLS + "server = '[::1]:81'", "https://[::1]:81"),
        ("docker.io", TLS + "server = 'http://m.example'", "http://m.example"),
        (LOCAL, "", f"http://{LOCAL}"), (LOCAL, "# nothing", f"http://{LOCAL}"),
        (LOCAL, "ca = 'a'", f"https://{LOCAL}"), (LOCAL, "client = 'a'", f"https://{LOCAL}"),
        (LOCAL, "skip_verify = false", f"https://{LOCAL}"),
        (LOCAL, "dial_timeout = '1s'", f"http://{LOCAL}"),
        ("[::1]:5000", MIRROR, "https://m.example http://[::1]:5000"),
        ("q.io", MIRROR + TLS, "https://m.example https://q.io"),
        ("q.io", "override_path = true", "https://q.io"),
        ("q.io", "[host.z]\n[host.a]\n[host.z.header]\n[host.'M:1/b']",
         "https://z https://a https://m:1/b https://q.io"),
        ("q.io", "[host.b.header]\n[host]\na = {}\n[host.b]", "https://b https://a https://q.io"),
        # Keys that are not known are passed over, as by containerd; so are hosts of hosts.
        ("q.io", "x = 3\n[host.a]\ny.z = [1]\nserver = 3\n[new]\nx = 1979-05-27\n[host.a.host.b]",
         "https://a https://q.io"),
    ],
)  # fmt: skip
def test_hosts_come_in_the_files_order_and_the_server_last(
    tmp_path: Path, namespace: str, text: str, expected: str
) -> None:
    found = read(tmp_path, text, namespace)
    assert bases(found) == expected
    assert {host.namespace for host in found} == {namespace}


@pytest.mark.parametrize(
    ("url", "override", "expected"),
    [
        ("https://a", False, "/v2/"), ("https://a/", False, "/v2/"), ("https://a", True, "/"),
        ("https://a/", True, "/"), ("https://a/v2", False, "/v2/"), ("https://a/v2", True, "/v2/"),
        ("https://a/v2/", False, "/v2/"), ("https://a/us", False, "/us/v2/"),
        ("https://a/us/", True, "/us/"), ("https://a/v2/us", False, "/v2/us/v2/"),
        ("https://a/v2/us", True, "/v2/us/"), ("https://a/xv2", False, "/xv2/v2/"),
        ("https://a//us///v2//", False, "/us/v2/"), ("https://a/us/./x/../v2", False, "/us/v2/"),
        ("https://a/../../us", True, "/us/"), ("https://a/%20/@b", True, "/%20/@b/"),
        ("a/us", True, "/us/"),
    ],
)  # fmt: skip
def test_the_path_ends_in_v2_unless_it_is_overridden(
    tmp_path: Path, url: str, override: bool, expected: str
) -> None:
    said = f"override_path = {str(override).lower()}\n"
    mirror, server = read(tmp_path, f"server = '{url}'\n{said}[host.'{url}']\n{said}")
    assert mirror.base == server.base
    assert mirror.base.target == expected
    assert mirror.url("x/y").target.startswith(f"{expected}x/y")


@pytest.mark.parametrize(
    ("namespace", "text", "plain_http", "expected"),
    [
        ("r:5000", "", True, "http://r:5000"), ("r:5000", TLS, True, "http://r:5000"),
        ("r:5000", MIRROR, True, "https://m.example http://r:5000"),
        ("r:5000", "server = 'r:5000'", True, "http://r:5000"),
        ("r:5000", "server = 'https://r:5000'", True, "https://r:5000"),
        ("r:5000", "server = 'other:5000'", True, "https://other:5000"),
        ("r:5000", "[host.'other:5000']", True, "https://other:5000 http://r:5000"),
        (LOCAL, "", False, f"https://{LOCAL}"),
        (LOCAL, f"server = '{LOCAL}'", False, f"https://{LOCAL}"),
        (LOCAL, f"server = 'http://{LOCAL}'", False, f"http://{LOCAL}"),
        (LOCAL, "[host.'localhost:1']", False, f"http://localhost:1 https://{LOCAL}"),
    ],
)  # fmt: skip
def test_plain_http_is_of_the_registry_itself_where_the_file_names_no_scheme(
    tmp_path: Path, namespace: str, text: str, plain_http: bool, expected: str
) -> None:
    assert bases(read(tmp_path, text, namespace, plain_http)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", CAPABILITIES), ("capabilities = []", CAPABILITIES),
        ("capabilities = ['pull']", {"pull"}),
        ("capabilities = ['Pull', 'RESOLVE', 'pull']", {"pull", "resolve"}),
        ("capabilities = ['push', 'referrers']", {"push", "referrers"}),
    ],
)  # fmt: skip
def test_capabilities_are_of_hosts_that_are_named_as_in_containerd(
    tmp_path: Path, text: str, expected: set[str]
) -> None:
    mirror, own = read(tmp_path, f"{text}\n{MIRROR}{text}")
    assert mirror.capabilities == expected
    assert own.capabilities == CAPABILITIES
    (server,) = read(tmp_path, f"server = 'a'\n{text}")
    assert server.capabilities == expected


@pytest.mark.parametrize(
    ("text", "ca", "client"),
    [
        ("ca = 'a.crt'", ["a.crt"], []), ("ca = '/etc/a.crt'", ["/etc/a.crt"], []),
        ("ca = ['a.crt', '/etc/b.crt']", ["a.crt", "/etc/b.crt"], []), ("ca = []", [], []),
        ("client = 'c.pem'", [], [("c.pem", None)]),
        ("client = ['c.pem', '/d.pem']", [], [("c.pem", None), ("/d.pem", None)]),
        ("client = [['c.cert', '/k/c.key']]", [], [("c.cert", "/k/c.key")]),
        ("client = [['c', 'k'], ['both', '']]", [], [("c", "k"), ("both", None)]),
        ("client = [['c', 'k'], 'both']\nca = 'a'", ["a"], [("c", "k"), ("both", None)]),
    ],
)  # fmt: skip
def test_files_of_tls_lie_beside_the_file_or_where_they_say(
    tmp_path: Path, text: str, ca: list[str], client: list[tuple[str, str | None]]
) -> None:
    beside = tmp_path / "_default"
    pairs = tuple((beside / cert, beside / key if key else None) for cert, key in client)
    expected = TlsFiles(tuple(beside / name for name in ca), pairs)
    assert [host.tls for host in read(tmp_path, f"{text}\n{MIRROR}{text}")] == [expected] * 2


def test_a_relative_folder_gives_files_that_stay_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"certs.d/_default/hosts.toml": "ca = 'a.crt'"})
    monkeypatch.chdir(tmp_path)
    (own,) = find_hosts("quay.io", ["certs.d"])
    assert own.tls.ca == (tmp_path / "certs.d/_default/a.crt",)


def test_verification_is_skipped_where_the_file_says_so_and_nowhere_else(tmp_path: Path) -> None:
    found = read(tmp_path, f"{MIRROR}{TLS}[host.other]\nskip_verify = false")
    assert [host.tls.skip_verify for host in found] == [True, False, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()), ("x-a = '1'", (("x-a", "1"),)), ("x-a = []", ()),
        ("X-A = ['1', '2']\nx-b = ''", (("X-A", "1"), ("X-A", "2"), ("x-b", ""))),
        ("Authorization = 'Basic YTpi'", (("Authorization", "Basic YTpi"),)),
        ("x-a = 'a\tb c~'", (("x-a", "a\tb c~"),)),
        ("server = '1'\nca = '2'", (("server", "1"), ("ca", "2"))),
    ],
)  # fmt: skip
def test_headers(tmp_path: Path, text: str, expected: tuple[tuple[str, str], ...]) -> None:
    found = read(tmp_path, f"[header]\n{text}\n[host.a.header]\n{text}")
    assert [host.headers for host in found] == [expected] * 2
    assert "Basic" not in repr(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None), ("0", None), ("0s", None), ("10s", 10), ("+1.5s", 1.5), ("1m30s", 90),
        ("500ms", 0.5), ("1h", 3600), ("2h", 3600), (".5m", 30), ("1.s2ms", 1.002), ("30s1m", 90),
        ("250us", 0.00025), ("250\u00b5s", 0.00025), ("250\u03bcs", 0.00025), ("1000ns", 0.000001),
        ("9" * 400 + "h", 3600),
    ],
)  # fmt: skip
def test_dial_timeout_is_a_go_duration(tmp_path: Path, text: str, expected: float | None) -> None:
    host, own = read(tmp_path, f"{MIRROR}dial_timeout = '{text}'")
    assert host.dial_timeout == (None if expected is None else pytest.approx(expected))
    assert own.dial_timeout is None


@pytest.mark.parametrize(
    ("namespace", "names", "expected"),
    [
        (LOCAL, [f"127.0.0.1_5000_ {LOCAL} _default"], "0 127.0.0.1_5000_"),
        (LOCAL, [f"{LOCAL} _default"], f"0 {LOCAL}"), (LOCAL, ["127.0.0.1 _default"], "0 _default"),
        (LOCAL, ["127.0.0.1_5001_ 127.0.0.1"], ""), ("docker.io", ["", ""], ""),
        ("[::1]:5000", ["[::1]_5000_ [::1]:5000"], "0 [::1]_5000_"),
        ("[::1]:5000", ["[::1]:5000 _default"], "0 [::1]:5000"),
        ("[::1]", ["[::1] _default [:_1]_"], "0 [::1]"),
        ("docker.io", ["docker.io _default"], "0 docker.io"),
        ("docker.io", ["registry-1.docker.io _default"], "0 _default"),
        ("docker.io", ["quay.io", "docker.io"], "1 docker.io"),
        ("docker.io", ["docker.io", "docker.io"], "0 docker.io"),
        ("docker.io", ["_default", "docker.io"], "0 _default"),
    ],
)  # fmt: skip
def test_the_first_folder_that_is_there_counts(
    tmp_path: Path, namespace: str, names: list[str], expected: str
) -> None:
    for place, inside in enumerate(names):
        for name in inside.split():
            text = f"[header]\nfrom = '{place} {name}'"
            write(tmp_path, {f"{place}/{name}/hosts.toml": text})
    (found,) = find_hosts(namespace, [tmp_path / str(place) for place in range(len(names))])
    assert dict(found.headers).get("from", "") == expected


@pytest.mark.parametrize("plain_http", [None, True, False])
def test_without_folders_there_is_the_registry_itself(
    tmp_path: Path, plain_http: bool | None
) -> None:
    expected = (own_host(LOCAL, plain_http),)
    assert find_hosts(LOCAL, plain_http=plain_http) == expected
    assert find_hosts(LOCAL, [tmp_path / "none", str(tmp_path)], plain_http) == expected


@pytest.mark.parametrize(
    "namespace",
    ["..", ".", "", "../x", "x/..", "/etc", "x/../..", "..\0", "a b", "[../]:1", "[1:/x]", "u@x"],
)
def test_a_namespace_that_is_no_host_is_refused(tmp_path: Path, namespace: str) -> None:
    write(tmp_path, {"hosts.toml": MIRROR, "certs.d/x": "", "x/hosts.toml": MIRROR})
    with pytest.raises(InvalidArgument, match="not the host of a registry"):
        find_hosts(namespace, [tmp_path / "certs.d"])


@settings(deadline=None)
@given(st.text(st.sampled_from("./\\:[]_1a~%\0\n@?#"), max_size=12) | st.text())
def test_no_namespace_leads_out_of_the_folder_or_to_another_error(namespace: str) -> None:
    with TemporaryDirectory() as scratch:
        for name in ("", "a/", "1/", "a/1/"):
            write(Path(scratch), {f"{name}hosts.toml": MIRROR})
        with suppress(InvalidArgument):
            (own,) = find_hosts(namespace, [Path(scratch, "a/1")])
            assert own == own_host(namespace)


@pytest.mark.parametrize(
    ("names", "ca", "client"),
    [
        ("", "", ""), ("b.crt a.crt", "a b", ""), ("c.cert c.key", "", "c"),
        ("d.key d.cert a.crt c.cert c.key notes.txt a.pem", "a", "c d"),
        ("a.crt/inner b.cert/inner", "", ""), ("hosts.toml a.crt", "a", ""),
    ],
)  # fmt: skip
def test_certificates_as_docker_lays_them_out(
    tmp_path: Path, names: str, ca: str, client: str
) -> None:
    folder = tmp_path / LOCAL
    write(tmp_path, {"_default/hosts.toml": MIRROR})
    write(folder, {"notes": "", **dict.fromkeys(names.split(), "")})
    (found,) = find_hosts(LOCAL, [tmp_path / "none", tmp_path])
    assert found.tls.ca == tuple(folder / f"{name}.crt" for name in ca.split())
    pairs = ((folder / f"{name}.cert", folder / f"{name}.key") for name in client.split())
    assert found.tls.client == tuple(pairs)
    assert found.base.scheme == ("https" if ca or client else "http")
    (plain,) = find_hosts(LOCAL, [tmp_path], plain_http=True)
    assert (plain.base.scheme, plain.tls) == ("http", found.tls)


@pytest.mark.parametrize(("name", "partner"), [("c.cert", "c.key"), ("c.key", "c.cert")])
def test_a_certificate_or_a_key_alone_is_an_error(tmp_path: Path, name: str, partner: str) -> None:
    write(tmp_path / "quay.io", {name: "", "d.cert": "", "d.key": ""})
    with pytest.raises(InvalidArgument, match=rf"quay\.io/{name} .*Add {partner} to "):
        find_hosts("quay.io", [tmp_path])
    write(tmp_path / "quay.io", {"hosts.toml": "# beside which they are not looked at"})
    assert find_hosts("quay.io", [tmp_path]) == (own_host("quay.io"),)


#: The start of files, how they go on, and what is said of them; "canary" stands for a secret.
BAD = [
    ("canary = ", f"{'9' * 5000} | 1979-99-99 | 'canary\udc80'", "not valid TOML"),
    ("\n", "  canary\n | [canary]\n[canary] | \ufeffx\n", "not valid TOML (at line "),
    ("", "server = 'canary", "not valid TOML (at end of document)"),
    ("canary = ", "[" * 50_000, "nested too deeply"),
    ("canary = 1\n#", "x" * (64 << 10), "more than the 65536 bytes"),
    ("Server = ", "'canary'", "has an ambiguous field 'Server'"),
    (MIRROR, "CA = 'canary'", "host 'https://m.example' has an ambiguous field 'CA'"),
    (MIRROR, "ca = [['canary']]", "host 'https://m.example': ca is neither"),
    ("server = ", "['canary'] | 3 | true", "server is not a string"),
    ("server = 'https://", "canary:b@x' | canary@x/' | canary\\@x'", "is a URL with a user name"),
    ("server = 'canary", ":pass@x' | @'", "is a URL with a user name"),
    ("server = 'https://", "x?canary' | x/#canary' | x?'", "is a URL with a query or a fragment"),
    ("server = 'https:", "//' | ///canary' | canary' | //[x'", "is not an http or https URL"),
    ("server = 'https://", "x y/canary' | x/\u00e9canary' | x\u00e9'", "not an http or https URL"),
    ("server = '", "ftp://canary' | /canary' | x:99999' | ::1' | :1'", "not an http or https URL"),
    ("host = ", "'canary' | [{x = 'canary'}]", "host is not a table"),
    ("[host]\n", "x = 'canary'", "host 'x' is not a table"),
    ("[host]\n", "'u:canary@x' = 3", "host number 1 is not a table"),
    ("[host.'https://x?canary']\n", "ca = 3", "host number 1: ca is"),
    ("[host.a]\n", "[host.'https://canary@x']", "host number 2: host is a URL with a user name"),
    ("[host.'']\n", "x = 'canary'", "host '': host is not an http or https URL"),
    ("capabilities = ", "'canary' | [3] | {pull = 'canary'}", "capabilities is not"),
    ("capabilities = ", "['pull', 'canary'] | ['']", "capabilities has an unknown value"),
    ("ca = ", "3 | ['a', ['canary']] | {x = 'canary'}", "ca is neither"),
    ("ca = ", '[""] | "----\\ncanary" | "canary\\u0000" | ""', "ca is not the name of a file"),
    ("client = ", "3 | {x = 'canary'}", "client is neither"),
    ("client = ", "[3] | [['canary']] | [['canary', 'b', 'c']]", "client has an entry"),
    ("client = ", "[['canary', 3]] | [[['canary', 'b']]]", "client has an entry"),
    ("client = ", '[["", "canary"]] | "---\\ncanary" | ""', "client is not the name of a file"),
    ("skip_verify = ", "'canary' | 1", "skip_verify is not true or false"),
    ("server = 'a/v2'\n", "override_path = 'canary'", "override_path is not true or false"),
    ("dial_timeout = ", "10 | 1.5 | ['canary']", "dial_timeout is not a string"),
    ("dial_timeout = '", "10' | -1s' | 1s5' | 1d' | .s' | 1e3s' | \u0661s'", "is not a duration"),
    ("dial_timeout = '", "9" * 60_000 + "canary'", "dial_timeout is not a duration"),
    ("header = ", "'canary' | ['canary']", "header is not a table"),
    ("header.x = ", "{x = 'canary'} | 3 | ['canary', 3]", "is neither a string nor a list"),
    ("header.x = ", '["canary\\ny"] | "canary\\ry" | "canary\\u0000" | "\u20ac"', "printable"),
    ("header.'", "x: canary' = '' | \u00e9' = 'canary' | ' = 'canary'", "a key that is not"),
    ("header.", "Host = '' | CONTENT-Length = ''", "which only the client may set"),
    ("header.", "\"x\\ncanary\" = ''", "a key that is not"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [(start + text, expected) for start, texts, expected in BAD for text in texts.split(" | ")],
    ids=lambda text: text[:40],
)
def test_a_bad_file_is_named_with_its_key_and_a_remedy_and_never_quoted(
    tmp_path: Path, text: str, expected: str
) -> None:
    with pytest.raises(InvalidArgument) as caught:
        read(tmp_path, text)
    assert str(tmp_path / "_default/hosts.toml") in caught.value.message
    assert expected in caught.value.message
    assert caught.value.remedy
    assert "canary" not in "".join(format_exception(caught.value))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert len(read(tmp_path, MIRROR + "#" * ((64 << 10) - len(MIRROR)))) == 2  # the most
    write(tmp_path, {"b": "", "c/hosts.toml/x": ""})
    (tmp_path / "loop").symlink_to("loop")
    for name, folder in (("b", ""), ("c", ""), ("loop", ""), ("x" * 300, ""), ("a", "\0")):
        with pytest.raises(InvalidArgument, match=f"{name}.* cannot be read") as caught:
            find_hosts(name, [tmp_path / folder])
        assert caught.value.remedy


_KEYS = ["server", "host", "capabilities", "ca", "client", "skip_verify", "header", "dial_timeout"]
_NAMES = st.sampled_from([*_KEYS, "override_path", "https://a/b", "x", "HOST"]).map(json.dumps)
_WORDS = st.sampled_from(["pull", "a.crt", "https://x/v2", "[::1", "1m", "u:p@x", "", "\r\n"])
_TEXTS = (_WORDS | st.text(st.characters(max_codepoint=0xD7FF), max_size=8)).map(json.dumps)
_VALUES = st.recursive(
    _TEXTS | st.sampled_from(["true", "3", "-1.5", "inf", "1979-05-27", "07:32:00"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda items: f"[{', '.join(items)}]")
        | st.tuples(_NAMES, inner).map(lambda pair: f"{{{' = '.join(pair)}}}")
    ),
)
_FILES = st.dictionaries(_NAMES, _VALUES).map(lambda d: "\n".join(map(" = ".join, d.items())))


@settings(deadline=None)
@given(st.binary().map(lambda body: body.decode("utf-8", "surrogateescape")) | st.text() | _FILES)
def test_no_file_raises_anything_but_invalid_argument(text: str) -> None:
    with TemporaryDirectory() as scratch, suppress(InvalidArgument):
        for host in read(Path(scratch), text):
            assert host.base.target.endswith("/")
            assert host.capabilities <= CAPABILITIES
