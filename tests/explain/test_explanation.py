"""What is said of networks whose gates are known, and how it is shown and saved."""

import csv
import re

import numpy as np
import pytest
import torch
from torch import nn

from senet import accelerate, create_model, explain
from senet.explain.messages import LANGUAGES, catalogue
from senet.explain.page import _verdict, page
from senet.gates import record, replacing
from tests.explain.networks import by_brightness, by_class, one_block, seeing

CLASSES = ("cat", "dog", "newt")


def found_on(model, images):
    return explain.network(model, [images], CLASSES, name="known")


def test_gates_that_follow_the_class_are_decided_by_it():
    (fact,) = found_on(seeing(), by_class()).facts
    assert fact.share == pytest.approx(1, abs=1e-6)
    assert fact.drawn == pytest.approx(1, abs=1e-6)
    assert fact.informed
    assert fact.level < 0.3


def test_gates_that_follow_brightness_are_not():
    (fact,) = found_on(seeing(), by_brightness()).facts
    assert fact.variation > 0.1
    assert fact.informed is False


def test_constant_gates_do_nothing():
    (fact,) = found_on(one_block(), by_brightness()).facts
    assert (fact.mean, fact.variation, fact.share, fact.drawn, fact.level) == (0.5, 0, 0, 0, 0)
    assert fact.informed is False


def test_shuffled_labels_reach_what_theory_says():
    s, labels = torch.randn(100, 30), torch.arange(100) % 5
    share, chance = explain.shuffled_shares(s, labels, 400)
    centred = s.double() - s.double().mean(0)
    between = sum((centred[labels == k].sum(0) ** 2).sum() / 20 for k in range(5))
    assert share == pytest.approx(float(between / centred.square().sum()))
    assert chance.mean() == pytest.approx(4 / 99, rel=0.05)  # (K − 1) / (n − 1)


@pytest.mark.parametrize(("n", "classes"), [(1, 3), (3, 3), (5, 1)])
def test_where_chance_cannot_be_told_nothing_is_claimed(n, classes):
    x, labels = torch.rand(n, 3, 2, 2), torch.arange(n) % classes
    found = found_on(seeing(), (x, labels))
    assert found.facts[0].informed is None
    assert "cannot be said" in page(found)


def test_few_images_and_classes_without_images_are_named():
    keys = {note.key: note.values for note in found_on(seeing(), by_class(2)).notes}
    assert keys["few"] == {"n": 2, "classes": 2}
    assert keys["absent"] == {"names": "newt"}
    assert not found_on(seeing(), by_class(150)).notes


def test_a_network_without_se_is_told_how_to_get_it():
    with pytest.raises(ValueError, match=r"no SE block.*Conv2d.*insert_se"):
        explain.network(nn.Sequential(nn.Conv2d(3, 3, 1)), [torch.zeros(1, 3, 2, 2)])


def test_the_paper_chooses_the_blocks_of_a_resnet_50_and_depth_those_of_others():
    model = create_model("se_resnet50", num_classes=2)
    blocks = list(record(model, [torch.randn(1, 3, 32, 32)]).values())
    names = [block.name for block in explain.paper_blocks(blocks)]
    stages = ["layer1.2", "layer2.3", "layer3.5", "layer4.0", "layer4.1", "layer4.2"]
    assert names == [f"{stage}.se" for stage in stages]
    spread = [block.name for block in explain.paper_blocks(blocks[:12])]
    assert (len(spread), spread[0], spread[-1]) == (6, blocks[0].name, blocks[11].name)


