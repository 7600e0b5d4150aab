"""One thing is loaded ahead: in order, never two, and its thread ends however the loop does."""

import threading
import time
from contextlib import closing

import pytest

from nnactive_ext.parallel import one_ahead


def wait_until(true, seconds=5):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.001)


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("one_ahead")]


def test_in_order_and_never_more_than_one_ahead():
    begun = []

    def load(item):
        begun.append(item)
        return 10 * item

    with closing(one_ahead(load, range(6))) as loaded:
        for used, value in enumerate(loaded):
            assert value == 10 * used
            last = min(used + 1, 5)
            wait_until(lambda last=last: begun[-1] == last)  # the next is loaded while this one is in use
            time.sleep(0.01)
            assert begun == list(range(last + 1))
    assert not threads()


def test_it_is_loaded_in_another_thread():
    loaded = list(one_ahead(lambda _: threading.current_thread(), range(3)))
    assert len(set(loaded)) == 1
    assert loaded[0] is not threading.main_thread()


def test_nothing_to_load():
    assert list(one_ahead(int, [])) == []


def test_an_error_comes_when_it_is_its_turn():
    def load(item):
        if item == 2:
            raise ValueError(f"item {item}")
        return item

    loaded = one_ahead(load, range(4))
    assert [next(loaded), next(loaded)] == [0, 1]
    with pytest.raises(ValueError, match="item 2"):
        next(loaded)
    assert list(loaded) == []
    assert not threads()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_thread_ends_when_the_loop_is_left(error):
    begun = []

    def use():
        with closing(one_ahead(begun.append, range(100))) as loaded:
            for _ in loaded:
                raise error

    with pytest.raises(error):
        use()
    assert not threads()
    assert len(begun) <= 2
