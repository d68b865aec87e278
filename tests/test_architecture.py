"""The shape of the package: imports point down, and importing it is light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "senet"

# A package may import those of lower rank. Of equal rank, only `data` may be imported, by the
# applications above it.
RANK = {
    "near": -2,
    "cache": -1,
    "known": -1,
    "paths": -1,
    "tell": -1,
    "ops": 0,
    "nn": 1,
    "graph": 1,
    "fuse": 2,
    "models": 2,
    "surgery": 2,
    "data": 3,
    "training": 4,
    "analysis": 4,
    "export": 4,
    "serving": 4,
    "doctor": 4,
    "foreign": 4,
    "cli": 5,
    "__main__": 6,
}


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """The parts of senet that a file imports, at its head or inside a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"relative: {path}"
        for name in names:
            pieces = name.split(".")
            if pieces[0] == "senet" and len(pieces) > 1 and pieces[1] in RANK:
                found.add(pieces[1])
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path):
    own = part(path)
    for other in imported(path) - {own}:
        assert RANK[other] < RANK[own], f"{own} imports {other}"


def test_the_rule_would_notice(tmp_path):
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def f():\n    from senet import cli\n    import senet.training.fit\n")
    assert imported(wrong) == {"cli", "training"}


def test_the_command_line_is_in_short_files_that_load_nothing_heavy_at_their_head():
    light = ("known", "near", "paths", "cli", "typer", *sys.stdlib_module_names)
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        text = path.read_text()
        assert len(text.splitlines()) <= 300, path.name
        for node in ast.parse(text).body:
            if isinstance(node, ast.ImportFrom):
                assert node.module, path.name
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            for name in names:
                assert name.removeprefix("senet.").partition(".")[0] in light, (
                    f"{path.name}: {name}"
                )


def test_there_are_no_drawers_for_odds_and_ends():
    assert not [p for p in modules() if p.stem in ("utils", "helpers", "common", "misc")]


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import senet", ["torch", "numpy", "pytorch_lightning"]),
        (
            "import senet; senet.create_model('se_resnet8_cifar')",
            [
                *("pytorch_lightning", "torchvision", "timm", "matplotlib", "PIL", "scipy"),
                "huggingface_hub",
            ],
        ),
    ],
)
def test_importing_is_light(statement, absent):
    code = f"{statement}; import sys; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
