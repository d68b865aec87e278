"""One version: in the package, its metadata, the changelog and the tags."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import senet

ROOT = Path(__file__).parent.parent
HEADINGS = re.findall(r"^## (\S+), (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.M)
DATE = r"\d{4}-\d{2}-\d{2}"


def tags(*words):
    try:
        found = subprocess.run(
            ["git", "tag", "--list", "v*", *words], cwd=ROOT, capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("needs git")
    if found.returncode:
        pytest.skip("needs a checkout")
    return [tag.removeprefix("v") for tag in found.stdout.split()]


def test_the_metadata_and_the_changelog_have_the_version_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == senet.__version__ == HEADINGS[0][0]


def test_only_the_newest_version_may_be_unreleased():
    versions = [[int(n) for n in version.split(".")] for version, _ in HEADINGS]
    assert versions == sorted(versions, reverse=True)
    assert HEADINGS[0][1] == "unreleased" or re.fullmatch(DATE, HEADINGS[0][1])
    assert all(re.fullmatch(DATE, date) for _, date in HEADINGS[1:])


def test_what_is_tagged_has_a_date():
    dates = dict(HEADINGS)
    assert all(re.fullmatch(DATE, dates.get(tag, "no heading")) for tag in tags())


def test_a_tagged_commit_has_the_version_of_its_tag():
    assert all(tag == senet.__version__ for tag in tags("--points-at", "HEAD"))
