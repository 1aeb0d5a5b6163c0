"""Times, rates, sizes and counts that make no sense, in every public argument that is a number.

The arguments are found by introspection, so that an argument of a new method must be classified
here before the tests pass.
"""

from __future__ import annotations

import argparse
import inspect
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import containerd_lite
from containerd_lite import Client, DetachedContainer, Layout, Reference, Registry, Running
from containerd_lite.child import run_child
from containerd_lite.cli.program import _CommandParser
from containerd_lite.deadline import Deadline
from containerd_lite.errors import ContainerdError, InvalidArgument, NotFound
from containerd_lite.images.resolver import RegistryResolver
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.runtime.io import SameTargets
from containerd_lite.runtime.io.sinks import Capture
from containerd_lite.runtime.network import PortMapping
from containerd_lite.runtime.popen import _Communication
from containerd_lite.runtime.sandbox import Sandbox
from containerd_lite.runtime.spec import options as option_classes
from containerd_lite.runtime.spec.specs import make_spec
from containerd_lite.services._base import CallContext
from containerd_lite.services.tasks import Stdio
from containerd_lite.trust.signers import Signer
from tests.unit.services.scripted_daemon import Refused, serving

pytestmark = [pytest.mark.dependencies, pytest.mark.backend]

#: Times, rates, sizes and counts. Each must be above 0, but for those in ``ZERO``.
LIMITS = {
    "chunk_size", "columns", "connect_timeout", "connections", "expires", "idle", "least_rate",
    "limit", "max_concurrent", "max_concurrent_downloads", "max_concurrent_unpacks",
    "max_concurrent_uploads", "max_message", "max_output", "max_rate", "rows", "since",
    "stall_timeout", "tail", "timeout", "timeout_secs",
}  # fmt: skip
#: Positions, kinds and the fields of requests. They need only not raise something untyped.
OTHERS = {
    "height", "offset", "signal", "size", "task_api_version", "total", "width", "pid", "exit_code",
    "input_fd", "output_fd", "descriptor",
}  # fmt: skip
#: Where 0 means something: not to wait, to take nothing, or to let the other end choose.
ZERO = {
    "Registry.least_rate", "Channel.stream.timeout", "Channel.unary.timeout",
    "Capture.limit", "Container.logs.since", "Container.logs.tail", "Container.logs.timeout",
    "Running.communicate.limit",
    "Running.communicate.timeout", "Running.finish.timeout", "Running.stop.timeout",
    "Running.wait.timeout", "Sandbox.stop.timeout", "Sandbox.wait.timeout",
    "SandboxController.stop.timeout_secs", "Task.resize.columns", "Task.resize.rows",
    "Task.stop.timeout", "Task.wait.timeout", "NullIO.wait.idle", "LogFile.wait.idle",
    "BinaryLogger.wait.idle", "Fifos.wait.idle", "Streams.wait.idle", "Terminal.wait.idle",
    "EventStream.timeout", "EventStream.receive.timeout",
    "EventStream.wait_until_subscribed.timeout", "Client.wait_all.timeout",
    "Client.wait_any.timeout", "Container.restart.timeout", "Container.stop.timeout",
    "Container.wait.timeout", "SameTargets.wait.idle",
}  # fmt: skip
ZERO |= {f"Detached{name}" for name in ZERO if name.startswith("Container.")}
#: Not made by callers: a daemon's or a transfer's object makes them, and checks by ``Deadline``.
MADE_INSIDE = {"EventStream", "Task.pid"}
#: Descriptors and numbers of processes are no limits: the system says whether they exist.
FILES = {"input_fd", "output_fd"}
#: Streams that have nothing to wait for ignore the time.
IGNORED = {"NullIO.wait.idle", "LogFile.wait.idle", "BinaryLogger.wait.idle", "Fifos.wait.idle",
           "SameTargets.wait.idle"}  # fmt: skip

#: The options of containers, which have tests of their own below.
OPTION_NAMES = {
    name
    for kind in vars(option_classes).values()
    for name in getattr(kind, "__annotations__", ())
    if str(getattr(kind, "__module__", "")).endswith(".options")
}

NONSENSE: list[Any] = [-1, -0.5, math.nan, -math.inf, "5", -(10**400), [], 1j]
HUGE: list[Any] = [math.inf, 1e300, 10**400, 2**63, 2**31, 1e9 + 1, 1e9, 3e6]


def is_number(annotation: object) -> bool:
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    return bool({"int", "float"} & {part.strip() for part in text.split("|")})


def public() -> Iterator[tuple[str, type]]:
    """The classes that users make or get, by their names."""
    for package in ("", ".services", ".runtime.io"):
        module = import_module(f"containerd_lite{package}")
        for name in dir(module):
            value = getattr(module, name)
            is_own = getattr(value, "__module__", "").startswith("containerd_lite")
            if inspect.isclass(value) and is_own and not name.startswith("_"):
                is_record = hasattr(value, "__dataclass_fields__")
                if not (is_record or issubclass(value, BaseException | dict)):
                    yield name, value
    yield from [("Capture", Capture), ("Sandbox", Sandbox), ("RegistryResolver", RegistryResolver)]


