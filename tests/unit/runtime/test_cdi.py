"""CDI devices: which file describes a device, and what its edits do to a spec."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from containerd_lite.errors import ContainerdError, InvalidArgument, NotFound
from containerd_lite.runtime import spec as package
from containerd_lite.runtime.spec import cdi
from containerd_lite.runtime.spec.options import SpecOptions
from containerd_lite.runtime.spec.specs import make_spec

Write = Callable[..., None]
DEVICE = "vendor.com/class=one"


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [tmp_path / "etc", tmp_path / "run"]
    for folder in found:
        folder.mkdir()
    monkeypatch.setattr(cdi, "FOLDERS", tuple(map(str, found)))
    return found


def document(name: str = "one", **edits: Any) -> dict[str, Any]:
    device = {"name": name, "containerEdits": edits}
    return {"cdiVersion": "0.6.0", "kind": "vendor.com/class", "devices": [device]}


def spec(*devices: str, **options: Any) -> Any:
    given = {"devices": devices, **options}
    return make_spec("ns", "id", None, ["x"], cast(SpecOptions, given))


def test_all_edits(folders: list[Path]) -> None:
    edits: dict[str, Any] = {
        "env": ["A=b", "PATH=/own"],
        "deviceNodes": [
            {"path": "/dev/inside", "hostPath": "/dev/zero", "permissions": "rw"},
            {"path": "/dev/null"},
            {"path": "/dev/far", "type": "b", "major": 9, "uid": 0, "fileMode": 0o600},
            {"path": "/dev/pipe", "type": "p"},
        ],
        "mounts": [
            {"hostPath": "/b", "containerPath": "/x/y", "options": ["ro", "bind"]},
            {"hostPath": "/a", "containerPath": "/x", "type": "none", "options": ["rbind"]},
            {"hostPath": "/r", "containerPath": "/run", "options": ["rbind"]},
        ],
        "hooks": [
            {"hookName": "createContainer", "path": "/h", "args": ["h", "x"], "timeout": 5},
        ],
        "intelRdt": {"closID": "c"},
        "additionalGids": [0, 44],
    }
    (folders[0] / "a.json").write_text(json.dumps(document(**edits)))
    made = spec(DEVICE, "/dev/full", user="5:6")
    assert made["process"]["env"] == ["PATH=/own", "A=b"]
    nodes = {node["path"]: node for node in made["linux"]["devices"]}
    assert list(nodes) == ["/dev/full", "/dev/inside", "/dev/null", "/dev/far", "/dev/pipe"]
    mode = stat.S_IMODE(Path("/dev/zero").stat().st_mode)
    assert nodes["/dev/inside"] == {
        **{"path": "/dev/inside", "type": "c", "major": 1, "minor": 5},
        **{"fileMode": mode, "uid": 5, "gid": 6},
    }
    assert nodes["/dev/far"] == {
        **{"path": "/dev/far", "type": "b", "major": 9, "minor": 0},
        **{"fileMode": 0o600, "uid": 0, "gid": 6},
    }
    rules = [(rule["major"], rule["access"]) for rule in made["linux"]["resources"]["devices"][-3:]]
    assert rules == [(1, "rw"), (1, "rwm"), (9, "rwm")]
    assert [mount["destination"] for mount in made["mounts"]][-3:] == ["/run", "/x", "/x/y"]
    assert len([mount for mount in made["mounts"] if mount["destination"] == "/run"]) == 1
    assert made["hooks"] == {"createContainer": [{"path": "/h", "args": ["h", "x"], "timeout": 5}]}
    assert made["linux"]["intelRdt"] == {"closID": "c"}
    assert made["process"]["user"]["additionalGids"] == [6, 44]


def test_edits_of_a_file_apply_once(folders: list[Path]) -> None:
    whole = document(env=["ONE=1"])
    whole["devices"].append({"name": "two", "containerEdits": {"additionalGids": [9]}})
    whole["containerEdits"] = {"hooks": [{"hookName": "prestart", "path": "/h"}]}
    (folders[0] / "a.json").write_text(json.dumps(whole))
    made = spec(DEVICE, "vendor.com/class=two")
    assert made["hooks"] == {"prestart": [{"path": "/h"}]}
    assert "ONE=1" in made["process"]["env"]
    assert 9 in made["process"]["user"]["additionalGids"]
    assert "hooks" not in spec("/dev/null")


def test_a_later_folder_wins(folders: list[Path]) -> None:
    for number, folder in enumerate(folders):
        (folder / "a.json").write_text(json.dumps(document(env=[f"FROM={number}"])))
    assert "FROM=1" in spec(DEVICE)["process"]["env"]
    (folders[1] / "b.json").write_text(json.dumps(document()))
    with pytest.raises(InvalidArgument, match=r"both in .*a\.json and in .*b\.json"):
        spec(DEVICE)


def test_yaml(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(document(env=["A=b"]))  # JSON is YAML
    (folders[0] / "a.yaml").write_text(text)
    with monkeypatch.context() as patched:
        patched.setitem(sys.modules, "yaml", None)  # as if it were not installed
        patched.delitem(sys.modules, "containerd_lite.runtime.spec.yaml_file", raising=False)
        patched.delitem(vars(package), "parse_yaml", raising=False)
        with pytest.raises(NotFound, match="PyYAML is not installed"):
            spec(DEVICE)
    pytest.importorskip("yaml")
    assert "A=b" in spec(DEVICE)["process"]["env"]
    (folders[0] / "a.yaml").write_text("a: [")
    with pytest.raises(NotFound, match="not valid YAML"):
        spec(DEVICE)


def test_broken_files_of_others_do_no_harm(folders: list[Path]) -> None:
    (folders[0] / "a.json").write_text("{")
    (folders[0] / "b.json").mkdir()
    (folders[0] / "c.json").write_text(json.dumps(document()))
    (folders[0] / "d.txt").write_text("{")
    spec(DEVICE)
    with pytest.raises(NotFound, match=r"class=two is in no file of .*; .*a\.json is not valid"):
        spec("vendor.com/class=two")
    for folder in folders:
        for path in folder.glob("?.json"):
            path.rmdir() if path.is_dir() else path.unlink()
        folder.joinpath("d.txt").unlink(missing_ok=True)
        folder.rmdir()
    with pytest.raises(NotFound, match="is in no file"):
        spec(DEVICE)


@pytest.mark.parametrize(
    ("edits", "said"),
    [
        ({"env": ["A"]}, "env has 'A'"),
        ({"env": "A=b"}, "is not a list"),
        ({"netDevices": []}, "has 'netDevices', which this package cannot apply"),
        ({"deviceNodes": [{"path": "dev"}]}, "path 'dev' is not an absolute path"),
        ({"deviceNodes": [{"hostPath": "/dev/null"}]}, "has no 'path'"),
        ({"deviceNodes": [{"path": "/dev/nosuch"}]}, "'/dev/nosuch' is not a device"),
        ({"deviceNodes": [{"path": "/etc/passwd"}]}, "'/etc/passwd' is not a device"),
        ({"deviceNodes": [{"path": "/dev/null", "type": "b"}]}, "has the type c"),
        ({"deviceNodes": [{"path": "/dev/null", "major": "1"}]}, "'major' is not a whole number"),
        ({"mounts": [{"hostPath": "/a"}]}, "has no 'containerPath'"),
        ({"hooks": [{"hookName": "x", "path": "/h"}]}, "hookName is 'x'"),
        ({"hooks": [{"hookName": "prestart", "path": "h"}]}, "'h' is not an absolute path"),
        ({"intelRdt": {"schemata": []}}, "has 'schemata'"),
        ({"additionalGids": ["x"]}, "additionalGids is not a list of gids"),
    ],
    ids=str,
)
def test_malformed_edits(edits: dict[str, Any], said: str, folders: list[Path]) -> None:
    (folders[0] / "a.json").write_text(json.dumps(document(**edits)))
    with pytest.raises(ContainerdError) as caught:
        spec(DEVICE)
    assert isinstance(caught.value, InvalidArgument)
    assert said in str(caught.value)
    assert "a.json" in str(caught.value)


@pytest.mark.parametrize("name", ["vendor/class=", "=x", "vendor=x", "1v/c=x", "v/c/d=x", "/a/b=c"])
def test_what_is_no_name_of_a_device(name: str, folders: list[Path]) -> None:
    assert not cdi.is_cdi_device(name)
    with pytest.raises(InvalidArgument, match="devices"):
        spec(name)
