"""How a user says the preprocessing of weights that do not name theirs."""

import pytest

from senet.preprocessing import IMAGENET, Preprocessing, as_asked, read_asked, require_asked

GREY = Preprocessing(28, mean=(0.5,), std=(0.5,))


def test_what_is_not_named_stays():
    found = as_asked(read_asked("mean=0.5,0.4,0.3,std=0.25"), IMAGENET)
    assert (found.mean, found.std) == ((0.5, 0.4, 0.3), (0.25,) * 3)
    assert (found.size, found.crop) == (IMAGENET.size, IMAGENET.crop)
    assert as_asked(read_asked("std=1,size=160,mean=0"), GREY) == Preprocessing(160, (0.0,), (1.0,))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("mean=0.5", "it needs mean and std"),
        ("std=0.5,size=3", "it needs mean and std"),
        ("mean=0.5,std=0", "std must not be 0"),
        ("mean=0.5,std=0.2,0,0.2", "std must not be 0"),
        ("mean=0.5,std=-0.2", "std is of pixels in 0 … 1"),
        ("mean=127.5,std=127.5", "mean is of pixels in 0 … 1: divide numbers for 0 … 255 by 255"),
        ("mean=nan,std=1", "mean is of pixels"),
        ("mean=half,std=1", "mean must be numbers"),
        ("mean=,std=1", "mean must be numbers"),
        ("mean=0.5,std=0.5,size=big", "size must be one whole number"),
        ("mean=0.5,std=0.5,size=224,224", "size must be one whole number"),
        ("mean=0.5,std=0.5,size=0", "size must be one whole number"),
        ("mean=0.5,std=0.5,mean=0.4", "it names mean twice"),
        ("maen=0.5,std=0.5", r"there is no 'maen'. Did you mean mean\? Write"),
        ("mean=0.5,std=0.5,crop=0.9", r"there is no 'crop'\. Write it as"),
        ("imagenet", "Write it as mean="),
        ("", "Write it as mean="),
        ("timm", "Write it as mean=.* or timm:NAME"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_the_reason(text, why):
    with pytest.raises(ValueError, match=why):
        require_asked(text)


def test_mean_and_std_have_one_value_or_one_for_each_channel():
    with pytest.raises(ValueError, match=r"mean has 2 values, and .* have 3 channels"):
        as_asked(read_asked("mean=0.5,0.5,std=0.5"), IMAGENET)
    with pytest.raises(ValueError, match=r"std has 3 values, and .* have 1 channels"):
        as_asked(read_asked("mean=0.5,std=0.5,0.5,0.5"), GREY)


def test_a_network_of_timm_is_not_looked_up_before_it_is_needed():
    require_asked("timm:anything")
