"""Windows: training and test cases in time, read as tensors [B,T,C,H,W] straight from the Archive's Zarr arrays.

`cases` lists the windows of a split, `reader` reads them, with forcings, free of NaN. What does not live here: the cuts
between splits (`splits`) and the order of visits (`sampler`), both importable from here as well; the arrays (`frames`);
Dask, which is no part of a loader.

The forcing beside a frame is the one valid a step later: at the time of the frame that is predicted from it.

    splits = make_splits(dataset, config.split, config.gap)
    cases = windows(splits.train, length=40, stride=1)
    reader = FrameReader(path, snapshot_id, ["vorticity"], [], fill=[0.0], cache_bytes=2**30, split=splits.train)
    for batch in order(seed=0, epoch=0, count=len(cases), batch_size=4, rank=0, world_size=1):
        frames, forcing = reader.read([cases[number] for number in batch], length=40)
"""

from ..sampler import order
from ..splits import Span, Split, Splits, make_splits
from .cases import Window, windows, windows_lost
from .reader import CachePlan, FrameReader

__all__ = [
    "CachePlan",
    "FrameReader",
    "Span",
    "Split",
    "Splits",
    "Window",
    "make_splits",
    "order",
    "windows",
    "windows_lost",
]
