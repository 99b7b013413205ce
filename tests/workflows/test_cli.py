"""The command line: help, wrong usage, and one sentence for everything a user can get wrong, with nothing changed.

What the commands print when all goes well is in `test_commands`.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

import workflows.invocation
from pipeline import archive
from pipeline.config import Config
from workflows.cli import app

MINCONV = [sys.executable, "-c", "from workflows.cli import main; main()"]
COMMANDS = [
    "run",
    "generate",
    "ingest",
    "archive info",
    "archive log",
    "train",
    "evaluate",
    "forecast",
    "models",
    "poc",
]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def invoke(*words: object):
    return CliRunner().invoke(app, [str(word) for word in words])


def the_sentence(result) -> str:
    """What a failed command said: one sentence on the error stream, and nothing else."""
    assert result.exit_code == 1, (result.exit_code, result.stdout, result.stderr)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "Traceback" not in line
    return line


def tree_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and time."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.name.endswith(".lock"))
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def written(config: Config, path: Path, **changes: object) -> Path:
    """A configuration file."""
    path.write_text(yaml.safe_dump({**config.model_dump(mode="json"), **changes}))
    return path


@pytest.fixture
def weather(time_config, tmp_path) -> Path:
    """A configuration whose archive is there; tests must leave it as it is."""
    return written(time_config, tmp_path / "weather.yaml")


@pytest.fixture
def fresh(time_config, tmp_path) -> Path:
    """A configuration with input files, nothing made of them yet."""
    return written(time_config, tmp_path / "fresh.yaml", root=str(tmp_path / "runs"))


# help and usage


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example_that_can_be_typed(command):
    result = invoke(*command.split(), "--help")
    assert result.exit_code == 0
    (example,) = (line.split("Example: ")[1] for line in result.stdout.splitlines() if "Example: " in line)
    assert example.startswith(f"minconv {command} ")
    group = typer.main.get_command(app)
    words = example.split()[1:]
    while words and words[0] in getattr(group, "commands", {}):
        group = group.commands[words.pop(0)]
    group.make_context(command, words)  # raises a usage error where an option is wrong


def test_the_first_page_lists_all_commands():
    result = invoke("--help")
    assert result.exit_code == 0
    assert all(f" {command.split()[0]} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "archive",
        "frobnicate",
        "run",
        "run -c",
        "run -c demo --frob",
        "run -c demo extra",
        "generate advection",
        "generate -o folder",
        "generate advection -o folder --size big",
        "forecast -c demo",
        "forecast -c demo -o f.nc --steps many",
        "forecast -c demo -o f.nc --sample 1.5",
    ],
)
def test_wrong_usage_exits_with_2(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = invoke(*words.split())
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert not list(tmp_path.iterdir())


def test_help_is_quick_and_loads_no_library_of_weight():
    script = (
        "import sys, workflows.cli\n"
        "heavy = {'torch', 'ray', 'mlflow', 'xarray', 'numpy', 'pydantic', 'icechunk', 'matplotlib'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT)
    times = []
    for _ in range(3):
        started = time.monotonic()
        subprocess.run([*MINCONV, "--help"], check=True, env=ENVIRONMENT, capture_output=True)
        times.append(time.monotonic() - started)
    assert min(times) < 1.5


@pytest.mark.slow
def test_a_training_loads_what_it_needs_and_nothing_that_starts_it_later():
    """Before Ray starts, neither Ray nor MLflow nor torch.compile's machinery, seconds each, nor what reports need."""
    late = ["ray", "mlflow", "sqlalchemy", "torch._dynamo", "sympy", "matplotlib", "jinja2", "scipy", "distributed"]
    script = (
        "import sys, workflows.cli, workflows.commands, workflows.run\n"
        f"found = set({late!r}) & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT)


def test_what_runs_beside_the_workers_of_a_cluster_loads_nothing_of_the_models():
    """Ray's processes import this for a mailbox or a look at a folder."""
    script = (
        "import sys, pipeline.cluster, pipeline.cluster.private_node\n"
        "found = {'torch', 'xarray', 'icechunk', 'mlflow', 'pandas', 'ray'} & set(sys.modules)\n"
        "assert not found, found\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT)


# what a user can get wrong


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in ("generate", "forecast")] + ["forecast -o f.nc"])
def test_an_unknown_configuration(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sentence = the_sentence(invoke(*command.split(), "-c", "deom"))
    assert "there is no configuration 'deom'" in sentence
    assert "one of demo, " in sentence
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.epoch=5", "unknown key 'training.epoch'; did you mean 'epochs'?"),
        ("traning.epochs=5", "unknown key 'traning'; did you mean 'training'?"),
        ("training.epochs=0", "training.epochs"),
        ("training.epochs", "must have the form section.key=value"),
        ("variables.t2m.unit=K", "unknown key 'variables.t2m.unit'; did you mean 'units'?"),
    ],
)
def test_a_wrong_setting(setting, said, fresh, tmp_path):
    assert said in the_sentence(invoke("run", "-c", fresh, "--set", setting))
    assert not (tmp_path / "runs").exists()


