"""The configuration tree: what is shipped, what is refused and in which words, what the hash means."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.config import RESERVED_NAMES, Config, Section, VariableConfig, check_config, read_config
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "configs").glob("*.yaml"))
MINIMAL: dict[str, Any] = {"generate": {}}
NAN, INF = float("nan"), float("inf")


def tree(**changes: Any) -> dict[str, Any]:
    """A small valid configuration with some sections replaced."""
    return copy.deepcopy(MINIMAL) | changes


def write(folder: Path, text: str) -> Path:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    return path


# What is shipped


def test_five_configurations_are_shipped() -> None:
    assert {path.stem for path in SHIPPED} == {"demo", "ersst", "navier_stokes_paper", "weatherbench_z500", "wfde5_gb"}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configuration_is_valid_and_plain(path: Path) -> None:
    config = read_config(path)
    assert config.name == path.stem
    text = path.read_text(encoding="utf-8")
    assert "_target_" not in text
    assert "${" not in text


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_configuration_survives_its_own_yaml(path: Path, tmp_path: Path) -> None:
    config = read_config(path)
    again = read_config(write(tmp_path, config.to_yaml()))
    assert again == config
    assert again.hash() == config.hash()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_simulations_are_as_long_as_their_windows(path: Path) -> None:
    config = read_config(path)
    if config.generate is not None:
        assert config.window.history + config.window.horizon <= config.generate.steps
        assert config.window.history + config.forecast_steps <= config.generate.steps
        assert config.generate.size % config.generate.coarsen == 0
        assert config.generate.size // config.generate.coarsen % config.model.patch == 0


def test_paper_sizes() -> None:
    config = read_config(ROOT / "configs" / "navier_stokes_paper.yaml")
    assert config.generate is not None
    shares = (config.split.train, config.split.validation, config.split.test)
    assert [round(share * config.generate.samples) for share in shares] == [1000, 50, 200]
    assert config.generate.size // config.generate.coarsen == 16


def test_wfde5_test_split_is_the_last_fifth_and_holds_a_case() -> None:
    config = read_config(ROOT / "configs" / "wfde5_gb.yaml")
    frames = 744
    assert config.split.test == 0.2
    for share in (config.split.train, config.split.validation):
        assert int(share * frames) - config.gap >= config.window.history + config.window.horizon
    assert len(config.variables) == len(config.source.files) == 7
    assert (len(config.predicted), config.of_role("static")) == (6, ("land",))


def test_defaults_are_the_demo_recipe() -> None:
    demo, defaults = read_config(ROOT / "configs" / "demo.yaml"), check_config(MINIMAL)
    assert demo.model == defaults.model
    assert demo.variables == defaults.variables


# What is refused


@pytest.mark.parametrize(
    ("broken", "path", "nearest"),
    [
        (tree(trainig={}), "trainig", "training"),
        (tree(training={"epoch": 3}), "training.epoch", "epochs"),
        (tree(training={"learningrate": 3}), "training.learningrate", "learning_rate"),
        ({"generate": {"sample": 3}}, "generate.sample", "samples"),
        (tree(variables={"t2m": {"units": "K", "validrange": [0, 1]}}), "variables.t2m.validrange", "valid_range"),
        (tree(variables={"units": {"units": "K", "source": "x"}}), "variables.units.source", "source_name"),
        (tree(model={"kernel": 3}), "model.kernel", "kernel_size"),
        (tree(windows={"history": 3}), "windows", "window"),
    ],
)
def test_unknown_key_names_its_path_and_the_nearest_key(broken: dict[str, Any], path: str, nearest: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(broken, where="some.yaml")
    assert str(caught.value) == f"some.yaml: unknown key '{path}'; did you mean '{nearest}'?"


def test_unknown_key_without_a_near_one_lists_the_valid_keys() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'forecast\.zzz'; valid keys here: steps"):
        check_config(tree(forecast={"zzz": 1}))


def test_unknown_key_is_told_before_other_problems() -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'training\.epoch'"):
        check_config(tree(seed=-1, training={"epochs": 0, "epoch": 3}))


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ({}, ["source.path is missing", "'generate' section"]),
        (tree(archive={"chunk_time": 24, "shard_time": 100}), ["archive", "shard_time", "multiple", "(24)", "100"]),
        (tree(archive={"chunk_space": 100, "shard_space": 250}), ["archive", "shard_space", "(100)", "250"]),
        (tree(split={"train": 0.5, "validation": 0.2, "test": 0.2}), ["split", "must be 1", "0.9"]),
        (tree(split={"train": 1.0, "validation": 0.2, "test": 0.2}), ["split.train", "less than 1", "got 1.0"]),
        (
            tree(window={"horizon": 5}, training={"closed_loop_steps": 6}),
            ["closed_loop_steps", "window.horizon (5)", "got 6"],
        ),
        (
            tree(training={"closed_loop_steps": 6, "closed_loop_ramp": [0.8, 0.2]}),
            ["training: closed_loop_ramp must be [from, to], got [0.8, 0.2]"],
        ),
        (
            tree(
                variables={"z": {"units": "m", "levels": [500, 850]}, "u": {"units": "m s-1", "role": "forcing"}},
                training={"loss_weights": {"z_500": 2.0, "z": 2.0}},
            ),
            ["training.loss_weights must name variables that are predicted (z_500, z_850), got 'z'"],
        ),
        (
            tree(variables={"z": {"units": "m"}}, training={"loss_weights": {"z": 0}}),
            ["training.loss_weights.z", "greater than 0", "got 0"],
        ),
        (tree(training={"schedule": "step"}), ["training.schedule", "cosine", "constant", "got 'step'"]),
        (tree(training={"closed_loop_ramp": [0.2, 0.8]}), ["goes with closed_loop_steps, got 0"]),
        (
            tree(training={"closed_loop_steps": 6, "closed_loop_ramp": [0.2, 8]}),
            ["training.closed_loop_ramp.1", "less than or equal to 1", "got 8"],
        ),
        (tree(training={"batch_size": 3, "workers": 4}), ["batch_size", "training.workers (4)", "got 3"]),
        (tree(training={"epochs": 0}), ["training.epochs", "greater than or equal to 1", "got 0"]),
        (tree(training={"epochs": "many"}), ["training.epochs", "integer", "got 'many'"]),
        (tree(training={"warmup": 1.0}), ["training.warmup", "less than 1"]),
        (tree(training={"learning_rate": float("nan")}), ["training.learning_rate", "finite number", "got nan"]),
        (tree(model={"cell": "gru"}), ["model.cell", "minconvgru", "got 'gru'"]),
        (tree(model={"tendency_scale": 0}), ["model.tendency_scale: must be a positive", "got 0"]),
        (tree(model={"tendency_scale": "data"}), ["model.tendency_scale: must", "or statistics, got 'data'"]),
        (tree(model={"tendency_scale": True}), ["model.tendency_scale: must be a positive", "got true"]),
        (tree(model={"tendency_scale": [0.1]}), ["model.tendency_scale: must be a positive", "got [0.1]"]),
        (tree(model={"tendency_scale": INF}), ["model.tendency_scale: must be a positive", "got inf"]),
        (tree(model={"hidden": []}), ["model.hidden", "at least 1"]),
        (tree(model={"memory": 1}), ["model.memory", "greater than or equal to 2", "got 1"]),
        (tree(model={"memory": 2.5}), ["model.memory", "integer", "got 2.5"]),
        (tree(boundary="open"), ["boundary", "periodic", "got 'open'"]),
        (tree(forcings=["time_of_dya"]), ["forcings.0", "time_of_day", "got 'time_of_dya'"]),
        (tree(variables={}), ["variables", "at least 1"]),
        (tree(variables={"t2m": {}}), ["variables.t2m.units is missing"]),
        (tree(variables={"t2m": {"units": "K", "valid_range": [1]}}), ["variables.t2m.valid_range"]),
        (tree(name="My demo"), ["name", "got 'My demo'"]),
        (tree(name="../demo"), ["name", "got '../demo'"]),
        (tree(training=3), ["training: input should be a section (keys with values), got 3"]),
        (tree(training=None), ["training: input should be a section (keys with values), got null"]),
        (tree(variables=[]), ["variables: input should be a mapping (keys with values), got []"]),
        # ranges
        (tree(variables={"t": {"units": "K", "valid_range": [9, -9]}}), ["variables.t.valid_range", "got [9, -9]"]),
        (tree(variables={"t": {"units": "K", "valid_range": [3, 3]}}), ["variables.t.valid_range", "got [3, 3]"]),
        (tree(variables={"t": {"units": "K", "valid_range": [NAN, 3]}}), ["valid_range.0", "finite", "got nan"]),
        (tree(variables={"t": {"units": "K", "valid_range": [0, INF]}}), ["valid_range.1", "finite", "got inf"]),
        # numbers that are none
        (tree(training={"clip_norm": INF}), ["training.clip_norm", "finite", "got inf"]),
        (tree(training={"max_seconds": NAN}), ["training.max_seconds", "finite", "got nan"]),
        (tree(split={"train": NAN}), ["split.train", "finite", "got nan"]),
        (tree(training={"clip_norm": "inf"}), ["training.clip_norm", "finite"]),
        (tree(training={"epochs": True}), ["training.epochs", "integer", "got true"]),
        (tree(training={"patience": False}), ["training.patience", "integer", "got false"]),
        (tree(training={"learning_rate": True}), ["training.learning_rate", "a number, got true"]),
        (tree(training={"gpu": 1}), ["training.gpu", "boolean", "got 1"]),
        (tree(model={"hidden": [8, True]}), ["model.hidden.1", "integer", "got true"]),
        (tree(model={"hidden": 8}), ["model.hidden", "list", "got 8"]),
        (tree(training={"epochs": 3.5}), ["training.epochs", "integer", "got 3.5"]),
        (tree(seed=2**63), ["seed", f"less than {2**63}"]),
        (tree(model={"kernel_size": 4}), ["model.kernel_size: must be odd, got 4; use 3 or 5"]),
        # text
        (tree(variables={"t": {"units": 1}}), ["variables.t.units", "string", "got 1; put it in quotes"]),
        (tree(variables={False: {"units": "K"}}), ["variables: a key must be text, got false; quote it"]),
        (tree(name="a" * 9999 + "!"), ["name", "..."]),
        # names
        (tree(forcings=["mask", "latitude", "mask"]), ["forcings", "once", "got 'mask' more than once"]),
        (tree(variables={"2m": {"units": "K"}}), ["variables", "letter", "got '2m'", "source_name"]),
        (tree(variables={"t 2": {"units": "K"}}), ["variables", "letter", "got 't 2'"]),
        (tree(variables={"": {"units": "K"}}), ["variables", "letter", "got ''"]),
        (tree(variables={"t\n": {"units": "K"}}), ["variables", "letter", r"got 't\n'"]),
        # files
        (tree(source={"files": []}), ["source.files", "at least 1 item, got []"]),
        (tree(source={"files": "*.nc"}), ["source.files", "a valid list, got '*.nc'"]),
        (tree(source={"files": ["*.nc", ""]}), ["source.files", "got ''", "source.path"]),
        (tree(source={"files": ["/data/*.nc"]}), ["source.files", "got '/data/*.nc'", "source.path"]),
        (tree(source={"path": "in"}), ["generated or read", "source.path (in)", "remove one"]),
        # what is generated
        ({"generate": {"size": 32, "coarsen": 3}}, ["generate.coarsen must divide generate.size (32), got 3"]),
        (tree(model={"patch": 3}), ["model.patch must divide the generated grid of 16 x 16 points, got 3"]),
        (tree(window={"history": 40, "horizon": 11}), ["generate.steps", "window.horizon (40 + 11), got 50"]),
        (tree(forecast={"steps": 31}), ["generate.steps", "forecast.steps (20 + 31), got 50"]),
    ],
)
def test_broken_rule_is_one_sentence_with_what_was_found(broken: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        check_config(broken)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["time", "lat", "lon", "y", "x", "sample", "mask", "init_time", "lead_time", "valid_time"]
)
def test_variable_cannot_be_called_like_a_coordinate(name: str) -> None:
    with pytest.raises(
        ConfigError, match=f"variables: '{name}' is the name of a dimension or coordinate .*; rename it"
    ):
        check_config(tree(variables={name: {"units": "1"}}))


def test_limits_themselves_are_accepted() -> None:
    config = check_config(
        {
            "generate": {"steps": 40, "size": 30, "coarsen": 15},
            "window": {"history": 15, "horizon": 20},
            "forecast": {"steps": 25},
            "variables": {"t2m_": {"units": "K", "valid_range": [-1e-9, 0]}},
            "model": {"kernel_size": 1},
            "seed": 2**63 - 1,
        }
    )
    assert config.forecast_steps == 25


def test_lengths_of_files_that_are_not_generated_are_not_known_here() -> None:
    config = check_config({"source": {"path": "in"}, "window": {"history": 900, "horizon": 900}})
    assert config.window.history == 900


@pytest.mark.parametrize(
    ("text", "key", "place"),
    [
        ("generate: {}\nseed: 1\nname: a\nseed: 2\n", "seed", "lines 2 and 4"),
        ("generate: {}\nseed: 1\n'seed': 1\n", "seed", "lines 2 and 3"),
        ("generate: {}\ntraining:\n  epochs: 1\n  epochs: 1\n", "epochs", "lines 3 and 4"),
        ("generate: {seed: 1, size: 8,\n seed: 2}\n", "seed", "lines 1 and 2"),
        ("generate: {seed: 1, seed: 2}\n", "seed", "line 1"),
        ("generate: {}\nvariables:\n  t: {units: K}\n  t: {units: K}\n", "t", "lines 3 and 4"),
    ],
)
def test_repeated_key_is_refused(text: str, key: str, place: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert str(caught.value) == f"configuration {path}: key '{key}' is there twice, in {place}; remove one"


def test_same_key_in_two_sections_and_over_a_merged_one_is_no_repetition(tmp_path: Path) -> None:
    text = "generate: &more {seed: 1, samples: 9}\nseed: 2\n"
    assert read_config(write(tmp_path, text)).seed == 2
    text = "source: {path: a}\nvariables:\n  t: &one {units: K}\n  u: &two {<<: *one, units: m}\n  v: {<<: *two}\n"
    read = read_config(write(tmp_path, text)).variables
    assert {name: variable.units for name, variable in read.items()} == {"t": "K", "u": "m", "v": "m"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty; add at least 'generate: {}'"),
        ("# only a comment\n---\n", "is empty"),
        ("- a\n- b\n", "must be a mapping of sections, got a list; start lines with 'key:'"),
        ("just words", "must be a mapping of sections, got the str 'just words'"),
        ("3", "must be a mapping of sections, got the int '3'"),
        ("name: a\n---\nname: b\n", "is not valid YAML"),
        ("name: 2024-13-45", "is not valid YAML"),
        ("name: !!bool maybe", "is not valid YAML"),
        ("name: !!timestamp soon", "is not valid YAML"),
        ("[" * 5000, "is not valid YAML"),
        ("training: {epochs: 3", "is not valid YAML"),
        ("a: b: c", "is not valid YAML"),
    ],
)
def test_file_that_is_no_configuration(text: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=reason) as caught:
        read_config(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "some.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_config(path)


def test_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(No such file or directory\); check the path"):
        read_config(tmp_path / "none.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML"):
        read_config(write(tmp_path, "name: !!python/object/apply:os.getcwd []\n"))


# Overrides


@pytest.mark.parametrize(
    ("override", "read", "expected"),
    [
        ("training.epochs=5", lambda config: config.training.epochs, 5),
        ("training.learning_rate=4e-3", lambda config: config.training.learning_rate, 0.004),
        ("training.patience=null", lambda config: config.training.patience, None),
        ("model.hidden=[8, 16]", lambda config: config.model.hidden, (8, 16)),
        ("model.residual=false", lambda config: config.model.residual, False),
        ("root=/data/runs", lambda config: config.root, Path("/data/runs")),
        ("name=other", lambda config: config.name, "other"),
        ("variables.vorticity.units=1/s", lambda config: config.variables["vorticity"].units, "1/s"),
        ("variables.vorticity.units=a=b", lambda config: config.variables["vorticity"].units, "a=b"),
        (" forecast.steps = 7", lambda config: config.forecast.steps, 7),
    ],
)
def test_override(override: str, read: Any, expected: Any, tmp_path: Path) -> None:
    path = write(tmp_path, "generate: {}\ntraining: {epochs: 2}\n")
    assert read(read_config(path, [override])) == expected


def test_later_override_wins_and_the_rest_stays(tmp_path: Path) -> None:
    path = write(tmp_path, "generate: {}\ntraining: {epochs: 2, batch_size: 4}\n")
    config = read_config(path, ["training.epochs=5", "training.epochs=6"])
    assert (config.training.epochs, config.training.batch_size) == (6, 4)


@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("training.epochs", "must have the form section.key=value"),
        ("=5", "must have the form"),
        ("training.=5", "must have the form"),
        ("training.epochs={", "the value is not valid YAML"),
        ("name=2024-13-45", "the value is not valid YAML"),
        ("training={epochs: 1, epochs: 2}", "key 'epochs' is there twice"),
        ("training.epochs.more=5", "training.epochs is a value, not a section"),
        ("training.epoch=5", "did you mean 'epochs'"),
        ("trainig.epochs=5", "did you mean 'training'"),
        ("training.epochs=0", "greater than or equal to 1, got 0"),
    ],
)
def test_broken_override(override: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, "generate: {}\ntraining: {epochs: 2}\n")
    with pytest.raises(ConfigError, match=reason):
        read_config(path, [override])


# The tree itself


def test_configuration_is_frozen() -> None:
    config = check_config(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        config.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.training.epochs = 3  # type: ignore[misc]


def test_every_section_forbids_unknown_keys() -> None:
    def sections(kind: type[Section]) -> set[type[Section]]:
        return {kind}.union(*(sections(child) for child in kind.__subclasses__()))

    found = sections(Section)
    assert VariableConfig in found
    for section in found:
        assert section.model_config["extra"] == "forbid"
        assert section.model_config["frozen"] is True


def test_folders_and_empty_values_have_a_meaning() -> None:
    config = check_config(tree(name="fluid", root="out", window={"history": 3, "horizon": 4}))
    assert config.work_dir == Path("out/fluid")
    assert config.archive_path == Path("out/fluid/archive")
    assert config.source_path == Path("out/fluid/generated")
    assert (config.gap, config.forecast_steps) == (7, 4)
    given_values = check_config({"source": {"path": "in"}, "split": {"gap": 0}, "forecast": {"steps": 9}})
    assert (given_values.source_path, given_values.gap, given_values.forecast_steps) == (Path("in"), 0, 9)


# The hash


def test_hash_does_not_depend_on_root_order_or_process() -> None:
    config = check_config(tree(name="a", seed=3))
    assert check_config({"seed": 3, "name": "a", "generate": {}, "root": "/elsewhere"}).hash() == config.hash()
    code = f"from pipeline.config import check_config; print(check_config({tree(name='a', seed=3)!r}).hash())"
    environment = {"PYTHONHASHSEED": "7", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == config.hash()


def test_hash_does_not_depend_on_where_work_is_computed() -> None:
    elsewhere = check_config(tree(compute={"dask": "ray", "placement": "pack"}))
    assert elsewhere.hash() == check_config(tree()).hash()
    assert elsewhere.hash(["compute"]) != check_config(tree()).hash(["compute"])


@pytest.mark.parametrize("dask", ["threads", "processes", "ray", "tcp://10.0.0.1:8786", "tls://[::1]:8786"])
def test_dask_computes_where_it_is_told(dask: str) -> None:
    assert check_config(tree(compute={"dask": dask})).compute.dask == dask


@pytest.mark.parametrize("dask", ["local", "10.0.0.1:8786", "tcp://10.0.0.1", "http://a:1", "tcp://a:1/b", ""])
def test_dask_computes_nowhere_else(dask: str) -> None:
    with pytest.raises(ConfigError, match=r"compute\.dask.*must be threads, processes, ray, or an address like tcp://"):
        check_config(tree(compute={"dask": dask}))


def test_hash_does_not_depend_on_writing_a_default_out() -> None:
    assert check_config(tree(training={"epochs": 8})).hash() == check_config(MINIMAL).hash()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"name": "other"},
        {"generate": {"seed": 1}},
        {"source": {"files": ["*.grib"]}},
        {"variables": {"vorticity": {"units": "s-1", "valid_range": [-9, 9]}}},
        {"boundary": "closed"},
        {"forcings": ["mask"]},
        {"archive": {"chunk_time": 12}},
        {"split": {"gap": 1}},
        {"window": {"stride": 2}},
        {"model": {"patch": 1}},
        {"training": {"learning_rate": 0.0041}},
        {"forecast": {"steps": 1}},
        {"evaluation": {"stride": 2}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_hash_tells_every_section_apart(change: dict[str, Any]) -> None:
    config, plain = check_config(tree(**change)), check_config(MINIMAL)
    (section,) = change
    assert config.hash() != plain.hash()
    assert config.hash([section]) != plain.hash([section])
    assert config.hash(set(Config.model_fields) - {section}) == plain.hash(set(Config.model_fields) - {section})


def test_hash_of_sections_does_not_depend_on_their_order() -> None:
    config = check_config(MINIMAL)
    assert config.hash(["model", "training"]) == config.hash(["training", "model"])
    assert len(config.hash()) == 12


# Properties

finite = st.floats(min_value=1e-12, max_value=1e12)
ranges = st.tuples(finite, finite).filter(lambda pair: pair[0] < pair[1])
names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,20}\Z")
variables = st.dictionaries(
    st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,9}\Z").filter(lambda name: name not in RESERVED_NAMES),
    st.fixed_dictionaries(
        {"units": st.text(max_size=8)},
        optional={"valid_range": ranges, "source_name": st.none() | st.text(max_size=5)},
    ),
    min_size=1,
    max_size=3,
)
trees = st.fixed_dictionaries(
    {"generate": st.fixed_dictionaries({}, optional={"samples": st.integers(1, 10**6), "seed": st.integers(0, 2**63)})},
    optional={
        "name": names,
        "variables": variables,
        "forcings": st.lists(st.sampled_from(["time_of_day", "latitude", "mask"]), unique=True),
        "model": st.fixed_dictionaries(
            {},
            optional={"hidden": st.lists(st.integers(1, 512), min_size=1), "norm": st.sampled_from(["none", "group"])},
        ),
        "training": st.fixed_dictionaries(
            {}, optional={"learning_rate": finite, "patience": st.none() | st.integers(1, 9), "gpu": st.booleans()}
        ),
    },
)


@given(trees)
def test_yaml_round_trip(some: dict[str, Any]) -> None:
    config = check_config(some)
    again = check_config(yaml.safe_load(config.to_yaml()))
    assert again == config
    assert again.hash() == config.hash()


@given(st.integers(1, 2000), st.integers(1, 2000))
def test_shards_must_hold_whole_chunks(chunk: int, shard: int) -> None:
    some = tree(archive={"chunk_time": chunk, "shard_time": shard})
    if shard % chunk == 0:
        assert check_config(some).archive.shard_time == shard
    else:
        with pytest.raises(ConfigError, match=f"multiple of chunk_time \\({chunk}\\), got {shard}"):
            check_config(some)


@given(st.text(min_size=1, max_size=12))
def test_any_unknown_key_is_refused_in_one_line(key: str) -> None:
    if key not in Config.model_fields:
        with pytest.raises(ConfigError, match="unknown key"):
            check_config(tree(**{key: 1}))


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        max_leaves=5,
    )
)
def test_any_value_is_accepted_or_refused_with_a_config_error(value: Any) -> None:
    refused = {}
    for key in Config.model_fields:
        try:
            check_config(tree(**{key: value}))
        except ConfigError as error:
            refused[key] = str(error)
    assert "boundary" in refused
    assert all(key in message or "source.path" in message for key, message in refused.items())
