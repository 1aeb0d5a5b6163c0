"""A token server on the loopback, whose tokens a private registry accepts.

    with Realm({"user": "password"}) as realm, Registry(realm) as registry:
        ...
        assert realm.asked[-1].grant == "password"

It follows Docker's documents "Token Authentication Specification" and "Oauth2 Token
Authentication". The test gives it a rule that decides which user may do what. The server does not
depend on a particular client.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import socket
import ssl
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from . import debris
from .images import Json, encode
from .tls import Pair, localhost_pem, openssl, server_context

Rule = Callable[[str, str, str], bool]
"""Returns whether a user (anonymous: "") may do an action on a resource (a repository).

The arguments are the user, the resource's name and the action.
"""

Fields = Mapping[str, Sequence[str]]

_LOOPBACK = "127.0.0.1"
_PATH = "/token"
_PATIENCE = 5.0
_LONGEST_FORM = 64 << 10


@dataclass(frozen=True)
class Asked:
    """A request that the server received, without its secrets; `grant` is empty for a GET."""

    method: str
    scopes: tuple[str, ...]
    grant: str
    credentials: bool
    status: int


class _Refused(Exception):
    """The server refuses a token. The arguments are the status and OAuth's code (RFC 6749, 5.2)."""


def users_may_all(user: str, name: str, action: str) -> bool:
    """Allow a pull to all users, and every action to users with a name."""
    return bool(user) or action == "pull"


class Realm:
    """A token server, which listens within `with`."""

    issuer = "the harness"
    service = "registry.test"

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        may: Rule = users_may_all,
        anonymous: bool = True,
        post: bool = True,
        lifetime: int = 300,
        tls: Pair | None = None,
    ) -> None:
        """Choose the users (user → password). `anonymous` also allows requests without a user.

        A token grants the actions that `may` allows. Without `post`, the response to a POST is
        405. Tokens are valid for `lifetime` seconds; docker-registry accepts them for 60 more.
        With -61, tokens have expired when they are issued. With `tls`, the server uses HTTPS.
        """
        self._users = dict(users or {})
        self._may, self._anonymous, self._post = may, anonymous, post
        self._lifetime, self._tls = lifetime, tls
        self._lock = threading.Lock()
        self._asked: list[Asked] = []
        self._refresh: dict[str, str] = {}
        self._server: _Server | None = None

    def __enter__(self) -> Realm:
        """Listen on a free port."""
        context = server_context(self._tls, alpn=()) if self._tls else None
        self._folder = debris.make_folder()
        try:
            pem = localhost_pem().read_text()
            self._certificate = pem[pem.index("-----BEGIN CERTIFICATE") :]
            (self._folder / "certificate.pem").write_text(self._certificate)
            self._server = _Server(self, context)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
            self._thread.start()
        except BaseException:
            debris.remove(self._folder)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Finish the requests that are being served, then close."""
        if self._server is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
        self._server = None
        debris.remove(self._folder)

    @property
    def url(self) -> str:
        """The address for token requests, which a registry puts into its challenge."""
        if self._server is None:
            raise RuntimeError("the realm is not open")
        scheme = "https" if self._tls else "http"
        return f"{scheme}://{_LOOPBACK}:{self._server.server_address[1]}{_PATH}"

    @property
    def section(self) -> dict[str, object]:
        """The section `auth` of a registry's configuration."""
        bundle = str(self._folder / "certificate.pem")
        token = {"realm": self.url, "service": self.service, "issuer": self.issuer}
        return {"token": {**token, "rootcertbundle": bundle}}

    @property
    def asked(self) -> list[Asked]:
        """All requests so far, in the order of their responses."""
        with self._lock:
            return list(self._asked)

    def refresh_token(self, user: str) -> str:
        """Return a new refresh token of a user, as a login stores it in a client's files."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._refresh[token] = user
        return token

    def answer(self, method: str, fields: Fields, basic: str | None) -> tuple[int, Json]:
        """Return the status and document of the response to a request, and record the request.

        `fields` are those of the query or form. `basic` is the text after the word Basic in the
        header Authorization.
        """
        scopes = tuple(" ".join(fields.get("scope", ())).split())
        try:
            status, document = 200, self._grant(method, fields, basic, scopes)
        except _Refused as refusal:
            status, document = refusal.args[0], {"error": refusal.args[1]}
        credentials = basic is not None or "password" in fields or "refresh_token" in fields
        request = Asked(method, scopes, _first(fields, "grant_type"), credentials, status)
        with self._lock:
            self._asked.append(request)
        return status, document

    def _grant(self, method: str, fields: Fields, basic: str | None, scopes: Sequence[str]) -> Json:
        user = self._user(basic) if method == "GET" else self._user_of_form(fields)
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": user,
            "aud": _first(fields, "service"),
            "iat": now,
            "nbf": now - 600,  # before "exp", even if that has passed
            "exp": now + self._lifetime,
            "jti": secrets.token_hex(8),
            "access": [self._access(user, scope) for scope in scopes],
        }
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        document: Json = {"expires_in": self._lifetime, "issued_at": issued}
        document["token" if method == "GET" else "access_token"] = self._signed(claims)
        offline = (_first(fields, "offline_token"), _first(fields, "access_type"))
        if user and (offline[0] == "true" or offline[1] == "offline"):
            document["refresh_token"] = self.refresh_token(user)
        return document

    def _user(self, basic: str | None) -> str:
        """Return the user of these Basic credentials, or "" without credentials."""
        if basic is None:
            if self._anonymous:
                return ""
            raise _Refused(401, "invalid_client")
        try:
            user, _, password = base64.b64decode(basic, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise _Refused(400, "invalid_request") from None
        return self._checked_user(user, password)

    def _user_of_form(self, fields: Fields) -> str:
        if not self._post:
            raise _Refused(405, "invalid_request")
        grant = _first(fields, "grant_type")
        if grant == "password":
            return self._checked_user(_first(fields, "username"), _first(fields, "password"))
        if grant == "refresh_token":
            with self._lock:
                user = self._refresh.get(_first(fields, "refresh_token"))
            if user is None:
                raise _Refused(401, "invalid_grant")
            return user
        raise _Refused(400, "unsupported_grant_type")

    def _checked_user(self, user: str, password: str) -> str:
        if self._users.get(user) != password:
            raise _Refused(401, "invalid_grant")
        return user

    def _access(self, user: str, scope: str) -> Json:
        """Return the actions of a scope that are granted. The name may contain colons."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        granted = [action for action in actions.split(",") if self._may(user, name, action)]
        return {"type": kind, "name": name, "actions": granted}

    def _signed(self, claims: Json) -> str:
        """Return a token with these claims (RFC 7519) and its certificate (RFC 7515, 4.1.6)."""
        certificate = base64.b64encode(ssl.PEM_cert_to_DER_cert(self._certificate)).decode()
        return signed_token({"x5c": [certificate]}, claims, localhost_pem())


