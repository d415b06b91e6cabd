"""agent.toml: what the agent watches and which control plane it belongs to.

Strict: an unknown key, a value of the wrong kind or a half-given control plane is refused with the
file, the key and the mend. Paths in the file are path text (see `events.paths`), so that any folder
can be named.
"""

from __future__ import annotations

import difflib
import os
import re
import tempfile
import tomllib
from typing import TYPE_CHECKING, Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from events import paths
from events.errors import Misconfigured

if TYPE_CHECKING:
    from pathlib import Path

LOCAL: Final = "local"
_CLOCK: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_HEADER: Final = """\
# The agent of MosaicFS: what it watches on this machine. See docs/agent.md.
# The agent reads this file when it starts.
"""


class AgentConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one agent. After `load`, paths are absolute and free of symbolic links."""

    control_plane_url: str = LOCAL
    access_key_id: str | None = None
    secret_key: str | None = None
    nats_url: str | None = None
    role: Literal["machine", "bridge"] = "machine"
    watch_paths: tuple[str, ...] = ()
    excluded_paths: tuple[str, ...] = ()
    friendly_name: str | None = None
    crawl_at: str = "03:00"
    debounce_ms: int = 500


KEYS: Final = AgentConfig.__struct_fields__


def load(path: Path) -> AgentConfig:
    """The settings in the file, validated; raises Misconfigured."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Misconfigured(f"{path} does not exist; `mosaicfs up --watch DIR` writes it") from None
    except OSError as wrong:
        raise Misconfigured(f"cannot read {path}: {wrong.strerror}") from wrong
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
        raise Misconfigured(f"{path} is not valid TOML: {wrong}") from None
    return parse(raw, path)


def parse(raw: dict[str, Any], path: Path) -> AgentConfig:
    """The settings in a decoded file; `path` is for error texts only."""
    for key in raw:
        if key not in KEYS:
            close = difflib.get_close_matches(key, KEYS, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"known keys: {', '.join(KEYS)}"
            raise Misconfigured(f"{path}: unknown key {key!r}; {mend}")
    for key, value in raw.items():
        try:
            msgspec.convert({key: value}, AgentConfig)
        except msgspec.ValidationError as wrong:
            text = str(wrong).partition(" - at")[0]
            raise Misconfigured(f"{path}: {key} = {value!r}: {text}") from None
    return _checked(msgspec.convert(raw, AgentConfig), path)


def _checked(config: AgentConfig, path: Path) -> AgentConfig:
    _check_control_plane(config, path)
    if not _CLOCK.fullmatch(config.crawl_at):
        raise Misconfigured(f'{path}: crawl_at is a time of day such as "03:00"')
    if not 50 <= config.debounce_ms <= 60_000:
        raise Misconfigured(f"{path}: debounce_ms is between 50 and 60000")
    if not config.watch_paths and config.role != "bridge":
        raise Misconfigured(
            f"{path}: watch_paths is empty; name a folder, or run `mosaicfs up --watch DIR`"
        )
    watch = tuple(dict.fromkeys(_watch_path(each, path) for each in config.watch_paths))
    excluded = tuple(_excluded_path(each, path) for each in config.excluded_paths)
    return msgspec.structs.replace(config, watch_paths=watch, excluded_paths=excluded)


def _check_control_plane(config: AgentConfig, path: Path) -> None:
    if config.control_plane_url == LOCAL:
        return
    url = urlsplit(config.control_plane_url)
    if url.scheme != "https" or not url.hostname:
        raise Misconfigured(f'{path}: control_plane_url is "{LOCAL}" or an https:// address')
    for key in ("access_key_id", "secret_key"):
        if not getattr(config, key):
            raise Misconfigured(
                f"{path}: {key} is missing; a control plane on another machine asks for it "
                "(`mosaicfs agent init` writes it)"
            )


def _watch_path(text: str, path: Path) -> str:
    real = _real(text, "watch_paths", path)
    # One that is missing may be a disk that is not mounted yet: the agent reports it and waits.
    if os.path.lexists(paths.to_os(real)) and not os.path.isdir(paths.to_os(real)):
        raise Misconfigured(f"{path}: watch_paths names {text!r}, which is not a folder")
    return real


def _excluded_path(text: str, path: Path) -> str:
    if "/" not in text and text:
        return text
    if text.startswith(("/", "~")):
        return _real(text, "excluded_paths", path)
    raise Misconfigured(
        f"{path}: excluded_paths holds {text!r}; give an absolute path, "
        'or a name pattern without a slash such as "*.tmp"'
    )


def _real(text: str, key: str, path: Path) -> str:
    try:
        given = os.path.expanduser(paths.to_os(text))
    except ValueError as wrong:
        raise Misconfigured(f"{path}: {key}: {wrong}") from None
    if not given.startswith("/") or "\0" in given:
        raise Misconfigured(f"{path}: {key} holds {text!r}; give an absolute path (~ is allowed)")
    return paths.to_text(os.path.realpath(given))


def write(path: Path, config: AgentConfig) -> None:
    """Write the settings; atomic, and readable by the owner only, as a key may be in it."""
    lines = [_HEADER]
    defaults = AgentConfig()
    for key in KEYS:
        value = getattr(config, key)
        if value != getattr(defaults, key):
            lines.append(f"{key} = {_toml(value)}\n")
    _replace(path, "".join(lines))


def add_watch(path: Path, folder: Path) -> bool:
    """Add a folder to `watch_paths`, making the file when there is none; the rest of the file stays
    as it is, comments included. Returns whether the folder was new."""
    absolute = paths.to_text(os.path.realpath(folder.expanduser()))
    if not os.path.isdir(paths.to_os(absolute)):
        raise Misconfigured(f"{folder} is not a folder")
    if not path.exists():
        write(path, AgentConfig(watch_paths=(absolute,)))
        return True
    text = path.read_text(encoding="utf-8")
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as wrong:
        raise Misconfigured(f"{path} is not valid TOML: {wrong}") from None
    known = list(raw.get("watch_paths", []))
    if absolute in {_real(each, "watch_paths", path) for each in known}:
        return False
    wanted = {**raw, "watch_paths": [*known, absolute]}
    parse(wanted, path)
    _replace(path, _edited(text, wanted))
    return True


def _edited(text: str, wanted: dict[str, Any]) -> str:
    """The text with another `watch_paths`, checked by reading it back."""
    line = f"watch_paths = {_toml(wanted['watch_paths'])}"
    edited, count = re.subn(
        r"^watch_paths\s*=\s*\[[^\]]*\]", lambda _: line, text, count=1, flags=re.MULTILINE
    )
    if not count:
        edited = f"{line}\n{text}"
    try:
        if tomllib.loads(edited) == wanted:
            return edited
    except tomllib.TOMLDecodeError:
        pass
    # A bracket inside of a name or of a comment: rewrite the file whole.
    return _HEADER + "".join(f"{key} = {_toml(value)}\n" for key, value in wanted.items())


def _toml(value: object) -> str:
    if isinstance(value, str):
        # JSON's string is TOML's basic string, except that TOML also wants DEL escaped.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, list | tuple):
        if len(value) > 1:
            return "[\n" + "".join(f"    {_toml(each)},\n" for each in value) + "]"
        return f"[{', '.join(map(_toml, value))}]"
    return str(value)


def _replace(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp makes the file with mode 0600.
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".agent.toml-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