def arguments() -> Iterator[str]:
    """``Class.argument`` and ``Class.method.argument``."""
    for name, kind in dict(public()).items():
        if getattr(kind, "_is_protocol", False):
            continue
        for method, function in inspect.getmembers(kind, callable):
            if method.startswith("_") and method != "__init__":
                continue
            with suppress(TypeError, ValueError):
                for parameter in inspect.signature(function).parameters.values():
                    if is_number(parameter.annotation) and parameter.name not in OPTION_NAMES:
                        where = name if method == "__init__" else f"{name}.{method}"
                        yield f"{where}.{parameter.name}"


ALL = sorted(set(arguments()))


def test_every_number_is_classified() -> None:
    assert {name.rpartition(".")[2] for name in ALL} <= LIMITS | OTHERS
    assert set(ALL) >= ZERO, ZERO - set(ALL)
    assert len(ALL) > 60


# ---- the stage: a daemon, on which nothing exists but one container --------------------------


class Answers(dict[str, Any]):
    def __missing__(self, name: str) -> Callable[[Any], Any]:
        def refuse(message: object) -> Any:
            raise Refused(5, "x: not found")

        return refuse


ANSWERS = Answers(
    {
        "Containers/Get": lambda m: {"container": {"id": m.id, "runtime": {"name": "r"}}},
        "Tasks/Get": lambda m: {"process": {"id": m.container_id, "pid": 7, "status": 2}},
        "Namespaces/Get": lambda m: {"namespace": {"name": m.name}},
        "Leases/Create": lambda m: {"lease": {"id": m.id}},
        "Store/Get": lambda m: {"sandbox": {"sandbox_id": m.sandbox_id}},
    }
)


class NoResolver:
    def resolve(self, ref: str) -> Any:
        raise NotFound(ref)

    fetcher = pusher = resolve


VERSION = "containerd.services.version.v1.Version/Version"
DESCRIPTOR = Descriptor("a/b", digests.of(b"x"), 1)
#: The arguments that a call must have besides the number.
GIVEN: dict[str, Any] = {
    "address": "/nonexistent/containerd.sock", "args": ["x"], "chunk": b"x",
    "container_id": "c1", "data": b"x", "descriptor": DESCRIPTOR, "destination": "127.0.0.1:9/b:1",
    "digest": DESCRIPTOR.digest, "expected": "", "host": "127.0.0.1:9", "id": "c2", "image": "a",
    "message": b"", "method": VERSION, "name": "a",
    "content": lambda offset: io.BytesIO(b"x"), "path": f"/{VERSION}",
    "ref": "127.0.0.1:9/a:1", "source": "127.0.0.1:9/a:1",
    "reference": Reference.parse("127.0.0.1:9/a:1"), "resolver": NoResolver(),
    "service": "containerd.services.version.v1.Version", "target": "127.0.0.1:9/a:1", "all": False,
    "signer": Signer.__new__(Signer), "predicate": {}, "type": "vuln",
    "columns": 1, "rows": 1, "width": 1, "height": 1, "signal": 15, "sleep": lambda seconds: None,
}  # fmt: skip


class Stage:
    def __init__(self, stack: ExitStack, folder: Path) -> None:
        channel, _ = stack.enter_context(serving(ANSWERS, []))
        self.channel = channel
        self.client = stack.enter_context(Client(channel=channel, namespace="ns"))
        self.folder = folder / "layout"
        self.given = {**GIVEN, "import_images": folder / "archive.tar"}
        self.given["import_images"].write_bytes(b"")
        self.given["containers"] = [self.client.load_container("c1")]

    def one(self, name: str) -> Any:
        """An object of this class."""
        container = self.client.load_container("c1")
        made: dict[str, Callable[[], Any]] = {
            "Client": lambda: self.client,
            "Channel": lambda: self.channel,
            "Layout": lambda: Layout(self.folder),
            "Registry": lambda: Registry("127.0.0.1:9", sleep=lambda seconds: None),
            "Container": lambda: container,
            "DetachedContainer": lambda: DetachedContainer(container.backend, container.info),
            "SameTargets": lambda: SameTargets(Stdio()),
            "Task": container.task,
            "Running": lambda: Running(container.task(), container),
            "Sandbox": lambda: self.client.load_sandbox("s1"),
        }
        if name in made:
            return made[name]()
        kind = dict(public())[name]
        if name in dir(containerd_lite.services):
            extra = {"SnapshotService": ("overlayfs",)}.get(name, ())
            return kind(self.channel, CallContext("ns"), *extra)
        return kind(*({"LogFile": ("/x",), "BinaryLogger": ("/x",)}.get(name, ())))

    def call(self, argument: str, value: Any) -> BaseException | None:
        """Call with this value of an argument. Return what is raised."""
        where, _, number = argument.rpartition(".")
        name, _, method = where.partition(".")
        try:
            function = getattr(self.one(name), method) if method else dict(public())[name]
            given = {number: value}
            for parameter in inspect.signature(function).parameters.values():
                is_needed = parameter.default is inspect.Parameter.empty
                named = parameter.kind in (
                    inspect.Parameter.KEYWORD_ONLY,
                    inspect.Parameter.POSITIONAL_OR_KEYWORD,
                )
                wanted = is_needed or parameter.name in ("resolver", "sleep")
                if named and wanted and parameter.name not in given:
                    own = self.given.get(method)
                    given[parameter.name] = own or self.given[parameter.name]
            found = function(**given)
            if hasattr(found, "__enter__") and method in ("lease", "subscribe"):
                with found:
                    pass
            elif inspect.isgenerator(found):
                list(found)
            elif hasattr(found, "close"):
                found.close()
        except Exception as error:
            return error
        return None


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack, tmp_path_factory.mktemp("layout"))


