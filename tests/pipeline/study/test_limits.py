"""What limits a training is told from where the time went and from what the machine has."""

from __future__ import annotations

import dataclasses

from pipeline.study.limits import Hardware, limits, other_work
from tests.conftest import MadeScorecards
from tests.pipeline.made_study import made_probe, made_result

HERE = Hardware("a processor", 4, 16 * 10**9, "", "")


def told(probe, result, hardware=HERE, threads=None) -> str:
    return " ".join(limits(probe, result, hardware, threads))


def test_a_training_that_computes():
    text = told(made_probe(), made_result("minconvgru", MadeScorecards()(1.0)), threads=2)
    assert "Computing on 2 of 4 processor(s): a step takes 50 ms, 90% of it forward and backward pass" in text
    assert "A GPU, or more processors" in text
    assert "Memory: 0.7 of 16 GB (4% of memory). It is not what limits." in text
    assert "Reading" not in text


def test_a_training_that_waits_for_data():
    slow = made_probe(parts={"data wait": 0.03, "forward": 0.01, "backward": 0.01})
    assert "Reading: 60% of a step's time" in told(slow, made_result("minconvgru", MadeScorecards()(1.0)))


def test_memory_that_is_nearly_full():
    result = made_result("minconvgru", MadeScorecards()(1.0), peak_bytes=15 * 10**9)
    assert "A larger batch or model will not fit." in told(made_probe(), result)


def test_trainings_that_had_to_share_their_processors_are_named():
    card = MadeScorecards()(1.0)
    results = [made_result("minconvgru", card), made_result("convgru", card, cpu_share=0.3)]
    assert "(convgru 30%)" in other_work(results, HERE, threads=1)
    assert other_work(results, HERE, threads=None) == ""  # 0.3 of four threads is more than one processor
    assert other_work(results, dataclasses.replace(HERE, gpu="a GPU"), threads=1) == ""
    assert other_work(results[:1], HERE, threads=1) == ""


def test_gpus_are_told_used_or_idle():
    result = made_result("minconvgru", MadeScorecards()(1.0))
    idle, used = (dataclasses.replace(HERE, **{name: "a GPU"}) for name in ("idle_gpu", "gpu"))
    assert "set training.gpu=true" in told(made_probe(), result, idle)
    assert "Computing on a GPU" in told(made_probe(), result, used)
    assert "the GPU's memory" in told(made_probe(), result, used)


def test_hardware_that_differs_has_another_key():
    assert HERE.key != dataclasses.replace(HERE, processors=8).key != dataclasses.replace(HERE, gpu="a GPU").key
    assert HERE.key == dataclasses.replace(HERE, memory=1).key
    assert HERE.text == "no GPU used, 4 processors (a processor), 16 GB of memory"


def test_this_machine_can_be_told():
    here = Hardware.here(use_gpu=False)
    assert here.processors >= 1
    assert here.memory > 10**8
    assert here.gpu == ""
