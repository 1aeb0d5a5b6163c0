"""A remote snapshotter: a containerd proxy plugin that provides some layers without their content.

    with Snapshotter() as snapshotter, Daemon("bookworm", extra=snapshotter.config) as daemon:
        snapshotter.have(chain_id)
        daemon.ctr("images", "pull", "--snapshotter", snapshotter.name, …)
        snapshotter.prepared()

It behaves like stargz-snapshotter. On a Prepare for a chain ID that it has, it commits an empty
snapshot with the label for remote ones, and answers AlreadyExists. All other snapshots are plain
folders, each a copy of its parent.

The plugin is a process of its own, `python -m tests.harness.snapshotter FOLDER`, because grpcio's
threads do not end. It uses only the messages' descriptors from the package.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from . import Unavailable, debris
from .process import Service

REF = "containerd.io/snapshot.ref"
REMOTE = "containerd.io/snapshot/remote"
_SERVICE = "containerd.services.snapshots.v1.Snapshots"
_SOCKET, _HAS, _PREPARED = "p.sock", "has", "prepared"
_START_SECONDS = 30.0
_VIEW, _ACTIVE, _COMMITTED = 1, 2, 3
_EMPTY: dict[str, object] = {}


class Snapshotter:
    """The plugin's process, which runs within `with`, in a private folder."""

    name = "lazy"

    def __enter__(self) -> Snapshotter:
        """Start it, and wait until it serves."""
        self.folder = debris.make_folder()
        self._socket = self.folder / _SOCKET
        self._has: set[str] = set()
        self._write()
        self._service = Service(
            [sys.executable, "-m", "tests.harness.snapshotter", str(self.folder)],
            env=os.environ,
            cwd=Path(__file__).resolve().parents[2],
            log=self.folder / "log",
        )
        if not self._service.wait_ready(self._socket.exists, _START_SECONDS):
            log = self._service.tail()
            self.__exit__(None, None, None)
            raise Unavailable(f"the snapshotter did not start:\n{log}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the process, and remove its folder."""
        self._service.stop()
        debris.remove(self.folder)

    @property
    def config(self) -> str:
        """The part of a daemon's configuration for this plugin.

        The transfer service tells a plugin about the layers only if the plugin exports that
        setting. 1.6 ignores the part for the transfer service.
        """
        return "\n".join(
            (
                f"[proxy_plugins.{self.name}]",
                'type = "snapshot"',
                f"address = {json.dumps(str(self._socket))}",
                f"[proxy_plugins.{self.name}.exports]",
                'enable_remote_snapshot_annotations = "true"',
                '[[plugins."io.containerd.transfer.v1.local".unpack_config]]',
                'platform = "linux"',
                f"snapshotter = {json.dumps(self.name)}",
            )
        )

    def have(self, *chain_ids: str) -> None:
        """Provide exactly these layers."""
        self._has = set(chain_ids)
        self._write()

    def prepared(self) -> list[dict[str, str]]:
        """Return the labels of each Prepare request so far."""
        path = self.folder / _PREPARED
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget(self) -> None:
        """Empty the list of `prepared`."""
        (self.folder / _PREPARED).unlink(missing_ok=True)

    def _write(self) -> None:
        draft = self.folder / f"{_HAS}.new"
        draft.write_text(json.dumps(sorted(self._has)))
        draft.replace(self.folder / _HAS)


# ---- the process -----------------------------------------------------------------------------


@dataclass
class _Record:
    parent: str
    kind: int
    path: Path
    labels: dict[str, str]
    created: int = field(default_factory=lambda: int(time.time()))


class _Refused(Exception):
    """An error response. The arguments are the name of a gRPC code, and the subject."""


class _Snapshots:
    """The service's methods. Each takes a request and returns the fields of the response."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._records: dict[str, _Record] = {}
        self._count = 0

    def prepare(self, request: Any) -> dict[str, object]:
        labels = dict(request.labels)
        with (self._folder / _PREPARED).open("a") as log:
            log.write(json.dumps(labels) + "\n")
        target = labels.get(REF, "")
        if target in json.loads((self._folder / _HAS).read_text()):
            snapshot = (request.parent, target)
            existing = ((r.parent, r.labels.get(REF)) for r in self._records.values())
            if snapshot not in existing:
                name = f"remote-{self._count}"
                self._add(name, request.parent, _COMMITTED, {**labels, REMOTE: "remote snapshot"})
            raise _Refused("ALREADY_EXISTS", target)
        self._add(request.key, request.parent, _ACTIVE, labels)
        return self.mounts(request)

    def view(self, request: Any) -> dict[str, object]:
        self._add(request.key, request.parent, _VIEW, dict(request.labels))
        return self.mounts(request)

    def _add(self, key: str, parent: str, kind: int, labels: dict[str, str]) -> None:
        if key in self._records:
            raise _Refused("ALREADY_EXISTS", key)
        path = self._folder / "s" / str(self._count)
        self._count += 1
        if parent:
            shutil.copytree(self._get(parent).path, path, symlinks=True)
        else:
            path.mkdir(parents=True)
        self._records[key] = _Record(parent, kind, path, labels)

    def _get(self, key: str) -> _Record:
        if key not in self._records:
            raise _Refused("NOT_FOUND", key)
        return self._records[key]

    def mounts(self, request: Any) -> dict[str, object]:
        record = self._get(request.key)
        options = ["rbind", "rw" if record.kind == _ACTIVE else "ro"]
        return {"mounts": [{"type": "bind", "source": str(record.path), "options": options}]}

    def commit(self, request: Any) -> dict[str, object]:
        record = self._get(request.key)
        if request.name in self._records:
            raise _Refused("ALREADY_EXISTS", request.name)
        del self._records[request.key]
        record.kind, record.labels = _COMMITTED, dict(request.labels)
        self._records[request.name] = record
        return _EMPTY

    def remove(self, request: Any) -> dict[str, object]:
        record = self._get(request.key)
        if any(child.parent == request.key for child in self._records.values()):
            raise _Refused("FAILED_PRECONDITION", request.key)
        del self._records[request.key]
        shutil.rmtree(record.path)
        return _EMPTY

    def stat(self, request: Any) -> dict[str, object]:
        return {"info": self._info(request.key)}

    def update(self, request: Any) -> dict[str, object]:
        self._get(request.info.name).labels = dict(request.info.labels)
        return {"info": self._info(request.info.name)}

    def list(self, request: Any) -> dict[str, object]:
        """Return all snapshots: containerd itself applies the filters to the response."""
        return {"info": [self._info(key) for key in self._records]}

    def usage(self, request: Any) -> dict[str, object]:
        self._get(request.key)
        return _EMPTY

    def cleanup(self, request: Any) -> dict[str, object]:
        return _EMPTY

    def _info(self, key: str) -> dict[str, object]:
        record = self._get(key)
        when = {"seconds": record.created}
        return {
            "name": key,
            "parent": record.parent,
            "kind": record.kind,
            "created_at": when,
            "updated_at": when,
            "labels": record.labels,
        }


def _handlers(snapshots: _Snapshots) -> dict[str, Any]:
    import grpc  # type: ignore[import-untyped]

    from containerd_lite.schema.pool import CONTAINERD, Method

    lock = threading.Lock()

    def behaviour(method: Method, answer: Callable[[Any], Mapping[str, object]]) -> Any:
        def unary(request: Any, context: Any) -> Any:
            try:
                with lock:
                    return method.response(**answer(request))
            except _Refused as refusal:
                code, subject = refusal.args
                context.abort(grpc.StatusCode[code], f"{subject}: {code.lower().replace('_', ' ')}")

        def stream(request: Any, context: Any) -> Iterator[Any]:
            yield unary(request, context)

        streams = method.server_streaming
        kind = (
            grpc.unary_stream_rpc_method_handler if streams else grpc.unary_unary_rpc_method_handler
        )
        return kind(
            stream if streams else unary,
            request_deserializer=method.request.FromString,
            response_serializer=lambda response: response.SerializeToString(),
        )

    return {
        name: behaviour(CONTAINERD.method(f"{_SERVICE}/{name}"), getattr(snapshots, name.lower()))
        for name in CONTAINERD.methods(_SERVICE)
    }


def main(folder: Path) -> None:
    """Serve until SIGTERM arrives or the parent process is gone."""
    import grpc

    parent = os.getppid()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # before grpcio makes threads
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        handlers = grpc.method_handlers_generic_handler(_SERVICE, _handlers(_Snapshots(folder)))
        server.add_generic_rpc_handlers((handlers,))
        server.add_insecure_port(f"unix:{folder / _SOCKET}")
        server.start()
        while signal.sigtimedwait({signal.SIGTERM}, 1.0) is None and os.getppid() == parent:
            pass
        server.stop(0).wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
