"""Transforms: from the fields of a file to those that the Archive keeps.

In this order, whatever the configuration's: names, levels, units and region (`sources.harmonise`); what is made of
the values of the files, as rates of accumulations (`deriving`); another grid (`coarsening` or `regridding`); another
step in time (`resampling`); what is made of averaged values, as wind speed of its components (`deriving`). What does
not live here: the formulas (`derivations`), the checks (`quality`, `suspicion`), joining files into one commit
(`assembly`).

    plan = plan_of(config)                                # what is read, and what is made of it
    changed = transformed(config, plan, candidates, archived=None)
"""

from .batch import Changed, is_identity, transformed
from .coarsening import coarsened
from .plan import Plan, plan_of
from .regridding import regridded

__all__ = ["Changed", "Plan", "coarsened", "is_identity", "plan_of", "regridded", "transformed"]
