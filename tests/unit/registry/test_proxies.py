"""Which proxy is taken, and that it is told what it must know and nobody else what it knows."""

from __future__ import annotations

import gc
import logging
import select
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from containerd_lite.errors import (
    Cancelled,
    InvalidArgument,
    RegistryError,
    RegistryUnavailable,
)
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.interrupt import Interrupt
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations, Url
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.proxies import Proxies
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.registry_access import RegistryOptions
from tests.harness.tls import Authority, server_context
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, TARGET, Uploads, manifest
from tests.unit.registry.scripted import Request, Scripted, challenge, reply
from tests.unit.registry.test_redirects import host_level

pytestmark = pytest.mark.interpreter

#: A host that only the proxy knows.
NAME = "registry.test"
REF = Reference.parse(f"{NAME}/app:v1")
CANARY = "canary-7f3a"
#: What the proxy is told of ``m@e`` and the canary (RFC 7617).
PROXY_BASIC = Credentials("m@e", CANARY).basic()
#: Against hanging (seconds).
PATIENCE = 5.0


class Handler(BaseHTTPRequestHandler):
    """One connection to the proxy: requests passed on whole, or a tunnel."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE
    server: Proxy

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _refused(self) -> bool:
        self.server.asked.append((self.command, self.path))
        self.server.told.append(self.headers.get("Proxy-Authorization", ""))
        if self.server.wanted in ("", self.server.told[-1]):
            return False
        self.send_response(407, "who is there")
        self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
        self.send_header("Content-Length", "0")
        self.end_headers()
        return True

    def _pass_on(self) -> None:
        if self._refused():
            return
        parts = urlsplit(self.path)
        upstream = HTTPConnection(self.server.routes[parts.netloc], timeout=PATIENCE)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        headers = {k: v for k, v in self.headers.items() if not k.lower().startswith("proxy-")}
        target = parts._replace(scheme="", netloc="").geturl()
        upstream.request(self.command, target, body or None, headers)
        answer = upstream.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)
        upstream.close()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def do_CONNECT(self) -> None:
        if self._refused():
            return
        host, _, port = self.server.routes[self.path].partition(":")
        with socket.create_connection((host, int(port)), PATIENCE) as upstream:
            self.send_response(200)
            self.end_headers()
            self._relay(upstream)
        self.close_connection = True

    def _relay(self, upstream: socket.socket) -> None:
        others = {self.connection: upstream, upstream: self.connection}
        with suppress(OSError):
            while True:
                for end in select.select(list(others), [], [], PATIENCE)[0]:
                    came = end.recv(65536)
                    while isinstance(end, ssl.SSLSocket) and end.pending():
                        came += end.recv(end.pending())
                    if not came:
                        return
                    others[end].sendall(came)


class Proxy(ThreadingHTTPServer):
    """A forward proxy on the loopback; ``routes`` lead from names to addresses."""

    daemon_threads = False

    def __init__(
        self, routes: dict[str, str], wanted: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "https" if tls else "http"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.routes = routes
        #: The ``Proxy-Authorization`` without which it refuses.
        self.wanted = wanted
        self.asked: list[tuple[str, str]] = []
        #: What it was told of who asks, request by request.
        self.told: list[str] = []

    def url(self, user: str = "") -> str:
        return f"{self.scheme}://{f'{user}@' if user else ''}127.0.0.1:{self.server_address[1]}"


@contextmanager
def proxying(
    routes: dict[str, str], wanted: str = "", tls: ssl.SSLContext | None = None
) -> Iterator[Proxy]:
    with Proxy(routes, wanted, tls) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join(PATIENCE)


ME = f"m%40e:{CANARY}"


@pytest.fixture
def proxy(server: Scripted) -> Iterator[Proxy]:
    """Leads to the scripted server, once it is told who asks."""
    with proxying({NAME: server.host}, PROXY_BASIC) as found:
        yield found


def test_plain_requests_are_told_to_the_proxy_whole(server: Scripted, proxy: Proxy) -> None:
    server.on("HEAD", TAGGED, manifest())
    server.on("GET", BLOB_PATH, reply(200, BLOB))
    with Registry(NAME, plain_http=True, proxy=proxy.url(ME)) as registry:
        assert registry.resolve(REF) == TARGET
        with registry.open_blob(REF, LAYER) as reader:
            assert reader.readall() == BLOB
    paths = [("HEAD", f"http://{NAME}{TAGGED}"), ("GET", f"http://{NAME}{BLOB_PATH}")]
    assert proxy.asked == paths
    assert [request.headers["host"] for request in server.requests] == [NAME, NAME]


def test_uploads_go_through_the_proxy(server: Scripted, proxy: Proxy) -> None:
    uploads = Uploads(server)
    with Registry(NAME, plain_http=True, proxy=proxy.url(ME)) as registry:
        registry.upload_blob(REF, LAYER, BLOB, chunk_size=4096)
    assert uploads.done == BLOB


def test_tls_goes_through_a_tunnel(tmp_path: Path) -> None:
    """And the proxy is told of its own credentials, the registry of its own, neither of both."""
    authority = Authority(tmp_path)
    context = server_context(authority.issue("server", names=[f"DNS:{NAME}"]), alpn=())
    basic = challenge('Basic realm="x"')
    with (
        Scripted(tls=context) as server,
        proxying({f"{NAME}:443": server.host}, PROXY_BASIC) as proxy,
        Registry(
            NAME,
            credentials=Credentials("you", "other"),
            tls=TlsFiles(ca=(authority.certificate,)),
            proxy=proxy.url(ME),
        ) as registry,
    ):
        server.on("HEAD", TAGGED, lambda r: manifest() if "authorization" in r.headers else basic)
        assert registry.resolve(REF) == TARGET
        assert proxy.asked == [("CONNECT", f"{NAME}:443")]
        assert proxy.told == [PROXY_BASIC]
        assert len(server.requests) == 2
        assert b"proxy-authorization" not in server.bytes_seen.lower()
        assert PROXY_BASIC.encode() not in server.bytes_seen


def test_a_certificate_is_looked_at_through_the_tunnel(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = server_context(authority.issue("server", names=["DNS:other.test"]), alpn=())
    with (
        Scripted(tls=context) as server,
        proxying({f"{NAME}:443": server.host}) as proxy,
        Registry(NAME, tls=TlsFiles(ca=(authority.certificate,)), proxy=proxy.url()) as registry,
        pytest.raises(RegistryUnavailable, match="certificate"),
    ):
        registry.resolve(REF)
    assert server.requests == []


def test_an_interrupt_ends_a_request_through_a_tls_proxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
    outer = server_context(authority.issue("proxy", names=["IP:127.0.0.1"]), alpn=())
    inner = server_context(authority.issue("server", names=[f"DNS:{NAME}"]), alpn=())
    interrupt = Interrupt()
    with (
        Scripted(tls=inner) as server,
        proxying({f"{NAME}:443": server.host}, tls=outer) as proxy,
        Registry(NAME, tls=TlsFiles(ca=(authority.certificate,)), proxy=proxy.url()) as registry,
    ):

        def silence(request: Request) -> Iterator[bytes]:
            interrupt.set()
            server.closing.wait(2 * PATIENCE)
            yield b""

        server.on("HEAD", TAGGED, silence)
        began = time.monotonic()
        with interrupt.watching(), pytest.raises(Cancelled):
            registry.resolve(REF)
        assert time.monotonic() - began < PATIENCE


def test_redirects_go_through_the_proxy_too(server: Scripted, proxy: Proxy) -> None:
    proxy.routes["store.test"] = server.host
    server.on("GET", BLOB_PATH, reply(307, Location="http://store.test/x?sig=1"))
    server.on("GET", "/x", reply(200, BLOB))
    with (
        Registry(NAME, plain_http=True, proxy=proxy.url(ME)) as registry,
        registry.open_blob(REF, LAYER) as reader,
    ):
        assert reader.readall() == BLOB
    assert proxy.asked[-1] == ("GET", "http://store.test/x?sig=1")


def test_a_host_behind_a_proxy_does_not_lead_to_this_machine(
    server: Scripted, proxy: Proxy
) -> None:
    server.on("GET", BLOB_PATH, reply(307, Location=f"{server.origin}/x"))
    with (
        Registry(NAME, plain_http=True, proxy=proxy.url(ME)) as registry,
        pytest.raises(RegistryError, match="private"),
    ):
        registry.open_blob(REF, LAYER)
    assert server.seen("GET", "/x") == []


def test_who_is_asked_without_the_proxy_is_not_told_its_credentials(
    server: Scripted, proxy: Proxy
) -> None:
    server.on("GET", BLOB_PATH, reply(307, Location=f"{server.origin}/x"))
    server.on("GET", "/x", reply(200, BLOB))
    network = Destinations(host_level, lambda host: [host])
    with (
        Registry(NAME, plain_http=True, proxy=proxy.url(ME), network=network) as registry,
        registry.open_blob(REF, LAYER) as reader,
    ):
        assert reader.readall() == BLOB
    assert len(proxy.asked) == 1
    assert b"proxy-" not in server.bytes_seen.lower()


def test_the_variables_name_the_proxy(
    server: Scripted, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "no_proxy", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", proxy.url(ME))
    server.on("HEAD", TAGGED, manifest())
    with Registry(NAME, plain_http=True) as registry:
        assert registry.resolve(REF) == TARGET
    assert len(proxy.asked) == 1


def text_of(error: BaseException, caplog: pytest.LogCaptureFixture) -> str:
    return "".join(traceback.format_exception(error)) + repr(error) + caplog.text


@pytest.mark.parametrize("plain", [True, False])
def test_a_proxy_that_refuses(proxy: Proxy, plain: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    user = f"you:{CANARY}"
    with (
        Registry(NAME, plain_http=plain, proxy=proxy.url(user)) as registry,
        pytest.raises(RegistryUnavailable, match="Check the proxy") as caught,
    ):
        registry.resolve(REF)
    text = text_of(caught.value, caplog)
    assert len(proxy.told) == 1
    assert CANARY not in text
    assert Credentials("you", CANARY).basic().removeprefix("Basic ") not in text
    assert NAME in str(caught.value)
    del caught
    gc.collect()  # a connection that was left open would say so now


@pytest.mark.parametrize("plain", [True, False])
def test_a_proxy_that_is_not_there(plain: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with (
        Registry(NAME, plain_http=plain, proxy=f"http://{ME}@127.0.0.1:{port}") as registry,
        pytest.raises(RegistryUnavailable) as caught,
    ):
        registry.resolve(REF)
    assert CANARY not in text_of(caught.value, caplog)


@pytest.mark.parametrize(
    "url",
    ["socks5://me:{}@127.0.0.1", "ftp://{}", "http://me:{}@[::1", "http://{}:99999",
     "http://me:{}@127.0.0.1:port"],
)  # fmt: skip
def test_urls_that_no_proxy_has(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for kind in (partial(Registry, NAME), RegistryResolver, RegistryOptions):
        with pytest.raises(InvalidArgument, match=r"^proxy= is not an http") as caught:
            kind(proxy=url.format(CANARY))
        assert CANARY not in text_of(caught.value, caplog)


# Which proxy


def find(url: str, explicit: str | None = None, **environ: str) -> str | None:
    return Proxies(explicit, environ).find(Url.parse(url))


P, Q = "http://p.test:1", "http://q.test:2"


@pytest.mark.parametrize(
    ("url", "environ", "found"),
    [
        ("http://r.test/", {}, None),
        ("http://r.test/", {"http_proxy": P}, P),
        ("http://r.test/", {"HTTP_PROXY": P}, P),
        ("http://r.test/", {"http_proxy": P, "HTTP_PROXY": Q}, P),
        ("http://r.test/", {"http_proxy": "", "HTTP_PROXY": Q}, Q),
        ("http://r.test/", {"https_proxy": P, "HTTPS_PROXY": Q}, None),
        ("https://r.test/", {"https_proxy": P, "HTTPS_PROXY": Q}, P),
        ("https://r.test/", {"HTTPS_PROXY": " q.test:2 "}, Q),
        ("https://r.test/", {"http_proxy": P, "HTTP_PROXY": P}, None),
        # A header of a CGI program's client must not choose the proxy (CVE-2016-5386).
        ("http://r.test/", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
        ("http://r.test/", {"http_proxy": Q, "HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, Q),
        ("https://r.test/", {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
        # What is on this machine is asked for directly.
        ("http://127.0.0.1:5000/", {"HTTP_PROXY": P}, None),
        ("http://127.8.9.1/", {"HTTP_PROXY": P}, None),
        ("http://[::1]:5000/", {"HTTP_PROXY": P}, None),
        ("http://localhost:5000/", {"HTTP_PROXY": P}, None),
        ("http://LOCALHOST.:5000/", {"HTTP_PROXY": P}, None),
        ("http://a.localhost:5000/", {"HTTP_PROXY": P}, None),
        ("http://[::ffff:127.0.0.1]:5000/", {"HTTP_PROXY": P}, None),
        ("http://10.0.0.1/", {"HTTP_PROXY": P}, P),
    ],
)
def test_variables(url: str, environ: dict[str, str], found: str | None) -> None:
    assert find(url, None, **environ) == found


def test_one_that_is_given_is_for_all_and_none_is_none() -> None:
    for url in ("http://r.test/", "https://r.test/"):
        assert find(url, P, http_proxy=Q, https_proxy=Q, no_proxy="*") == P
        assert find(url, "", http_proxy=Q, https_proxy=Q) is None
    assert find("http://127.0.0.1/", P) is None


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
@pytest.mark.parametrize(
    ("url", "entries", "exempt"),
    [
        ("http://r.test/", "", False),
        ("http://r.test/", "*", True),
        ("http://r.test/", "x.test, *", True),
        ("http://r.test/", "r.test", True),
        ("http://R.test/", "R.TEST", True),
        ("http://r.test./", "r.test", True),
        ("http://r.test/", "r.test.", True),
        ("http://a.r.test./", ".r.test.", True),
        ("http://r.test/", "x.test,r.test", True),
        ("http://r.test/", "est", False),
        ("http://r.test/", "a.r.test", False),
        ("http://a.r.test/", "r.test", True),
        ("http://ar.test/", "r.test", False),
        ("http://a.r.test/", ".r.test", True),
        ("http://r.test/", ".r.test", False),
        ("http://a.r.test/", "*.r.test", True),
        ("http://r.test/", "*.r.test", False),
        ("http://r.test/", "r.test:80", True),
        ("http://r.test:5000/", "r.test:80", False),
        ("http://a.r.test:5000/", ".r.test:5000", True),
        ("http://10.1.2.3/", "10.1.2.3", True),
        ("http://10.1.2.3/", "10.0.0.0/8", True),
        ("http://11.1.2.3/", "10.0.0.0/8", False),
        ("http://10.1.2.3/", "10.1.2.99/24", True),
        ("http://10.1.2.3:5000/", "10.1.2.3:5000", True),
        ("http://10.1.2.3:5000/", "10.1.2.3:5001", False),
        ("http://r.test/", "10.0.0.0/8", False),
        ("http://[fd00::1]/", "fd00::/8", True),
        ("http://[fd00::1]/", "[fd00::1]", True),
        ("http://[fd00::1]:5000/", "[fd00::1]:5000", True),
        ("http://[fd00::1]:5000/", "[fd00::1]:5001", False),
        ("http://[fd00::1]/", "10.0.0.0/8", False),
        ("http://r.test/", ",, ,:80,10.0.0.0/99,/,[", False),
    ],
)
def test_hosts_that_are_exempt(url: str, entries: str, exempt: bool, name: str) -> None:
    assert find(url, None, HTTP_PROXY=P, **{name: entries}) == (None if exempt else P)


def test_the_variable_in_small_letters_counts() -> None:
    assert find("http://r.test/", None, http_proxy=P, no_proxy="x.test", NO_PROXY="*") == P


def test_errors_name_the_variable() -> None:
    with pytest.raises(InvalidArgument, match=r"\$HTTP_PROXY") as caught:
        find("http://r.test/", None, HTTP_PROXY=f"socks5://me:{CANARY}@127.0.0.1:1080")
    assert CANARY not in str(caught.value)
