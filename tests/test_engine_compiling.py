"""The engine's results do not depend on threads, and its compiled loops are kept, but never past a change of the sources."""

import subprocess
import sys

import numpy as np
import pytest

from nnactive_ext.engine import box_means, compiling, select
from nnactive_ext.engine.threads import in_pieces, thread_count


def add_one(number):
    return number + 1


def test_a_command_that_runs_no_loop_does_not_wait_for_numba():
    """Importing it takes more than a second, and nnactive_status ranks nothing."""
    code = "import sys, nnactive_ext.loop.status, nnactive_ext.engine.select as s; print('numba' in sys.modules, s.__name__)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[0] == "False"


@pytest.mark.parametrize("threads", ["2", "3", "16"])
def test_any_number_of_threads_gives_the_same_bytes(monkeypatch, threads):
    rng = np.random.default_rng(0)
    score_map, weight = rng.gamma(0.1, 1, (2, 70, 80, 90)).astype(np.float32)

    def results():
        means = box_means(score_map, (11, 16, 7), weight)
        noisy = select(means, (11, 16, 7), 30, beta=3.0, rng=np.random.default_rng(1))
        return means.tobytes(), noisy, select(means, (11, 16, 7), 30)

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = results()
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert thread_count() == int(threads)
    assert results() == alone


def test_pieces_cover_everything_once(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    for length in (1, 2, 5, 12, 13, 100):
        seen = np.zeros(length, int)

        def count(first, last, seen=seen):
            seen[first:last] += 1

        in_pieces(count, length, 10**9)
        assert (seen == 1).all()


def test_an_error_in_a_thread_is_not_lost(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        in_pieces(lambda first, last: 1 // 0, 8, 10**9)


def test_what_is_compiled_is_kept_until_any_source_changes(monkeypatch, tmp_path):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))

    def compiled_anew():
        compiled = compiling.kernel(add_one)
        assert compiled(1) == 2
        return sum(compiled.stats.cache_misses.values()) == 1

    assert compiled_anew()
    assert not compiled_anew()
    monkeypatch.setattr(compiling, "_sources", lambda: "another digest")
    assert compiled_anew()


def test_without_a_place_to_keep_it_it_is_compiled_all_the_same():
    names = {}
    exec("def add_two(number): return number + 2", names)
    assert compiling.kernel(names["add_two"])(1) == 3


def test_compilation_is_announced_once_and_only_ours(capsys):
    announcer = compiling._Announcer()

    class Event:
        def __init__(self, function):
            self.data = {"dispatcher": type("Dispatcher", (), {"py_func": function})}

    announcer.on_start(Event(add_one))
    assert capsys.readouterr().err == ""
    announcer.on_start(Event(box_means))
    announcer.on_start(Event(box_means))
    assert capsys.readouterr().err.count("Compiling") == 1
