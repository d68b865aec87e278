"""The contract of the passes: the arguments that they refuse before calling a backend."""

import subprocess
import sys

import pytest
import torch

from senet.ops import backend, passes

B, C, SPACE = 2, 5, (3, 4)
OF_CHANNELS = ("pivot", "K", "L", "a", "b")
OF_IMAGES = ("A", "D", "E", "S")
MAPS = ("dy", "mask", "g", "shortcut")


def arguments(name, type_=torch.float32):
    """Return all arguments of the pass ``name``, by name."""
    wide = passes.accumulator(type_)
    given = dict.fromkeys(("x", *MAPS), torch.ones(B, C, *SPACE, dtype=type_))
    given |= dict.fromkeys(OF_CHANNELS, torch.ones(C, dtype=wide))
    given |= dict.fromkeys(OF_IMAGES, torch.ones(B, C, dtype=wide))
    given |= {"relu": True, "activation": "silu", "se": True}
    return {parameter: given[parameter] for parameter in TAKES[name].split()}


TAKES = {
    "moments": "x pivot",
    "affine": "x pivot A D shortcut relu",
    "grad_scale": "dy mask x pivot",
    "grad_affine": "g x pivot A E K",
    "pooled": "x pivot a b activation",
    "activate": "x pivot a b S activation",
    "grad_pooled": "dy x pivot a b activation se",
    "grad_activate": "dy x pivot a b activation A E K L",
}
CASES = [(name, parameter) for name, takes in TAKES.items() for parameter in takes.split()]


def refused(name, parameter, wrong, match):
    with pytest.raises(ValueError, match=f"^{parameter}: expected .*{match}"):
        getattr(passes, name)(**arguments(name) | {parameter: wrong})


@pytest.mark.parametrize("name", TAKES)
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_takes_what_the_contract_says(name, type_):
    getattr(passes, name)(**arguments(name, type_))


@pytest.mark.parametrize(("name", "parameter"), [c for c in CASES if c[1] in OF_CHANNELS])
def test_arrays_of_channels(name, parameter):
    right = torch.ones(C)
    for wrong in (right[:-1], right.repeat(2), right[None], right.expand(B, C), right[0]):
        refused(name, parameter, wrong, r"float32 \[5\] on cpu.* got float32")
    refused(name, parameter, right.bfloat16(), r"float32 \[5\].* got bfloat16")
    refused(name, parameter, right.double(), r"float32 \[5\].* got float64")
    refused(name, parameter, right.to("meta"), r"on cpu.* got .* on meta")


@pytest.mark.parametrize(("name", "parameter"), [c for c in CASES if c[1] in OF_IMAGES])
def test_arrays_of_images(name, parameter):
    right = torch.ones(B, C)
    for wrong in (right[0], right[:, :-1], right[:1], right[..., None], right.T):
        refused(name, parameter, wrong, r"float32 \[2, 5\] on cpu.* got float32")
    refused(name, parameter, right.half(), r"float32 \[2, 5\].* got float16")
    refused(name, parameter, right.to("meta"), r"on cpu.* got .* on meta")


@pytest.mark.parametrize(("name", "parameter"), [c for c in CASES if c[1] in MAPS])
def test_maps(name, parameter):
    right = torch.ones(B, C, *SPACE)
    for wrong in (right[:1], right[:, 1:], right[..., :1], right.flatten(2), right[0]):
        refused(name, parameter, wrong, r"map \[2, 5, 3, 4\].* got float32")
    refused(name, parameter, right.to("meta"), r"on cpu, got .* on meta")


def test_masks_in_bits():
    right = torch.zeros(15, dtype=torch.uint8)  # for 2·5·3·4 numbers
    passes.grad_scale(**arguments("grad_scale") | {"mask": right})
    for wrong in (right[:-1], right.repeat(2), right[None], right.repeat(2)[::2], right.to("meta")):
        refused("grad_scale", "mask", wrong, r"uint8 \[15\] on cpu, one bit .* got uint8")


@pytest.mark.parametrize("name", TAKES)
def test_the_map(name):
    refused(name, "x", torch.ones(5), r"map \[B, C, \*space\] of floats, got float32 \[5\]")
    refused(name, "x", torch.ones(2, 5, 3, 4, dtype=torch.int64), "of floats, got int64")


@pytest.mark.parametrize(("name", "parameter"), [c for c in CASES if c[1] == "activation"])
def test_activations(name, parameter):
    refused(name, parameter, "swish", "one of .*'hardswish'.* got 'swish'")


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("type_", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [(2, 32, 12, 12), (2, 5, 3, 4)], ids=str)
@pytest.mark.parametrize("name", ["eager", "native"])
def test_a_mask_that_was_kept_is_that_of_the_output(name, shape, type_, layout):
    x, dy = (torch.randn(shape).to(type_, memory_format=layout) for _ in range(2))
    row, channel = torch.ones(shape[:2]), torch.randn(shape[1])
    row, channel = (v.to(passes.accumulator(type_)) for v in (row, channel))
    with backend.use(name if type_ != torch.float64 else "auto"):
        y, mask = passes.affine(x, channel, row, 0 * row, None, True, True)
        for got, wanted in zip(
            passes.grad_scale(dy, mask, x, channel),
            passes.grad_scale(dy, y, x, channel),
            strict=True,
        ):
            torch.testing.assert_close(got, wanted)
        same, none = passes.affine(x, channel, row, 0 * row, None, False, True)
    assert none is None
    assert torch.equal(same.relu(), y)


def test_a_mask_that_was_kept_in_a_graph():
    x, channel = torch.randn(2, 32, 12, 12), torch.randn(32)
    row = torch.randn(2, 32)

    def there_and_back(x):
        y, mask = passes.affine(x, channel, row, row, x, True, True)
        return y, *passes.grad_scale(x, mask, x, channel)

    compiled = torch.compile(there_and_back, fullgraph=True, backend="aot_eager")
    for got, wanted in zip(compiled(x), there_and_back(x), strict=True):
        torch.testing.assert_close(got, wanted)


@pytest.mark.slow
def test_without_assertions():
    """``python -O`` removes assertions, but a wrong length must not become a wrong address."""
    program = (
        "import torch; from senet.ops import passes; x = torch.ones(2, 5, 3, 3)\n"
        "try: passes.affine(x, None, torch.ones(2, 4), torch.ones(2, 5))\n"
        "except ValueError as error: print(error)"
    )
    found = subprocess.run(
        [sys.executable, "-O", "-c", program], capture_output=True, text=True, check=True
    )
    assert found.stdout.startswith("A: expected float32 [2, 5] on cpu")
