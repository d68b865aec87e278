"""Records of several processes, merged: as if one had recorded all of their images."""

import json
import socket

import pytest
import torch
from torch import multiprocessing, nn

from senet import create_model
from senet.gates import gathered, merged, record
from senet.gates.statistics import Moments

CLASSES = 3


def network():
    torch.manual_seed(0)
    model = create_model("se_resnet8_cifar", num_classes=CLASSES).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def images(n=20):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, 3, 32, 32, generator=generator), torch.arange(n) // 3 % CLASSES


def recorded(of, examples=0):
    x, labels = images()
    return record(network(), [(x[of], labels[of])], CLASSES, examples=examples)


def same(one, other):
    torch.testing.assert_close(one.mean, other.mean, rtol=1e-6, atol=0, equal_nan=True)
    torch.testing.assert_close(one.std, other.std, rtol=1e-4, atol=1e-9, equal_nan=True)
    assert torch.equal(one.images, other.images)
    assert (one.open, one.closed) == pytest.approx((other.open, other.closed))
    torch.testing.assert_close(one.squeezed.mean, other.squeezed.mean, rtol=1e-5, atol=1e-7)


def test_parts_give_the_whole():
    parts = [slice(0, 3), slice(3, 4), slice(4, 20)]  # the second has one class only
    whole, together = recorded(slice(None)), merged([recorded(one) for one in parts])
    assert list(whole) == list(together)
    for path in whole:
        same(together[path], whole[path])


def test_moments_are_merged_exactly():
    x, labels = torch.rand(1000, 4).double(), torch.arange(1000) % 3
    whole = Moments(3, 4)
    whole.add(x, labels)
    other = Moments.of(whole.mean, whole.std, whole.images)
    torch.testing.assert_close(other.mean, whole.mean, rtol=0, atol=0)
    torch.testing.assert_close(other.std, whole.std, rtol=1e-14, atol=0)


def test_all_examples_are_kept_where_every_part_kept_all():
    together = merged([recorded(slice(0, 6), 50), recorded(slice(6, 20), 50)])
    whole = recorded(slice(None), 50)
    for path in whole:
        assert together[path].examples.images.tolist() == list(range(20))
        torch.testing.assert_close(together[path].examples.s, whole[path].examples.s)
        assert torch.equal(together[path].examples.labels, whole[path].examples.labels)


def test_examples_of_parts_are_a_draw_from_all():
    """Of 2 and 18 images, with 10 kept of each at most, one in ten is from the first on average."""
    together = merged([recorded(slice(0, 2), 10), recorded(slice(2, 20), 10)])
    (first, *others) = (one.examples for one in together.values())
    assert len(first.images) == 10
    assert len(set(first.images.tolist())) == 10
    assert all(torch.equal(first.images, other.images) for other in others)
    x, labels = images()
    assert torch.equal(first.labels, labels[first.images])
    again = record(network(), [x[first.images]], examples=10)["layer1.0.se"].examples
    torch.testing.assert_close(again.s, first.s)


def test_what_does_not_belong_together_is_refused():
    x, _ = images()
    with pytest.raises(ValueError, match="same network and the same classes"):
        merged([recorded(slice(0, 3)), record(network(), [x])])
    with pytest.raises(ValueError, match="no records"):
        merged([])


def test_one_process_is_its_own_record():
    mine = recorded(slice(None))
    assert gathered(mine) == mine


def process(rank, port, folder):
    torch.distributed.init_process_group(
        "gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2
    )
    found = gathered(recorded(slice(rank, None, 2), 50))
    result = {path: [one.mean.tolist(), one.std.tolist()] for path, one in found.items()}
    (folder / f"{rank}.json").write_text(json.dumps(result))
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_record_what_one_does(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process, (port, tmp_path), nprocs=2)
    one, other = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert one == other
    for path, block in recorded(slice(None)).items():
        mean, std = (torch.tensor(part, dtype=torch.float64) for part in one[path])
        torch.testing.assert_close(mean, block.mean, rtol=1e-5, atol=1e-7)
        torch.testing.assert_close(std, block.std, rtol=1e-3, atol=1e-7)
