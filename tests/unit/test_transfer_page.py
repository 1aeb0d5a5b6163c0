"""docs/transfer.md has each argument of ``pull`` and ``push`` in one of two lists."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from containerd_lite import Client
from containerd_lite.images.pull.pull_request import PullRequest
from containerd_lite.images.push.push_requests import PushRequest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "transfer.md").read_text()
CLIENT_ONLY = {
    "pull": PullRequest("x").only_for_client(),
    "push": PushRequest("x", "x").only_for_client(),
}
#: Arguments of which one value is supported, and another one is not.
BOTH = {"pull": {"attestations", "registry"}, "push": {"registry"}}


def listed(verb: str, who: str) -> set[str]:
    (text,) = re.findall(rf"^- `{verb}`, {who}:(.*?)\.$", PAGE, re.M | re.S)
    return set(re.findall(r"`(\w+)`", text))


@pytest.mark.parametrize("verb", ["pull", "push"])
def test_each_argument_is_in_one_list(verb: str) -> None:
    arguments = {*inspect.signature(getattr(Client, verb)).parameters} - {"self", "via"}
    by_daemon, by_client = (
        listed(verb, "the daemon supports"),
        listed(verb, "only the client supports"),
    )

    assert by_daemon | by_client == arguments
    assert by_daemon & by_client == BOTH[verb]
    assert by_client == set(CLIENT_ONLY[verb])
