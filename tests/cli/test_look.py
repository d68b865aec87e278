"""`senet models`, `weights`, `summary` and `doctor`."""

import re

from senet import doctor
from tests.cli.command import said, senet


def test_models():
    text = senet("models", "*resnet8_cifar").stdout
    assert re.search(r"(?m)^se_resnet8_cifar +[\d,]+ +[\d.]+ M +resnet8_cifar *$", text)
    assert "se_resnet50" not in text


def test_weights_are_listed_by_network_or_by_name():
    assert "se_resnet50.timm_a1_in1k" in senet("weights", "se_resnet50").stdout
    assert "se_resnet50.timm_a1_in1k" in senet("weights", "*.timm_a1*").stdout
    assert "akamaster_cifar10" in senet("weights", "*cifar10*").stdout
    by_data = senet("weights", "cifar10").stdout
    assert "resnet110_cifar.akamaster_cifar10" in by_data
    assert "se_resnet20_cifar.cifar10 " in by_data
    assert "cifar100" not in by_data
    assert "se_resnet50.timm_a1_in1k" in senet("weights", "timm_a1_in1k").stdout
    assert "akamaster" not in senet("weights", "imagenet").stdout
    assert "no published weights match" in said(senet("weights", "se_resnet500", code=1))


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
