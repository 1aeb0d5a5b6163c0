"""A private registry on a free port of the loopback: Debian's docker-registry, or distribution 3.

    with Registry() as registry:
        push(image, registry.host, "library/busybox", "latest")

Its storage is in a temporary folder. It allows deletion, and accepts schema 1 and sparse indexes
as far as the program supports them. Its log has every request. The constructor sets the access
control and TLS; `tls` makes certificates, and `realm` issues tokens.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from . import Unavailable, debian, debris, golang
from .process import Service, free_port, run
from .realm import Realm
from .tls import Pair

OLD, NEW = GENERATIONS = ("2.8", "3")
"""Debian's docker-registry, and the distribution that Go builds."""
_START_SECONDS = 15.0
_TRIES = 5
_LOOPBACK = "127.0.0.1"
_PATIENCE = 5.0


def program(generation: str) -> list[str]:
    """Return the command of a generation of the registry.

    Raises `Unavailable` if it is not there.
    """
    if generation == NEW:
        return [str(golang.program(golang.REGISTRY, "registry"))]
    return debian.program("docker-registry").argv


def by_turns(key: str) -> str:
    """Return one of the generations that this machine has; a text chooses it."""
    there = []
    for generation in GENERATIONS:
        with contextlib.suppress(Unavailable):
            program(generation)
            there.append(generation)
    return there[zlib.crc32(key.encode()) % len(there)] if there else OLD


class Registry:
    """A private registry, which `with` or `open()` starts. `close()` removes all its traces."""

    default = OLD
    """The generation of new registries that do not choose one."""

    def __init__(
        self,
        auth: tuple[str, str] | Realm | None = None,
        *,
        tls: Pair | None = None,
        clients: Path | None = None,
        proxy: str = "",
        overrides: Mapping[str, object] | None = None,
        generation: str = "",
    ) -> None:
        """Choose who has access: everyone, a user with a password, or the users of a realm.

        With `tls`, the registry uses only HTTPS. `clients` may then be the file of an authority,
        and each client needs a certificate signed by it. With `proxy`, the address of a running
        registry, it is a mirror of that registry: it accepts no pushes, and stores the content
        that it passes on. `overrides` replaces top-level sections of the configuration, such as
        `{"storage": {…}}`. `generation` is one of `GENERATIONS`.
        """
        if clients is not None and tls is None:
            raise ValueError("client certificates need a registry with TLS")
        self._auth, self._tls, self._clients, self._proxy = auth, tls, clients, proxy
        self._overrides = dict(overrides or {})
        self.generation = generation or self.default
        self._service: Service | None = None
        self._folder: Path | None = None
        self._port = 0

    def __enter__(self) -> Registry:
        """Open it."""
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    @property
    def scheme(self) -> str:
        """The scheme, `http` or `https`."""
        return "https" if self._tls else "http"

    @property
    def host(self) -> str:
        """The address `127.0.0.1:PORT`, as in an image's reference."""
        return f"{_LOOPBACK}:{self._port}"

    @property
    def localhost(self) -> str:
        """The address `localhost:PORT`: the same registry, but another one for a client."""
        return f"localhost:{self._port}"

    @property
    def url(self) -> str:
        """The URL of the registry's root, without a slash at the end."""
        return f"{self.scheme}://{self.host}"

    def open(self) -> None:
        """Make the folder, and start on a free port; raise `Unavailable` if that fails."""
        if self._folder is not None:
            raise RuntimeError("the registry is open already")
        argv = program(self.generation)
        self.folder = self._folder = debris.make_folder()
        self.log = self.folder / "log"
        self.storage = self.folder / "storage"
        try:
            for _ in range(_TRIES):  # another process may take the free port first
                self._port = free_port()
                if self._start(argv):
                    return
            log = self._service.tail() if self._service else ""
            raise Unavailable(f"registry {self.generation} did not start:\n{log}")
        except BaseException:
            self.close()
            raise

    def stop(self) -> None:
        """End only the server; its content and `host` stay."""
        if self._service is not None:
            self._service.stop()

    def start(self) -> None:
        """Start the server again on the same port, after `stop`."""
        if not self._start(program(self.generation)):
            raise Unavailable(f"registry {self.generation} did not start again on {self.host}")

    def close(self) -> None:
        """End the server and remove its content."""
        self.stop()
        if self._folder is not None:
            debris.remove(self._folder)
        self._service = self._folder = None

    def serves(self) -> bool:
        """Return whether the registry responds now, possibly with a challenge."""
        if self._tls is not None:
            return self._serves_tls()
        connection = http.client.HTTPConnection(self.host, timeout=_PATIENCE)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/v2/")
                return connection.getresponse().status in (200, 401)
            except (OSError, http.client.HTTPException):
                return False

    def _serves_tls(self) -> bool:
        """Return whether the server sends a certificate. This checks no certificate."""
        try:
            return bool(ssl.get_server_certificate((_LOOPBACK, self._port), timeout=_PATIENCE))
        except OSError:
            return False

    def _start(self, argv: list[str]) -> bool:
        config = self.folder / "config.yml"
        config.write_text(json.dumps(self._config()))  # JSON is YAML too
        self._service = Service(
            [*argv, "serve", str(config)],
            env={"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C"},
            cwd=self.folder,
            log=self.log,
        )
        if self._service.wait_ready(self.serves, _START_SECONDS):
            return True
        self._service.kill()
        return False

    def _config(self) -> dict[str, object]:
        """Return the configuration, without servers for debugging, metrics or traces."""
        config: dict[str, object] = {
            "version": "0.1",
            "log": {"level": "info", "accesslog": {"disabled": False}},
            "storage": {
                "filesystem": {"rootdirectory": str(self.storage)},
                "delete": {"enabled": True},
                "redirect": {"disable": True},
                "maintenance": {"uploadpurging": {"enabled": False}},
            },
            "http": self._http(),
            "compatibility": {"schema1": {"enabled": True}},
            "validation": {"manifests": {"urls": {"allow": ["^https?://"]}}},
        }
        if self._proxy:
            config["proxy"] = {"remoteurl": self._proxy}
        if isinstance(self._auth, Realm):
            config["auth"] = self._auth.section
        elif self._auth is not None:
            path = self.folder / "htpasswd"
            path.touch(mode=0o600)
            path.write_text(_htpasswd(*self._auth))
            config["auth"] = {"htpasswd": {"realm": "test", "path": str(path)}}
        return {**config, **self._overrides}

    def _http(self) -> dict[str, object]:
        """Return the section `http`: the address, and the certificates for TLS."""
        section: dict[str, object] = {"addr": self.host, "secret": "known to all"}
        if self._tls is not None:
            files = {"certificate": str(self._tls.certificate), "key": str(self._tls.key)}
            trusted = {"clientcas": [str(self._clients)]} if self._clients else {}
            section["tls"] = {**files, **trusted}
        return {**section, "relativeurls": False}


def _htpasswd(user: str, password: str) -> str:
    """Return a user's line with a bcrypt hash, the only kind that the registry accepts."""
    program = debian.program("htpasswd")
    argv = [*program.argv, "-n", "-i", "-B", "-C", "4", user]
    done = run(argv, timeout=30, input=password.encode())  # not as an argument, which ps shows
    if done.returncode:
        raise Unavailable(f"htpasswd exited with code {done.returncode}")
    return done.stdout.decode()
