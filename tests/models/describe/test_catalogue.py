"""The tables of all networks and of all published weights."""

from senet.models import list_weights
from senet.models.describe.catalogue import catalogue, weights_table


def test_the_catalogue_has_every_network_once():
    names = ["se_resnet18", "resnet8_cifar", "resnet18", "se_resnet8_cifar", "resnet34"]
    found = list(catalogue(names))
    assert sum(table.row_count for table in found) == len(names)
    assert len(found) == 2  # two sizes of input
    cells = [cell for table in found for cell in table.columns[0].cells]
    expected = ["resnet18", "se_resnet18", "resnet34", "resnet8_cifar", "se_resnet8_cifar"]
    assert cells == expected


def test_the_best_published_accuracy_is_shown():
    (table,) = catalogue(["se_resnet50"])
    by_header = {str(c.header): next(iter(c.cells)) for c in table.columns}
    assert by_header["weights"] == str(len(list_weights("se_resnet50.*")))
    assert by_header["top-1"] == "81.3 %"  # timm's ra2, tested at 288 pixels
    (plain,) = catalogue(["se_resnet18"])
    assert list(plain.columns[3].cells) == [""]


def test_every_set_of_weights_has_a_row():
    assert weights_table(list_weights()).row_count == len(list_weights())
