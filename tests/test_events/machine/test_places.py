"""Where things lie: as a person, as a service, and in a folder given by hand."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from events.machine.places import find

VARIABLES = (
    "MOSAICFS_STATE",
    "MOSAICFS_SERVICE",
    "XDG_STATE_HOME",
    "XDG_CONFIG_HOME",
    "XDG_RUNTIME_DIR",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_person_without_settings(home: Path) -> None:
    places = find()
    assert places.state == home / ".local/state/mosaicfs"
    assert places.config == home / ".config/mosaicfs"
    assert places.run == home / ".local/state/mosaicfs/run"
    assert places.agent_toml == home / ".config/mosaicfs/agent.toml"


def test_a_person_with_xdg_settings(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "runtime").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", "/x/state")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/x/config")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(home / "runtime"))
    places = find()
    assert places == (
        Path("/x/state/mosaicfs"),
        Path("/x/config/mosaicfs"),
        home / "runtime" / "mosaicfs",
    )


@pytest.mark.parametrize("value", ["", "relative/path", "~/state"])
def test_relative_xdg_folders_are_ignored_as_the_rules_say(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", value)
    monkeypatch.setenv("XDG_CONFIG_HOME", value)
    assert find().state == home / ".local/state/mosaicfs"
    assert find().config == home / ".config/mosaicfs"


def test_a_runtime_folder_that_is_not_there_is_not_used(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/nowhere/at/all")
    assert find().run == home / ".local/state/mosaicfs/run"


@pytest.mark.parametrize("how", ["argument", "variable"])
def test_a_service(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    if how == "variable":
        monkeypatch.setenv("MOSAICFS_SERVICE", "1")
    places = find(service=how == "argument")
    assert places == (Path("/var/lib/mosaicfs"), Path("/etc/mosaicfs"), Path("/run/mosaicfs"))


def test_a_folder_given_by_hand_holds_everything(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOSAICFS_SERVICE", "1")
    monkeypatch.setenv("MOSAICFS_STATE", "~/by/variable")
    monkeypatch.chdir(home)
    for places, state in [
        (find(), home / "by/variable"),
        (find(Path("by/argument")), home / "by/argument"),
        (find(Path("~/x"), service=True), home / "x"),
    ]:
        assert places == (state, state, state / "run")


def test_folders_are_made_for_their_owner_only(home: Path) -> None:
    places = find(home / "deep" / "state")
    places.make()
    places.make()
    for folder in (places.state, places.run, places.keys, places.logs, places.nats):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert places.documents_db.parent.is_dir()
    assert not places.documents_db.exists()


def test_no_two_things_share_a_place(home: Path) -> None:
    places = find(home)
    found = [
        places.agent_toml,
        places.node_id,
        places.agent_db,
        places.documents_db,
        places.nats,
        places.keys,
        places.logs,
        places.sample,
        places.socket("agent"),
        places.socket("projector"),
    ]
    assert len(set(found)) == len(found)
    assert all(home in path.parents for path in found)
