"""The body of `minconv reproduce`: train a registered version again and compare; nothing is registered.

reproduce(context, "models:/demo@champion", anyway=False)     # whether the weights are the same bit for bit
"""

from __future__ import annotations

import shutil

from pipeline import lineage
from pipeline.errors import RegistryError
from pipeline.registry import RegisteredModel
from pipeline.reproduction import changes, check_code, compare_weights, recipe
from pipeline.training import Parent, prepare

from . import stages
from .context import Context


def reproduce(context: Context, model_uri: str, anyway: bool) -> bool:
    """Train from the version's snapshot, configuration and parent in a run of its own, which is removed at the end.

    Args:
        context: Names the registry and the folder of the Archive; the rest of its configuration does not count.
        model_uri: ``models:/NAME@ALIAS`` or ``models:/NAME/VERSION``.
        anyway: Also with other code than that of then.

    Returns:
        Whether all weights are equal bit for bit.
    """
    console, model = context.console, context.registry.load(model_uri)
    if not anyway:
        check_code(model.version)
    config, snapshot_id = recipe(model, context.config.root), str(model.metadata["snapshot_id"])
    parent = _parent(context, model)
    with console.stage("statistics") as progress:
        job = prepare(config, snapshot_id, progress, parent=parent)
    known = changes(model.version, job)
    name = f"{lineage.run_name(config, snapshot_id, parent)}-again"
    with console.stage("training") as progress:
        outcome = stages.run_training(context, job, name, progress)
    found = compare_weights(model, outcome.checkpoint)
    shutil.rmtree(config.work_dir / "training" / name)
    for line in known:
        console.warn(line)
    if found.equal:
        console.line(f"{model.version.uri} was made again from {snapshot_id}: all weights are equal bit for bit")
    else:
        console.line(
            f"{model.version.uri} was made again from {snapshot_id}: weights differ by up to {found.largest:.3g} "
            f"({found.relative:.2g} of the largest value, in {found.name})"
        )
    return found.equal


def _parent(context: Context, model: RegisteredModel) -> Parent | None:
    """The version that the training started from, if it did not start afresh.

    Raises:
        RegistryError: It is not there any more, or is another one.
    """
    uri = model.version.tags.get("parent")
    if uri is None:
        return None
    parent = Parent.of(context.registry.load(uri))
    if parent.sha256 != model.version.tags.get("parent_sha256"):
        raise RegistryError(
            f"{model.version.uri} was trained from {uri}, whose weights are not those of then; it cannot be made again"
        )
    return parent
