"""One case is ranked while the next is predicted: in order, never more than that, and every error in its turn."""

from __future__ import annotations

import threading
import time
from contextlib import closing

import pytest

from nnactive_ext.querying import pipeline


def one_behind(*arguments):
    for done, waited in pipeline.one_behind(*arguments):
        assert waited >= 0
        yield done


def alive():
    return [thread for thread in threading.enumerate() if thread.name.startswith("one_behind")]


def test_results_come_in_order_and_the_second_runs_while_the_first_goes_on():
    both = threading.Event()
    predicting: list[int] = []

    def predict(item):
        predicting.append(item)
        if item == 1:
            assert both.wait(5), "item 0 is ranked meanwhile"
        return item

    def rank(item):
        if item == 0:
            end = time.monotonic() + 5
            while 1 not in predicting and time.monotonic() < end:
                time.sleep(0.001)
            both.set()
        return 10 * item

    assert list(one_behind(iter(range(4)), predict, rank)) == [0, 10, 20, 30]
    assert not alive()


@pytest.mark.parametrize("slow", ["first", "second"])
def test_at_most_one_is_in_each_and_one_between(slow):
    lock, held, most = threading.Lock(), set(), []

    def note(item, there):
        with lock:
            (held.add if there else held.discard)(item)
            most.append(len(held))

    def predict(item):
        note(item, True)
        time.sleep(0.01 * (slow == "first"))
        return item

    def rank(item):
        time.sleep(0.01 * (slow == "second"))
        note(item, False)

    assert len(list(one_behind(iter(range(8)), predict, rank))) == 8
    assert max(most) <= 2, "one that is ranked, and one that is predicted or waits"


def test_without_room_one_follows_the_other():
    events = []
    list(
        one_behind(
            iter("ab"), lambda i: events.append(f"first {i}") or i, lambda i: events.append(f"second {i}"), lambda i: False
        )
    )
    assert events == ["first a", "second a", "first b", "second b"]


@pytest.mark.parametrize("where", ["items", "first", "second"])
def test_an_error_comes_after_the_results_before_it(where):
    def items():
        yield from (0, 1)
        if where == "items":
            raise ValueError("2")
        yield from (2, 3)

    def failing(item, name):
        if where == name and item == 2:
            raise ValueError("2")
        return item

    found = []
    with pytest.raises(ValueError, match="2"):
        found.extend(one_behind(items(), lambda i: failing(i, "first"), lambda i: failing(i, "second")))
    assert found == [0, 1]
    assert not alive()


def test_the_earlier_of_two_errors_is_raised():
    def predict(item):
        if item == 1:
            raise ValueError("the later one")
        return item

    def rank(item):
        raise ValueError("the earlier one")

    with pytest.raises(ValueError, match="the earlier one"):
        list(one_behind(iter(range(3)), predict, rank))


@pytest.mark.parametrize("how", ["interrupt", "close"])
def test_whoever_leaves_early_ends_the_thread(how):
    begun = threading.Event()

    def rank(item):
        begun.set()
        while item == 0 if how == "interrupt" else item == 1:
            time.sleep(0.001)  # until it is stopped
        return item

    def predict(item):
        if how == "interrupt" and item == 1:
            assert begun.wait(5)
            raise KeyboardInterrupt
        return item

    if how == "interrupt":
        with pytest.raises(KeyboardInterrupt):
            list(one_behind(iter(range(3)), predict, rank))
    else:
        with closing(one_behind(iter(range(3)), predict, rank)) as results:
            assert next(results) == 0
            assert len(alive()) == 1, "item 1 is ranked"
    assert not alive()
