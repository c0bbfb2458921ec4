"""What runs on GitHub and before a commit agrees with pyproject.toml."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))

PYTHON = "Programming Language :: Python :: "


def load(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text("utf-8"))


WORKFLOWS = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(".github/workflows/*.yml")]
FORMS = [path.relative_to(ROOT).as_posix() for path in ROOT.glob(".github/ISSUE_TEMPLATE/*_*.yml")]


@pytest.mark.parametrize("path", WORKFLOWS)
def test_a_workflow_may_only_read_but_where_a_job_says_more(path: str) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    allowed = {name: job.get("permissions") for name, job in workflow["jobs"].items()}
    assert {name: more for name, more in allowed.items() if more} in ({}, {"publish": {"id-token": "write"}})


def test_the_tests_run_on_every_python_that_is_promised() -> None:
    tested = load(".github/workflows/ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    promised = [line.removeprefix(PYTHON) for line in PROJECT["project"]["classifiers"]]
    assert tested == [version for version in promised if re.fullmatch(r"3\.\d+", version)]
    assert PROJECT["project"]["requires-python"] == f">={tested[0]}"


@pytest.mark.parametrize("path", FORMS)
def test_a_form_has_what_github_wants(path: str) -> None:
    form = load(path)
    assert form.keys() >= {"name", "description", "body"}
    fields = [item for item in form["body"] if item["type"] != "markdown"]
    assert all(item["attributes"]["label"] for item in fields)
    assert len({item["id"] for item in fields}) == len(fields)


def test_what_dependabot_looks_at_is_there() -> None:
    manifests = {
        "docker": "Dockerfile",
        "github-actions": ".github/workflows",
        "npm": "package.json",
        "pip": "pyproject.toml",
    }
    for update in load(".github/dependabot.yml")["updates"]:
        folder = ROOT / update["directory"].lstrip("/")
        assert (folder / manifests[update["package-ecosystem"]]).exists()


def test_ruff_before_a_commit_is_the_ruff_of_make_lint() -> None:
    repos = load(".pre-commit-config.yaml")["repos"]
    (rev,) = [repo["rev"] for repo in repos if repo["repo"].endswith("/ruff-pre-commit")]
    (wanted,) = [line for line in PROJECT["dependency-groups"]["lint"] if line.startswith("ruff")]
    assert wanted == f"ruff~={rev.removeprefix('v')}"
