import numpy as np
import pytest
import scores.continuous
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ForecastError
from pipeline.grid import GridSpec
from pipeline.verification import Scorer

CASES, LEADS, VARIABLES, SHAPE = 7, 3, ("t2m", "q"), (4, 5)
LEAD_TIMES = np.arange(1, LEADS + 1) * np.timedelta64(1, "h")
WEIGHTS = GridSpec(
    tuple(np.linspace(50.0, 65.0, 4)), tuple(np.arange(5.0)), "lat", "lon", True, "closed"
).area_weights()
MASK = np.ones(SHAPE, dtype=bool)
MASK[0, :2] = False


def made(seed=0):
    """Prediction, truth, persistence and climatology; NaN outside the mask, as fields have there."""
    rng = np.random.default_rng(seed)
    shape = (CASES, LEADS, len(VARIABLES), *SHAPE)
    arrays = [rng.normal(280, 5, shape).astype(np.float32) for _ in range(4)]
    arrays[2] = arrays[2][:, 0]
    for array in arrays:
        array[..., ~MASK] = np.nan
    return arrays


def scored(arrays, batches=(CASES,), weights=WEIGHTS):
    scorer = Scorer(VARIABLES, LEAD_TIMES, weights, MASK, units={"t2m": "K"})
    first = 0
    for size in batches:
        scorer.add(*(array[first : first + size] for array in arrays))
        first += size
    return scorer.result()


def labelled(array):
    if array.ndim == 4:
        array = np.repeat(array[:, None], LEADS, axis=1)
    return xr.DataArray(array.astype(np.float64), dims=("case", "lead_time", "variable", "lat", "lon"))


@pytest.mark.parametrize("seed", range(3))
def test_agrees_with_an_independent_library(seed):
    arrays = made(seed)
    card = scored(arrays).scores
    weights = xr.DataArray(WEIGHTS, dims=("lat", "lon"))
    keep = ["variable", "lead_time"]
    for source, forecast in zip(("model", "persistence", "climatology"), (arrays[0], *arrays[2:]), strict=True):
        for name, oracle in (
            ("rmse", scores.continuous.rmse),
            ("mae", scores.continuous.mae),
            ("bias", scores.continuous.additive_bias),
        ):
            expected = oracle(labelled(forecast), labelled(arrays[1]), preserve_dims=keep, weights=weights)
            found = card[name].sel(source=source)
            np.testing.assert_allclose(
                found.values, expected.transpose(*keep).values, rtol=1e-9, err_msg=f"{source} {name}"
            )


def test_anomaly_correlation_agrees_with_an_independent_library():
    """With each anomaly beside its negative both means are zero, and the centred correlation is the one about zero."""
    arrays = made()
    arrays[0][..., 3, 4] = np.nan
    mask = MASK.copy()
    mask[3, 4] = False
    scorer = Scorer(VARIABLES, LEAD_TIMES, np.ones(SHAPE), mask)
    scorer.add(*arrays)
    card = scorer.result().scores
    truth, climatology = (labelled(arrays[number]) for number in (1, 3))
    for source, forecast in (("model", arrays[0]), ("persistence", arrays[2])):
        anomalies = [(field - climatology).where(mask) for field in (labelled(forecast), truth)]
        both = [xr.concat([anomaly, -anomaly], dim="sign") for anomaly in anomalies]
        expected = scores.continuous.correlation.pearsonr(*both, preserve_dims=["case", "variable", "lead_time"])
        np.testing.assert_allclose(
            card["acc"].sel(source=source), expected.mean("case").transpose("variable", "lead_time"), rtol=1e-6
        )
    assert card["acc"].sel(source="climatology").isnull().all()


def test_anomaly_correlation_weighs_points_by_area():
    truth, model = np.array([1.0, 2.0]).reshape(1, 1, 1, 2, 1), np.array([3.0, -1.0]).reshape(1, 1, 1, 2, 1)
    scorer = Scorer(["t"], LEAD_TIMES[:1], np.array([[3.0], [1.0]]), np.ones((2, 1), bool))
    scorer.add(model, truth, np.zeros((1, 1, 2, 1)), np.zeros((1, 1, 1, 2, 1)))
    expected = (3 * 1 * 3 - 1 * 2 * 1) / np.sqrt((3 * 1 + 1 * 4) * (3 * 9 + 1 * 1))
    assert scorer.result().scores["acc"].sel(source="model").item() == pytest.approx(expected)


@pytest.mark.parametrize(("factor", "expected"), [(0.3, 1.0), (-2.0, -1.0), (0.0, np.nan)])
def test_anomaly_correlation_of_scaled_anomalies(factor, expected):
    _, truth, last, climatology = made()
    card = scored([climatology + factor * (truth - climatology), truth, last, climatology]).scores
    np.testing.assert_allclose(card["acc"].sel(source="model"), expected, atol=1e-6)


@settings(deadline=None)
@given(st.lists(st.integers(1, CASES), min_size=1).map(lambda sizes: cut(sizes)))
def test_batching_changes_nothing(batches):
    arrays = made()
    assert scored(arrays, batches).scores.identical(scored(arrays).scores)


