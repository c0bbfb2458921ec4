"""The files on the pages about deploying parse, and agree with the command, the image and each other."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.documents import ROOT, blocks
from support.processes import Process
from tidewire.cli.serve import serve

SYSTEMD, COMPOSE, KUBERNETES = (f"docs/how-to/{name}.md" for name in ("systemd", "compose", "kubernetes"))
DRAIN = 15  # seconds that a clean stop takes with the default settings, as docs/how-to/container.md says
VARIABLES = {str(option.envvar) for option in serve.params if hasattr(option, "envvar")}


def unit() -> str:
    (block,) = blocks("systemd", SYSTEMD)
    return block.text


def compose() -> Any:
    (block,) = blocks("yaml", COMPOSE)
    return yaml.safe_load(block.text)


def kubernetes() -> dict[str, Any]:
    (block,) = blocks("yaml", KUBERNETES)
    return {found["kind"]: found for found in yaml.safe_load_all(block.text)}


# -- systemd


def settings() -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", unit(), re.MULTILINE))


def test_the_unit_starts_the_command() -> None:
    program, *arguments = settings()["ExecStart"].split()
    assert (Path(program).name, arguments) == ("tidewire", ["serve"])
    assert set(re.findall(r"^Environment=(\w+)=", unit(), re.MULTILINE)) <= VARIABLES
    assert f"/var/lib/{settings()['StateDirectory']}/" in unit()


def test_systemd_waits_for_a_clean_stop() -> None:
    assert int(settings()["TimeoutStopSec"]) > DRAIN


def test_the_limit_of_descriptors_is_that_of_the_text() -> None:
    text = (ROOT / SYSTEMD).read_text("utf-8")
    assert f"{int(settings()['LimitNOFILE']) * 8 // 10:,} here" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    path = tmp_path / "tidewire.service"
    # It looks whether the program is there.
    path.write_text(unit().replace(settings()["ExecStart"], "/bin/true"), "utf-8")
    done = subprocess.run(["systemd-analyze", "verify", path], capture_output=True, text=True, timeout=60)
    # It also tells what is wrong with the units of this machine.
    assert not [line for line in done.stderr.splitlines() if path.name in line], done.stderr


# -- Compose


def test_the_nodes_have_variables_of_the_command_and_one_log() -> None:
    services = compose()["services"]
    for name in ("hub1", "hub2"):
        environment = services[name]["environment"]
        assert {key for key in environment if key.startswith("TIDEWIRE_")} <= VARIABLES
        assert environment["TIDEWIRE_ENGINE"].startswith("redis://redis:")
        assert int(services[name]["stop_grace_period"].removesuffix("s")) > DRAIN


def test_the_proxy_asks_both_nodes_at_their_port() -> None:
    file = compose()
    nginx = file["configs"]["nginx"]["content"]
    found = re.findall(r"^ *server (\w+):(\d+)", nginx, re.MULTILINE)
    assert found == [
        (name, file["services"][name]["environment"]["TIDEWIRE_PORT"]) for name in ("hub1", "hub2")
    ]
    port = file["services"]["proxy"]["ports"][0].rpartition(":")
    assert f"listen {port[2]};" in nginx
    (shell,) = blocks("sh", COMPOSE)
    assert set(re.findall(r"localhost:(\d+)", shell.text)) == {port[0].rpartition(":")[2]}


def test_the_proxy_is_configured_as_in_the_page_of_proxies() -> None:
    content = compose()["configs"]["nginx"]["content"].replace("$$", "$")
    (shown, *_) = blocks("nginx", "docs/how-to/proxies.md")
    lines = {line.strip() for line in shown.text.splitlines() if "proxy_" in line}
    assert lines == {line.strip() for line in content.splitlines() if "proxy_" in line}


def test_each_config_is_used() -> None:
    file = compose()
    used = [
        config["source"] for service in file["services"].values() for config in service.get("configs", ())
    ]
    assert sorted(used) == sorted(file["configs"])


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")
def test_redis_takes_its_settings(tmp_path: Path) -> None:
    path = tmp_path / "redis.conf"
    # On a socket, so that no port is needed.
    more = f"port 0\nunixsocket {tmp_path}/redis.sock\ndir {tmp_path}\n"
    path.write_text(compose()["configs"]["redis"]["content"] + more, "utf-8")
    with Process(["redis-server", str(path)]) as server:
        server.wait_line("eady to accept connections")


# -- Kubernetes


def container() -> Any:
    (found,) = kubernetes()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return found


def test_the_pods_have_variables_of_the_command() -> None:
    names = {variable["name"] for variable in container()["env"]}
    assert names - {"FORWARDED_ALLOW_IPS"} <= VARIABLES
    ports = [variable["value"] for variable in container()["env"] if variable["name"] == "TIDEWIRE_PORT"]
    assert ports == [str(port["containerPort"]) for port in container()["ports"]]


def test_the_probes_ask_what_the_hub_answers() -> None:
    paths = {name: container()[name]["httpGet"]["path"] for name in container() if name.endswith("Probe")}
    assert paths == {
        "readinessProbe": "/health/ready",
        "livenessProbe": "/health/live",
        "startupProbe": "/health/live",
    }


def test_kubernetes_waits_for_a_clean_stop() -> None:
    sleep = int(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    grace = kubernetes()["Deployment"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > sleep + DRAIN


def test_names_and_labels_agree() -> None:
    found = kubernetes()
    labels = found["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert found["Deployment"]["spec"]["selector"]["matchLabels"] == labels
    assert found["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert found["Service"]["spec"]["selector"] == labels
    (rule,) = found["Ingress"]["spec"]["rules"]
    (path,) = rule["http"]["paths"]
    assert path["backend"]["service"]["name"] == found["Service"]["metadata"]["name"]
    assert path["backend"]["service"]["port"]["name"] in [
        p["name"] for p in found["Service"]["spec"]["ports"]
    ]
    assert found["Service"]["spec"]["ports"][0]["targetPort"] == container()["ports"][0]["name"]
