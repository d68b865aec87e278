"""What is refused before PyTorch is loaded."""

import gc
import re
import subprocess
import sys

import pytest

from senet.cli.early import loading


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--data", "/no/where"], "there is no folder '/no/where': there is no '/no'"),
        (["train", "--recipe", "cifr"], "no recipe 'cifr'. Did you mean cifar?"),
        (["train", "--resume", "gone"], "it has no config.json"),
        (["train", "--weights", "./gone.pt"], "there is no file or folder of weights './gone.pt'"),
        (["train", "--out", "."], "the output folder . is not empty"),
        (["compare", "--data", "./gone"], "there is no folder './gone'"),
        (["evaluate", "runs/gone"], "there is no run folder or model file 'runs/gone'"),
        (["predict", "runs/gone", "a.jpg"], "there is no run folder or model file 'runs/gone'"),
        (["train", "--weights", "runs/gone"], "there is no run folder or model file 'runs/gone'"),
        (["train", "--weights", "photos/w.pt"], "no run folder or model file 'photos/w.pt'"),
        (["report", "photo"], "there is no run folder or model file 'photo'. Did you mean photos?"),
        (["train", "--data", "photos.zip"], "there is no archive 'photos.zip'"),
        (["data", "photos/labels.csv:file=a"], "there is no table 'photos/labels.csv'"),
        (["evaluate", "gone"], "there is no run folder or model file 'gone'"),
        (["fold", "se_resnet50"], "se_resnet50 is a network without weights"),
        (
            ["predict", "gone", "a.jpg", "--out", "p.xlsx"],
            "cannot be written as .xlsx, only as .csv",
        ),
        (["report", "gone"], "there is no run folder or model file 'gone'"),
        (["train", "--model", "se_resnet5"], "no network 'se_resnet5'. Did you mean se_resnet50"),
        (["compare", "--model", "se_resnet5"], "no network 'se_resnet5'. Did you mean"),
        (["summary", "se_resnet5"], "no network 'se_resnet5'. Did you mean se_resnet50"),
        (["train", "--set", "optimizer=sdg"], "Did you mean sgd?"),
        (["train", "--data", "photos", "--set", "optimizer=sdg"], "Did you mean sgd?"),
        (["compare", "--set", "schedule=cosin"], "Did you mean cosine?"),
        (["train", "--precision", "17"], "precision must be one of"),
        (["train", "--lr", "-1"], "lr must be a number greater than 0"),
        (["train", "--recipe", "quick", "--set", "warmup=99"], "warmup must be shorter"),
        (["train", "--weights", "timm_a1_in1k", "--set", "ema=2"], "ema must be a number in"),
    ],
)
def test_what_needs_no_network_to_be_refused_does_not_wait_for_one(words, message, tmp_path):
    (tmp_path / "photos" / "cats").mkdir(parents=True)
    done = without_torch(words)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("command", "file", "other"),
    [("train", "comparison.json", "compare"), ("compare", "config.json", "train")],
)
def test_a_run_and_a_comparison_are_each_resumed_by_their_own_command(
    command, file, other, tmp_path
):
    (tmp_path / file).write_text("{}")
    done = without_torch([command, "--resume", str(tmp_path)])
    assert done.returncode == 1
    assert f"begun by another command: `senet {other} --resume {tmp_path}`" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train", "--set", "warmpu=1"], "Did you mean warmup?"),
        (["train", "--set", "reducton=8"], "Did you mean reduction?"),
        (["compare", "--set", "epochs"], "write it as KEY=VALUE"),
        (["compare", "--vary", "reduction"], "write it as KEY=VALUE"),
    ],
)
def test_nor_does_wrong_usage(words, message):
    done = without_torch(words)
    assert done.returncode == 2
    assert message in re.sub(r"[\s│]+", " ", done.stderr)


@pytest.mark.parametrize(
    "words", [["models"], ["weights"], ["weights", "se_resnet50.timm_a1_in1k"]]
)
def test_lists_need_no_pytorch(words):
    assert without_torch(words).returncode == 0


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        (
            "from senet.cli import app; import senet.training.recipes",
            ["torch", "pytorch_lightning", "torchmetrics", "PIL", "numpy", "rich"],
        ),
        ("from senet.cli import config; config.recipe('quick', None)", ["torch", "numpy", "PIL"]),
        (
            "from senet.cli import config\n"
            "config.configured(config.recipe('quick', None), ['reduction=8'], {})",
            ["pytorch_lightning", "torchmetrics", "PIL", "torch._dynamo"],
        ),
    ],
)
def test_what_is_heavy_is_loaded_where_work_begins(statement, absent):
    code = f"{statement}\nimport sys; print([m for m in {absent!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def without_torch(words):
    """Run a command in its own process, which must not have loaded PyTorch at the end."""
    code = (
        "import sys; from senet.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "False"
    return done


def test_garbage_is_collected_again_after_loading():
    with loading():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.unfreeze()
