"""Bad inputs as data: what is wrong, how it is made, the rule that must find it, and what must become of it.

Each is made beside a good input (`good`, `making`) and goes through the real `ingest` (`trial`);
`python -m tests.pipeline.bad_inputs` prints how many were tried, caught and missed. A new check gets a `case.BadInput`
in the family that it belongs to (`of_files`, `of_variables`, `of_times`, `of_grids`, `of_values`, `of_sensors`).
"""

from tests.pipeline.bad_inputs.good import HOURS
from tests.pipeline.bad_inputs.of_files import FILES
from tests.pipeline.bad_inputs.of_grids import GRIDS
from tests.pipeline.bad_inputs.of_sensors import SENSORS
from tests.pipeline.bad_inputs.of_times import TIMES
from tests.pipeline.bad_inputs.of_values import VALUES
from tests.pipeline.bad_inputs.of_variables import VARIABLES
from tests.pipeline.bad_inputs.trial import is_caught, settings, tried

CASES = (*FILES, *VARIABLES, *TIMES, *GRIDS, *VALUES, *SENSORS)

__all__ = ["CASES", "HOURS", "is_caught", "settings", "tried"]
