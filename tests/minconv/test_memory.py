import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch, minconv
if KEEP:
    assert minconv.keep_freed_memory()
def use(megabytes):
    torch.empty(megabytes, 2**20, dtype=torch.uint8).fill_(1)
for _ in range(5):  # until every size has had its place
    use(150)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use(150)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    done = subprocess.run([sys.executable, "-c", SCRIPT.replace("KEEP", str(keep))], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="it is a matter of the C library of Linux")
def test_a_large_tensor_takes_the_place_of_one_that_was_freed():
    kept, returned = faults(True), faults(False)
    assert kept < 100
    assert returned > 10 * kept
