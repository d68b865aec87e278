"""Batches are whole, and in the order of their seed and epoch, whichever process makes them."""

import numpy as np
import pytest
import torch

from senet.data import loader, open_source
from senet.data.arrays import ArraySplit
from senet.data.loaders import EpochSampler, unreadable, unreadable_indices
from senet.data.shared_memory import SharedMemoryError, enough_shared_memory
from senet.data.transforms import CentreCrop, RandomResizedCrop


def arrays(n: int = 10, side: int = 8) -> ArraySplit:
    images = torch.randint(256, (n, 3, side, side), dtype=torch.uint8)
    return ArraySplit(images, np.arange(n))


def collected(batches) -> tuple[torch.Tensor, list[int]]:
    images, labels = zip(*batches, strict=True)
    return torch.cat(images), torch.cat(labels).tolist()


def test_order_belongs_to_seed_and_epoch():
    orders = {}
    for seed in (0, 1):
        for epoch in (0, 1):
            sampler = EpochSampler(100, shuffle=True, seed=seed, epoch=epoch)
            orders[seed, epoch] = list(sampler)
            assert sorted(orders[seed, epoch]) == list(range(100))
            assert list(sampler) == orders[seed, epoch]
    assert len({tuple(order) for order in orders.values()}) == 4
    sampler = EpochSampler(100, shuffle=True, seed=1)
    sampler.set_epoch(1)
    assert list(sampler) == orders[1, 1]
    assert list(EpochSampler(5, shuffle=False)) == [0, 1, 2, 3, 4]


def test_arrays_come_in_whole_batches(monkeypatch):
    split = arrays()
    calls = []
    fetch = ArraySplit.__getitems__
    monkeypatch.setattr(
        ArraySplit, "__getitems__", lambda self, index: calls.append(index) or fetch(self, index)
    )
    batches = list(loader(split, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 2]
    assert len(calls) == 3
    images, labels = collected(batches)
    assert images.equal(split.images)
    assert images.dtype == torch.uint8
    assert labels == list(range(10))
    assert batches[0][1].dtype == torch.int64
    assert len(list(loader(split, 4, drop_last=True))) == 2


def test_arrays_that_fit_are_not_cropped_and_others_are():
    split = arrays(side=8)
    images, _ = collected(loader(split, 4, CentreCrop(8)))
    assert images.equal(split.images)
    images, labels = collected(loader(split, 4, CentreCrop(16)))
    assert images.shape == (10, 3, 16, 16)
    assert labels == list(range(10))
    images, _ = collected(loader(split, 4, RandomResizedCrop(6), shuffle=True))
    assert images.shape == (10, 3, 6, 6)


def test_seeds_and_epochs_of_a_loader():
    split = arrays(50)

    def labels(**options):
        return collected(loader(split, 8, shuffle=True, **options))[1]

    assert labels(seed=3) == labels(seed=3)
    assert labels(seed=3) != labels(seed=4)
    assert labels(seed=3) != labels(seed=3, epoch=1)
    batches = loader(split, 8, shuffle=True, seed=3)
    first = collected(batches)[1]
    batches.sampler.set_epoch(1)  # type: ignore[attr-defined]
    assert collected(batches)[1] == labels(seed=3, epoch=1)
    assert first == labels(seed=3)


def test_nothing_is_drawn_from_the_global_numbers():
    split = arrays()
    state = torch.get_rng_state()
    list(loader(split, 4, shuffle=True))
    list(loader(split, 4, RandomResizedCrop(6), shuffle=True))
    assert torch.get_rng_state().equal(state)


def test_photos_are_the_same_for_any_number_of_workers(photos):
    split = open_source(photos).train
    crop = RandomResizedCrop(24)
    epochs = {}
    for workers in (0, 1, 2):
        batches = loader(split, 8, crop, shuffle=True, seed=5, workers=workers)
        for epoch in (0, 1):
            batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
            images, labels = collected(batches)
            assert images.shape == (42, 3, 24, 24)
            assert images.dtype == torch.uint8
            before = epochs.setdefault(epoch, (images, labels))
            assert images.equal(before[0])
            assert labels == before[1]
    assert not epochs[0][0].equal(epochs[1][0])


def test_an_epoch_crops_an_image_in_a_new_way(photos):
    split = open_source(photos).train
    shown = []
    for epoch in (0, 1):
        images, _ = collected(loader(split, 8, RandomResizedCrop(24), epoch=epoch, workers=0))
        shown.append(images)
    assert (shown[0] != shown[1]).flatten(1).any(1).all()


def test_evaluation_sees_every_photo_once_in_order(photos):
    split = open_source(photos).test
    images, labels = collected(loader(split, 5, CentreCrop(24, 0.875), workers=1))
    assert labels == split.labels.tolist()
    crop = CentreCrop(24, 0.875)
    assert images.equal(torch.stack([crop(split.picture(i)) for i in range(len(split))]))


def test_photos_need_a_transform(photos):
    with pytest.raises(ValueError, match="give a transform"):
        loader(open_source(photos).train, 4)


def test_a_photo_that_went_bad_is_named(photos):
    split = open_source(photos).train
    assert split.paths is not None
    with open(split.paths[3], "w") as stream:
        stream.write("not one any more")
    for workers in (0, 1):
        with pytest.raises(ValueError, match=r"\d\d\.jpg: not an image"):
            list(loader(split, 4, CentreCrop(24), workers=workers))


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_a_photo_that_went_bad_is_replaced_by_the_next_and_named_if_that_is_wanted(photos, workers):
    split = open_source(photos).train
    assert split.paths is not None
    crop = CentreCrop(24)
    expected = [crop(split.picture(i)) for i in range(len(split))]
    for index in (3, 4, 41):
        with open(split.paths[index], "w") as stream:
            stream.write("not one any more")
    batches = loader(split, 4, crop, workers=workers, substitutes=2)
    images, labels = collected(batches)
    places = [*range(3), 5, 5, *range(5, 41), 0]
    assert images.equal(torch.stack([expected[i] for i in places]))
    assert labels == [int(split.labels[i]) for i in places]
    assert unreadable_indices(batches) == [3, 4, 41]
    found = unreadable(batches)
    assert list(found) == [split.paths[i] for i in (3, 4, 41)]
    assert all("not an image" in why for why in found.values())
    with pytest.raises(ValueError, match="not an image"):
        list(loader(split, 4, crop, workers=workers, substitutes=1))


def test_too_little_shared_memory_is_said_in_a_sentence(monkeypatch):
    def full(*_):
        raise RuntimeError("unable to write to file </torch_7_1>: No space left on device (28)")

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    with pytest.raises(SharedMemoryError, match=r"/dev/shm has .* with --workers 0; or give more"):
        loader(arrays(), 4, RandomResizedCrop(6), workers=2)
    with pytest.raises(RuntimeError, match="something else"), enough_shared_memory():
        raise RuntimeError("something else")


@pytest.mark.slow
def test_lightning_advances_the_epoch():
    from pytorch_lightning import LightningModule, Trainer

    split = arrays(12)
    seen: dict[int, list[int]] = {}

    class Model(LightningModule):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(()))

        def training_step(self, batch, _):
            seen.setdefault(self.current_epoch, []).extend(batch[1].tolist())
            return self.weight * batch[0].float().mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    trainer = Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(Model(), loader(split, 4, shuffle=True, seed=9))
    for epoch in range(3):
        assert seen[epoch] == list(EpochSampler(12, shuffle=True, seed=9, epoch=epoch))
