import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import SourceError, TrainingError
from pipeline.own_process import in_own_process
from pipeline.progress import Event, Progress


def squared(number: int, progress: Progress) -> tuple[int, int]:
    progress(Event("squares", 1, 1, "numbers"))
    return number**2, os.getpid()


def rejected(progress: Progress) -> None:
    raise SourceError("Q-TRUNCATED", "the file ends early")


def killed(progress: Progress) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def waiting(mark: Path, progress: Progress) -> None:
    mark.write_text(str(os.getpid()))
    progress(Event("waiting", 0, 1, "seconds"))
    time.sleep(600)


def gone(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_result_and_progress_come_back() -> None:
    events: list[Event] = []
    result, process = in_own_process(squared, (12,), events.append)
    assert (result, events) == (144, [Event("squares", 1, 1, "numbers")])
    assert process != os.getpid()
    assert not multiprocessing.active_children()


def test_its_error_is_raised_here() -> None:
    with pytest.raises(SourceError, match="Q-TRUNCATED: the file ends early"):
        in_own_process(rejected, (), print)


def test_its_end_is_an_answer() -> None:
    with pytest.raises(TrainingError, match=r"was ended \(exit code -9\), most likely for lack of memory"):
        in_own_process(killed, (), print)


def test_it_ends_with_what_comes_up_here(tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_own_process(waiting, (tmp_path / "mark",), stop)
    assert gone(int((tmp_path / "mark").read_text()))


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pipeline.own_process import in_own_process\n"
        "from tests.pipeline.test_own_process import waiting\n"
        f"if __name__ == '__main__': in_own_process(waiting, (Path({str(tmp_path / 'mark')!r}),), print)\n"
    )
    (tmp_path / "parent.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment, stdout=-1) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        parent.kill()
    process, end = int((tmp_path / "mark").read_text()), time.monotonic() + 20
    while not gone(process):
        assert time.monotonic() < end
        time.sleep(0.05)
