"""Tokens of a realm that signs them: how they are asked for, for what, and when anew."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from containerd_lite.errors import RegistryNotFound, RegistryUnauthorized
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.e2e.registry.rounds import fetch, named, push, whole_round
from tests.harness.images import Image
from tests.harness.process import wait_until
from tests.harness.realm import Asked, Realm
from tests.harness.registry import Registry as Server

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

SECRET = "hush-canary"
USERS = {"user": SECRET, "reader": "r"}
USER = Credentials("user", SECRET)
READ, WRITE = "repository:app:pull", "repository:app:pull,push"
DELETE, CATALOG = "repository:app:delete,pull,push", "registry:catalog:*"
MOUNT = ("repository:app:pull", "repository:other:pull,push")


def only_the_user_writes(user: str, name: str, action: str) -> bool:
    """A rule: whoever has a name may read."""
    return user == "user" or (user == "reader" and action == "pull")


@pytest.fixture
def realm(opened: Open) -> Realm:
    made: Realm = opened(Realm(USERS))
    return made


@pytest.fixture
def server(opened: Open, realm: Realm) -> Server:
    made: Server = opened(Server(realm))
    return made


def asked(realm: Realm, start: int = 0) -> list[tuple[str, tuple[str, ...], str]]:
    """What the realm was asked from the question ``start`` on: all had a secret and an answer."""
    found = realm.asked[start:]
    assert all(one.credentials and one.status == 200 for one in found)
    return [(one.method, one.scopes, one.grant) for one in found]


def test_the_whole_round_asks_once_for_each_set_of_scopes(
    opened: Open, realm: Realm, server: Server, image: Image, index: Image
) -> None:
    whole_round(opened(Registry(server.host, credentials=USER)), image, index)
    sets = [scopes for _, scopes, _ in asked(realm)]
    assert sorted(sets) == sorted([(WRITE,), (READ,), (CATALOG,), MOUNT, (DELETE,),
        ("repository:other:pull,push",), ("repository:other:pull",)])  # fmt: skip
    # The first by its password; then a refresh token that came with it stands in.
    assert asked(realm)[0][::2] == ("POST", "password")
    assert {one[0] for one in asked(realm)} == {"POST"}


def test_a_realm_without_post_is_asked_by_get(opened: Open, image: Image, index: Image) -> None:
    realm = opened(Realm(USERS, post=False))
    server = opened(Server(realm))
    whole_round(opened(Registry(server.host, credentials=USER)), image, index)
    first, *others = realm.asked
    assert first == Asked("POST", (WRITE,), "password", True, 405)
    assert {(one.method, one.status, one.credentials) for one in others} == {("GET", 200, True)}


def test_a_refresh_token_from_a_login_is_enough(
    opened: Open, realm: Realm, server: Server, image: Image, index: Image
) -> None:
    kept = Credentials("", "", identity_token=realm.refresh_token("user"))
    whole_round(opened(Registry(server.host, credentials=kept)), image, index)
    assert {one[::2] for one in asked(realm)} == {("POST", "refresh_token")}


def test_a_token_that_grows_old_is_asked_for_anew(opened: Open) -> None:
    realm = opened(Realm(USERS, lifetime=-57))  # good for three seconds at this registry
    server = opened(Server(realm))
    registry = opened(Registry(server.host, credentials=USER))

    def renewed() -> bool:
        with pytest.raises(RegistryNotFound):  # it lets us in, whether the token is old or new
            registry.resolve(named(server.host))
        return len(realm.asked) > 1

    assert not renewed()
    assert wait_until(renewed, 30)
    assert [one[1] for one in asked(realm)] == [(READ,)] * 2


def test_a_token_that_is_over_when_it_comes_is_an_error_and_no_endless_loop(
    opened: Open, image: Image
) -> None:
    realm = opened(Realm(USERS, lifetime=-61))
    server = opened(Server(realm))
    registry = opened(Registry(server.host, credentials=USER))
    with pytest.raises(RegistryUnauthorized) as caught:
        push(registry, named(server.host), image)
    assert SECRET not in str(caught.value)
    assert [one[1] for one in asked(realm)] == [(WRITE,)]


def test_who_has_no_name_pulls_without_a_secret(
    opened: Open, realm: Realm, server: Server, image: Image
) -> None:
    reference = named(server.host)
    push(opened(Registry(server.host, credentials=USER)), reference, image)
    before = len(realm.asked)
    registry = opened(Registry(server.host))
    assert fetch(registry, reference) == dict(image.blobs)
    assert realm.asked[before:] == [Asked("GET", (READ,), "", False, 200)]
    with pytest.raises(RegistryUnauthorized, match="Give credentials") as caught:
        registry.push_manifest(reference, image.blobs[image.digest])
    assert caught.value.status == 401
    assert realm.asked[-1] == Asked("GET", (WRITE,), "", False, 200)


def test_who_may_only_pull_does_not_push(opened: Open, image: Image) -> None:
    realm = opened(Realm(USERS, may=only_the_user_writes))
    server = opened(Server(realm))
    reference, layer = named(server.host), Descriptor.from_json(image.layers[0])
    push(opened(Registry(server.host, credentials=USER)), reference, image)
    registry = opened(Registry(server.host, credentials=Credentials("reader", "r")))
    assert fetch(registry, reference) == dict(image.blobs)
    before = len(realm.asked)
    refused: list[Callable[[], object]] = [
        lambda: registry.push_manifest(reference, image.blobs[image.digest]),
        lambda: registry.upload_blob(named(server.host, "mine"), layer, image.blobs[layer.digest]),
        lambda: registry.delete(reference.with_digest(image.digest)),
        lambda: list(registry.catalog()),
    ]
    for call in refused:
        with pytest.raises(RegistryUnauthorized) as caught:
            call()
        assert caught.value.status == 401
    assert {one.status for one in realm.asked[before:]} == {200}  # it is the registry that refuses
    assert fetch(registry, reference) == dict(image.blobs)


def test_what_may_not_be_mounted_is_uploaded(opened: Open, image: Image) -> None:
    realm = opened(Realm(USERS, may=lambda user, name, action: user == "user" or name == "mine"))
    server = opened(Server(realm))
    push(opened(Registry(server.host, credentials=USER)), named(server.host), image)
    registry = opened(Registry(server.host, credentials=Credentials("reader", "r")))
    layer = Descriptor.from_json(image.layers[0])
    outcome = registry.upload_blob(
        named(server.host, "mine"), layer, image.blobs[layer.digest], mount_from=["app"]
    )
    assert outcome is Outcome.UPLOADED
    assert any("repository:app:pull" in one.scopes for one in realm.asked[-3:])


@pytest.mark.parametrize("post", [True, False])
@pytest.mark.parametrize("anonymous", [True, False])
def test_a_realm_refuses_what_is_wrong(
    post: bool, anonymous: bool, opened: Open, image: Image
) -> None:
    realm = opened(Realm(USERS, post=post, anonymous=anonymous))
    server = opened(Server(realm))
    wrong = f"not-{SECRET}"
    tries: list[Credentials] = [Credentials("user", wrong), Credentials("nobody", wrong)]
    if post:
        tries.append(Credentials("", "", identity_token=wrong))
    for credentials in tries:
        registry = opened(Registry(server.host, credentials=credentials))
        with pytest.raises(RegistryUnauthorized) as caught:
            registry.resolve(named(server.host))
        assert wrong not in str(caught.value) + repr(caught.value)
    assert not [one for one in realm.asked if one.status == 200]
    if not anonymous:
        with pytest.raises(RegistryUnauthorized, match="Give credentials"):
            opened(Registry(server.host)).resolve(named(server.host))


def test_debug_output_has_requests_and_answers_and_no_secret(
    opened: Open,
    realm: Realm,
    server: Server,
    image: Image,
    index: Image,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite")
    whole_round(opened(Registry(server.host, credentials=USER)), image, index)
    told = caplog.text
    assert f"POST {realm.url.rpartition('/')[0]} token: HTTP 200 in" in told
    assert f"GET http://{server.host} app/manifests/" in told
    assert f"PUT http://{server.host} blob sha256:" in told
    for secret in (SECRET, USER.basic(), realm.refresh_token("user"), "Bearer", "eyJ", "_state"):
        assert secret not in told
