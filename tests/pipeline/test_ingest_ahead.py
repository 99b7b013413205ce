"""The step of the next item is done while the caller works on this one; the order is that of the items."""

import threading

import pytest

from pipeline.ingest.ahead import ahead


def test_results_come_in_the_order_of_the_items():
    assert [(item, found.result()) for item, found in ahead(str, range(5))] == [(n, str(n)) for n in range(5)]
    assert list(ahead(str, [])) == []


def test_the_next_step_is_done_before_this_item_is_finished_and_no_further():
    reached = {name: threading.Event() for name in "abc"}

    def step(name):
        reached[name].set()

    steps = ahead(step, "abc")
    assert next(steps)[0] == "a"
    assert reached["b"].wait(10)
    assert not reached["c"].is_set()
    assert [name for name, _ in steps] == ["b", "c"]


def test_an_error_is_that_of_its_item():
    results = []
    for item, found in ahead(lambda divisor: 1 / divisor, [1, 0, 2]):
        if item:
            results.append(found.result())
        else:
            with pytest.raises(ZeroDivisionError):
                found.result()
    assert results == [1.0, 0.5]
