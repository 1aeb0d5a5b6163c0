"""A private containerd of one generation, with its own root, state and socket.

    with Daemon("1.6") as daemon:
        daemon.ctr("version")

`generations` says which there are. A daemon needs root, and a Linux where root can mount and make
cgroups.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import socket
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from . import Unavailable, debris
from .generations import OLDEST, find
from .process import Service, run

SNAPSHOTTERS = ("overlayfs", "native")
"""The snapshotters whose snapshots count as leftovers. Every generation has them."""

_START_SECONDS = 30.0
_RUNS = 3


class Daemon:
    """A private containerd, which `with` or `open()` starts. `close()` removes all its traces.

    Use only `namespace`, a new random name, and those from `new_namespace()`: by these names,
    `close()` finds the state that runc and the kernel keep outside the daemon's folder.
    """

    def __init__(
        self,
        generation: str = OLDEST,
        *,
        cri: bool = False,
        extra: str = "",
        imports: Sequence[Path] = (),
        grpc: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        prefer_path: bool = False,
    ) -> None:
        """Choose a generation.

        `extra` is TOML that is added to the configuration, which imports the files `imports`. `env`
        adds environment variables, and `grpc` adds settings of `[grpc]`, such as `tcp_address` and
        `tcp_tls_cert`. `cri` enables the Kubernetes plug-in. `prefer_path` is as in `find`.
        """
        self.generation = generation
        self._cri = cri
        self._extra = extra
        self._imports = [str(path) for path in imports]
        self._grpc = dict(grpc or {})
        self._extra_env = dict(env or {})
        self._prefer_path = prefer_path
        self._service: Service | None = None
        self._folder: Path | None = None

    def __enter__(self) -> Daemon:
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

    def open(self) -> None:
        """Make the folder and the configuration, and start; raise `Unavailable` if that fails."""
        if self._folder is not None:
            raise RuntimeError("the daemon is open already")
        self.programs = find(self.generation, prefer_path=self._prefer_path)
        output = run([*self.programs.containerd.argv, "--version"], timeout=30).stdout.decode()
        version = re.search(r"\d+\.\d+\.\d+", output)
        if version is None:
            raise Unavailable(f"containerd prints no version: {output.strip()!r}")
        self.version = version.group()
        self.version_info = tuple(map(int, self.version.split(".")))
        self.folder = self._folder = debris.make_folder()
        self.root, self.state = self.folder / "r", self.folder / "s"
        self.socket = self.folder / debris.SOCKET
        self.address = f"unix://{self.socket}"
        self.log = self.folder / "log"
        self._fifos = debris.fifos(self.folder)
        self.namespace = self.new_namespace()
        for name in ("r", "s", "t", "bin"):
            (self.folder / name).mkdir(mode=0o711)
        for program in (self.programs.shim, self.programs.runc):
            (self.folder / "bin" / program.path.name).symlink_to(program.path)
        (self.folder / "config.toml").write_text(self._config())
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def new_namespace(self) -> str:
        """Return a new random name for a namespace. The daemon creates it at its first use."""
        name = "t" + secrets.token_hex(4)
        with (self.folder / "namespaces").open("a") as record:
            record.write(f"{name}\n")
        return name

    def start(self) -> None:
        """Start the daemon on its folder, and wait until it serves."""
        config = str(self.folder / "config.toml")
        self._service = Service(
            [*self.programs.containerd.argv, "--config", config],
            env=self._environment(),
            cwd=self.folder,
            log=self.log,
        )
        if not self._service.wait_ready(self.serves, _START_SECONDS):
            log = self._service.tail()
            self._service.kill_group()
            raise Unavailable(f"containerd {self.version} did not start:\n{log}")

    def serves(self) -> bool:
        """Return whether the daemon answers a call now."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.socket))
            except OSError:
                return False
        limits = ("--connect-timeout", "2s", "--timeout", "5s")
        return run([*self._ctr(None), *limits, "version"], timeout=30).returncode == 0

    @property
    def pid(self) -> int:
        """The daemon's process ID."""
        if self._service is None:
            raise RuntimeError("the daemon was not started")
        return self._service.pid

    def stop(self) -> None:
        """End only the daemon; containers, shims and all data stay."""
        if self._service is not None:
            self._service.stop()

    def kill(self) -> None:
        """End the daemon with SIGKILL; containers, shims and all data stay."""
        if self._service is not None:
            self._service.kill()

    def restart(self) -> None:
        """End the daemon and start it again on the same data and address."""
        self.stop()
        self.start()

    def ctr(
        self,
        *args: str,
        check: bool = True,
        input: bytes | None = None,
        timeout: float = 60.0,
        namespace: str | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run this generation's ctr, by default in the daemon's `namespace`."""
        argv = [*self._ctr(namespace or self.namespace), *args]
        done = run(argv, timeout=timeout, input=input)
        if check and done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip()
            if self._service is not None and not self._service.running:
                said += f"\nthe daemon has ended; its log ends with:\n{self._service.tail(60)}"
            raise RuntimeError(f"ctr {args[0]} exited with code {done.returncode}: {said}")
        return done

    def run(
        self,
        image: str,
        *args: str,
        id: str = "judge",
        flags: Sequence[str] = (),
        namespace: str | None = None,
    ) -> bytes:
        """Run a container with ctr; return its stdout, which must not be empty.

        On a busy machine, ctr sometimes exits before the output has arrived. It then runs again.
        """
        for _ in range(_RUNS):
            argv = ("run", "--rm", *flags, image, id, *args)
            if stdout := self.ctr(*argv, namespace=namespace).stdout:
                return stdout
        raise RuntimeError(f"ctr run {image} wrote nothing, {_RUNS} times")

    def export(self, name: str, namespace: str, path: str = "-") -> bytes:
        """Export an image with ctr; return the archive unless ctr writes it to a `path`.

        With the transfer service, ctr exits with 0 before it has written everything: on a busy
        machine, 2.1.9 cut off a tenth of a thousand archives.
        """
        local = ("--local",) if self.version_info >= (1, 7) else ()
        return self.ctr("images", "export", *local, path, name, namespace=namespace).stdout

    def namespaces(self) -> list[str]:
        """Return the namespaces that the daemon has now."""
        return self._list("namespaces", "ls", "-q")

    def terminate_containers(self) -> None:
        """End and delete every task and container, in every namespace."""
        for namespace in self.namespaces():
            for name in self._list("tasks", "ls", "-q", namespace=namespace):
                self.ctr("tasks", "resume", name, check=False, namespace=namespace)
                self.ctr("tasks", "delete", "--force", name, check=False, namespace=namespace)
            for name in self._list("containers", "ls", "-q", namespace=namespace):
                self.ctr("containers", "delete", name, check=False, namespace=namespace)

    def leftovers(self, namespace: str | None = None) -> list[str]:
        """Return a sorted line for each thing that a client may have left, to compare later.

        Without a namespace, look into all of the daemon's. The lines include the snapshots of
        unpacked images. A folder of FIFOs does not show its namespace: the lines include all
        that appeared since the daemon started, except those that shims of other daemons or other
        namespaces use.
        """
        chosen = [namespace] if namespace else sorted({*self.namespaces(), self.namespace})
        lines = [line for name in chosen for line in self._left_in(name)]
        for mount in debris.mounts(self.folder):
            if debris.namespace_of(mount) in ("", *chosen):
                lines.append(f"mount {mount.relative_to(self.folder)}")
        for shim in debris.shims(self.folder, namespace):
            lines.append(f"{shim.option('-namespace')}: shim {shim.option('-id')}")
        lines += (f"fifo {name}" for name in debris.fifos(self.folder, namespace) - self._fifos)
        return sorted(lines)

    def close(self) -> None:
        """End the daemon and its containers, and remove every trace of them."""
        if self._folder is None:
            return
        if self._service is not None:
            if debris.shims(self._folder) and self._service.running:
                with contextlib.suppress(Unavailable, RuntimeError):
                    self.terminate_containers()
            self._service.stop()
            self._service.kill_group()
        debris.remove(self._folder)
        self._service = self._folder = None

    def _left_in(self, name: str) -> Iterator[str]:
        """List the things in a namespace with the package itself.

        ctr needs five processes for this, after every test. The tests of the harness compare the
        lists with what ctr has made.
        """
        from containerd_lite import Client  # here, because the package may not be installed

        with Client(str(self.socket), namespace=name) as client:
            for lease in client.lease_service.list():
                yield f"{name}: lease {lease.id}"
            for container in client.container_service.list():
                yield f"{name}: container {container.id}"
            for task in client.task_service.list():
                yield f"{name}: task {task.container_id}"
            for ingest in client.content_service.list_statuses():
                yield f"{name}: ingest {ingest.ref}"
            for driver in SNAPSHOTTERS:
                for snapshot in client.snapshot_service(driver).list():
                    yield f"{name}: {driver} snapshot {snapshot.name} {snapshot.kind}"
        for line in debris.runc_states(name):
            yield f"{name}: runc state {line}"

    def _list(self, *args: str, namespace: str | None = None) -> list[str]:
        lines = self.ctr(*args, namespace=namespace).stdout.decode("utf-8", "replace").splitlines()
        return [line for line in lines if line.strip()]

    def _ctr(self, namespace: str | None) -> list[str]:
        flags = ["--namespace", namespace] if namespace else []
        return [*self.programs.ctr.argv, "--address", str(self.socket), *flags]

    def _environment(self) -> dict[str, str]:
        """Return few variables, to leave out proxies and the address of another containerd."""
        own = {
            "PATH": f"{self.folder / 'bin'}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
            ":/sbin:/bin",
            "HOME": str(self.folder),
            "TMPDIR": str(self.folder / "t"),
            "LC_ALL": "C",
        }
        return {**own, **self._extra_env}

    def _config(self) -> str:
        """Return the configuration: version 2 for 1.x, version 3 for 2.x."""
        is_2 = self.version_info >= (2,)
        # The other parts of 2.x's CRI stay enabled: the sandbox controllers do not load without.
        disabled = [] if self._cri else ["io.containerd.grpc.v1.cri"]
        lines = [
            f"version = {3 if is_2 else 2}",
            f"root = {_toml(self.root)}",
            f"state = {_toml(self.state)}",
            f"imports = {json.dumps(self._imports)}",
            f"disabled_plugins = {json.dumps(disabled)}",
            "[grpc]",
            f"address = {_toml(self.socket)}",
            *(f"{name} = {json.dumps(value)}" for name, value in self._grpc.items()),
            "[ttrpc]",
            f"address = {_toml(self.folder / 't.sock')}",
            '[plugins."io.containerd.internal.v1.opt"]',
            f"path = {_toml(self.folder / 'opt')}",
        ]
        if self.version_info >= (1, 7):  # NRI would share one socket with every other daemon
            lines += ['[plugins."io.containerd.nri.v1.nri"]', "disable = true"]
        if is_2 or self._cri:  # CRI would make and watch the machine's /etc/cni
            plugin = "cri.v1.runtime" if is_2 else "grpc.v1.cri"
            lines += [f'[plugins."io.containerd.{plugin}".cni]']
            lines += [f"conf_dir = {_toml(self.folder / 'cni')}"]
        return "\n".join([*lines, self._extra, ""])


def _toml(path: Path) -> str:
    """Return a path as a TOML string. JSON's strings are valid in TOML."""
    return json.dumps(str(path))
