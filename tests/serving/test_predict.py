import numpy as np
import pytest
import torch
from PIL import Image

from senet.data import decode, transforms
from senet.fuse import worth
from senet.fuse.freeze import Frozen
from senet.models import Preprocessing, create_model
from senet.models.weights.file import save_model
from senet.models.weights.record import Record
from senet.serving import Found, Predictor
from senet.serving import predict as predicting

CLASSES = ("bird", "cat", "dog", "newt")
PREPROCESSING = Preprocessing(
    size=24, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25), crop=0.75, interpolation="bicubic"
)


def predictor_of(preprocessing=PREPROCESSING, classes=CLASSES):
    model = create_model(
        "se_resnet8_cifar",
        num_classes=len(classes),
        in_channels=preprocessing.channels,
        widths=(8, 8, 16),
        reduction=4,
    )
    model.fc.weight.data.mul_(20)  # confident answers, to tell images apart
    return Predictor(model, Record(model.architecture, preprocessing, classes), "cpu")


@pytest.fixture
def photos(tmp_path):
    """Seven photos of seven sizes, and between them three files that are not photos."""
    rng = np.random.default_rng(0)
    files = []
    for i in range(10):
        file = tmp_path / f"{i}.jpg"
        if i % 3 == 1:
            file.write_bytes(b"\xff\xd8\xff\xe0 cut off")
        else:
            tiles = rng.integers(0, 255, (3, 4, 3), dtype=np.uint8)
            pixels = tiles.repeat(10 + i, axis=0).repeat(10, axis=1)
            Image.fromarray(pixels).save(file, quality=95)
        files.append(str(file))
    return files


def test_probabilities_are_those_of_the_network_on_the_preprocessed_image(photos):
    predictor = predictor_of()
    image = decode(photos[0])
    crop = transforms.centre_crop(transforms.resize_shorter(image, 32, "bicubic"), 24, 24)
    mean, std = (torch.tensor(v)[:, None, None] for v in (PREPROCESSING.mean, PREPROCESSING.std))
    with torch.no_grad():
        expected = predictor.model(((crop / 255 - mean) / std)[None]).softmax(1)[0]
    (answer,) = predictor.predict([photos[0]], top=4)
    for name, probability in answer.guesses:
        assert probability == pytest.approx(expected[CLASSES.index(name)].item(), abs=1e-5)
    assert sum(p for _, p in answer.guesses) == pytest.approx(1, abs=1e-5)
    assert [p for _, p in answer.guesses] == sorted((p for _, p in answer.guesses), reverse=True)


def test_bad_images_keep_their_places_and_batches_do_not_matter(photos):
    predictor = predictor_of()
    whole = list(predictor.predict(photos, batch_size=100))
    assert [answer.file for answer in whole] == photos
    assert [bool(answer.error) for answer in whole] == [i % 3 == 1 for i in range(10)]
    assert len({answer.guesses for answer in whole if not answer.error}) == 7  # no two are mixed up
    for batch_size in (1, 3):
        for one, other in zip(whole, predictor.predict(photos, batch_size=batch_size), strict=True):
            assert (one.file, one.error) == (other.file, other.error)
            assert [n for n, _ in one.guesses] == [n for n, _ in other.guesses]
            assert [p for _, p in one.guesses] == pytest.approx(
                [p for _, p in other.guesses], rel=1e-3
            )


def test_what_was_not_found_is_answered_with_the_reason(photos):
    answers = list(predictor_of().predict([Found("x*", "no file matches this pattern"), photos[0]]))
    assert answers[0].error == "no file matches this pattern"
    assert answers[0].guesses == ()
    assert answers[1].guesses


def test_files_are_read_a_batch_ahead_and_no_further(photos):
    asked = []

    def files():
        for file in photos:
            asked.append(file)
            yield file

    answers = predictor_of().predict(files(), batch_size=2)
    next(answers)
    assert len(asked) == 4


