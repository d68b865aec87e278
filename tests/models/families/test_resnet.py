"""The residual families: parameters and multiply-adds as published, twins that are twins."""

import pytest
import torch

from senet.models import create_model
from senet.models.describe.cost import multiply_adds, parameters


@pytest.mark.parametrize(
    ("name", "options", "count"),
    [
        # Counted from the authors' network definitions.
        ("resnet50", {}, 25_557_032),
        ("se_resnet50", {}, 28_088_024),
        ("se_resnet50", {"se_bias": False}, 28_071_976),
        ("se_resnet50", {"se_bias": False, "reduction": 4}, 35_616_808),
        ("se_resnet50", {"se_bias": False, "reduction": 8}, 30_586_920),
        ("se_resnet50", {"se_bias": False, "reduction": 32}, 26_814_504),
        ("se_resnet101", {}, 49_326_872),
        ("se_resnet152", {}, 66_821_848),
        ("se_resnext50_32x4d", {}, 27_559_896),
        ("se_resnext101_32x4d", {}, 48_955_416),
        # Table 6 of arXiv 1512.03385: 0.27, 0.46, 0.66, 0.85, 1.7 M.
        ("resnet20_cifar", {}, 269_722),
        ("resnet32_cifar", {}, 464_154),
        ("resnet44_cifar", {}, 658_586),
        ("resnet56_cifar", {}, 853_018),
        ("resnet110_cifar", {}, 1_727_962),
        # 1.7 M in arXiv 1603.05027, 11.0 M in arXiv 1605.07146.
        ("resnet164_cifar", {}, 1_703_258),
        ("wide_resnet16_8_cifar", {}, 10_961_370),
    ],
)
def test_parameters_are_the_authors(name, options, count):
    assert parameters(create_model(name, **options))[0] == count


def test_multiply_adds_are_the_papers():
    total, se = multiply_adds(create_model("se_resnet50", stride_on="1x1"), (3, 224, 224))
    plain, none = multiply_adds(create_model("resnet50", stride_on="1x1"), (3, 224, 224))
    assert f"{plain / 1e9:.2f}" == f"{total / 1e9:.2f}" == "3.86"
    assert none == 0
    assert total - plain == se
    assert 0 < se / total < 0.003


def test_zero_init_residual_starts_at_the_shortcuts():
    model = create_model("se_resnet20_cifar", zero_init_residual=True)
    x = torch.randn(1, 16, 8, 8).relu()
    torch.testing.assert_close(model.layer1(x), x)


def test_the_global_generator_moves_alike_for_the_same_network():
    for _ in range(2):
        torch.manual_seed(5)
        create_model("resnet20_cifar")
    first = torch.rand(1)
    torch.manual_seed(5)
    create_model("resnet20_cifar")
    assert torch.equal(first, torch.rand(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stem": "imagent"}, "stem must be one of"),
        ({"stride_on": "5x5"}, "stride_on must be one of"),
        ({"layers": (2, 2)}, "must name the same stages"),
    ],
)
def test_options_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        create_model("resnet18", **options)
