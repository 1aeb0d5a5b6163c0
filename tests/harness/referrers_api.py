"""A registry with the referrers API: it stands before a registry that has none.

    with Registry() as behind, ReferrersApi(behind.host) as api:
        push(image, api.host, "app", "1")

It passes all requests on. It remembers the manifests with a subject that are pushed through it,
answers their PUT with the header `OCI-Subject`, and lists them at `/v2/NAME/referrers/DIGEST`.
`requests` has the method and the path of each request.
"""

from __future__ import annotations

import http.client
import json
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .images import OCI_INDEX, Json, descriptor, encode

_SECONDS = 20.0
_NOT_PASSED = {"connection", "transfer-encoding", "content-length", "host"}


class ReferrersApi:
    """The server, from `with` on."""

    def __init__(self, behind: str) -> None:
        """`behind` is the address of the registry that stores everything."""
        self._behind = behind
        self._referrers: dict[tuple[str, str], list[Json]] = {}
        self.requests: list[tuple[str, str]] = []

    @property
    def host(self) -> str:
        """The address, with the port."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> ReferrersApi:
        """Start to serve."""
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = _SECONDS

            def log_message(self, *_: Any) -> None:
                pass

            def handle_any(self) -> None:
                api.answer(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and free the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        self.requests.append((request.command, request.path))
        repository, _, digest = request.path.removeprefix("/v2/").partition("/referrers/")
        if digest:
            self._list(request, repository, digest.partition("?")[0])
            return
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        headers = {n: v for n, v in request.headers.items() if n.lower() not in _NOT_PASSED}
        with closing(http.client.HTTPConnection(self._behind, timeout=_SECONDS)) as connection:
            # The host makes the registry write its locations with this server's address.
            headers["Host"] = self.host
            connection.request(request.command, request.path, body, headers)
            response = connection.getresponse()
            content = response.read()
            request.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in _NOT_PASSED:
                    request.send_header(name, value)
            if request.command == "PUT" and "/manifests/" in request.path:
                self._remember(request, response.status, body)
            length = response.getheader("Content-Length") or str(len(content))
            request.send_header("Content-Length", length)
            request.end_headers()
            request.wfile.write(content)

    def _remember(self, request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        document = json.loads(body)
        subject = document.get("subject")
        if status != 201 or not subject:
            return
        repository = request.path.removeprefix("/v2/").partition("/manifests/")[0]
        artifact_type = document.get("artifactType") or document["config"]["mediaType"]
        entry = {
            **descriptor(document["mediaType"], body),
            "artifactType": artifact_type,
            "annotations": document.get("annotations", {}),
        }
        listed = self._referrers.setdefault((repository, subject["digest"]), [])
        if entry not in listed:
            listed.append(entry)
        request.send_header("OCI-Subject", subject["digest"])

    def _list(self, request: BaseHTTPRequestHandler, repository: str, digest: str) -> None:
        found = self._referrers.get((repository, digest), [])
        body = encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found})
        request.send_response(200)
        request.send_header("Content-Type", OCI_INDEX)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)
