import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from pipeline.interruption import held_back


@pytest.fixture(autouse=True)
def _own_handlers() -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def swallowing(number: signal.Signals, reached: list[int], error: Exception | None = None) -> None:
    """As a library with bare excepts does it."""
    with held_back():
        with suppress(BaseException):
            signal.raise_signal(number)
        reached.append(number)
        if error is not None:
            raise error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_takes_effect_after_the_body(number: signal.Signals) -> None:
    reached: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        swallowing(number, reached)
    assert reached == [number]
    assert signal.getsignal(number) is signal.default_int_handler


def test_an_error_of_the_body_does_not_lose_the_signal() -> None:
    with pytest.raises(KeyboardInterrupt) as raised:
        swallowing(signal.SIGTERM, [], OSError("full"))
    assert isinstance(raised.value.__context__, OSError)


def test_what_is_ignored_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with held_back():
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_other_threads_go_through() -> None:
    done = []

    def work() -> None:
        with held_back():
            done.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [signal.default_int_handler]
