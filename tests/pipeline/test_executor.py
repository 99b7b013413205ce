"""Work in this process: made once, in order, only as far as it is asked for."""

from __future__ import annotations

from pipeline.executor import IN_PROCESS


def test_what_is_mapped_is_made_once_and_called_in_order():
    made, called = [], []

    def make():
        made.append(True)
        return lambda item: called.append(item) or 2 * item

    results = IN_PROCESS.map(make, [3, 1, 2])
    assert next(results) == 6
    assert called == [3]
    assert list(results) == [2, 4]
    assert len(made) == 1


def test_a_call_is_a_call():
    assert IN_PROCESS.run(lambda: 7) == 7
    assert IN_PROCESS.dask == "threads"