def test_a_misspelt_key_in_the_file(fresh, tmp_path):
    fresh.write_text(fresh.read_text().replace("boundary:", "bundary:"))
    assert "unknown key 'bundary'; did you mean 'boundary'?" in the_sentence(invoke("ingest", "-c", fresh))
    assert not (tmp_path / "runs").exists()


def test_a_file_that_is_no_yaml(tmp_path):
    (tmp_path / "broken.yaml").write_text("name: [unclosed\nroot: x")
    assert "is not valid YAML" in the_sentence(invoke("ingest", "-c", tmp_path / "broken.yaml"))


@pytest.mark.parametrize("command", ["ingest", "run"])
def test_a_missing_data_folder(command, fresh, tmp_path):
    sentence = the_sentence(invoke(command, "-c", fresh, "--data", tmp_path / "nowhere"))
    assert f"Q-NO-FOLDER: input folder {tmp_path}/nowhere does not exist" in sentence
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert not archive.exists(tmp_path / "runs" / "weather" / "archive")


@pytest.mark.parametrize("command", ["ingest", "run"])
def test_a_variable_that_no_file_holds_is_met_with_those_that_are_there(command, fresh, tmp_path):
    sentence = the_sentence(invoke(command, "-c", fresh, "--set", "variables.q2m.source_name=Qair"))
    assert "variable 'Qair' is in no file" in sentence
    assert "t2m" in sentence.split("hold", 1)[1]
    assert "q2m" in sentence.split("hold", 1)[1]
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert not archive.exists(tmp_path / "runs" / "weather" / "archive")


