"""The networks of a comparison, and what is refused before any of them is trained."""

import pytest

from senet.training.config import TrainConfig
from senet.training.variants import Vary, require_buildable, variants

PLAIN, SE = "resnet8_cifar", "se_resnet8_cifar"


def config(**options):
    return TrainConfig(model=SE, options={"widths": (4, 4, 8), "reduction": 2} | options)


def test_a_pair_is_the_family_of_one():
    found = variants(config())
    assert list(found) == [PLAIN, SE]
    assert found[PLAIN].options == {"widths": (4, 4, 8)}
    assert found[SE].options == {"widths": (4, 4, 8), "reduction": 2}
    assert [v.twin for v in found.values()] == [None, PLAIN]
    assert [v.value for v in found.values()] == [None, None]


def test_every_value_has_a_network_and_all_have_one_plain_twin():
    found = variants(config(), Vary("gate", ("sigmoid", "tanh")))
    assert list(found) == [PLAIN, f"{SE}-gate=sigmoid", f"{SE}-gate=tanh"]
    assert [v.options.get("gate") for v in found.values()] == [None, "sigmoid", "tanh"]
    assert [v.options.get("reduction") for v in found.values()] == [None, 2, 2]
    assert [v.twin for v in found.values()] == [None, PLAIN, PLAIN]


def test_what_is_varied_comes_before_what_is_set():
    found = variants(config(), Vary("reduction", (1, (1, 2, 4))))
    assert [v.options.get("reduction") for v in found.values()] == [None, 1, (1, 2, 4)]
    assert [v.value for v in found.values()] == [None, "1", "1+2+4"]


def test_an_option_of_both_networks_has_a_plain_twin_for_each_value():
    """Otherwise a difference to the plain network would be that of the widths."""
    found = variants(config(), Vary("widths", ((4, 4, 8), (4, 8, 16))))
    names = [f"{name}-widths={v}" for v in ("4+4+8", "4+8+16") for name in (PLAIN, SE)]
    assert list(found) == names
    assert [v.twin for v in found.values()] == [None, names[0], None, names[2]]
    assert [v.options["widths"] for v in found.values()] == [(4, 4, 8)] * 2 + [(4, 8, 16)] * 2
    assert [v.options.get("reduction") for v in found.values()] == [None, 2, None, 2]


def test_each_kind_of_attention_gets_the_options_that_it_takes():
    found = variants(config(), Vary("attention", ("se", "eca", "scse")))
    assert found[f"{SE}-attention=se"].options["reduction"] == 2
    assert found[f"{SE}-attention=scse"].options["reduction"] == 2
    assert "reduction" not in found[f"{SE}-attention=eca"].options
    assert all(v.options["widths"] == (4, 4, 8) for v in found.values())
    require_buildable(found, 4, (1, 8, 8))


def test_an_option_that_no_network_gets_is_refused():
    with pytest.raises(ValueError, match="no network of this comparison takes reduction"):
        variants(config(), Vary("attention", ("eca", "ese")))


@pytest.mark.parametrize(
    ("option", "values", "message"),
    [
        ("reducton", (4,), "no option 'reducton' to vary. Did you mean reduction?"),
        ("lr", (0.1, 0.2), "lr is a setting of the training, and the networks of a comparison"),
        ("se_bias", (True, "maybe"), "se_bias must be true or false, got 'maybe'"),
        ("attention", ("se", "ecaa"), "no attention 'ecaa'. Did you mean eca?"),
        ("reduction", (), "needs one or more values, all different"),
        ("reduction", (4, 4), "needs one or more values, all different"),
    ],
)
def test_what_cannot_be_varied(option, values, message):
    with pytest.raises(ValueError, match=message):
        variants(config(), Vary(option, values))


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("reduction", 0, "reduction=0 cannot be built: channels=4 and reduction=0 must be at"),
        ("reduction", "four", "reduction=four cannot be built: "),
        ("reduction", (2, 4), r"reduction=2\+4 cannot be built: .* names 2 stages"),
        ("placement", "before", "placement=before cannot be built: placement must be one of"),
        ("gate_bias", "wide", "gate_bias=wide cannot be built: "),
        ("stem_width", -1, "stem_width=-1 cannot be built: "),
        ("dropout", 2.0, r"dropout=2.0 cannot be built: dropout probability"),  # only its forward
        ("se_stages", 9, "se_stages=9 cannot be built: .* has stages 2 to 4"),
    ],
)
def test_a_value_that_the_network_refuses_is_told_with_its_name(option, value, message):
    found = variants(config(), Vary(option, (value,)))
    with pytest.raises(ValueError, match=message):
        require_buildable(found, 4, (1, 8, 8))


def test_a_network_without_attention_is_the_plain_twin_which_is_there_anyway():
    found = variants(config(), Vary("attention", ("se", None)))
    with pytest.raises(ValueError, match="attention=none would have no attention block at all"):
        require_buildable(found, 4, (1, 8, 8))


@pytest.mark.parametrize(
    "vary",
    [
        None,
        Vary("placement", ("standard", "pre", "post", "identity", "3x3")),
        Vary("squeeze", ("avg", "max", "none")),
        Vary("gate", ("sigmoid", "tanh", "relu", "hardsigmoid")),
        Vary("se_bias", (True, False)),
        Vary("se_stages", (2, (2, 3), None)),
        Vary("attention", ("se", "scse")),
        Vary("widths", ((4, 4, 8),)),
    ],
    ids=str,
)
def test_all_that_the_paper_varies_can_be_built(vary):
    require_buildable(variants(config(), vary), 4, (1, 8, 8))


def test_a_vary_of_json_is_the_same_again():
    assert Vary("reduction", [2, [1, 2, 4]]) == Vary("reduction", (2, (1, 2, 4)))