TESTED = [
    name
    for name in ALL
    if not MADE_INSIDE & {name, name.partition(".")[0]} and name.rpartition(".")[2] not in FILES
]
CHECKED = [name for name in TESTED if name.rpartition(".")[2] in LIMITS and name not in IGNORED]


@pytest.mark.parametrize("argument", CHECKED)
def test_nonsense_is_refused_by_name(stage: Stage, argument: str) -> None:
    for value in [*NONSENSE, *([] if argument in ZERO else [0, 0.0])]:
        error = stage.call(argument, value)
        assert isinstance(error, InvalidArgument), (value, error)
        assert argument.rpartition(".")[2] in str(error), (value, error)


@pytest.mark.parametrize("argument", TESTED)
def test_no_number_raises_something_untyped(stage: Stage, argument: str) -> None:
    for value in [*HUGE, *([0] if argument in ZERO else []), -1, True]:
        error = stage.call(argument, value)
        assert error is None or isinstance(error, ContainerdError), (value, error)


@pytest.mark.parametrize("seconds", [3e6, 1e9, 1e300, math.inf])
def test_a_wait_that_the_system_cannot_count(seconds: float) -> None:
    """``poll`` and ``epoll`` count at most 24 days."""
    argv = [sys.executable, "-c", "print('x')"]
    ended = run_child(
        argv, "python", input=b"", environment={}, deadline=Deadline(seconds), max_output=10
    )
    assert ended.stdout == b"x\n"
    reader, writer = os.pipe()
    os.write(writer, b"y")
    os.close(writer)
    capture = Capture(10)
    try:
        _Communication(None, memoryview(b""), {reader: capture}, lambda: True).run(
            Deadline(seconds)
        )
    finally:
        os.close(reader)
    assert capture.data == b"y"


# ---- options -----------------------------------------------------------------------------------

OPTIONS = sorted(
    name
    for kind in vars(option_classes).values()
    if inspect.isclass(kind) and kind.__module__ == option_classes.__name__
    for name, hint in kind.__annotations__.items()
    if is_number(getattr(hint, "__forward_arg__", hint)) and name != "max_output"
)


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_containers(option: str) -> None:
    assert len(OPTIONS) > 8
    for value in (*NONSENSE, *HUGE, 0, True):
        given: Any = {option: value}
        with suppress(InvalidArgument):
            make_spec("ns", "id", None, ["x"], given)


#: Options with numbers inside.
COMPOSED: dict[str, Callable[[Any], Any]] = {
    "terminal_size": lambda value: {"terminal": True, "terminal_size": (80, value)},
    "rlimits": lambda value: {"rlimits": {"nofile": (value, value)}},
    "uid_map": lambda value: {"uid_map": [(0, value, 1)], "gid_map": [(0, 1, value)]},
    "hugepage_limits": lambda value: {"hugepage_limits": {"2MB": value}},
}


@pytest.mark.parametrize("option", COMPOSED)
def test_numbers_within_options(option: str) -> None:
    for value in (*NONSENSE, *HUGE, 0, True):
        with suppress(InvalidArgument):
            make_spec("ns", "id", None, ["x"], COMPOSED[option](value))


@pytest.mark.parametrize("field", ["host_port", "container_port"])
def test_ports(field: str) -> None:
    for value in (*NONSENSE, *HUGE, 0, True):
        given: Any = {"host_port": 80, "container_port": 80, field: value}
        with pytest.raises(InvalidArgument):
            PortMapping(**given)


@pytest.mark.parametrize("command", ["pull", "images", "run", "exec", "logs", "doctor", "version"])
def test_options_of_the_command_line(command: str) -> None:
    parser = _CommandParser()
    parser.command = command
    with suppress(SystemExit):
        parser.parse_known_args(["--help"])
    for action in parser._actions:
        parse = action.type
        if not callable(parse):
            continue
        for text in ("0", "-1", "nan", "inf", "-inf", "1e300", "1e400", "9" * 5000, "x", "", "٣"):
            with suppress(argparse.ArgumentTypeError, ValueError, TypeError):
                parse(text)
