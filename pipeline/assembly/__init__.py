"""Joining good files into the fields of one commit that continues the Archive.

`times` puts pieces of time in a row and says what has to wait for a missing one, `samples` does it for simulations;
`pieces` are the variables spread over files, `overlap` compares value by value, `candidate` is what goes in and what
comes of it. What does not live here: the checks of a single file (`quality`) and the commit (`ingest`).

    assembly = assemble_times(candidates, ["t2m", "tp"], archived=None)
    assembly.fields            # one lazy dataset, or None where nothing can be committed

Rules: Q-OVERLAP (other values for what is there already), Q-EARLY (begins before the Archive does), Q-GAP (a piece
before it is missing).
"""

from .candidate import Assembly, Candidate
from .samples import assemble_samples, sample_numbers
from .times import assemble_times

__all__ = ["Assembly", "Candidate", "assemble_samples", "assemble_times", "sample_numbers"]
