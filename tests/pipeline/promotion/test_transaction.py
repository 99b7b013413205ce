"""Promotion and rollback: one champion whose seal holds, wherever the process is killed; two at once; forgeries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import PromotionError, RegistryError
from pipeline.failpoints import handling
from pipeline.promotion import Verdict, audit_trail, promote, refuse, rollback, transaction
from tests.failpoints import failpoints

STEPS = failpoints(Path(transaction.__file__))
LOCKED = "promotion.locked"
PROMOTION = [LOCKED, *(step for step in STEPS if step.startswith("promotion.") and step != LOCKED)]
ROLLBACK = [LOCKED, *(step for step in STEPS if step.startswith("rollback."))]


def options(place, name):
    return {"lock": place / f"{name}.lock", "by": "ann"}


def champion_of(registry):
    """The one champion, whose files are those that were registered."""
    champion = registry.resolve()
    registry.check(champion)
    assert [v.version for v in registry.versions() if "champion" in v.aliases] == [champion.version]
    return champion


def version(registry, number):
    return registry.resolve(f"models:/{registry.name}/{number}")


def what_happened(registry):
    return [(entry.what, entry.version, entry.other, entry.by) for entry in audit_trail(registry.versions())]


# Promotion


def test_a_promotion_moves_the_aliases_and_says_who_when_and_why(model, place, in_favour):
    registry = model("plain")
    found = promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "plain"))
    assert found == champion_of(registry)
    assert registry.aliases() == {"champion": 2, "previous_champion": 1}
    assert found.tags["verdict"] == "promote"
    assert found.tags["verdict_reasons"] == "It is better. It beats persistence."
    assert found.tags["verdict_against_champion"] == "-4.25"
    assert found.tags["replaces"] == "1"
    (entry,) = audit_trail(registry.versions())
    assert (entry.what, entry.version, entry.other, entry.by) == ("promoted", 2, 1, "ann")
    assert entry.why == in_favour.text
    assert entry.at.endswith("Z")
    assert any(key.startswith("audit.") for key in registry._client.get_run(found.run_id).data.tags)


def test_another_store_of_models_that_the_environment_names_is_not_asked(model, monkeypatch, tmp_path):
    registry = model("elsewhere")
    other = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", other)
    registry.check(version(registry, 2))
    assert os.environ["MLFLOW_REGISTRY_URI"] == other
    assert not (tmp_path / "other.db").exists()


def test_a_promotion_again_changes_nothing(model, place, in_favour):
    registry = model("again")
    once = promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "again"))
    assert promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "again")) == once
    assert promote(registry, once, in_favour, once, **options(place, "again")) == once


def test_without_a_champion_there_is_none_before(model, place, in_favour):
    registry = model("first", challengers=0)
    registry.remove_alias("champion")
    promote(registry, version(registry, 1), in_favour, None, **options(place, "first"))
    assert registry.aliases() == {"champion": 1}
    with pytest.raises(PromotionError, match="first has no champion before version 1; 'minconv models' lists"):
        rollback(registry, why="", **options(place, "first"))
    registry.remove_alias("champion")
    with pytest.raises(PromotionError, match="first has no champion to take back"):
        rollback(registry, why="", **options(place, "first"))


def test_a_verdict_against_it_is_written_down_and_not_carried_out(model, place, in_favour):
    registry = model("against")
    verdict = Verdict(False, ("It is worse.",), {"against_champion": 3.0})
    with pytest.raises(PromotionError, match=r"models:/against/2 was not promoted: It is worse\."):
        promote(registry, version(registry, 2), verdict, version(registry, 1), **options(place, "against"))
    refuse(registry, version(registry, 2), verdict, by="ann")
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    assert version(registry, 2).tags["verdict"] == "refuse"
    assert what_happened(registry) == [("refused", 2, None, "ann")]
    with pytest.raises(PromotionError, match="the verdict says promote"):
        refuse(registry, version(registry, 2), in_favour, by="ann")


def test_a_champion_that_was_not_compared_with_stays(model, place, in_favour):
    registry = model("overtaken", challengers=2)
    compared_with = version(registry, 1)
    promote(registry, version(registry, 2), in_favour, compared_with, **options(place, "overtaken"))
    with pytest.raises(PromotionError, match="compared with was version 1, now it is version 2; compare it"):
        promote(registry, version(registry, 3), in_favour, compared_with, **options(place, "overtaken"))
    with pytest.raises(PromotionError, match="compared with was none, now it is version 2"):
        promote(registry, version(registry, 3), in_favour, None, **options(place, "overtaken"))
    assert champion_of(registry).version == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "forecaster.json"])
def test_a_tampered_challenger_is_refused(model, place, in_favour, name):
    registry = model(f"tampered-{name[:4]}")
    source = registry._client.get_model_version(registry.name, "2").source.removeprefix("models:/")
    (file,) = (place / "mlartifacts").rglob(f"{source}/**/{name}")
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(RegistryError, match=rf"/2: the stored {name} is not the registered one"):
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, registry.name))
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    assert "verdict" not in version(registry, 2).tags
    champion_of(registry)


def test_a_registry_that_another_machine_changes_is_noticed(model, place, in_favour):
    registry = model("elsewhere", challengers=2)

    def interfere(step):
        if step == "promotion.written":
            registry.set_alias("champion", 3)

    noticed = "version 2 of elsewhere was made champion, but version 3 is it now"
    with handling(interfere), pytest.raises(PromotionError, match=noticed):
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "elsewhere"))


def test_a_lock_that_is_held_or_cannot_be_had_is_a_sentence(model, place, in_favour):
    registry = model("locked")
    again = {**options(place, "locked"), "wait": 0.05}

    def second(step):
        if step == LOCKED:
            with pytest.raises(PromotionError, match=r"another promotion or rollback still held .*locked\.lock after"):
                promote(registry, version(registry, 2), in_favour, version(registry, 1), **again)
            with pytest.raises(PromotionError, match="still held"):
                rollback(registry, why="", **again)

    with handling(second):
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "locked"))
    (place / "file").touch()
    with pytest.raises(PromotionError, match="cannot be locked"):
        rollback(registry, lock=place / "file" / "lock", by="ann", why="")


# Rollback


def test_rollbacks_go_back_one_champion_at_a_time(model, place, in_favour):
    registry = model("back", challengers=2)
    for number in (2, 3):
        promote(registry, version(registry, number), in_favour, registry.resolve(), **options(place, "back"))
    assert registry.aliases() == {"champion": 3, "previous_champion": 2}
    assert rollback(registry, why="too warm", **options(place, "back")).version == 2
    assert registry.aliases() == {"champion": 2, "previous_champion": 1}
    assert rollback(registry, why="too cold", **options(place, "back")).version == 1
    assert registry.aliases() == {"champion": 1}
    with pytest.raises(PromotionError, match="no champion before version 1"):
        rollback(registry, why="", **options(place, "back"))
    assert what_happened(registry)[2:] == [("rolled back", 3, 2, "ann"), ("rolled back", 2, 1, "ann")]
    promote(registry, version(registry, 3), in_favour, version(registry, 1), **options(place, "back"))
    assert what_happened(registry)[-1] == ("promoted", 3, 1, "ann")
    assert registry.aliases() == {"champion": 3, "previous_champion": 1}


# Killed, and two at once


class Stopped(BaseException):
    """Nothing that the transaction does about errors helps here, as nothing does where it is killed."""


def test_stopped_between_its_aliases_and_run_again(model, place, in_favour):
    """The worst of the steps, without a process; the slow tests kill one at each."""
    registry = model("stopped")
    reached = []

    def stop(step):
        reached.append(step)
        if step == "promotion.previous":
            raise Stopped

    with handling(stop), pytest.raises(Stopped):
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "stopped"))
    assert registry.aliases() == {"champion": 1, "previous_champion": 1, "challenger": 2}
    assert champion_of(registry).version == 1
    with handling(reached.append):
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, "stopped"))
        assert registry.aliases() == {"champion": 2, "previous_champion": 1}
        rollback(registry, why="", **options(place, "stopped"))
    assert set(reached) == set(STEPS)
    assert [entry[:3] for entry in what_happened(registry)] == [("promoted", 2, 1), ("rolled back", 2, 1)]


@pytest.mark.slow
def test_killed_at_any_step_and_run_again(model, place, in_favour, processes):
    registries = {step: model(f"promote-{step}") for step in PROMOTION}
    tasks = [{"do": "promote", "name": f"promote-{step}", "die_at": step} for step in PROMOTION]
    assert processes(tasks) == [""] * len(PROMOTION)
    for step, registry in registries.items():
        after = champion_of(registry)
        moved = PROMOTION.index(step) >= PROMOTION.index("promotion.champion")
        assert after.version == (2 if moved else 1), step
        promote(registry, version(registry, 2), in_favour, version(registry, 1), **options(place, registry.name))
        assert champion_of(registry).version == 2
        assert registry.aliases() == {"champion": 2, "previous_champion": 1}, step
        assert [entry[:3] for entry in what_happened(registry)] == [("promoted", 2, 1)], step
        assert registry.resolve().tags["verdict"] == "promote"


@pytest.mark.slow
def test_a_rollback_killed_at_any_step_and_run_again(model, place, in_favour, processes):
    registries = {step: model(f"rollback-{step}", challengers=2) for step in ROLLBACK}
    for registry in registries.values():
        for number in (2, 3):
            promote(registry, version(registry, number), in_favour, registry.resolve(), **options(place, registry.name))
    tasks = [{"do": "rollback", "name": f"rollback-{step}", "die_at": step} for step in ROLLBACK]
    assert processes(tasks) == [""] * len(ROLLBACK)
    for step, registry in registries.items():
        after = champion_of(registry).version
        assert after == (2 if step in ("rollback.champion", "rollback.previous") else 3)
        if step != "rollback.previous":  # there it was killed with all its work done
            rollback(registry, why="too warm", **options(place, registry.name))
        assert champion_of(registry).version == 2
        assert registry.aliases() == {"champion": 2, "previous_champion": 1}, step
        assert sum(what == "rolled back" for what, *_ in what_happened(registry)) == 1, step


@pytest.mark.slow
def test_a_rollback_after_a_promotion_killed_half_way_keeps_the_champion(model, place, processes):
    registry = model("half", challengers=1)
    processes([{"do": "promote", "name": "half", "die_at": "promotion.previous"}])
    assert registry.aliases() == {"champion": 1, "previous_champion": 1, "challenger": 2}
    assert rollback(registry, why="", **options(place, "half")).version == 1
    assert registry.aliases() == {"champion": 1, "challenger": 2}
    assert what_happened(registry)[-1][:2] == ("repaired", 1)


@pytest.mark.slow
def test_of_two_promoters_at_once_one_wins(model, processes):
    registry = model("two", challengers=2)
    said = processes([{"do": "promote", "name": "two", "version": number} for number in (2, 3)], together=True)
    assert sorted(text == "done" for text in said) == [False, True]
    (refused,) = [text for text in said if text != "done"]
    winner = said.index("done") + 2
    assert f"compared with was version 1, now it is version {winner}; compare it with the champion again" in refused
    assert champion_of(registry).version == winner
    assert registry.aliases()["previous_champion"] == 1
    assert [entry[:3] for entry in what_happened(registry)] == [("promoted", winner, 1)]
