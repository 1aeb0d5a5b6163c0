"""What the package says about containerd's releases, against containerd's own pages and source."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from containerd_lite.services.deprecations import PREFIX, REMEDIES
from containerd_lite.services.releases import RELEASES
from tests.harness import Unavailable, debian, golang
from tests.harness.generations import NEWEST

_DEBIANS = "golang-github-containerd-containerd-dev", "trixie"
_IN_DEBIANS = "usr/share/gocode/src/github.com/containerd/containerd"


def source(generation: str) -> Path:
    """Return the folder of containerd's source. Skip the test if the machine cannot have it."""
    try:
        if generation == "1.7":
            return debian.folder(*_DEBIANS) / _IN_DEBIANS
        build = golang.CONTAINERD[generation]
        if not build.folder.exists():  # then its source is not here, either
            raise Unavailable(f"{build} is not built")
        return golang.module(build.module, build.version)
    except Unavailable as reason:
        pytest.skip(str(reason).splitlines()[0])


def ends(text: str) -> dict[tuple[int, ...], str]:
    """Return the end of life of each release from 1.6 on, as the page RELEASES.md has it."""
    rows = re.findall(r"^\| \[(\d+)\.(\d+)\]\([^|]*\|[^|]*\|[^|]*\| *([^|*]*?)\** *\|", text, re.M)
    return {(int(a), int(b)): end for a, b, end in rows if (int(a), int(b)) >= min(RELEASES)}


def test_ends_of_life_are_containerds(compared: Callable[[str], None]) -> None:
    found = ends((source(NEWEST) / "RELEASES.md").read_text())
    assert found.keys() == RELEASES.keys()
    for numbers, text in found.items():
        end = RELEASES[numbers].end_of_life
        if len(text.split()) == 3:
            assert datetime.strptime(text, "%B %d, %Y").date() == end
        else:  # a month stands for its last day
            month = datetime.strptime(text.replace(",", ""), "%B %Y").date()
            assert month == end.replace(day=1)
            assert (end + timedelta(days=1)).day == 1
    compared(f"ends of life of {len(found)} releases: no difference")


@pytest.mark.parametrize("generation", ["1.7", *golang.CONTAINERD])
def test_each_deprecation_has_a_remedy(generation: str) -> None:
    text = (source(generation) / "pkg/deprecation/deprecation.go").read_text()
    assert f'Prefix = "{PREFIX}"' in text
    ids = set(re.findall(r'= Prefix \+ "([^"]+)"', text))
    assert ids
    assert ids <= REMEDIES.keys()
