"""The transaction that changes the champion: it holds a lock, and leaves exactly one champion wherever it is killed.

What lives here: promotion, refusal, rollback. What does not: the verdict (`gate`).

    promote(registry, challenger, verdict, champion, lock=Path("runs/promotion.lock"), by="ann")

MLflow cannot exchange an alias against its expected value, so one promoter at a time holds a file lock, reads the
champion again, moves the aliases one by one and reads them back. A kill between two steps leaves the champion of before
or the new one; the same call, made again, does the steps that are missing. The lock is good for one file system: two
machines that share an MLflow server should promote from one of them, and the reading back says so where they did not.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import filelock

from ..errors import PromotionError
from ..failpoints import reach
from ..registry import CHALLENGER, CHAMPION, PREVIOUS_CHAMPION, ModelVersion, Registry
from .audit import entries_of, write_entry
from .gate import Verdict

REPLACES = "replaces"  # tag of a champion: the one before it


def promote(
    registry: Registry,
    version: ModelVersion,
    verdict: Verdict,
    expected_champion: ModelVersion | None,
    *,
    lock: Path,
    by: str,
    wait: float = 60.0,
) -> ModelVersion:
    """Make a version champion.

    Args:
        registry: Where it is registered.
        version: The challenger.
        verdict: Must say promote.
        expected_champion: The champion that the verdict is about; None: there was none.
        lock: File that promoters of this registry share.
        by: Who does it, for the audit trail.
        wait: Seconds to wait for the lock.

    Returns:
        The new champion, read back.

    Raises:
        PromotionError: The verdict is against it, another version became champion meanwhile, or another promoter is at
            it; the champion is as before.
        RegistryError: A file of the version is not the registered one.
    """
    if not verdict.promote:
        raise PromotionError(f"{version.uri} was not promoted: {verdict.text}")
    with _locked(lock, wait):
        champion = registry.aliases().get(CHAMPION)
        expected = expected_champion.version if expected_champion is not None else None
        if champion not in (expected, version.version):
            raise PromotionError(_overtaken(version, expected, champion))
        found = registry.resolve(version.uri)
        registry.check(found)
        reach("promotion.checked")
        tags = _verdict_tags(verdict)
        if champion != version.version:
            registry.set_tags(version.version, tags | ({} if champion is None else {REPLACES: str(champion)}))
            reach("promotion.recorded")
            if champion is not None:
                registry.set_alias(PREVIOUS_CHAMPION, champion)
            reach("promotion.previous")
            registry.set_alias(CHAMPION, version.version)
        reach("promotion.champion")
        _drop_challenger(registry, version)
        reach("promotion.challenger")
        if next((entry.what for entry in entries_of(found)), "") != "promoted":
            write_entry(registry, version, "promoted", by=by, why=verdict.text, other=expected)
        reach("promotion.written")
        return _read_back(registry, version.version)


def refuse(registry: Registry, version: ModelVersion, verdict: Verdict, *, by: str) -> None:
    """Write down a verdict against a version; its aliases stay.

    Raises:
        PromotionError: The verdict is in its favour.
    """
    if verdict.promote:
        raise PromotionError(f"{version.uri} was not refused: the verdict says promote; call promote")
    registry.set_tags(version.version, _verdict_tags(verdict))
    write_entry(registry, version, "refused", by=by, why=verdict.text)


def rollback(
    registry: Registry,
    *,
    lock: Path,
    by: str,
    why: str,
    wait: float = 60.0,
) -> ModelVersion:
    """Make the champion of before champion again.

    Where an earlier promotion or rollback was interrupted, it is finished instead, so that the same call made again
    does not go back twice.

    Args:
        registry: Where they are registered.
        lock: File that promoters of this registry share.
        by: Who does it, for the audit trail.
        why: The reason, for the audit trail.
        wait: Seconds to wait for the lock.

    Returns:
        The champion, read back.

    Raises:
        PromotionError: There is no champion, none before it, or another promoter is at it.
        RegistryError: A file of the former champion is not the registered one.
    """
    with _locked(lock, wait):
        aliases = registry.aliases()
        if CHAMPION not in aliases:
            raise PromotionError(f"{registry.name} has no champion to take back; 'minconv models' lists its versions")
        champion, former = aliases[CHAMPION], aliases.get(PREVIOUS_CHAMPION)
        if former is None:
            raise PromotionError(
                f"{registry.name} has no champion before version {champion}; 'minconv models' lists its versions"
            )
        target = registry.resolve(f"models:/{registry.name}/{former}")
        registry.check(target)
        reach("rollback.checked")
        if former != champion:
            left = registry.resolve(f"models:/{registry.name}/{champion}")
            if next((entry.what for entry in entries_of(left)), "") != "rolled back":
                write_entry(registry, left, "rolled back", by=by, why=why, other=former)
            reach("rollback.recorded")
            registry.set_alias(CHAMPION, former)
        else:
            write_entry(registry, target, "repaired", by=by, why="An interrupted change of champion was finished.")
        reach("rollback.champion")
        _set_previous(registry, target)
        reach("rollback.previous")
        return _read_back(registry, former)


def _set_previous(registry: Registry, champion: ModelVersion) -> None:
    """Let the alias of the previous champion name the one that this champion replaced."""
    before = champion.tags.get(REPLACES)
    if before is not None and any(str(version.version) == before for version in registry.versions()):
        registry.set_alias(PREVIOUS_CHAMPION, int(before))
    else:
        registry.remove_alias(PREVIOUS_CHAMPION)


def _drop_challenger(registry: Registry, version: ModelVersion) -> None:
    if registry.aliases().get(CHALLENGER) == version.version:
        registry.remove_alias(CHALLENGER)


def _read_back(registry: Registry, expected: int) -> ModelVersion:
    champion = registry.resolve()
    if champion.version != expected:
        raise PromotionError(
            f"version {expected} of {registry.name} was made champion, but version {champion.version} is it now: "
            "another machine changed it at the same time; change it from one machine only, then run the command again"
        )
    return champion


def _verdict_tags(verdict: Verdict) -> dict[str, str]:
    tags = {"verdict": "promote" if verdict.promote else "refuse", "verdict_reasons": verdict.text}
    return tags | {f"verdict_{name}": f"{value:.6g}" for name, value in verdict.numbers.items()}


def _overtaken(version: ModelVersion, expected: int | None, champion: int | None) -> str:
    was = "none" if expected is None else f"version {expected}"
    now = "none" if champion is None else f"version {champion}"
    return (
        f"{version.uri} was not promoted: the champion it was compared with was {was}, now it is {now}; "
        "compare it with the champion again"
    )


@contextlib.contextmanager
def _locked(path: Path, wait: float) -> Iterator[None]:
    guard = filelock.FileLock(path.absolute())
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        guard.acquire(timeout=wait)
    except filelock.Timeout as error:
        raise PromotionError(
            f"another promotion or rollback still held {path} after {wait:g} s; wait for it to end, then run the "
            "command again"
        ) from error
    except OSError as error:
        raise PromotionError(f"{path} cannot be locked ({error.strerror}); check its folder's rights") from error
    try:
        reach("promotion.locked")
        yield
    finally:
        guard.release()
