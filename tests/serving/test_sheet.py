"""The contact sheet: whole, in order, and harmless whatever files and classes are called."""

import io
import re

import numpy as np
from PIL import Image

from senet.serving.predict import Prediction
from senet.serving.sheet import Sheet, like


def photo(path, side=200):
    pixels = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return str(path)


def test_unsure_images_come_first_then_the_least_certain_of_each_class(tmp_path):
    sheet = Sheet("What it sees")
    for i, (name, p, unsure) in enumerate(
        [("dog", 0.9, False), ("cat", 0.8, False), ("cat", 0.7, False), ("dog", 0.3, True)]
    ):
        guesses = ((name, p), ("cow", 1 - p))
        sheet.add(Prediction(photo(tmp_path / f"{i}.png"), guesses, unsure=unsure))
    sheet.add(Prediction("gone.jpg", error="there is no such file"))
    sheet.write(tmp_path / "sheet.html")
    page = (tmp_path / "sheet.html").read_text()
    assert re.findall(r'alt="[^"]*/(\d).png"', page) == ["3", "2", "1", "0"]
    assert "gone.jpg: there is no such file" in page
    assert "5 images" in page
    assert len(re.findall("data:image/jpeg;base64,", page)) == 4
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<script" not in page


def test_names_are_text(tmp_path):
    sheet = Sheet("<b>")
    file = photo(tmp_path / '"><script>.png')
    sheet.add(Prediction(file, (("<i>&", 0.5),)))
    page = sheet.html()
    assert "<script>" not in page
    assert "<i>&" not in page
    assert "&lt;i&gt;&amp;" in page


def test_of_many_images_the_page_shows_some_and_counts_the_rest(tmp_path):
    sheet = Sheet("many", most=2)
    for i in range(5):
        sheet.add(Prediction(photo(tmp_path / f"{i}.png", 20), (("cat", 0.5),)))
    page = sheet.html()
    assert page.count("<img") == 2
    assert "3 of them are named without a picture" in page


def test_an_image_that_has_vanished_or_came_from_the_web_is_no_obstacle(tmp_path):
    sheet = Sheet("web")
    data = io.BytesIO()
    Image.new("RGB", (300, 200)).save(data, "JPEG")
    sheet.add(Prediction("https://a.b/c.jpg", (("cat", 0.5),), content=data.getvalue()))
    sheet.add(Prediction(str(tmp_path / "gone.jpg"), (("cat", 0.6),)))
    assert sheet.html().count("<img") == 1


def test_images_like_one_follow_it_in_order(tmp_path):
    asked, near, far = (photo(tmp_path / f"{name}.png") for name in ("asked", "near", "far"))
    page = like(asked, [(near, 0.9871), (far, 0.5), (str(tmp_path / "gone.png"), 0.4)])
    shown = re.findall(r'alt="[^"]*/(\w+).png"', page)
    assert shown == ["asked", "near", "far"]
    assert "3 images" in page
    assert page.index("0.987") < page.index("0.500") < page.index("gone.png")