def test_a_network_for_grey_images_takes_photos_in_colour(photos):
    grey = Preprocessing(size=28, mean=(0.5,), std=(0.5,))
    predictor = predictor_of(grey)
    assert predictor.image(photos[0]).shape == (1, 28, 28)
    with open(photos[0], "rb") as file:
        assert torch.equal(predictor.image(file.read()), predictor.image(photos[0]))
    (answer,) = predictor.predict([photos[0]])
    assert len(answer.guesses) == 2


def test_there_are_no_more_guesses_than_classes(photos):
    (answer,) = predictor_of(classes=("a", "b")).predict([photos[0]], top=5)
    assert len(answer.guesses) == 2
    with pytest.raises(ValueError, match="top=0 and batch_size=32 must be at least 1"):
        next(predictor_of().predict([photos[0]], top=0))


def test_a_model_file_is_enough(photos, tmp_path):
    predictor = predictor_of()
    save_model(tmp_path / "model.safetensors", predictor.model, predictor.record)
    again = Predictor.load(tmp_path, "cpu")
    assert again.record.classes == CLASSES
    assert again.record.preprocessing == PREPROCESSING
    assert list(again.predict(photos)) == list(predictor.predict(photos))


def test_many_images_are_predicted_by_an_exported_network(photos, monkeypatch):
    predictor = predictor_of()
    plain = list(predictor.predict(photos, top=4))
    assert predictor._run is predictor.model
    monkeypatch.setattr(worth, "WORTH", 1)
    exported = list(predictor.predict(photos, top=4))
    assert isinstance(predictor._run, Frozen)
    for one, other in zip(exported, plain, strict=True):
        assert (one.file, one.error) == (other.file, other.error)
        assert [name for name, _ in one.guesses] == [name for name, _ in other.guesses]
        for (_, p), (_, q) in zip(one.guesses, other.guesses, strict=True):
            assert p == pytest.approx(q, abs=1e-5)


def test_below_the_threshold_the_network_is_unsure(photos):
    predictor = predictor_of()
    (answer,) = predictor.predict([photos[0]])
    assert answer.unsure is None
    best = answer.guesses[0][1]
    for threshold, unsure in ((best + 1e-4, True), (best - 1e-4, False), (0.0, False)):
        (answer,) = predictor.predict([photos[0]], threshold=min(threshold, 1.0))
        assert answer.unsure is (unsure if threshold <= 1 else answer.unsure)
    (failed,) = predictor.predict([photos[1]], threshold=0.5)
    assert failed.unsure is None
    with pytest.raises(ValueError, match=r"threshold must be a probability in \[0, 1\], got 1.5"):
        next(predictor.predict([photos[0]], threshold=1.5))


def test_where_nothing_more_has_come_what_is_there_is_answered(photos):
    asked = []

    def files():
        for i, file in enumerate(photos[:6]):
            if i in (1, 4):
                asked.append(None)
                yield None
            asked.append(file)
            yield Found(file)

    answers = predictor_of().predict(files(), batch_size=2)
    assert next(answers).file == photos[0]
    assert asked == [photos[0], None]
    assert [answer.file for answer in answers] == photos[1:6]


def test_images_that_nobody_has_counted_are_many_after_a_while(photos, monkeypatch):
    monkeypatch.setattr(predicting, "MANY", 4)
    monkeypatch.setattr(worth, "WORTH", 1)
    predictor = predictor_of()
    answers = predictor.predict(iter(photos), top=4, batch_size=2)
    found = [next(answers) for _ in range(4)]
    assert predictor._run is predictor.model
    found += answers
    assert isinstance(predictor._run, Frozen)
    assert [answer.file for answer in found] == photos


def test_an_image_of_the_web_is_fetched_and_its_bytes_are_kept(photos, monkeypatch):
    with open(photos[0], "rb") as file:
        content = file.read()
    web = {"https://a.b/c.jpg": content, "https://a.b/empty.jpg": b""}
    monkeypatch.setattr(predicting, "fetch", web.__getitem__)
    predictor = predictor_of()
    here, there, empty = predictor.predict([photos[0], *web])
    assert there.guesses == here.guesses
    assert (there.content, here.content) == (content, None)
    assert "empty" in empty.error
