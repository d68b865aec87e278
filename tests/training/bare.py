"""The training that the engine claims to do, as a loop without Lightning, for comparison."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from senet.data import Source, transforms
from senet.models import create_model
from senet.training.config import TrainConfig
from senet.training.schedule import learning_rate


def start(config: TrainConfig, source: Source) -> nn.Module:
    torch.manual_seed(config.seed)
    model = create_model(
        config.model, num_classes=len(source.classes), in_channels=1, **config.options
    )
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def train(config: TrainConfig, source: Source) -> nn.Module:
    """The final weights: averaged ones if the configuration says so."""
    model = start(config, source).train()
    optimizer = {
        "sgd": lambda: torch.optim.SGD(
            model.parameters(), config.lr, momentum=config.momentum, nesterov=True,
            weight_decay=config.weight_decay, fused=True,
        ),
        "adamw": lambda: torch.optim.AdamW(
            model.parameters(), config.lr, weight_decay=config.weight_decay, fused=True
        ),
    }[config.optimizer]()  # fmt: skip
    average, step = None, 0
    steps = len(source.train) // config.batch_size
    for epoch in range(config.epochs):
        order = torch.randperm(
            len(source.train), generator=transforms.generator(config.seed, epoch)
        )
        for index in order.split(config.batch_size)[:steps]:
            batch = [source.train[i] for i in index.tolist()]
            images = torch.stack([image for image, _ in batch])
            labels = torch.tensor([label for _, label in batch])
            generator = transforms.generator(config.seed, step)
            if config.crop_padding:
                images = transforms.random_crop(images, config.crop_padding, generator)
            if config.flip:
                images = transforms.random_flip(images, generator)
            mean, std = source.preprocessing.mean, source.preprocessing.std
            x = transforms.normalise(images, mean, std, channels_last=True)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, steps)
            optimizer.zero_grad()
            F.cross_entropy(model(x), labels, label_smoothing=config.label_smoothing).backward()
            optimizer.step()
            step += 1
            if config.ema:
                average = averaged(average, model, config.ema)
    if average is not None:
        model.load_state_dict(average)
    return model


def averaged(average, model, decay):
    now = copy.deepcopy(model.state_dict())
    if average is None:
        return now
    return {k: (average[k] * decay + now[k] * (1 - decay)).to(now[k].dtype) for k in now}
