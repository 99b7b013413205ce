import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch, minconv
if KEEP:
    assert minconv.keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
fresh = 0
for _ in range(20):
    before = faults()
    torch.empty(64, 2**20, dtype=torch.uint8).fill_(1)
    fresh += faults() - before > 16  # 64 MiB are 32 pages of the largest kind
print(fresh)
"""


def allocations_in_fresh_memory(keep):
    """How many of 20 large tensors, each freed before the next, were written to pages new to the process."""
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("KEEP", str(keep))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it is a matter of the C library of Linux")
def test_a_large_tensor_takes_the_place_of_one_that_was_freed():
    assert allocations_in_fresh_memory(keep=True) < 10  # the first ones
    assert allocations_in_fresh_memory(keep=False) == 20