@pytest.mark.parametrize("command", ["ingest", "run"])
def test_a_file_cut_in_half(command, fresh, time_config, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    whole = (time_config.source_path / "weather.nc").read_bytes()
    (data / "weather.nc").write_bytes(whole[: len(whole) // 2])
    sentence = the_sentence(invoke(command, "-c", fresh, "--data", data))
    assert "Q-TRUNCATED: weather.nc: " in sentence
    assert "the archive is unchanged" in sentence
    assert not (tmp_path / "runs" / "mlflow.db").exists()
    assert not archive.exists(tmp_path / "runs" / "weather" / "archive")


@pytest.mark.parametrize("command", ["train", "evaluate", "forecast -o f.nc", "archive info", "archive log"])
def test_no_archive_yet(command, fresh, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = tree_of(tmp_path)
    sentence = the_sentence(invoke(*command.split(), "-c", fresh))
    assert f"there is no archive at {tmp_path}/runs/weather/archive; run 'minconv ingest' first" in sentence
    assert tree_of(tmp_path) == before


def test_no_model_yet(weather, time_config, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/none.db")
    before = tree_of(time_config.root)
    for command in ("evaluate", "forecast -o f.nc"):
        sentence = the_sentence(invoke(*command.split(), "-c", weather))
        assert f"no version of weather is registered in sqlite:///{tmp_path}/none.db; 'minconv train' makes" in sentence
    result = invoke("models", "-c", weather)
    assert result.exit_code == 0
    assert "no version of weather is registered" in result.stdout
    assert tree_of(time_config.root) == before
    assert not (tmp_path / "none.db").exists()


def test_a_registry_that_does_not_answer(weather, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert "MLflow at http://127.0.0.1:9 failed" in the_sentence(invoke("models", "-c", weather))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("vortex", "there is no simulation 'vortex'; choose navier-stokes or advection"),
        ("advection --size 0", "--size must be at least 1, got 0"),
        ("advection --samples -1", "--samples must be at least 1, got -1"),
        ("advection --steps 0", "--steps must be at least 1, got 0"),
        ("advection --coarsen 0", "--coarsen must be at least 1, got 0"),
        ("advection --seed -1", "--seed must be at least 0, got -1"),
        ("navier-stokes --size 16 --coarsen 3", "coarsen"),
    ],
)
def test_a_wrong_simulation(words, said, tmp_path):
    assert said in the_sentence(invoke("generate", *words.split(), "-o", tmp_path / "out"))
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "out").write_text("")
    assert "out" in the_sentence(invoke("generate", "advection", "-o", tmp_path / "out", "--samples", 1, "--size", 8))
    assert (tmp_path / "out").read_text() == ""


# whatever ends a command


@pytest.mark.parametrize("code", sorted(workflows.invocation._ABOUT_FILES))
def test_an_error_of_the_operating_system_is_a_sentence_with_the_next_step(code, fresh, monkeypatch):
    def fail(*arguments):
        raise OSError(code, os.strerror(code), "/some/place")

    monkeypatch.setattr("workflows.stages.ingest", fail)
    sentence = the_sentence(invoke("ingest", "-c", fresh))
    assert sentence.startswith(f"error: {os.strerror(code)} at /some/place; ")
    assert sentence.endswith("then run the command again")


def test_an_error_of_ours_is_not_hidden(fresh, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EBADF, "a defect")

    monkeypatch.setattr("workflows.stages.ingest", fail)
    assert isinstance(invoke("ingest", "-c", fresh).exception, OSError)


def test_ctrl_c_exits_with_130(fresh, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("workflows.stages.ingest", fail)
    result = invoke("ingest", "-c", fresh)
    assert result.exit_code == 130
    assert result.stderr.startswith("error: interrupted; ")


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=SLOW), signal.SIGTERM, pytest.param(signal.SIGHUP, marks=SLOW)]
)
@pytest.mark.parametrize("moment", ["while libraries load", "at work"])
def test_a_signal_ends_a_command_in_order(number, moment, tmp_path):
    """The folder of a simulation that takes minutes: empty after the signal, and the exit code says why."""
    out = tmp_path / "out"
    words = ["generate", "navier-stokes", "-o", str(out), "--samples", "40", "--size", "128", "--steps", "400"]
    script = f"import sys; sys.argv = ['minconv', *{words!r}]\nfrom workflows.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", script], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: loaded(process.pid, "torch" if moment == "while libraries load" else "netCDF4"))
        if moment == "at work":
            wait_for(out.is_dir)
        process.send_signal(number)
        stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 130, stderr
    assert stdout == ""
    assert stderr.splitlines()[-1].startswith("error: interrupted; ")
    assert "Traceback" not in stderr
    assert not out.exists() or not list(out.iterdir())


def loaded(pid: int, library: str) -> bool:
    return f"/{library}/" in Path(f"/proc/{pid}/maps").read_text()


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.02)


def test_nohup_is_respected():
    script = (
        "import signal\n"
        "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "import workflows.cli as cli, sys\n"
        "cli.app = lambda: None\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    pass\n"
        "assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN\n"
        "assert signal.getsignal(signal.SIGTERM) is cli._terminated\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=ENVIRONMENT)


# a full disk, for real: a file system of a few kilobytes


def on_a_small_disk(folder: Path, size: str, *words: object) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """Run a command with a file system of `size` bytes mounted at `folder`; also tells which files it left there."""
    namespace = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*namespace, "mount -t tmpfs tmpfs /mnt"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system lets no one mount a file system of their own")
    folder.mkdir()
    listing = folder.with_suffix(".listing")
    mount = 'mount -t tmpfs -o size="$1" tmpfs "$2"; at="$2"; to="$3"; shift 3'
    script = mount + '; "$@"; code=$?; cd "$at"; find -type f > "$to"; exit $code'
    done = subprocess.run(
        [*namespace, script, "sh", size, str(folder), str(listing), *MINCONV, *map(str, words)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done, listing.read_text().split()


def sentence_of(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    return line


@pytest.mark.slow
def test_a_full_disk_while_archiving(fresh, tmp_path):
    small = tmp_path / "small"
    done, left = on_a_small_disk(small, "48k", "ingest", "-c", fresh, "--set", f"root={small}")
    assert "no space left on the disk); it is as it was before; free some space" in sentence_of(done)
    assert left == ["./weather/archive.lock"]


@pytest.mark.slow
def test_a_full_disk_while_simulating(tmp_path):
    small = tmp_path / "small"
    done, left = on_a_small_disk(small, "16k", "generate", "advection", "-o", small, "--size", 16, "--samples", 4)
    assert "free disk space" in sentence_of(done)
    assert left == []