@pytest.mark.parametrize("fast", [False, True])
def test_one_image_is_compared_with_all(fast):
    model = create_model("se_resnet8_cifar", num_classes=3, reduction=2).eval()
    x = torch.randn(6, 3, 32, 32)
    for parameter in model.parameters():  # new networks have gates that do not move
        nn.init.normal_(parameter, std=0.3)
    blocks = record(model, [x], examples=6)
    with torch.no_grad():
        p = model(x[:1]).softmax(1)[0]
        if fast:
            accelerate(model)
            model(x)
        answer, probability, changed = explain.one_image(model, x[:1], blocks)
    assert answer == int(p.argmax())
    assert probability == pytest.approx(float(p.max()), rel=1e-5)
    for one in changed:
        s, mean = blocks[one.name].examples.s[0].double(), blocks[one.name].overall
        channel, gate, usual = one.raised[0]
        assert channel == int((s - mean).argmax())
        assert (gate, usual) == pytest.approx((float(s[channel]), float(mean[channel])), rel=1e-5)
        assert one.lowered[0][0] == int((s - mean).argmin())
    model.layer3[0].se = nn.Identity()
    with torch.no_grad():
        without = model(x[:1]).softmax(1)[0]
    assert changed[-1].silenced == pytest.approx(float(without[answer]), rel=1e-5)
    assert changed[-1].instead == int(without.argmax())
    assert changed[-1].probability == pytest.approx(float(without.max()), rel=1e-5)


def test_replaced_gates_are_put_back():
    model, x = one_block(), torch.rand(2, 3, 2, 2)
    before = model(x)
    with replacing(model, {"0": lambda u: torch.ones(u.shape[:2])}):
        assert torch.equal(model[:1](x), x)
    assert torch.equal(model(x), before)


def test_the_folder_holds_the_page_and_every_number_of_its_figures(tmp_path):
    found = found_on(seeing(), by_class())
    path = found.save(tmp_path / "out")
    html = path.read_text()
    assert "Figure 6" in html
    assert "通道" in html
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', html)
    with (path.parent / "gates.csv").open() as file:
        rows = list(csv.DictReader(file))
    block = found.blocks["0"]
    assert len(rows) == 4 * 3
    assert float(rows[0]["mean"]) == pytest.approx(float(block.mean[0, 0]), rel=1e-5)
    arrays = np.load(path.parent / "gates.npz")
    assert arrays["mean:0"] == pytest.approx(block.mean.numpy())
    with (path.parent / "histogram.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert sum(float(v) for k, v in row.items() if k != "block") == pytest.approx(1)
    figures = {p.name for p in (path.parent / "figures").iterdir()}
    assert figures == {
        f"{name}.svg" for name in ("by_class-0", "within-0", "blocks", "histogram", "similarity")
    }


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        found_on(seeing(), by_class()).save(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_has_the_language_that_was_asked_for(language):
    html = page(found_on(seeing(), by_class()), language)
    assert f'<html lang="{language}">' in html
    assert "navigator.language" not in html


@pytest.mark.parametrize(
    ("informed", "known", "said"),
    [
        (0, 3, "no block (of 3)"),
        (2, 3, "In 2 of 3 blocks"),
        (3, 3, "every block (3)"),
        (0, 0, "cannot"),
    ],
)
def test_the_first_sentence_says_how_many_blocks_tell_classes_apart(informed, known, said):
    sentence = _verdict(informed, known)
    assert said in sentence
    assert ("others" in sentence) == (0 < informed < known)


def test_every_message_is_in_every_language_with_the_same_values():
    for key, message in catalogue().items():
        assert set(message) == set(LANGUAGES), key
        values = {language: sorted(re.findall(r"{\w+", message[language])) for language in message}
        assert values["en"] == values["zh-TW"], key


def test_names_of_classes_are_text():
    html = page(explain.network(seeing(), [by_class()], ("<b>", "dog", "$5"), name="<i>x</i>"))
    assert "<b>" not in html
    assert "<i>x" not in html


def test_in_a_notebook_it_shows_itself():
    shown = found_on(seeing(), by_class())._repr_html_()
    assert shown.startswith("<iframe")
    assert "&lt;svg" in shown


def test_rounding_is_no_movement():
    s = torch.full((40, 8), 0.5)
    s[::2] += 3e-8 * torch.randint(0, 3, (20, 8))
    assert explain.shuffled_shares(s, torch.arange(40) % 2)[0] == 0
