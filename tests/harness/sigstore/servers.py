"""The servers of a sigstore: how each is called, when it serves, and how all of them end."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from .. import Unavailable, golang
from ..process import Service, free_port
from ..signing import NOWHERE
from .issuer import Issuer
from .keys import PASSWORD, Keys

ORIGIN = "rekor.test"
"""The name of the log of Rekor v2, which signs its checkpoints."""
ORIGIN_V1 = "rekor-v1.test"
"""The name of the log of Rekor v1; the number of its tree follows in checkpoints."""

_PROGRAMS = {
    "tesseract": "posix",
    "fulcio": "fulcio",
    "timestamps": "timestamps",
    "rekor-tiles": "posix",
    "rekor": "rekor-server",
    "trillian": "trillian",
}
"""The program of each build in `golang.SIGSTORE`."""
_CT_LOG = "ct.test"
_LOOPBACK = "127.0.0.1"
_START_SECONDS = 20.0
_TRIES = 5
_PATIENCE = 5.0
_QUICKLY = ("--checkpoint-interval=200ms", "--batch-max-age=50ms")


class Servers:
    """Servers in one folder, each on a free port of the loopback.

    Each has a path of the folder as an argument: `debris` finds it by that.
    """

    def __init__(self, folder: Path, keys: Keys, issuer: Issuer) -> None:
        """Take the folder for logs and content, without starting a server."""
        self._folder, self._keys, self._issuer = folder, keys, issuer
        self._running: list[Service] = []

    def close(self) -> None:
        """Kill all servers, the last first: none of them has anything to keep."""
        while self._running:
            self._running.pop().kill()

    def ct_log(self) -> int:
        """Start a CT log (tesseract); return its port."""
        program = _program("tesseract")
        storage = self._storage("ct")

        def argv(port: int) -> list[str]:
            return [
                program,
                f"--origin={_CT_LOG}",
                f"--http_endpoint={_LOOPBACK}:{port}",
                *("--storage_dir", str(storage)),
                f"--private_key={self._keys.ct_sec1}",
                f"--roots_pem_file={self._keys.fulcio.path}",
                "--enable_publication_awaiter=false",
                "--checkpoint_interval=200ms",
                "--batch_max_age=50ms",
            ]

        return self._start("tesseract", argv, "/ct/v1/get-roots")

    def fulcio(self, ct_log: int) -> int:
        """Start Fulcio, which logs certificates in a CT log; return its port."""
        program = _program("fulcio")
        config = self._folder / "fulcio.json"
        config.write_text(json.dumps(self._issuer.config))

        def argv(port: int) -> list[str]:
            return [
                *(program, "serve", "--config-path", str(config)),
                *(f"--host={_LOOPBACK}", f"--port={port}"),
                *(f"--grpc-host={_LOOPBACK}", f"--grpc-port={free_port()}"),
                "--metrics-port=0",
                f"--legacy-unix-domain-socket={self._folder}/{port}.sock",
                *("--ca=fileca", f"--fileca-cert={self._keys.fulcio.path}"),
                f"--fileca-key={self._keys.fulcio_key}",
                *(f"--fileca-key-passwd={PASSWORD}", "--fileca-watch=false"),
                *(f"--ct-log-url=http://{_LOOPBACK}:{ct_log}", f"--ct-log-origin={_CT_LOG}"),
                f"--ct-log-public-key-path={self._keys.ct.public}",
            ]

        return self._start("fulcio", argv, "/healthz")

    def timestamps(self) -> int:
        """Start a timestamp authority; return its port."""
        program, chain = _program("timestamps"), self._keys.timestamps

        def argv(port: int) -> list[str]:
            return [program, str(port), str(chain.pair.key), str(chain.path)]

        return self._start("timestamps", argv, "/ping")

    def rekor(self) -> int:
        """Start Rekor v2; return its port."""
        program = _program("rekor-tiles")
        storage = self._storage("rekor")

        def argv(port: int) -> list[str]:
            return [
                *(program, "serve", f"--hostname={ORIGIN}"),
                *(f"--http-address={_LOOPBACK}", f"--http-port={port}"),
                *(f"--grpc-address={_LOOPBACK}", f"--grpc-port={free_port()}"),
                *("--http-metrics-port=0", "--storage-dir", str(storage)),
                *(f"--signer-filepath={self._keys.rekor.private}", *_QUICKLY),
            ]

        return self._start("rekor-tiles", argv, "/healthz")

    def rekor_v1(self) -> int:
        """Start Rekor v1, and Trillian, which keeps its log in memory; return Rekor's port.

        Rekor also serves its metrics on port 2112, unless another process has that port.
        """
        trillian, program = _program("trillian"), _program("rekor")
        log = self._start("trillian", lambda port: [trillian, str(port), f"{self._folder}/"])
        endpoints = "getLogInfo,getPublicKey,getLogProof,createLogEntry,getLogEntryByIndex"

        def argv(port: int) -> list[str]:
            return [
                *(program, "serve", f"--rekor_server.hostname={ORIGIN_V1}"),
                *(f"--rekor_server.address={_LOOPBACK}", f"--port={port}"),
                *("--rekor_server.signer", str(self._keys.rekor_v1.private)),
                *(
                    f"--trillian_log_server.address={_LOOPBACK}",
                    f"--trillian_log_server.port={log}",
                ),
                f"--enabled_api_endpoints={endpoints},getLogEntryByUUID",
                "--enable_retrieve_api=false",  # else it writes to a Redis on its usual port
            ]

        return self._start("rekor", argv, "/api/v1/log")

    def _storage(self, name: str) -> Path:
        folder = self._folder / name
        folder.mkdir()
        return folder

    def _start(self, name: str, argv: Callable[[int], list[str]], path: str = "") -> int:
        """Start a server on a free port, and wait until it serves a path, or accepts without one.

        Raises `Unavailable` if it does not.
        """
        for _ in range(_TRIES):  # another process may take the free port first
            port = free_port()
            service = Service(
                argv(port),
                env={
                    "PATH": "/usr/bin:/bin",
                    "HOME": str(self._folder),
                    "HTTP_PROXY": NOWHERE,
                    "HTTPS_PROXY": NOWHERE,
                },
                cwd=self._folder,
                log=self._folder / f"{name}.log",
            )
            self._running.append(service)
            if service.wait_ready(partial(_serves, port, path), _START_SECONDS):
                return port
            self._running.pop().kill()
        raise Unavailable(f"{name} did not start:\n{service.tail()}")


def check_programs() -> None:
    """Raise `Unavailable` if one of the programs is not built, even one that starts later."""
    for build, name in _PROGRAMS.items():
        golang.program(golang.SIGSTORE[build], name)


def _program(build: str) -> str:
    return str(golang.program(golang.SIGSTORE[build], _PROGRAMS[build]))


def _serves(port: int, path: str) -> bool:
    if not path:
        with socket.socket() as probe:
            return probe.connect_ex((_LOOPBACK, port)) == 0
    with closing(http.client.HTTPConnection(_LOOPBACK, port, timeout=_PATIENCE)) as connection:
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
