from senet.models.weights.ilsvrc import USUAL


def test_every_class_has_a_usual_number():
    assert sorted(USUAL) == list(range(1000))


def test_classes_stand_where_the_development_kits_have_them(world):
    """The list is the one that the authors confirm: issue 25 of hujie-frank/SENet."""
    usual = world.timm.data.ImageNetInfo().label_names()
    assert usual == sorted(usual)
    kits = [usual[number] for number in USUAL]
    first = "n02119789 n02100735 n02110185 n02096294 n02102040 n02066245 n02509815 n02124075"
    cocks = "n03967562 n03000684 n01514668 n01514859 n01518878 n01530575 n01531178 n01532829"
    last = "n02815834 n09229709 n07697313 n03888605 n03355925 n03063599 n04116512 n04325704"
    assert kits[:8] == first.split()
    assert kits[380:388] == cocks.split()
    assert kits[990:998] == last.split()
    # A user who ran one of the networks noted these: beer glass, goldfish, ostrich.
    assert [USUAL[i] for i in (810, 449, 384)] == [441, 1, 9]