def cut(sizes):
    """Batch sizes that sum to the number of cases."""
    batches = []
    for size in sizes:
        batches.append(min(size, CASES - sum(batches)))
    return tuple(size for size in (*batches, CASES - sum(batches)) if size)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 100), st.permutations(range(CASES)))
def test_the_order_of_cases_changes_no_mean(seed, order):
    arrays = made(seed)
    shuffled = [array[list(order)] for array in arrays]
    for name in ("rmse", "mae", "bias"):
        np.testing.assert_allclose(scored(shuffled).scores[name], scored(arrays).scores[name], rtol=1e-12)


def test_rmse_is_the_root_of_the_mean_over_cases():
    card = scored(made()).scores
    np.testing.assert_allclose(card["rmse"], np.sqrt(card["mse"].mean("case")), rtol=1e-14)


@settings(deadline=None, max_examples=30)
@given(st.floats(1e-3, 1e3))
def test_only_ratios_of_weights_matter(factor):
    np.testing.assert_allclose(
        scored(made(), weights=factor * WEIGHTS).scores["rmse"], scored(made()).scores["rmse"], rtol=1e-12
    )


def test_persistence_has_no_skill_over_itself_and_truth_has_all():
    _, truth, persistence, climatology = made()
    repeated = np.repeat(persistence[:, None], LEADS, axis=1)
    assert np.all(scored([repeated, truth, persistence, climatology]).skill("persistence") == 0)
    perfect = scored([truth, truth, persistence, climatology])
    assert np.all(perfect.scores["rmse"].sel(source="model") == 0)
    assert np.all(perfect.skill("persistence") == 1)
    assert np.all(perfect.skill("climatology") == 1)


def test_a_constant_offset_is_the_bias():
    _, truth, persistence, climatology = made()
    card = scored([truth + np.float32(0.5), truth, persistence, climatology]).scores.sel(source="model")
    for name in ("rmse", "mae", "bias"):
        np.testing.assert_allclose(card[name], 0.5, rtol=1e-5)


def test_area_weights_count():
    prediction, truth, persistence, climatology = made()
    prediction = truth.copy()
    prediction[:, :, :, 1, 2] += 1.0
    share = WEIGHTS[1, 2] / WEIGHTS[MASK].sum()
    card = scored([prediction, truth, persistence, climatology]).scores.sel(source="model")
    np.testing.assert_allclose(card["rmse"], np.sqrt(share), rtol=1e-4)


def test_masked_points_never_count():
    arrays = made()
    expected = scored(arrays).scores
    for array in arrays:
        array[..., ~MASK] = 1e9
    assert scored(arrays).scores.identical(expected)
    assert not expected["excluded"].any()


def test_missing_truth_is_left_out_for_all_sources_and_counted():
    arrays = made()
    arrays[1][2, 1, 0, 2, 3] = np.nan
    arrays[1][4, 2, 1] = np.nan  # one variable of one case has no truth at all
    card = scored(arrays)
    assert card.scores["excluded"].values.tolist() == [[0, 1, 0], [0, 0, MASK.sum()]]
    assert np.isnan(card.scores["mse"].values[4, :, 1, 2]).all()
    assert np.isfinite(card.scores["rmse"]).all()
    others = [number for number in range(CASES) if number != 4]
    expected = scored([array[others] for array in arrays], (CASES - 1,)).scores["rmse"].isel(variable=1, lead_time=2)
    np.testing.assert_allclose(card.scores["rmse"].isel(variable=1, lead_time=2), expected)
    weights = np.where(MASK, WEIGHTS, 0.0)
    weights[2, 3] = 0.0
    error = np.nan_to_num(arrays[0][2, 1, 0].astype(float) - arrays[1][2, 1, 0])
    np.testing.assert_allclose(card.scores["mse"].values[2, 0, 0, 1], (weights * error**2).sum() / weights.sum())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_prediction_that_is_not_finite_is_refused_and_nothing_kept(bad):
    arrays = made()
    scorer = Scorer(VARIABLES, LEAD_TIMES, WEIGHTS, MASK)
    scorer.add(*(array[:2] for array in arrays), cases=["a", "b"])
    before = scorer.result().scores
    broken = [array[2:4].copy() for array in arrays]
    broken[0][1, 2, 1, 3, 3] = bad
    with pytest.raises(ForecastError, match=r"forecast of q at \+3 h is not finite at 1 of 18 points \(case d\)"):
        scorer.add(*broken, cases=["c", "d"])
    assert scorer.result().scores.identical(before)


def test_no_case_and_no_point_are_said_so():
    with pytest.raises(ForecastError, match="no test case"):
        Scorer(VARIABLES, LEAD_TIMES, WEIGHTS, MASK).result()
    with pytest.raises(ForecastError, match="no grid point"):
        Scorer(VARIABLES, LEAD_TIMES, WEIGHTS, np.zeros(SHAPE, dtype=bool))


@pytest.mark.parametrize("which", range(4))
def test_a_wrong_shape_is_named(which):
    arrays = made()
    arrays[which] = arrays[which][..., :-1]
    name = ("prediction", "truth", "persistence", "climatology")[which]
    with pytest.raises(ValueError, match=f"{name} must have shape"):
        scored(arrays)
