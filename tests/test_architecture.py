"""The shape of the package: imports point down, and importing it is light."""

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import senet

PACKAGE = Path(__file__).parent.parent / "src" / "senet"

CREATE = "senet.models.create"

# A package may import those of lower rank, and none of its own rank: none of the applications
# imports the insides of another.
RANK = {
    "counted": -2,
    "files": -2,
    "near": -2,
    "paired": -2,
    "device": -1,
    "preprocessing": -1,
    "cache": -1,
    "known": -1,
    "memory": -1,
    "spin": -1,
    "paths": -1,
    "reach": -1,
    "tell": -1,
    "ops": 0,
    "nn": 1,
    "graph": 1,
    "fuse": 2,
    "gates": 2,
    "models": 2,
    "surgery": 3,
    "figures": 3,
    "data": 4,
    "runs": 5,
    "training": 6,
    "analysis": 6,
    "export": 6,
    "serving": 6,
    "explain": 6,
    "survey": 6,
    "doctor": 6,
    "foreign": 4,
    "cli": 7,
    "__main__": 8,
}


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    """Return the parts of senet that a file imports, at its head or inside a function."""
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


def modules_of(package: Path) -> dict[str, Path]:
    """Return the files of a package by the names under which they are imported."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def statements(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield every import below ``node``, also in functions, unless only type checkers see it."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            for other in child.orelse:
                yield from statements(ast.Module([other], []))
        else:
            yield from statements(child)


def waits_for(files: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return the modules of a package that each of its modules imports.

    A file is imported after the import of its packages has begun, so it does not wait for these.
    """
    graph = {}
    for name, path in files.items():
        wanted = set()
        for node in statements(ast.parse(path.read_text())):
            for alias in node.names:
                if isinstance(node, ast.Import):
                    wanted.add(alias.name)
                else:  # of a module, or a module of a package
                    inner = f"{node.module}.{alias.name}"
                    wanted.add(inner if inner in files else node.module)
        graph[name] = {w for w in wanted & files.keys() if not f"{name}.".startswith(f"{w}.")}
    return graph


def circle(package: Path) -> str:
    """Return a circle of imports in the package, such as ``a → b → a``, or nothing."""
    try:
        TopologicalSorter(waits_for(modules_of(package))).prepare()
    except CycleError as error:
        return " → ".join(reversed(error.args[1]))
    return ""


def test_no_imports_go_in_circles():
    assert not circle(PACKAGE)


def test_a_circle_would_be_named(tmp_path):
    files = {
        "__init__": "from p.a import x",
        "a": "def f():\n    from p.b.c import y",
        "b/__init__": "",
        "b/c": "import p.d",
        "d": "if TYPE_CHECKING:\n    from p import a",
    }
    for name, text in files.items():
        path = tmp_path / "p" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert not circle(tmp_path / "p")
    (tmp_path / "p" / "d.py").write_text("from p import a")
    assert circle(tmp_path / "p") == "p.a → p.b.c → p.d → p.a"


def test_nothing_in_models_imports_what_stands_on_top_of_it():
    importers = {n for n, wanted in waits_for(modules_of(PACKAGE)).items() if CREATE in wanted}
    assert {n for n in importers if n.startswith("senet.models")} == {"senet.models"}


def test_the_command_line_is_in_short_files_that_load_nothing_heavy_at_their_head():
    light = ("counted", "known", "near", "paths", "cli", "typer", *sys.stdlib_module_names)
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


def test_files_are_put_in_place_by_one_module_alone():
    own = PACKAGE / "files.py"
    for path in modules():
        calls = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, ast.Call)}  # fmt: skip
        renaming = calls & {"os.replace", "os.rename", "shutil.move", "tempfile.mkstemp"}
        assert path == own or not renaming, (path, renaming)


def test_benchmarks_import_nothing_of_the_tests():
    for path in sorted((PACKAGE.parent.parent / "benchmarks").rglob("*.py")):
        for node in statements(ast.parse(path.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not [n for n in names if n and n.split(".")[0] == "tests"], path


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


@pytest.mark.parametrize("name", senet.__all__)
def test_public_names_come_from_where_type_checkers_find_them(name):
    checked = {
        alias.name: node.module
        for node in ast.walk(ast.parse((PACKAGE / "__init__.py").read_text()))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert getattr(senet, name) is getattr(importlib.import_module(checked[name]), name)
    assert name in dir(senet)


@pytest.mark.parametrize("name", senet._PACKAGES)
def test_packages_need_no_import_of_their_own(name):
    code = f"import senet; print(senet.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"senet.{name}"
    assert name in dir(senet)
