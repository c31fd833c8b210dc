"""Tests the memory that a meta-step takes and that a dropped MAML leaves; `-m slow -s -n0` prints it."""

import sys

import pytest

from tests.maml_tf.memory import measured

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it asks Linux, and glibc, for the memory")


@pytest.mark.slow
def test_with_remat_ten_updates_take_hardly_more_memory_than_two():
    """Uses miniImagenet's shapes, 64 filters and 4 tasks. Compares processor times, not wall times."""
    found = {}
    for updates, remat in ((2, False), (2, True), (10, False), (10, True)):
        found[updates, remat] = measured(updates=updates, remat=remat)
        print(f"\n{updates} updates{', remat' * remat}: {found[updates, remat]}", flush=True)
    assert found[10, True]["peak_mb"] <= 1.3 * min(found[2, remat]["peak_mb"] for remat in (False, True))
    assert found[10, True]["cpu_seconds"] <= 1.4 * found[10, False]["cpu_seconds"]


@pytest.mark.slow
def test_sixteen_learners_leave_little():
    """What is left is due to TensorFlow: about 40 kB for each name that a variable has ever had, and heap fragments."""
    left = measured(learners=18, task_axis="map", jit=False)["mib"]
    print(f"\nMiB after each of 18: {[round(mib) for mib in left]}")
    assert left[17] - left[1] <= 20
