"""Ingest: new input files checked, joined and committed to the Archive; bad ones rejected with a reason.

`stage` is the order of things, from files to one commit; `batch` looks at each file by itself; `agreement` at the files
against each other and against the Archive; `outcome` is what is told of it, `report` how that is kept. What does not
live here: what is there already and makes the same file twice a no-op (`holdings`), reading (`sources`), the checks
(`quality`, `reference`), joining (`assembly`), the form of what is committed (`contents`), writing (`archive`), what
becomes of rejected files (`quarantine`).

    result = ingest(config)
    result.snapshot_id, result.appended, [str(rejection) for rejection in result.rejected]
"""

from .outcome import IngestResult, Rehearsal
from .report import Report, report_of
from .stage import ingest, rehearse

__all__ = ["IngestResult", "Rehearsal", "Report", "ingest", "rehearse", "report_of"]
