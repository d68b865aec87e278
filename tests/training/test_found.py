"""What is said about weights before photos are trained on without any."""

from dataclasses import replace

import pytest

from senet.models.weights.at_hand import beside, downloaded
from senet.models.weights.download import cached
from senet.models.weights.published import list_weights, published
from senet.training.config import TrainConfig
from senet.training.found import USUAL_WEIGHTS, found_weights


@pytest.fixture
def photos(tmp_path, source, monkeypatch):
    monkeypatch.setenv("SENET_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("senet.models.weights.at_hand._is_here", lambda source: "/" not in source)
    (tmp_path / "my photos").mkdir()
    return replace(source, path=str(tmp_path / "my photos"))


def test_weights_are_recommended_once_with_the_command(photos):
    config = TrainConfig(data="my photos")
    text = "\n".join(found_weights(config, photos))
    assert "nearly always better" in text
    assert f"senet train --data 'my photos' --weights {USUAL_WEIGHTS}" in text
    assert USUAL_WEIGHTS in list_weights()


def test_nothing_is_said_where_there_are_weights_or_no_photos(photos, source):
    assert not found_weights(TrainConfig(weights="w.pth"), photos)
    assert not found_weights(TrainConfig(), source)


def test_files_beside_the_photos_are_named(photos, tmp_path):
    (tmp_path / "net.pth").touch()
    (tmp_path / "notes.txt").touch()
    assert beside(tmp_path / "my photos") == [tmp_path / "net.pth"]
    text = "\n".join(found_weights(TrainConfig(data="my photos"), photos))
    assert f"--weights {tmp_path / 'net.pth'} --model NAME" in text


def test_what_was_downloaded_is_at_hand(tmp_path, monkeypatch):
    monkeypatch.setenv("SENET_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    name = next(n for n in list_weights() if published(n).source.startswith("https"))
    before = downloaded()
    file = cached(published(name).source)
    file.parent.mkdir(parents=True)
    file.touch()
    assert set(downloaded()) - set(before) >= {name}
