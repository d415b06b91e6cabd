"""agent.toml: what is right is kept exactly, what is wrong is told with its mend."""

from __future__ import annotations

import os
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import AgentConfig
from events import paths
from events.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def test_defaults(file: Path, tmp_path: Path) -> None:
    file.write_text(f'watch_paths = ["{tmp_path}"]')
    assert config.load(file) == AgentConfig(watch_paths=(str(tmp_path),))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("watch_path = []", r"agent.toml: unknown key 'watch_path'; did you mean 'watch_paths'\?"),
        ("zzz = 1", "unknown key 'zzz'; known keys: control_plane_url"),
        ('watch_paths = "/x"', "watch_paths = '/x': Expected `array`"),
        ("watch_paths = []", "watch_paths is empty"),
        ("watch_paths = [", "not valid TOML"),
        ('watch_paths = ["relative"]', "'relative'; give an absolute path"),
        ('watch_paths = ["/etc/passwd"]', "not a folder"),
        ('watch_paths = ["/"]\nexcluded_paths = ["a/b"]', "excluded_paths holds 'a/b'"),
        ('watch_paths = ["/"]\ncrawl_at = "25:00"', "crawl_at is a time of day"),
        ('watch_paths = ["/"]\ndebounce_ms = 1', "debounce_ms is between"),
        ('watch_paths = ["/"]\ncontrol_plane_url = "http://x"', "https:// address"),
        ('watch_paths = ["/"]\ncontrol_plane_url = "https://x"', "access_key_id is missing"),
        ('watch_paths = ["/"]\nrole = "king"', "role = 'king'"),
    ],
)
def test_what_is_wrong_is_named(file: Path, text: str, told: str) -> None:
    file.write_text(text)
    with pytest.raises(Misconfigured, match=told) as caught:
        config.load(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_says_how_to_make_it(file: Path) -> None:
    with pytest.raises(Misconfigured, match="mosaicfs up --watch DIR"):
        config.load(file)


def test_links_and_home_are_resolved(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.setenv("HOME", str(tmp_path))
    file.write_text(f'watch_paths = ["~/real", "{tmp_path}/link", "{tmp_path}/missing"]')
    assert config.load(file).watch_paths == (f"{tmp_path}/real", f"{tmp_path}/missing")


def test_only_a_bridge_may_watch_nothing(file: Path) -> None:
    file.write_text('role = "bridge"')
    assert config.load(file).watch_paths == ()


TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(
    st.lists(TEXTS.map(lambda text: "/none/" + text.strip("/.")), min_size=1, unique=True),
    st.none() | TEXTS,
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, watch: list[str], name: str | None
) -> None:
    file = tmp_path_factory.mktemp("config") / "agent.toml"
    raw: dict[str, Any] = {"watch_paths": watch}
    if name is not None:
        raw["friendly_name"] = name
    try:
        settings = config.parse(raw, file)
    except Misconfigured:
        # The text of a path has its own grammar.
        assert any("\ufffd" in each for each in watch)
        return
    config.write(file, settings)
    assert config.load(file) == settings
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_folder_is_added_and_comments_stay(file: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    assert config.add_watch(file, one)
    file.write_text("# mine\n" + file.read_text() + 'friendly_name = "desk"  # yes\n')
    assert config.add_watch(file, two)
    assert not config.add_watch(file, one / ".." / "two")
    text = file.read_text()
    assert text.startswith("# mine\n")
    assert "# yes" in text
    assert config.load(file).watch_paths == (str(one), str(two))


def test_a_folder_with_any_name_is_added(file: Path, tmp_path: Path) -> None:
    for name in (b'quo"te]', b"\xff\xfe", b"new\nline", b"back\\slash", "ü\u007f".encode()):
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        assert config.add_watch(file, tmp_path.__class__(os.fsdecode(folder)))
        assert paths.to_text(os.fsdecode(folder)) in config.load(file).watch_paths
    assert len(tomllib.loads(file.read_text())["watch_paths"]) == 5


def test_what_is_no_folder_is_not_added(file: Path, tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="is not a folder"):
        config.add_watch(file, tmp_path / "missing")
    assert not file.exists()