class _Server(ThreadingTCPServer):
    """Serves each connection in a thread, and waits for all threads when it closes.

    The class of http.server looks up the machine's name, which may take long.
    """

    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, realm: Realm, context: ssl.SSLContext | None) -> None:
        super().__init__((_LOOPBACK, 0), partial(_Handler, realm))
        self._context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The connection's own thread makes the TLS handshake."""
        sock, address = super().get_request()
        if self._context is None:
            return sock, address
        wrap = self._context.wrap_socket
        return wrap(sock, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the server's own errors, but no errors of a connection that the client closed."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request with HTTP/1.0, so that no idle connection delays the server's end."""

    timeout = _PATIENCE

    def __init__(self, realm: Realm, *args: Any) -> None:
        self._realm = realm
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer a GET, whose fields are in the query."""
        self._reply(parse_qs(urlsplit(self.path).query))

    def do_POST(self) -> None:
        """Answer a POST, whose fields are in the form."""
        length = int(self.headers.get("Content-Length", "0"))
        if not 0 <= length <= _LONGEST_FORM:
            self.send_error(413)
            return
        self._reply(parse_qs(self.rfile.read(length).decode("utf-8", "replace")))

    def log_message(self, *_: object) -> None:
        """Log nothing, because requests contain secrets."""

    def _reply(self, fields: Fields) -> None:
        if urlsplit(self.path).path != _PATH:
            self.send_error(404)
            return
        scheme, _, parameter = self.headers.get("Authorization", "").partition(" ")
        basic = parameter.strip() if scheme.lower() == "basic" else None
        status, document = self._realm.answer(self.command, fields, basic)
        body = encode(document)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def signed_token(header: Json, claims: Json, key: Path) -> str:
    """Return a token with these claims (RFC 7519), signed by an RSA key; add its algorithm."""
    parts = ({"typ": "JWT", "alg": "RS256", **header}, claims)
    text = ".".join(base64url(encode(part)) for part in parts)
    with tempfile.TemporaryDirectory() as folder:
        source, signature = Path(folder, "text"), Path(folder, "signature")
        source.write_text(text)
        openssl("dgst", "-sha256", "-sign", str(key), "-out", str(signature), str(source))
        return f"{text}.{base64url(signature.read_bytes())}"


def _first(fields: Fields, name: str) -> str:
    """Return the first value of a field, or an empty string."""
    return next(iter(fields.get(name, ())), "")


def base64url(data: bytes) -> str:
    """Return base64url without padding (RFC 7515, 2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
