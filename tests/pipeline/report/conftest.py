"""A scored example: two variables on a masked map, 24 hourly lead times."""

import numpy as np
import pytest
import xarray as xr

from pipeline.report import ReportContent
from pipeline.verification import Scorer

LEADS = (np.arange(1, 25) * np.timedelta64(1, "h")).astype("timedelta64[ns]")
SHAPE = (6, 7)


@pytest.fixture(scope="session")
def example():
    """Truth and forecast of one case."""
    rng = np.random.default_rng(0)
    truth = np.stack((rng.normal(280, 5, (24, *SHAPE)), rng.gamma(1, 1e-5, (24, *SHAPE))))
    truth[..., :2, :2] = np.nan
    forecast = truth + np.array([0.05, 1e-7])[:, None, None, None] * np.arange(1, 25)[:, None, None]
    return tuple(_dataset(fields) for fields in (truth, forecast))


def _dataset(fields):
    dims = ("lead_time", "lat", "lon")
    return xr.Dataset(
        {
            "t2m": (dims, fields[0].astype(np.float32), {"units": "K", "long_name": "2 m temperature"}),
            "pr": (dims, fields[1].astype(np.float32), {"units": "kg m-2 s-1", "standard_name": "precipitation_flux"}),
        },
        {
            "lead_time": LEADS,
            "valid_time": ("lead_time", np.datetime64("2017-01-27T00", "ns") + LEADS),
            "lat": np.linspace(50, 60, SHAPE[0]),
            "lon": np.linspace(-10, 2, SHAPE[1]),
        },
    )


@pytest.fixture(scope="session")
def scorecard(example):
    """Better than both baselines for t2m up to +12 h, never for pr."""
    mask = np.isfinite(example[0]["t2m"].values[0])
    truth = np.zeros((1, 24, 2, *SHAPE))
    grow = np.arange(1, 25)[:, None, None, None]
    scorer = Scorer(
        ["t2m", "pr"],
        LEADS,
        np.ones(SHAPE),
        mask,
        units={"t2m": "K", "pr": "kg m-2 s-1"},
        long_names={"t2m": "2 m Temperature", "pr": "Precipitation"},
        attrs={"model_name": "made", "model_version": "7", "climatology": "mean of each time of day"},
    )
    error = np.array([1.0, 4e-6])[:, None, None]
    model = truth + error * np.array([0.1, 10.0])[:, None, None] * grow
    scorer.add(model, truth, truth[:, 0] + 5 * error, truth + 1.25 * error)
    return scorer.result()


@pytest.fixture(scope="session")
def content(example, scorecard):
    """Everything a report shows."""
    history = [
        {"epoch": epoch, "train_loss": 1 / epoch, "validation_loss": 2 / epoch, "learning_rate": 1e-3}
        for epoch in (1, 2, 3)
    ]
    return ReportContent(
        title="Britain & <Ireland>",
        scorecard=scorecard,
        truth=example[0],
        forecast=example[1],
        case="init_time 2017-01-27 00:00 UTC",
        history=history,
        facts={"Data": {"snapshot_id": "ABC123", "files": "6 <NetCDF>"}, "Model": {"parameters": "174,312"}},
        timings={"train": 75.0, "evaluate": 2.25},
        config_yaml="name: demo\nnote: <script>alert(1)</script>\n",
        created="2026-11-23 12:00 UTC",
    )
