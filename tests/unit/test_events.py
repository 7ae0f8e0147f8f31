"""Events come out in order, each once, and a lost one holds the others up for a while only."""

from __future__ import annotations

import random

import pytest

from comfy_aws.events import PATIENCE, Sequence
from comfy_aws.models import Event, EventKind


def event(number, kind=EventKind.COMFY):
    return Event("job", number, kind, {"n": number}, 0.0)


def events(*numbers):
    return tuple(event(number) for number in numbers)


def numbers(found):
    return [each.seq for each in found]


def test_in_order_at_once():
    sequence = Sequence()
    assert numbers(sequence.add(events(1, 2, 3), 0.0)) == [1, 2, 3]
    assert sequence.last == 3
    assert not sequence.has_gap


def test_a_gap_holds_up_what_comes_after_it():
    sequence = Sequence()
    assert sequence.add(events(2, 3), 0.0) == []
    assert sequence.has_gap
    assert numbers(sequence.add(events(1), 0.0)) == [1, 2, 3]


def test_the_first_of_two_counts():
    sequence = Sequence()
    second = Event("job", 1, EventKind.COMFY, {"n": "again"}, 9.0)
    assert sequence.add((event(2), *events(1)), 0.0) == [event(1), event(2)]
    assert sequence.add((second, *events(1, 2)), 0.0) == []


@pytest.mark.parametrize("seed", range(200))
def test_any_delivery_gives_every_event_once_and_in_order(seed):
    dice = random.Random(seed)
    total = dice.randrange(1, 40)
    deliveries = [number for number in range(1, total + 1) for _ in range(dice.randrange(1, 4))]
    dice.shuffle(deliveries)
    sequence, out = Sequence(), []
    while deliveries:
        size = dice.randrange(0, 5)
        out += sequence.add(events(*deliveries[:size]), 0.0)
        del deliveries[:size]
        assert numbers(out) == list(range(1, len(out) + 1))
        assert sequence.last == len(out)
    assert numbers(out) == list(range(1, total + 1))


@pytest.mark.parametrize("seed", range(200))
def test_with_lost_events_the_rest_still_comes_in_order(seed):
    dice = random.Random(seed)
    total = dice.randrange(2, 40)
    kept = [number for number in range(1, total + 1) if dice.random() < 0.7]
    deliveries = kept + dice.choices(kept or [1], k=5)
    dice.shuffle(deliveries)
    sequence, out, now = Sequence(), [], 0.0
    for number in deliveries:
        now += dice.choice([0.0, 0.1, PATIENCE])
        out += sequence.add(events(number), now) or sequence.overdue(now)
    out += sequence.rest()
    assert numbers(out) == sorted(set(numbers(out)))
    assert set(numbers(out)) <= set(deliveries)
    assert not sequence.has_gap


@pytest.mark.parametrize("seed", range(200))
def test_what_the_bucket_keeps_fills_what_the_queue_lost(seed):
    """Previews are not kept, so the stored events have gaps of their own."""
    dice = random.Random(seed)
    total = dice.randrange(1, 30)
    previews = {number for number in range(1, total + 1) if dice.random() < 0.3}
    heard = [number for number in range(1, total + 1) if dice.random() < 0.6]
    dice.shuffle(heard)
    sequence, out = Sequence(), []
    for number in heard:
        out += sequence.add(events(number), 0.0)
    stored = [number for number in range(1, total + 1) if number not in previews]
    out += sequence.rest(events(*stored))
    assert numbers(out) == sorted({*heard, *stored})


def test_patience_counts_from_the_gap_and_goes_on_while_others_come():
    sequence = Sequence()
    sequence.add(events(1), 0.0)
    assert sequence.add(events(3), 100.0) == []
    for tenth in range(1, 20):
        now = 100.0 + tenth * PATIENCE / 20
        assert sequence.add(events(3 + tenth), now) == []
        assert sequence.overdue(now) == []
    assert sequence.add((), 100.0 + PATIENCE / 2) == []
    assert numbers(sequence.overdue(100.0 + PATIENCE)) == list(range(3, 23))
    assert sequence.add(events(2), 200.0) == []


def test_each_gap_has_its_own_patience():
    sequence = Sequence()
    sequence.add(events(2, 4), 0.0)
    assert numbers(sequence.overdue(PATIENCE)) == [2]
    assert sequence.overdue(PATIENCE) == []
    assert numbers(sequence.overdue(2 * PATIENCE)) == [4]
    assert sequence.overdue(99.0) == []


def test_nothing_left():
    assert Sequence().rest() == []
    assert Sequence().overdue(99.0) == []
