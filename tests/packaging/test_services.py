"""compose.yaml and the systemd units: well formed, hardened, and naming commands that exist."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import agent.config
from cli.main import VERBS

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))


def unit(path: Path) -> configparser.SectionProxy:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # keys keep their case
    parser.read(path)
    return parser["Service"]


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_confined(name: str) -> None:
    service = SERVICES[name]
    uid = service["user"].split(":")[0]
    assert uid.isdecimal()
    assert uid != "0"
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "ports" not in service


@pytest.mark.parametrize("name", SERVICES)
def test_service_has_a_health_check_and_a_declared_volume(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    volume, target = service["volumes"][0].split(":")
    assert volume in COMPOSE["volumes"]
    assert target == "/var/lib/mosaicfs"


def test_services_wait_for_services_that_exist() -> None:
    for service in SERVICES.values():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed]


def test_files_named_exist() -> None:
    assert (ROOT / COMPOSE["x-service"]["build"]["dockerfile"]).is_file()
    for service in SERVICES.values():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert not source.startswith("./") or (ROOT / source).exists(), source
        for program in service.get("entrypoint", []):
            assert (ROOT / Path(program).relative_to("/opt/mosaicfs")).is_file()


def test_the_container_s_agent_toml_is_valid() -> None:
    config = agent.config.load(ROOT / "deploy" / "agent.toml")
    mounted = [volume.rsplit(":", 2)[1] for volume in SERVICES["agent"]["volumes"][1:]]
    assert set(config.watch_paths) <= set(mounted)


def test_compose_names_verbs_that_exist() -> None:
    for service in SERVICES.values():
        named = service.get("command", [])[:1]
        check = service["healthcheck"]["test"]
        if "mosaicfs" in check:
            named.append(check[check.index("mosaicfs") + 1])
        assert set(named) <= VERBS.keys()


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_unit(path: Path) -> None:
    service = unit(path)
    program, *arguments = service["ExecStart"].split()
    assert (ROOT / Path(program).relative_to("/opt/mosaicfs")).is_file()
    if program.endswith("/mosaicfs"):
        assert arguments[0] in VERBS
    assert service["User"] == "mosaicfs"
    assert service["StateDirectory"] == "mosaicfs"
    assert service["ProtectSystem"] == "strict"
    assert service["NoNewPrivileges"] == "yes"


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_unit(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / path.name
    # The program is where the clone is, not where an installation puts it; only the unit is tested.
    copy.write_text(re.sub(r"/opt/mosaicfs", str(ROOT), path.read_text()))
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert path.name not in done.stderr, done.stderr
