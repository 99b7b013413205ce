"""The ledger: one holder at a time, whatever the clock and the holders do; steps as they were acknowledged."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from pipeline.errors import LeaseLostError, LedgerError
from pipeline.ledger import Lease, Ledger, NightKey, Tenure
from pipeline.ledger.tables import this_place

KEY = NightKey("blobs", "2020-03-11", "c" * 12, "d" * 12)
NEXT = replace(KEY, date="2020-03-12")


class Clock:
    def __init__(self) -> None:
        self.now = 1_600_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def ledger(tmp_path, clock):
    return Ledger(tmp_path / "runs" / "nights.db", clock)


def test_a_finished_night_has_its_steps_in_order_and_its_results_as_they_were(ledger, clock):
    assert ledger.night(KEY) is None
    with ledger.hold(KEY, seconds=60, patience=0) as tenure:
        tenure.record("train", {"version": 3, "loss": 0.25, "text": "größer"})
        tenure.record("ingest", None)
        clock.now += 5
        tenure.finish()
    night = ledger.night(KEY)
    assert list(night.steps.items()) == [("train", {"version": 3, "loss": 0.25, "text": "größer"}), ("ingest", None)]
    assert (night.finished, night.starts, night.finished_at - night.started_at) == (True, 1, 5)
    assert ledger.lease("blobs") is None


@pytest.mark.parametrize("field", ["pipeline", "date", "config_hash", "code_hash"])
def test_a_night_is_that_of_its_pipeline_date_configuration_and_code(ledger, field):
    ledger.take(KEY, 60).record("ingest", 1)
    assert ledger.night(replace(KEY, **{field: "other"})) is None


def test_the_latest_dates_come_first(ledger):
    for date in ("2020-03-02", "2020-03-10", "2020-03-01"):
        ledger.take(replace(KEY, date=date), 60).give_back()
    assert [night.key.date for night in ledger.nights("blobs")] == ["2020-03-10", "2020-03-02", "2020-03-01"]
    assert [night.key.date for night in ledger.nights("blobs", limit=1)] == ["2020-03-10"]
    assert ledger.nights("other") == []


def test_one_at_a_time_works_on_a_pipeline_and_others_do_not_mind(ledger):
    first = ledger.take(KEY, 60)
    assert isinstance(first, Tenure)
    held = ledger.take(NEXT, 60)
    assert isinstance(held, Lease)
    assert held.date == KEY.date
    assert held.holder.startswith(f"process {os.getpid()} on ")
    assert isinstance(ledger.take(replace(KEY, pipeline="other"), 60), Tenure)
    first.give_back()
    assert isinstance(ledger.take(NEXT, 60), Tenure)


def test_an_expired_lease_is_taken_over_and_its_former_holder_writes_no_more(ledger, clock):
    former = ledger.take(KEY, 60)
    former.record("ingest", 1)
    clock.now += 61
    former.record("decide", 2)  # late, but nobody came: the work is not lost
    clock.now += 61
    new = ledger.take(KEY, 60)
    for write in (lambda: former.record("train", 3), former.finish, former.renew, former.check):
        with pytest.raises(LeaseLostError, match=r"night of 2020-03-11 was taken over by another run of blobs"):
            write()
    former.give_back()  # does not free what is another's
    assert ledger.lease("blobs").token == new.token == former.token + 1
    new.record("train", 4)
    assert new.night.steps == {"ingest": 1, "decide": 2, "train": 4}
    assert new.night.starts == 2


def test_a_lease_that_was_given_back_is_no_right_to_write(ledger):
    tenure = ledger.take(KEY, 60)
    tenure.give_back()
    with pytest.raises(LeaseLostError):
        tenure.record("ingest", 1)


def test_renewing_keeps_it(ledger, clock):
    tenure = ledger.take(KEY, 60)
    for _ in range(5):
        clock.now += 50
        tenure.renew()
        assert isinstance(ledger.take(KEY, 60), Lease)


def test_a_clock_set_back_far_does_not_keep_a_lease_for_ever(ledger, clock):
    ledger.take(KEY, 60)
    clock.now -= 30  # less than the lease: the holder may be at work
    assert isinstance(ledger.take(KEY, 60), Lease)
    clock.now -= 3600
    assert isinstance(ledger.take(KEY, 60), Tenure)


def test_the_lease_of_another_machine_is_kept_until_it_expires(ledger, clock, monkeypatch):
    nobody = 2**22 + 5  # more than Linux gives
    for place, kept in ((this_place(), False), ("elsewhere/", True)):
        lease = Lease("blobs", 1, "2020-03-11", place, nobody, clock.now, clock.now, 60)
        assert lease.in_force(clock.now) is kept
        assert not lease.in_force(clock.now + 60)


def test_what_ended_a_start_is_noted_until_the_next(ledger):
    with pytest.raises(RuntimeError), ledger.hold(KEY, seconds=60, patience=0):
        raise RuntimeError("no space")
    assert (ledger.night(KEY).error, ledger.night(KEY).finished) == ("no space", False)
    assert ledger.lease("blobs") is None
    again = ledger.take(KEY, 60)
    assert (again.night.error, again.night.starts) == ("", 2)
    again.give_back("interrupted")
    assert ledger.night(KEY).error == "interrupted"


def test_who_waits_is_told_once_for_whom_and_comes_next(tmp_path):
    ledger, told = Ledger(tmp_path / "nights.db"), []
    first = ledger.take(KEY, 60)

    def end(lease: Lease) -> None:
        told.append(lease.date)
        first.record("ingest", 1)
        first.finish()
        threading.Timer(0.2, first.give_back).start()

    with ledger.hold(KEY, seconds=60, patience=60, waiting=end) as tenure:
        assert tenure.night.finished
        assert tenure.night.starts == 1
    assert told == ["2020-03-11"]


def test_patience_ends_in_a_sentence(ledger):
    ledger.take(KEY, 60)
    with (
        pytest.raises(LedgerError, match=r"another run of blobs is at work \(process \d+ on .*, night of 2020-03-11\)"),
        ledger.hold(NEXT, seconds=60, patience=0),
    ):
        pass


def test_the_heartbeat_keeps_a_short_lease_through_a_long_body(tmp_path):
    ledger = Ledger(tmp_path / "nights.db")
    with ledger.hold(KEY, seconds=2.0, patience=0) as tenure:
        taken = ledger.lease("blobs").renewed_at
        end = time.monotonic() + 60
        while ledger.lease("blobs").renewed_at == taken and time.monotonic() < end:
            time.sleep(0.05)
        assert ledger.lease("blobs").renewed_at > taken
        tenure.record("ingest", 1)


def test_a_body_that_lost_its_lease_is_interrupted(tmp_path):
    def work() -> None:
        with Ledger(tmp_path / "nights.db").hold(KEY, seconds=1.0, patience=0):
            with sqlite3.connect(tmp_path / "nights.db") as other:
                other.execute("UPDATE leases SET token = token + 1")
            time.sleep(60)

    with pytest.raises(LeaseLostError, match="taken over"):
        work()


@pytest.mark.parametrize("content", [b"no database, but long enough to be looked at" * 30, None])
def test_a_file_that_is_no_ledger_is_one_sentence(tmp_path, content):
    path = tmp_path / "nights.db"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"^the ledger .*nights\.db cannot be read or written \(.*\); check") as error:
        Ledger(path).nights("blobs")
    assert "\n" not in str(error.value)


def test_a_ledger_of_a_later_version_is_left_alone(ledger, tmp_path):
    ledger.take(KEY, 60)
    with sqlite3.connect(tmp_path / "runs" / "nights.db") as database:
        database.execute("PRAGMA user_version = 2")
    with pytest.raises(LedgerError, match="has version 2, this program knows 1"):
        ledger.night(KEY)


class Holders(RuleBasedStateMachine):
    """Any number of holders that come, write, sleep and go, and a clock that only runs forward."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile
        from pathlib import Path

        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        self.ledger = Ledger(Path(self.folder.name) / "nights.db", self.clock)
        self.tenures: list[Tenure] = []
        self.current: Tenure | None = None
        self.renewed = 0.0
        self.written: dict[str, int] = {}

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule()
    def come(self) -> None:
        free = self.current is None or self.clock.now - self.renewed >= 60
        taken = self.ledger.take(KEY, 60)
        assert isinstance(taken, Tenure) == free
        if isinstance(taken, Tenure):
            assert all(taken.token > earlier.token for earlier in self.tenures)
            self.tenures.append(taken)
            self.current, self.renewed = taken, self.clock.now

    @rule(seconds=st.sampled_from([1, 30, 59, 60, 200]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @precondition(lambda self: self.tenures)
    @rule(data=st.data())
    def write(self, data) -> None:
        tenure, step = data.draw(st.sampled_from(self.tenures)), f"step {len(self.written)}"
        if tenure is self.current:
            tenure.record(step, tenure.token)
            self.written[step] = tenure.token
        else:
            with pytest.raises(LeaseLostError):
                tenure.record(step, tenure.token)

    @precondition(lambda self: self.tenures)
    @rule(data=st.data())
    def renew(self, data) -> None:
        tenure = data.draw(st.sampled_from(self.tenures))
        if tenure is self.current:
            tenure.renew()
            self.renewed = self.clock.now
        else:
            with pytest.raises(LeaseLostError):
                tenure.renew()

    @precondition(lambda self: self.tenures)
    @rule(data=st.data())
    def go(self, data) -> None:
        tenure = data.draw(st.sampled_from(self.tenures))
        tenure.give_back()
        if tenure is self.current:
            self.current = None

    @invariant()
    def what_was_acknowledged_is_there(self) -> None:
        night = self.ledger.night(KEY)
        assert ({} if night is None else night.steps) == self.written


Holders.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestHolders = Holders.TestCase
