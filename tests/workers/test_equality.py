"""Two workers compute what one process does."""

import numpy as np
import pytest

from tests.workers.cases import CASES, GOLDENS, ITERATIONS, SLOW_CASES, SLOW_GOLDENS
from tests.workers.started import compared

FLOAT64, FLOAT32 = 1e-12, 1e-6
# In evaluations and samples, every number belongs to one task, so it is the same to the last bit.
EXACT_CASES = ("evaluations", "reinforcement_learning")
IN_FLOAT32 = ("maml_dense_float32", "compiled_loop", "compiled_loop_by_xla")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """The arrays of one process alone, of the chief and of the other worker."""
    return computed(tmp_path_factory.mktemp("workers"), "quick")


@pytest.fixture(scope="module")
def slowly_found(tmp_path_factory):
    """The same for the slow cases."""
    return computed(tmp_path_factory.mktemp("workers"), "slow")


def computed(folder, which):
    two, one = compared(folder, "tests.workers.cases", "{folder}/{index}.npz", which)
    return [dict(np.load(file)) for file in (one / "0.npz", two / "0.npz", two / "1.npz")]


@pytest.mark.parametrize("case", CASES)
def test_two_workers_compute_what_one_process_does(found, case):
    check_case(found, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in SLOW_CASES if case not in ITERATIONS])
def test_two_workers_compute_slowly_what_one_process_does(slowly_found, case):
    check_case(slowly_found, case)


@pytest.mark.slow
@pytest.mark.parametrize("case", ITERATIONS)
def test_two_workers_do_a_whole_iteration_as_one_process_does(slowly_found, case):
    """Covers everything from the first sample to the weights after the step of the trust region, which is accepted."""
    check_case(slowly_found, case, least=1)  # losses near 0 are means of numbers near 1
    alone = slowly_found[0]
    assert not alone[f"{case}/rejected"]
    assert alone[f"{case}/kl"] > 1e-4


def check_case(found, case, least=1e-6):
    """Asserts that numbers of the workers' own tasks are the same to the last bit, and others up to rounding.

    The tolerance is relative to the norm of an array plus `least`.
    """
    alone, *two = ({name: v for name, v in f.items() if name.startswith(f"{case}/")} for f in found)
    assert alone
    for name, expected in alone.items():
        if "/own_" in name:
            both = np.concatenate([worker[name] for worker in two])
            np.testing.assert_array_equal(both, expected, err_msg=name)
            continue
        np.testing.assert_array_equal(two[0][name], two[1][name], err_msg=name)
        if case in EXACT_CASES:
            np.testing.assert_array_equal(two[0][name], expected, err_msg=name)
        else:
            tolerance = FLOAT32 if case in IN_FLOAT32 else FLOAT64
            error = np.linalg.norm(np.subtract(two[0][name], expected, dtype=np.float64))
            assert error <= tolerance * np.linalg.norm(expected) + tolerance * least, name


@pytest.mark.parametrize(("name", "dtype"), GOLDENS)
def test_two_workers_compute_what_the_original_does(found, name, dtype):
    check_golden(found, name, dtype)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "dtype"), SLOW_GOLDENS)
def test_two_workers_compute_what_the_original_does_slowly(slowly_found, name, dtype):
    check_golden(slowly_found, name, dtype)


def check_golden(found, name, dtype):
    """Asserts that both workers agree with the original within the tolerances of `check_meta_training`."""
    for worker in found[1:]:
        assert str(worker[f"golden_{name}_{dtype}"]) == "as the original"


def test_the_step_of_the_trust_region_is_one(found):
    """The step is accepted and lowers the loss; otherwise the comparison of the workers would show nothing."""
    alone = found[0]
    assert not alone["trust_region/rejected"]
    assert alone["trust_region/loss"] < alone["trust_region/loss_before"] - 0.01


def test_what_the_chief_gives_comes_bit_for_bit(found):
    _, chief, other = found
    assert (chief["index"], other["index"]) == (0, 1)
    for name in ("copied", "counter", "bytes", "any"):
        assert chief[name].tobytes() == other[name].tobytes(), name
    assert np.signbit(chief["copied"][1])
    assert other["counter"] == 7
    assert bytes(other["bytes"]) == b"from worker 0"
    assert other["any"].tolist() == [True, False]
