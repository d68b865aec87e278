"""The command line as its users meet it: what it prints, and how it ends."""

import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from senet import __version__, cli, doctor
from senet.cli import app
from senet.training.config import TrainConfig
from senet.training.recipes import RECIPES

COMMANDS = [
    *("compare", "train", "evaluate", "predict", "report"),
    *("accelerate", "insert", "fold"),
    *("models", "weights", "summary", "doctor"),
]
TINY = ["--model", "se_resnet8_cifar", "--set", "widths=8,8,16", "--set", "reduction=4"]


@pytest.fixture(autouse=True)
def _terminal(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SENET_DEBUG", raising=False)
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back what main sets
    monkeypatch.chdir(tmp_path)
    # Threads cost such small tensors more than they give, most of all on a busy machine.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def senet(*words, code=0):
    """Run a command in this process; ``code`` is how it must end."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result


def said(result):
    """What a message says, wherever it was wrapped or boxed."""
    return re.sub(r"[\s│]+", " ", result.output)


# --- help -----------------------------------------------------------------------------------------


def test_help_answers_at_once_and_loads_nothing():
    # Processor time, not time on the clock: whoever else works on this machine does not count.
    # Half a second is the promise; on a quiet machine this is what the clock would show.
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
    assert "typer" in loaded  # or the line above reads nothing
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
        words = re.sub(r" > .*", "", example).replace("'", "").split()
        parser.make_context(command, words)  # an unknown option would be an error


def test_help_names_the_recipes_that_there_are():
    text = said(senet("train", "--help"))
    assert all(name in text for name in RECIPES)


def test_version():
    assert senet("--version").output.strip() == f"senet {__version__}"


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["summary", "se_resnet5"], "no network 'se_resnet5'. Did you mean se_resnet50"),
        (["models", "se_resnet500"], "no network fits 'se_resnet500'. Did you mean se_resnet50"),
        (["summary", "resnet8_cifar", "--set", "stem=cifer"], "stem must be one of"),
        (["train", "--recipe", "cifr"], "no recipe 'cifr'. Did you mean cifar?"),
        (["train", "--data", "./gone"], "there is no folder './gone'"),
        (["train", "--set", "optimizer=sdg"], "Did you mean sgd?"),
        (["train", "--weights", "gone"], "no weights 'gone'. It can be a file"),
        (["train", "--resume", "gone"], "it has no config.json"),
        (["compare", "--resume", "gone"], "it has no comparison.json"),
        (["compare", "--vary", "reducton=4"], "to vary. Did you mean reduction?"),
        (["compare", "--vary", "lr=0.1,0.2"], "lr is a setting of the training"),
        (["compare", "--vary", "reduction="], "must be different ones, at least one"),
        (["compare", "--vary", "reduction=8,99"], "reduction=99 cannot be built: reduction=99"),
        (["evaluate", "gone"], "there is no run folder or model file 'gone'"),
        (["predict", "se_resnet50", "a.jpg"], "se_resnet50 is a network without weights"),
        (["report", "gone"], "no run folder gone"),
        (["predict", "gone", "a.jpg", "--out", "p.xlsx"], "not written as .xlsx, but as .csv"),
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
        (["train", "--data", "/no/where"], "there is no folder '/no/where': there is no '/no'"),
        (["train", "--recipe", "cifr"], "no recipe 'cifr'. Did you mean cifar?"),
        (["train", "--resume", "gone"], "it has no config.json"),
        (["train", "--weights", "./gone.pt"], "there is no file or folder of weights './gone.pt'"),
        (["train", "--out", "."], "the output folder . is not empty"),
        (["compare", "--data", "./gone"], "there is no folder './gone'"),
        (["evaluate", "runs/gone"], "there is no run folder or model file 'runs/gone'"),
        (["predict", "runs/gone", "a.jpg"], "there is no run folder or model file 'runs/gone'"),
    ],
)
def test_what_needs_no_network_to_be_refused_does_not_wait_for_one(words, message, tmp_path):
    (tmp_path / "something").touch()
    code = (
        "import sys; from senet.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stdout == "False\n"


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


def raising(error):
    def fit(*_, **__):
        raise error

    return fit


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

    error = Interrupted("Go on with `senet train --resume x`.", exit_code=143)
    monkeypatch.setattr("senet.training.fit.fit", raising(error))
    assert senet("train", code=143).output == "Go on with `senet train --resume x`.\n"


def test_mistakes_in_our_code_are_not_hidden(monkeypatch):
    monkeypatch.setattr("senet.training.fit.fit", raising(TypeError("a bug")))
    assert isinstance(senet("train", code=1).exception, TypeError)


def test_a_reader_that_has_enough_is_no_error():
    command = f"{sys.executable} -m senet models 'resnet8*' | true"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stderr == ""


# --- from words to a configuration ----------------------------------------------------------------


@pytest.fixture
def configured(monkeypatch):
    """``configured(*words)``: the configuration that `senet train` would start, and where."""
    calls = []

    def fit(config, folder, resume, changed_data):
        calls.append((config, folder, resume))
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.training.fit.fit", fit)

    def run(*words):
        senet("train", *words, code=130)
        return calls[-1]

    return run


def test_the_recipe_holds_where_nothing_is_said(configured):
    config, folder, resume = configured()
    assert config == RECIPES["quick"]()
    assert re.fullmatch(rf"runs/{config.model}-fashion-mnist-\d{{8}}-\d{{6}}", str(folder))
    assert not resume


def test_every_setting_of_a_training_can_be_set(configured):
    config, *_ = configured(
        *("--set", "precision=32", "--set", "milestones=4", "--set", "schedule=step"),
        *("--set", "flip=false", "--set", "label-smoothing=0.1", "--set", "warmup=1"),
        *("--set", "limit=none", "--set", "reduction=8", "--set", "gate=tanh"),
        *("--epochs", "9", "--lr", "1", "--batch-size", "64", "--seed", "3", "--device", "cpu"),
    )
    assert (config.precision, config.milestones, config.schedule) == ("32", (4,), "step")
    assert (config.flip, config.label_smoothing, config.limit) == (False, 0.1, None)
    assert (config.options["reduction"], config.options["gate"]) == (8, "tanh")
    assert (config.epochs, config.lr, config.batch_size) == (9, 1, 64)
    assert (config.seed, config.device) == (3, "cpu")


def test_data_and_folder(configured):
    config, folder, _ = configured("--data", "some/My photos", "--model", "se_resnet18")
    assert config.data == "some/My photos"
    assert str(folder).startswith("runs/se_resnet18-My-photos-")
    assert configured("--out", "here")[1] == Path("here")


@pytest.mark.parametrize(
    "words",
    [
        *(["compare", "--out=PLACE"], ["compare", "--resume=PLACE"]),
        *(["train", "--out=PLACE"], ["train", "--resume=PLACE"]),
        *(["predict", "run", "a.jpg", "--out=PLACE"], ["fold", "run", "--out=PLACE"]),
        ["report", "PLACE"],
    ],
    ids=" ".join,
)
def test_the_home_folder_and_variables_are_known_to_every_option_that_is_a_path(words, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("WHERE", "/mnt")
    command = get_command(app).commands[words[0]]
    for place, path in (("~/x", "/home/me/x"), ("$WHERE/x", "/mnt/x")):
        given = [word.replace("PLACE", place) for word in words[1:]]
        assert Path(path) in command.make_context(words[0], given).params.values()


def test_the_home_folder_is_known_to_whatever_takes_a_run_or_data(configured, monkeypatch):
    monkeypatch.setenv("HOME", str(Path("home").resolve()))
    (Path("home") / "photos").mkdir(parents=True)
    config, folder, _ = configured("--data=~/photos", "--out=~/x")
    assert config.epochs == RECIPES["photos"]().epochs
    assert folder == Path("home/x").resolve()
    Path("home/x.safetensors").touch()
    for words in (["evaluate", "~/x.safetensors"], ["predict", "$HOME/x.safetensors", "a.jpg"],
                  ["fold", "~/x.safetensors"]):  # fmt: skip
        assert "home/x.safetensors is not a model file" in senet(*words, code=1).output


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("reduction=4,8", (4, 8)),
        ("reduction=4, 4+8+16", (4, (4, 8, 16))),
        ("placement=standard,3x3", ("standard", "3x3")),
        ("se-bias=true,false", (True, False)),
        ("gate_bias=0,1.5", (0, 1.5)),
        ("se_stages=none,2,2+3", (None, 2, (2, 3))),
        ("attention=se,eca", ("se", "eca")),
        ("widths=4+4+8,8+8+16", ((4, 4, 8), (8, 8, 16))),
        ("stem_width=8", (8,)),
    ],
)
@pytest.mark.parametrize("model", ["se_resnet8_cifar", "resnet8_cifar"])  # the twin is known
def test_values_to_vary(monkeypatch, text, values, model):
    calls = []

    def compare(config, folder, seeds, vary, resume):
        calls.append(vary)
        raise KeyboardInterrupt

    monkeypatch.setattr("senet.training.compare.compare", compare)
    senet("compare", "--model", model, "--vary", text, code=130)
    (vary,) = calls
    assert vary.option == text.partition("=")[0].replace("-", "_")
    assert vary.values == values
    assert [type(v) for v in vary.values] == [type(v) for v in values]


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("se_resnet8_cifar", {"widths": (8, 16, 32), "gate_bias": 2.0}),
        ("resnet8_cifar", {"widths": (8, 16, 32)}),  # the twin
        ("se_resnet18", {"gate_bias": 2.0}),
        ("resnet18", {}),
    ],
)
def test_another_network_keeps_the_options_that_mean_the_same(configured, monkeypatch, model, kept):
    options = {"widths": (8, 16, 32), "gate_bias": 2.0}
    recipe = lambda: TrainConfig(model="se_resnet8_cifar", options=options)  # noqa: E731
    monkeypatch.setitem(RECIPES, "quick", recipe)
    assert configured("--model", model)[0].options == kept


def test_published_weights_need_the_name_of_their_network(configured, tmp_path):
    weights = tmp_path / "published.th"
    weights.touch()
    result = senet("train", "--weights", weights, code=1)
    assert "does not say of which network it is: add --model" in result.output
    config, *_ = configured("--weights", weights, "--model", "resnet20_cifar")
    assert (config.model, config.weights) == ("resnet20_cifar", str(weights))
    assert config.epochs == RECIPES["finetune"]().epochs


def test_weights_that_say_what_they_are_of_bring_their_network(configured, tmp_path):
    from safetensors.torch import save_file

    (tmp_path / "there").mkdir()
    save_file({"not": torch.zeros(1)}, tmp_path / "there" / "model.safetensors")  # read here
    numbers = {"input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.5] * 3}
    said = {"architecture": "legacy_seresnet50", "num_classes": 2, "pretrained_cfg": numbers}
    (tmp_path / "there" / "config.json").write_text(json.dumps(said))
    config, *_ = configured("--weights", "there")
    assert (config.model, config.weights) == ("se_resnet50", "there/model.safetensors")
    assert config.options == {"stem_pool": "ceil", "stride_on": "1x1"}
    config, *_ = configured("--weights", "there", "--set", "stem-pool=padded")
    assert config.options["stem_pool"] == "padded"


# --- operate --------------------------------------------------------------------------------------


@pytest.fixture
def libraries(world, monkeypatch):
    """timm and torchvision, as they are where they are installed."""
    for library in ("timm", "torchvision"):
        monkeypatch.setitem(sys.modules, library, getattr(world, library))


def test_accelerate_says_what_it_found(libraries, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")  # so that no cell is wrapped
    text = senet("accelerate", "--model", "timm:legacy_seresnet18").stdout
    assert "accelerated SENet, 1 graph: 20 places changed" in text
    assert re.search(r"(?m)^norm \+ ReLU \+ SE +8 +on the passes", text)


def test_insert_says_what_it_cost(libraries):
    text = senet("insert", "--model", "torchvision:resnet18", "--reduction", "8").stdout
    assert "8 places changed" in text
    assert "new parameters" in text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("tim:resnet18", "no library 'tim'"),
        ("timm:seresnet5", "Did you mean"),
        ("torchvision:resnet19", "Did you mean"),
        ("se_resnet51", "Did you mean"),
    ],
)
def test_networks_of_other_libraries_are_named_in_errors(libraries, name, words):
    assert words in said(senet("accelerate", "--model", name, code=1))


# --- look -----------------------------------------------------------------------------------------


def test_models():
    text = senet("models", "*resnet8_cifar").stdout
    assert re.search(r"(?m)^se_resnet8_cifar +[\d,]+ +[\d.]+ M +resnet8_cifar *$", text)
    assert "se_resnet50" not in text


def test_weights_are_listed_by_network_or_by_name():
    assert "se_resnet50.timm_a1_in1k" in senet("weights", "se_resnet50").stdout
    assert "se_resnet50.timm_a1_in1k" in senet("weights", "*.timm_a1*").stdout
    assert "no published weights fit" in said(senet("weights", "se_resnet500", code=1))


def test_summary_stands_side_by_side_with_the_options_of_each():
    text = senet(
        *("summary", "resnet8_cifar", "se_resnet8_cifar", "--size", "28", "--in-channels", "1"),
        *("--num-classes", "7", "--set", "reduction=4", "--set", "widths=8,16,32"),
    ).stdout
    assert "fc, [2, 8]" in text
    assert "7-d fc" in text
    assert text.count("1 × 28 × 28") == 2
    assert re.search(r"time per image +│ +[\d.]+ ms +│ +[\d.]+ ms", text)
    assert "time per image" not in senet("summary", "resnet8_cifar", "--no-time").stdout


def test_doctor_tells_versions_backends_and_extras():
    text = senet("doctor").stdout
    for words in ("torch", "pytorch-lightning", "eager", "threads", "datasets"):
        assert words in text


def test_doctor_names_what_is_missing_and_the_remedy(monkeypatch):
    version = doctor.metadata.version

    def missing(name):
        if name in ("scipy", "datasets"):
            raise doctor.metadata.PackageNotFoundError(name)
        return "2.6.3" if name == "pytorch-lightning" else version(name)

    monkeypatch.setattr(doctor.metadata, "version", missing)
    text = said(senet("doctor", code=1))
    assert "✗ scipy not installed: pip install 'scipy>=" in text
    assert "✗ pytorch-lightning 2.6.3 is older than 2.6.4: pip install" in text
    assert "– datasets not installed, for `--data cifar10`" in text
    assert "pip install 'senet[hub]'" in text


# --- the whole way --------------------------------------------------------------------------------


def stripes(rng, upright):
    """A photo of stripes, of any phase, width and colour: learned in seconds, told apart by eye."""
    height, width = rng.integers(40, 60, 2)
    y, x = np.mgrid[:height, :width]
    wave = np.sin((x if upright else y) * rng.uniform(0.5, 1.0) + rng.uniform(0, 6))
    colour = rng.uniform(60, 127, 3)
    return Image.fromarray((128 + wave[..., None] * colour).clip(0, 255).astype(np.uint8))


def stripe_folder(path, images, seed):
    rng = np.random.default_rng(seed)
    for name in ("across", "upright"):
        (path / name).mkdir(parents=True)
        for i in range(images):
            stripes(rng, name == "upright").save(path / name / f"{i}.jpg", quality=90)
    return path


def test_a_folder_of_photos_trains_evaluates_predicts_and_fine_tunes(tmp_path):
    photos = stripe_folder(tmp_path / "photos", 60, seed=0)
    (photos / "across" / "torn.jpg").write_bytes((photos / "across" / "0.jpg").read_bytes()[:600])
    trained = senet(
        *("train", "--data", photos, "--out", "run", *TINY, "--set", "size=32"),
        *("--epochs", "8", "--batch-size", "16", "--lr", "0.1", "--workers", "0"),
    )
    assert "warning: 1 of 121 files" in trained.stderr
    assert "torn.jpg" in trained.stderr
    assert re.search(
        r"test accuracy [\d.]+ % \(95 % interval [\d.]+ … [\d.]+; \d+ of", trained.stdout
    )
    assert "senet evaluate run" in trained.stdout

    evaluated = json.loads(senet("evaluate", "run", "--json", "--workers", "0").stdout)
    result = json.loads(Path("run/result.json").read_text())
    assert evaluated["accuracy"] == result["test_accuracy"] > 0.9
    low, high = evaluated["accuracy_95"]
    assert low < evaluated["accuracy"] <= high
    text = senet("evaluate", "run", "--split", "train", "--workers", "0").stdout
    assert text.startswith("train accuracy ")
    assert re.search(r"(?m)^upright +[\d.]+ % +█+", text)
    assert "top-5" not in text  # of two classes

    new = stripe_folder(tmp_path / "new", 10, seed=1)
    (new / "upright" / "notes.txt").write_text("no image, and nobody asks about it")
    (new / "upright" / "bad.jpg").write_bytes(b"no image")
    predicted = senet("predict", "run", "new", "gone.png", "--format", "json")
    assert "warning: a file is no image, and was skipped: new/upright/notes.txt" in said(predicted)
    rows = json.loads(predicted.stdout)
    assert [r["file"] for r in rows if r["error"]] == ["new/upright/bad.jpg", "gone.png"]
    right = [r["class"] == Path(r["file"]).parent.name for r in rows if not r["error"]]
    assert len(right) == 20
    assert np.mean(right) > 0.9
    written = senet("predict", "run/model.safetensors", "new", "--out", "answers.csv")
    assert "20 of 21 images predicted, written to answers.csv" in written.stdout
    assert len(Path("answers.csv").read_text().splitlines()) == 22
    assert (
        "is there already" in senet("predict", "run", "new", "--out", "answers.csv", code=1).output
    )
    assert "not an image" in said(senet("predict", "run", "new/upright/bad.jpg", code=1))

    # Fine-tuning takes the network and its options from the weights.
    tuned = senet(
        *("train", "--data", photos, "--weights", "run", "--out", "tuned", "--set", "warmup=0"),
        *("--set", "size=32", "--epochs", "1", "--batch-size", "16", "--workers", "0"),
    )
    assert (
        "starting from run/model.safetensors: the classifier keeps its rows of all 2"
        in tuned.stdout
    )
    config = json.loads(Path("tuned/config.json").read_text())["config"]
    assert config["model"] == "se_resnet8_cifar"
    assert config["options"] == {"widths": [8, 8, 16], "reduction": 4}
    assert "which is never overwritten" in senet("train", "--out", "tuned", code=1).output


def test_results_for_programs_are_utf_8_whatever_the_terminal(tmp_path):
    from senet.models import Preprocessing, create_model
    from senet.models.weights.file import save_model
    from senet.models.weights.record import Record

    model = create_model("resnet8_cifar", num_classes=2, widths=(4, 4, 4))
    preprocessing = Preprocessing(8, mean=(0.5,) * 3, std=(0.2,) * 3)
    save_model("model.safetensors", model, Record(model.architecture, preprocessing, ("æ", "ø")))
    Image.new("RGB", (8, 8)).save("日本語.png")
    for format in "csv", "json":
        done = subprocess.run(
            [sys.executable, "-m", "senet", "predict", "model.safetensors", "日本語.png",
             "--format", format],
            capture_output=True, check=True, env=os.environ | {"PYTHONIOENCODING": "cp1252"},
        )  # fmt: skip
        assert "日本語.png" in done.stdout.decode("utf-8")
        assert "æ" in done.stdout.decode("utf-8")


def test_a_comparison_prints_its_verdict_and_writes_its_page():
    words = ["--limit", "200", "--epochs", "1", "--batch-size", "64", "--out", "both"]
    text = senet("compare", *TINY, *words).stdout
    assert re.search(r"(?m)^resnet8_cifar +[\d.]+ % +[\d.]+ … [\d.]+ +[\d,]+ ", text)
    assert re.search(r"(?m)^se_resnet8_cifar +[\d.]+ %", text)
    assert "test images" in text
    page = Path("both/report.html")
    assert str(page) in text
    page.unlink()
    assert senet("report", "both").stdout.strip() == str(page)
    assert page.stat().st_size > 10_000
    assert (
        "seeds: (0,), not (0, 1)"
        in senet("compare", "--resume", "both", "--seeds", 2, code=1).output
    )


def test_a_family_prints_its_table_and_goes_on_with_the_same_values():
    words = ["--limit", "200", "--epochs", "1", "--batch-size", "64", "--out", "family"]
    text = senet("compare", *TINY, *words, "--vary", "se-stages=2,3+4").stdout
    assert "[3/3] se_resnet8_cifar-se_stages=3+4, seed 0" in text
    for label in ("plain", "2", r"3\+4"):
        accuracy = r"[\d.]+ % +[\d.]+ … [\d.]+ "
        difference = "" if label == "plain" else r" +[+−]?[\d.]+ +[+−]?[\d.]+ … [+−]?[\d.]+ "
        assert re.search(rf"(?m)^{label} +{accuracy}{difference} +[\d,]+ +[\d.]+ *$", text)
    assert "Of the networks with SE, the most accurate, se_stages=" in re.sub(r"\s+", " ", text)
    page = Path("family/report.html")
    assert str(page) in text
    page.unlink()
    again = senet("compare", "--resume", "family").stdout  # nothing is left to train
    assert "[1/3]" not in again
    assert page.is_file()
    other = senet("compare", "--resume", "family", "--vary", "se_stages=2", code=1)
    assert "vary: se_stages=2,3+4, not se_stages=2" in other.output


def test_ctrl_c_keeps_a_checkpoint_and_says_how_to_go_on(tmp_path):
    words = [*TINY, "--limit", "200", "--epochs", "500", "--batch-size", "64", "--out", "run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "senet", "train", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"},
    )
    guard = threading.Timer(120, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        assert any(line.startswith("epoch ") for line in process.stdout)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    finally:
        guard.cancel()
    assert process.returncode == 130
    assert "senet train --resume run" in errors
    assert "Traceback" not in errors
    assert Path("run/checkpoints/last.ckpt").is_file()
    assert "has not finished" in senet("predict", "run", "a.jpg", code=1).output


def test_names_with_brackets_and_blanks_are_printed_as_they_are(monkeypatch):
    from senet.training.folder import RunResult

    result = RunResult(Path("x"), "m", 0, 0.5, 1.0, 10, 1, 1, 1.0, 1.0)
    monkeypatch.setattr("senet.training.fit.fit", lambda *_, **__: result)
    text = senet("train", "--out", "my [red]run").stdout
    assert "run folder my [red]run" in text
    assert "senet evaluate 'my [red]run'" in text


@pytest.mark.parametrize("name", ["runs/short", "runs/" + 90 * "long"])
def test_closing_hints_are_whole_however_long_the_name_of_the_run(monkeypatch, name):
    from senet.training.folder import RunResult

    monkeypatch.setenv("COLUMNS", "80")
    result = RunResult(Path("x"), "m", 0, 0.5, 1.0, 10, 1, 1, 1.0, 1.0)
    monkeypatch.setattr("senet.training.fit.fit", lambda *_, **__: result)
    lines = senet("train", "--out", name).stdout.splitlines()
    assert any(line.strip().startswith(f"senet evaluate {name}") for line in lines)
    hints = [line for line in lines if "senet" not in line and "run folder" not in line]
    assert all(len(line) <= 80 for line in hints)
    assert ("  how accurate on each class:" in lines) == (len(name) > 80)


def test_the_script_is_installed():
    assert shutil.which("senet", path=str(Path(sys.executable).parent))


def test_completion_comes_with_it():
    # Which shell stands above the tests is not what is tested.
    named = os.environ | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "senet", "--show-completion", "bash"],
        capture_output=True,
        text=True,
        env=named,
    )
    assert isinstance(cli.app, typer.Typer)
    assert "complete" in done.stdout
