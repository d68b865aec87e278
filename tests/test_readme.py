"""Every Python snippet of the documents runs, and every command they show exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "README.zh-TW.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_snippets_run_in_their_order(document):
    snippets = blocks(document, "python")
    if not snippets:
        pytest.skip(f"{document.name} has no Python snippet")
    names: dict[str, object] = {}
    for snippet in snippets:
        exec(compile(snippet, str(document), "exec"), names)


def test_the_two_readmes_have_the_same_commands():
    english, chinese = (
        [
            [line.split("#")[0].strip() for line in block.splitlines()]
            for block in blocks(ROOT / name, "sh")
        ]
        for name in ("README.md", "README.zh-TW.md")
    )
    assert english == chinese


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_commands_exist(document):
    from typer.main import get_command

    from senet.cli import app

    known = get_command(app).commands  # type: ignore[attr-defined]
    for command in re.findall(r"(?m)^senet (\w+)", document.read_text(encoding="utf-8")):
        assert command in known
