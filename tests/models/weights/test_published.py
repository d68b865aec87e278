"""The table of published weights, compared with the libraries that publish them."""

import math

import pytest
import torch

from senet import known
from senet.models import create_model
from senet.models.weights.download import hash_in_name
from senet.models.weights.hub import is_repository
from senet.models.weights.published import find_published, list_weights, published, published_file
from senet.models.weights.timm import NETWORKS, read_timm
from senet.paths import is_url


@pytest.mark.slow
def test_every_set_is_of_a_network_that_is_here():
    built = []
    for name in list_weights():
        found = published(name)
        architecture = found.record.architecture
        assert name.startswith(f"{architecture.name}.")
        if architecture not in built:
            with torch.device("meta"):
                assert architecture.build().fc.out_features == architecture.num_classes
            built.append(architecture)
        assert found.licence
        assert bool(found.report) == bool(found.record.metrics)


def test_every_file_is_checked():
    for name in list_weights():
        source = published(name).source
        if file := known.shipped(source):
            assert file.is_file()
            continue
        # The hub's library checks what it downloads.
        assert hash_in_name(source) if is_url(source) else is_repository(source), name


def test_no_two_sets_are_the_same_file():
    sources = [published(name).source for name in list_weights()]
    assert len(set(sources)) == len(sources)


def timm_sets(world) -> dict:
    """Return the description of each set by timm itself, by the place of its weights."""
    from timm.models._registry import _model_pretrained_cfgs as described

    return {
        source: (name.split(".")[0], config)
        for name, config in described.items()
        for source in (config.url, config.hf_hub_id)
        if source
    }


def test_sets_of_timm_are_as_timm_describes_them(world):
    described = timm_sets(world)
    names = list_weights("*.timm_*")
    assert len(names) >= 25
    for name in names:
        found = published(name)
        network, config = described[found.source]
        own, options = NETWORKS[network]
        architecture = found.record.architecture
        assert (architecture.name, architecture.options) == (own, options), name
        assert architecture.num_classes == config.num_classes
        as_on_the_hub = read_timm({"architecture": network, **config.to_dict()})
        assert found.record.preprocessing == as_on_the_hub.preprocessing, name
        assert found.licence == config.license
        tested = (config.test_input_size or config.input_size)[-1]
        if found.record.metrics and found.tested:
            assert f"{tested} pixels, crop {config.test_crop_pct:g}" == found.tested, name


def test_sets_of_torchvision_are_as_torchvision_describes_them(world):
    models = world.torchvision.models
    described = {
        weights.url: weights
        for name in models.list_models()
        for weights in models.get_model_weights(name)
        if weights.url
    }
    names = list_weights("*.torchvision_*")
    assert len(names) >= 16
    for name in names:
        found = published(name)
        weights = described[found.source]
        metrics = weights.meta["_metrics"]["ImageNet-1K"]
        shares = {"top1": metrics["acc@1"] / 100, "top5": metrics["acc@5"] / 100}
        assert found.record.metrics == pytest.approx(shares)
        asked, preprocessing = weights.transforms(), found.record.preprocessing
        resized = math.floor(preprocessing.size / preprocessing.crop)
        assert [preprocessing.size] == asked.crop_size
        assert [resized] == asked.resize_size
        assert preprocessing.interpolation == asked.interpolation.value
        assert (list(preprocessing.mean), list(preprocessing.std)) == (asked.mean, asked.std)
        with torch.device("meta"):
            network = found.record.architecture.build()
        parameters = sum(p.numel() for p in network.parameters())
        assert parameters == weights.meta["num_params"], name


def test_the_authors_networks_come_in_their_arrangement():
    for name in list_weights("se_resnet*.timm_legacy_in1k"):
        assert published(name).record.architecture.options["stem_pool"] == "ceil"
    assert published("se_resnet50.timm_legacy_in1k").record.architecture.options == {
        "stem_pool": "ceil",
        "stride_on": "1x1",
    }


def test_names_and_patterns():
    assert find_published("timm_a1_in1k", "se_resnet50").name == "se_resnet50.timm_a1_in1k"
    assert find_published("se_resnet50.timm_a1_in1k", "resnet18") is not None
    assert find_published("timm_a1_in1k", "se_resnet18") is None
    assert find_published("timm_a1_in1k") is None
    with pytest.raises(ValueError, match=r"Did you mean .*se_resnet50\.timm_a1_in1k"):
        published("se_resnet50.timm_a1")


def test_a_file_is_known_by_the_hash_in_its_name():
    assert published_file("resnet20-12fca82f.th").name == "resnet20_cifar.akamaster_cifar10"
    assert published_file("resnet20-12fca82e.th") is None
    assert published_file("model.safetensors") is None


def test_weights_by_name_are_wanted_of_the_network_that_is_named():
    with pytest.raises(ValueError, match=r"published for resnet56_cifar: akamaster_cifar10\)"):
        create_model("resnet56_cifar", weights="akamaster")
