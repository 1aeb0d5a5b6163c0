"""A ``Layout`` keeps its connections to registries and its tokens, as a ``Client`` does."""

from __future__ import annotations

import base64
import gc
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from containerd_lite import Layout, ProgressEvent
from containerd_lite.errors import RegistryNotFound, RegistryUnauthorized
from tests.harness import images
from tests.unit.registry.scripted import Reply, Request, Scripted, reply

pytestmark = pytest.mark.dependencies

IMAGE = images.random_image([2000])
#: The only user that the registry knows.
LOGIN = "me:secret"
#: Against hanging (seconds).
PATIENCE = 10.0


class Guarded(Scripted):
    """A registry with one image, which only those get who have a token."""

    def __init__(self) -> None:
        super().__init__()
        for digest, blob in IMAGE.blobs.items():
            self.on("GET", f"/v2/one/blobs/{digest}", self.behind(reply(200, blob)))
        kind, body = images.OCI_MANIFEST, IMAGE.blobs[IMAGE.digest]
        found = reply(200, body, Content_Type=kind, Docker_Content_Digest=IMAGE.digest)
        self.on("HEAD", "/v2/one/manifests/1", self.behind(found))
        self.on("GET", f"/v2/one/manifests/{IMAGE.digest}", self.behind(found))
        self.on("POST", "/token", self.grant)
        self.on("GET", "/token", reply(401))

    def behind(self, found: Reply) -> Callable[[Request], Reply]:
        wanted = f'Bearer realm="{self.origin}/token",service="it"'
        refused = reply(401, WWW_Authenticate=wanted)
        return lambda request: found if "authorization" in request.headers else refused

    def grant(self, request: Request) -> Reply:
        is_known = b"username=me&password=secret" in request.body
        return reply(200, {"access_token": "a-token"}) if is_known else reply(401)


@pytest.fixture
def server() -> Iterator[Guarded]:
    made = Guarded()
    with made:
        yield made


class Logins:
    """Docker's config file."""

    def __init__(self, folder: Path, host: str) -> None:
        self._file, self._host = folder / "config.json", host

    def put(self, login: str = LOGIN) -> None:
        entry = {"auth": base64.b64encode(login.encode()).decode()}
        self._file.write_text(json.dumps({"auths": {self._host: entry} if login else {}}))


@pytest.fixture
def logins(server: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Logins:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
    found = Logins(tmp_path, server.host)
    found.put()
    return found


@pytest.fixture
def layout(tmp_path: Path, logins: Logins) -> Iterator[Layout]:
    with Layout(tmp_path / "layout") as found:
        yield found


def test_the_second_pull_needs_one_request(server: Guarded, layout: Layout) -> None:
    layout.pull(f"{server.host}/one:1")
    requests, connections = len(server.requests), server.connections
    layout.pull(f"{server.host}/one:1")
    assert [request.method for request in server.requests[requests:]] == ["HEAD"]
    assert server.connections == connections


def test_a_login_and_a_logout_are_heeded(server: Guarded, layout: Layout, logins: Logins) -> None:
    ref = f"{server.host}/one:1"
    logins.put("me:wrong")
    with pytest.raises(RegistryUnauthorized):
        layout.pull(ref)
    logins.put()
    layout.pull(ref)
    logins.put("")
    with pytest.raises(RegistryUnauthorized):
        layout.pull(ref)
    assert "authorization" not in server.requests[-1].headers
    logins.put()
    layout.pull(ref)


def test_each_of_two_pulls_at_a_time_gets_its_own_events(server: Guarded, layout: Layout) -> None:
    layout.pull(f"{server.host}/one:1")
    both, told = threading.Barrier(2), dict[str, list[ProgressEvent]](first=[], second=[])

    def busy(request: Request) -> Reply:
        both.wait(PATIENCE)
        return reply(503)

    def pull(name: str) -> None:
        server.on("HEAD", f"/v2/one/manifests/{name}", busy, reply(404))
        with pytest.raises(RegistryNotFound):
            layout.pull(f"{server.host}/one:{name}", progress=told[name].append)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(pull, told))
    retried = {
        name: [event.name for event in events if event.stage == "retrying"]
        for name, events in told.items()
    }
    assert retried == {"first": ["manifest first"], "second": ["manifest second"]}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(server: Guarded, layout: Layout) -> None:
    ref = f"{server.host}/one:1"
    layout.pull(ref)
    connections = server.connections
    pid = os.fork()
    if not pid:  # pragma: no cover - the child's coverage is lost
        code = 1
        with suppress(BaseException):
            layout.pull(ref)
            layout.close()
            code = 0
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert server.connections == connections + 1
    layout.pull(ref)
    assert server.connections == connections + 1
    tokens = server.seen("POST", "/token")
    assert len(tokens) == 2


def test_a_pickled_layout_has_them_too(server: Guarded, layout: Layout) -> None:
    ref = f"{server.host}/one:1"
    image = layout.pull(ref)
    connections = server.connections
    with pickle.loads(pickle.dumps(layout)) as copy:
        assert copy.pull(ref).target == image.target
        assert server.connections == connections + 1
    assert pickle.loads(pickle.dumps(image)).target == image.target


def test_close_closes_them_and_the_layout_goes_on(server: Guarded, layout: Layout) -> None:
    layout.pull(f"{server.host}/one:1")
    assert server.clients
    for _ in range(2):
        layout.close()
        assert not server.clients
        layout.pull(f"{server.host}/one:1")
        assert not server.clients


@contextmanager
def no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_layout_that_nobody_closes_leaves_nothing(
    server: Guarded, tmp_path: Path, logins: Logins
) -> None:
    """Its connections close together with it, even before garbage is collected."""
    with no_collection():
        for _ in range(2):
            image = Layout(tmp_path / "other").pull(f"{server.host}/one:1")
            assert server.clients
            del image
            assert not server.clients
