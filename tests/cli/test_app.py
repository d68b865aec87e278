"""The program: help, errors and exit codes."""

import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_command

from senet import __version__, cli
from senet.cli import app
from senet.training.recipes import RECIPES
from tests.cli.command import said, senet

COMMANDS = [
    *("data", "compare", "train", "evaluate", "predict", "embed", "report", "explain"),
    *("accelerate", "insert", "fold"),
    *("models", "weights", "summary", "doctor"),
]


def test_help_answers_at_once_and_loads_nothing():
    # Processor time instead of elapsed time, so that other load on this machine does not count.
    # The promise is half a second; on a quiet machine that is the elapsed time.
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "senet", "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert statistics.median(times) < 0.5
    assert "Squeeze-and-excitation networks" in done.stdout
    loaded = set(re.findall(r"\| +(\w+)", done.stderr))
    assert "typer" in loaded  # otherwise the line above finds nothing
    assert not loaded & {"torch", "numpy", "pytorch_lightning", "torchvision", "timm", "PIL"}


def test_the_commands_are_those_of_the_manual():
    assert sorted(get_command(app).commands) == sorted(COMMANDS)
    overview = senet("--help").output
    assert all(command in overview for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches_with_examples_that_parse(command):
    text = senet(command, "--help").output
    examples = re.findall(rf"(?m)^ +senet {command} ?(.*)$", text)
    assert examples or command == "doctor"
    parser = get_command(app).commands[command]
    for example in examples:
        words = re.sub(r" (>|&&) .*", "", example).replace("'", "").split()
        parser.make_context(command, words)  # an unknown option would be an error


def test_help_names_the_recipes_that_there_are():
    text = said(senet("train", "--help"))
    assert all(name in text for name in RECIPES)


def test_version():
    assert senet("--version").output.strip() == f"senet {__version__}"


def raising(error):
    def fit(*_, **__):
        raise error

    return fit


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary", "se_resnet5"], "no network 'se_resnet5'. Did you mean se_resnet50"),
        (["models", "se_resnet500"], "no network matches 'se_resnet500'. Did you mean se_resnet50"),
        (["summary", "resnet8_cifar", "--set", "stem=cifer"], "stem must be one of"),
        (["train", "--recipe", "cifr"], "no recipe 'cifr'. Did you mean cifar?"),
        (["train", "--data", "./gone"], "there is no folder './gone'"),
        (["train", "--set", "optimizer=sdg"], "Did you mean sgd?"),
        (["train", "--weights", "gone"], "no weights 'gone'. It can be a file"),
        (["train", "--resume", "gone"], "it has no config.json"),
        (["compare", "--resume", "gone"], "it has no comparison.json"),
        (["compare", "--vary", "reducton=4"], "to vary. Did you mean reduction?"),
        (["compare", "--vary", "lr=0.1,0.2"], "lr is a setting of the training"),
        (["compare", "--vary", "reduction="], "needs one or more values, all different"),
        (["compare", "--vary", "reduction=8,99"], "reduction=99 cannot be built: reduction=99"),
        (["evaluate", "gone"], "there is no run folder or model file 'gone'"),
        (["predict", "se_resnet50", "a.jpg"], "se_resnet50 is a network without weights"),
        (["report", "gone"], "there is no run folder or model file 'gone'"),
        (
            ["predict", "gone", "a.jpg", "--out", "p.xlsx"],
            "cannot be written as .xlsx, only as .csv",
        ),
    ],
)
def test_what_the_library_refuses_is_one_message(words, message):
    result = senet(*words, code=1)
    assert result.output.startswith("error: ")
    assert message in result.output
    assert "Traceback" not in result.output
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "No such command 'trian'. Did you mean 'train'?"),
        (["train", "--epoch", "3"], "--epochs"),
        (["train", "--epochs", "many"], "--epochs"),
        (["train", "--set", "epochs"], "write it as KEY=VALUE"),
        (["compare", "--vary", "reduction"], "--vary reduction: write it as KEY=VALUE"),
        (["train", "--set", "warmpu=1"], "Did you mean warmup?"),
        (["train", "--set", "reducton=8"], "Did you mean reduction?"),
        (["summary", "se_resnet8_cifar", "--set", "reducton=8"], "Did you mean reduction?"),
        (["train", "--resume", "a", "--out", "b"], "leave --out out"),
        (["train", "--changed-data", "ok"], "add --resume RUN"),
        (["summary"], "Missing argument"),
        (["predict", "run", "a.jpg", "--format", "xml"], "--format"),
    ],
)
def test_wrong_usage_ends_with_2(words, message):
    assert message in said(senet(*words, code=2))


def test_debug_shows_the_traceback(monkeypatch):
    words = ["summary", "se_resnet5"]
    assert isinstance(senet("--debug", *words, code=1).exception, ValueError)
    monkeypatch.setenv("SENET_DEBUG", "1")
    assert isinstance(senet(*words, code=1).exception, ValueError)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "Interrupted."),
        (
            PermissionError(13, "Permission denied", "/root/x"),
            1,
            "error: /root/x: Permission denied",
        ),
        (FloatingPointError("the loss is nan"), 1, "error: the loss is nan"),
        (ModuleNotFoundError("No module named 'x'"), 1, "`senet doctor` says what is missing"),
    ],
)
def test_whatever_stops_a_training_has_its_exit_code(monkeypatch, error, code, message):
    monkeypatch.setattr("senet.training.fit.fit", raising(error))
    assert message in senet("train", code=code).output


def test_a_signal_ends_a_training_with_its_own_code(monkeypatch):
    from senet.training.fit import Interrupted

    error = Interrupted("Resume with `senet train --resume x`.", exit_code=143)
    monkeypatch.setattr("senet.training.fit.fit", raising(error))
    assert senet("train", code=143).output == "Resume with `senet train --resume x`.\n"


def test_mistakes_in_our_code_are_not_hidden(monkeypatch):
    monkeypatch.setattr("senet.training.fit.fit", raising(TypeError("a bug")))
    assert "TypeError: a bug. senet did not expect this" in said(senet("train", code=1))
    assert isinstance(senet("--debug", "train", code=1).exception, TypeError)


@pytest.mark.slow
def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m senet models 'resnet8*' | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_the_script_is_installed():
    assert shutil.which("senet", path=str(Path(sys.executable).parent))


def test_completion_comes_with_it():
    # The shell that runs the tests does not matter here.
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "senet", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=named,
    )
    assert isinstance(cli.app, typer.Typer)
    assert "complete" in done.stdout


def test_a_torchvision_for_another_torch_is_named_with_its_remedy(monkeypatch, tmp_path):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(
        "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    output = " ".join(senet("train", "--epochs", "1", code=1).output.split())
    assert "torchvision is installed, but cannot be imported (operator torchvision::nms" in output
    assert "pip uninstall torchvision" in output
    assert "pip uninstall torchvision" in " ".join(senet("doctor", code=1).output.split())
