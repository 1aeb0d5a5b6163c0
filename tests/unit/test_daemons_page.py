"""docs/daemons.md and README.md say the same as the package and the tests of real daemons."""

from __future__ import annotations

import re

from containerd_lite.services.releases import RELEASES
from tests.e2e.client.pages import PAGE, README, cells
from tests.e2e.client.probes import PROBES
from tests.harness import golang
from tests.harness.generations import GENERATIONS

END, TESTED = "End of life", "Tested version"
TEXT = PAGE.read_text()


def test_each_row_is_tested_on_each_generation() -> None:
    page = cells(TEXT)
    assert page.keys() == {END, TESTED, *PROBES}
    assert {tuple(row) for row in page.values()} == {GENERATIONS}


def test_ends_of_life_are_the_packages() -> None:
    found = cells(TEXT)[END]
    ends = {f"{a}.{b}": str(release.end_of_life) for (a, b), release in RELEASES.items()}
    assert found == {name: ends[name] for name in GENERATIONS}
    assert re.findall(r"No test runs on (\S+), whose end of life was (\S+)\.", TEXT) == [
        ("2.2", ends["2.2"])
    ]
    heads = re.findall(r"(\d\.\d) LTS", TEXT)
    assert set(heads) == {f"{a}.{b}" for (a, b), release in RELEASES.items() if release.is_lts}


def test_versions_are_those_that_go_builds() -> None:
    tested = cells(TEXT)[TESTED]
    assert all(version.startswith(f"{name}.") for name, version in tested.items())
    for name, build in golang.CONTAINERD.items():
        assert tested[name] == build.version


def test_the_short_table_is_a_part_of_the_long_one() -> None:
    short, long = cells(README.read_text()), cells(TEXT)
    assert short
    assert short == {name: long[name] for name in short}
