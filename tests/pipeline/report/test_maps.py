import numpy as np
import pytest
import xarray as xr

from pipeline.report import field_maps, png

TITLES = ["+1 h\n2017-01-27 01:00 UTC", "+6 h\n2017-01-27 06:00 UTC"]


def panels(figure):
    return [ax for ax in figure.axes if ax.get_images() or (ax.collections and ax.get_subplotspec() is not None)]


def plane(values, steps=3):
    y, x = (np.arange(size) + 0.5 for size in values.shape[-2:])
    lead = (np.arange(1, steps + 1) * np.timedelta64(1, "s")).astype("timedelta64[ns]")
    attrs = {"units": "s-1", "long_name": "vorticity"}
    return xr.DataArray(values, {"lead_time": lead, "y": y, "x": x}, ("lead_time", "y", "x"), "vorticity", attrs)


def test_three_rows_at_round_lead_times(example):
    truth, forecast = example
    figure = field_maps(truth["t2m"], forecast["t2m"])
    shown = panels(figure)
    assert len(shown) == 15
    assert [ax.get_title() for ax in shown[:2]] == TITLES
    assert [shown[row].get_ylabel() for row in (0, 5, 10)] == ["Truth", "Forecast", "Forecast − truth"]
    rmse = float(np.sqrt(((forecast["t2m"] - truth["t2m"]) ** 2).mean(("lat", "lon"))[5]))
    assert shown[11].texts[0].get_text() == f"RMSE {rmse:.3g}"
    drawn = shown[6].get_images()[0].get_array()
    np.testing.assert_allclose(drawn.filled(np.nan), forecast["t2m"][5], rtol=1e-6)
    assert drawn.mask[:2, :2].all()
    assert shown[6].get_images()[0].origin == "lower"


def test_truth_and_forecast_share_a_scale_and_the_error_is_centred(example):
    truth, forecast = example
    shown = panels(field_maps(truth["t2m"], forecast["t2m"]))
    limits = [ax.get_images()[0].get_clim() for ax in shown]
    assert len(set(limits[:10])) == 1
    low, high = limits[10]
    assert low == -high
    assert limits[10:] == [(low, high)] * 5


def test_small_numbers_get_a_power_in_the_label(example):
    truth, forecast = example
    labels = [ax.get_ylabel() for ax in field_maps(truth["pr"], forecast["pr"]).axes]
    assert "Precipitation flux (10⁻⁶ kg m⁻² s⁻¹)" in labels


def test_fields_of_both_signs_are_centred():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(3, 8, 8))
    shown = panels(field_maps(plane(values), plane(values)))
    low, high = shown[0].get_images()[0].get_clim()
    assert low == -high
    assert shown[0].get_title() == "+1 s"
    # A perfect forecast still has a valid scale for its error.
    assert shown[-1].get_images()[0].get_clim() == (-1.0, 1.0)


@pytest.mark.parametrize(("shape", "ratio"), [((16, 16), 1.0), ((10, 20), 0.5)])
def test_cells_are_square_on_a_plane(shape, ratio):
    figure = field_maps(plane(np.random.default_rng(0).normal(size=(3, *shape))), plane(np.zeros((3, *shape))))
    box = panels(figure)[0].get_position()
    width, height = figure.get_size_inches()
    assert box.height * height / (box.width * width) == pytest.approx(ratio, rel=1e-6)


def test_degrees_of_longitude_shrink_with_latitude(example):
    figure = field_maps(example[0]["t2m"], example[1]["t2m"])
    box = panels(figure)[0].get_position()
    width, height = figure.get_size_inches()
    spans = 12.0 / 14.0 * (2 * 6 / 5) / (2 * 7 / 6) * (7 / 6) / (6 / 5)  # 12 degrees of latitude, 14 of longitude
    assert box.height * height / (box.width * width) == pytest.approx(spans / np.cos(np.deg2rad(55)), rel=1e-6)


def test_uneven_and_descending_axes_are_drawn_where_they_are():
    values = np.random.default_rng(0).normal(size=(3, 4, 5))
    uneven = plane(values).assign_coords(y=[0.0, 1.0, 3.0, 7.0])
    assert png(field_maps(uneven, uneven))
    image = panels(field_maps(plane(values)[:, ::-1], plane(values)[:, ::-1]))[0].get_images()[0]
    assert image.get_extent() == [0, 5, 4, 0]


def test_missing_truth_draws_an_empty_panel(example):
    truth, forecast = (dataset["t2m"].copy() for dataset in example)
    truth[11:] = np.nan
    assert png(field_maps(truth, forecast))
    truth[:] = np.nan
    assert png(field_maps(truth, forecast))


def test_png_is_the_same_each_time(example):
    first, second = (png(field_maps(example[0]["t2m"], example[1]["t2m"])) for _ in range(2))
    assert first == second
    assert first.startswith(b"\x89PNG\r\n\x1a\n")


@pytest.mark.parametrize("west", [-180, 20])
def test_months_on_the_globe(west):
    months = np.arange("2020-01", "2020-07", dtype="datetime64[M]").astype("datetime64[ns]")
    globe = xr.DataArray(
        np.random.default_rng(0).normal(15, 5, (5, 18, 36)),
        dims=("lead_time", "lat", "lon"),
        coords={
            "lead_time": months[1:] - months[0],
            "valid_time": ("lead_time", months[1:]),
            "lat": np.arange(-85.0, 90, 10),
            "lon": np.arange(west + 5.0, west + 360, 10),
        },
        name="sst",
    )
    axes = field_maps(globe, globe).axes
    assert axes[0].get_title() == "+1 month\n2020-02"
    figure = axes[0].figure
    figure.canvas.draw()
    labels = [text.get_text() for ax in axes for text in ax.get_xticklabels() if text.get_text()]
    assert {"0°", "120°E", "120°W"} <= set(labels)
