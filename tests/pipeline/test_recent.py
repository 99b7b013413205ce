import threading
import time

import pytest

from pipeline.recent import Recent


def test_keeps_the_latest_and_makes_each_once():
    made = []
    recent = Recent(lambda key: made.append(key) or key * 10, 2)
    assert [recent.get(key) for key in (1, 2, 1, 3, 1, 2)] == [10, 20, 10, 30, 10, 20]
    assert made == [1, 2, 3, 2]  # 2 was the one not asked for longest when 3 came


def test_threads_that_want_the_same_wait_for_one_that_makes_it():
    made = []

    def slow(key):
        time.sleep(0.1)
        made.append(key)
        return object()

    recent, found = Recent(slow, 3), []
    threads = [threading.Thread(target=lambda: found.append(recent.get("a"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == ["a"]
    assert len({id(value) for value in found}) == 1


def test_what_failed_is_tried_again():
    answers = iter([OSError("gone"), 7])

    def make(key):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    recent = Recent(make, 1)
    with pytest.raises(OSError, match="gone"):
        recent.get(0)
    assert recent.get(0) == 7
