"""The benchmark of sampling: its table, and wrong numbers."""

import pytest

from scripts import benchmark_rl_sampling


def test_prints_a_row_for_each_environment(capsys):
    flags = ["--env=point_navigation", "--env=half_cheetah_velocity", "--tasks=1", "--repeats=1"]
    assert benchmark_rl_sampling.main(flags) == 0
    titles, point, cheetah = (line.split() for line in capsys.readouterr().out.splitlines())
    assert titles == ["environment", "steps", "steps/s", "policy"]
    assert point[0] == "point_navigation"
    assert cheetah[:2] == ["half_cheetah_velocity", "4,000"]
    assert float(cheetah[2].replace(",", "")) > 100
    assert 0 < float(point[3].rstrip("%")) < 100


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers=0"], "The number of threads must be at least 1 and at most 1024, not 0."),
        (["--tasks=0"], "--tasks must be at least 1, not 0"),
        (["--tasks=-1"], "--tasks must be at least 1, not -1"),
        ([f"--tasks={10**30}"], f"--tasks must be at most 1000000, not {10**30}"),
        (["--repeats=0"], "--repeats must be at least 1, not 0"),
        (["--repeats=-3"], "--repeats must be at least 1, not -3"),
    ],
)
def test_wrong_numbers_are_one_sentence(flags, message, capsys):
    assert benchmark_rl_sampling.main(["--env=point_navigation", *flags]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")
