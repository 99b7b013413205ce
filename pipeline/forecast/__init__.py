"""Forecasts: a registered model rolled out from frames of the Archive, as a CF dataset in physical units.

`starts` chooses where a forecast starts, `prediction` rolls the model out, `dataset` labels what comes of it, `files`
writes it. What does not live here: scores (`evaluation`), the model itself (`minconv`).

    reader = open_reader(model, archive_path, snapshot_id)
    cases = cases_at(reader, history=24, init_times=[np.datetime64("2017-01-30T00")])
    dataset = make_forecast(model, reader, cases, steps=24, attributes={"title": "…"})
    write_forecast(dataset, Path("forecast.nc"))
"""

from .dataset import forecast, make_forecast
from .files import FILE_SUFFIXES, check_target, write_forecast
from .prediction import lead_times, open_reader, predict, valid_times
from .starts import cases_at

__all__ = [
    "FILE_SUFFIXES",
    "cases_at",
    "check_target",
    "forecast",
    "lead_times",
    "make_forecast",
    "open_reader",
    "predict",
    "valid_times",
    "write_forecast",
]
