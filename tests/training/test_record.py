import pytest
import torch

from senet.training.record import EpochRecord


def filled(losses):
    record = EpochRecord(steps=5)
    for i, loss in enumerate(losses):
        record.add(torch.tensor(loss), torch.tensor(i), images=4)
        record.tick()
    return record


def test_it_averages_over_what_has_been_done():
    record = filled([3.0, 1.0, 0.5])
    assert record.loss == 1.5
    assert record.accuracy == pytest.approx((0 + 1 + 2) / 12)
    assert record.seconds == sum(record.times)
    assert 1000 * min(record.times) <= record.step_ms <= 1000 * max(record.times)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_it_names_the_first_step_that_is_not_finite(bad):
    assert filled([1.0, 1.0]).first_not_finite is None
    assert filled([1.0, bad, 1.0, bad]).first_not_finite == 1


def test_it_goes_through_a_checkpoint():
    record, again = filled([3.0, 1.0]), EpochRecord(steps=5)
    again.load_state_dict(record.state_dict())
    for r in (record, again):
        r.add(torch.tensor(5.0), torch.tensor(4), images=4)
    assert (again.loss, again.accuracy, again.times) == (
        record.loss, record.accuracy, record.times
    )  # fmt: skip


def test_clearing_it_begins_anew():
    record = filled([3.0, float("nan")])
    record.clear()
    record.add(torch.tensor(2.0), torch.tensor(2), images=2)
    assert (record.loss, record.accuracy, record.first_not_finite) == (2.0, 1.0, None)
