"""The builder of filters; what the daemon makes of them is tested with the services."""

from __future__ import annotations

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.services.filters import Filter

pytestmark = pytest.mark.backend


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (Filter("name") == "x", 'name=="x"'),
        (Filter("name") != "x", 'name!="x"'),
        (Filter("name").matches("^a|b$"), 'name~="^a|b$"'),
        (Filter("target.digest").is_present(), "target.digest"),
        (Filter("labels", "a.b/c") == "d,e f", 'labels."a.b/c"=="d,e f"'),
        (Filter("labels", 'a"b\\').is_present(), r'labels."a\"b\\"'),
        (Filter("name") == "é\n", r'name=="\U000000e9\U0000000a"'),
        ((Filter("a") == "1") & (Filter("b") != "2"), 'a=="1",b!="2"'),
        ((Filter("a") == "1") & "b", 'a=="1",b'),
    ],
)
def test_filters(made: str, text: str) -> None:
    assert made == text


@pytest.mark.parametrize("field", ["", "a-b", "a..b", "1a", 'a=="x",b', "labels.a/b"])
def test_fields_that_are_none(field: str) -> None:
    with pytest.raises(InvalidArgument, match="Filter"):
        Filter(field)


def test_a_filter_says_what_it_is() -> None:
    assert repr(Filter("labels", "a")) == '<Filter labels."a">'
    with pytest.raises(TypeError):
        hash(Filter("a"))
