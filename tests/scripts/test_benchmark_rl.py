"""The benchmark of sampling: its table, and wrong numbers. test_rl_commands.py has the benchmark of training."""

import pytest

from scripts import benchmark_rl, benchmark_rl_sampling

FORMER = "scripts.benchmark_rl_sampling is now called scripts.benchmark_rl --sampling: use that name\n"


def assert_row(row, name, steps):
    assert row[:2] == [name, steps]
    assert float(row[2].replace(",", "")) > 100
    assert 0 < float(row[3].rstrip("%")) < 100


def test_sampling_of_one_environment(capsys):
    flags = ["--sampling", "--env=half_cheetah_velocity", "--meta_batch_size=1", "--repeats=1", "--workers=1"]
    assert benchmark_rl.main(flags) == 0
    titles, row = (line.split() for line in capsys.readouterr().out.splitlines())
    assert titles == ["environment", "steps", "steps/s", "policy"]
    assert_row(row, "half_cheetah_velocity", "4,000")


def test_the_former_name_samples_several_environments(capsys):
    flags = ["--env=point_navigation", "--env=half_cheetah_velocity", "--tasks=1", "--repeats=1"]
    assert benchmark_rl_sampling.main(flags) == 0
    out, err = capsys.readouterr()
    titles, point, cheetah = (line.split() for line in out.splitlines())
    assert titles == ["environment", "steps", "steps/s", "policy"]
    assert point[0] == "point_navigation"
    assert_row(cheetah, "half_cheetah_velocity", "4,000")
    assert err == FORMER


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers=0"], "--workers must be at least 1, not 0"),
        (["--workers=1025"], "--workers must be at most 1024, not 1025"),
        (["--meta_batch_size=-1"], "--meta_batch_size must be at least 1, not -1"),
        ([f"--meta_batch_size={10**30}"], f"--meta_batch_size must be at most 1000000, not {10**30}"),
        (["--repeats=0"], "--repeats must be at least 1, not 0"),
        (["--repeats=-3"], "--repeats must be at least 1, not -3"),
        (["--env=pendulum"], "There is no environment 'pendulum'"),
    ],
)
def test_wrong_numbers_are_one_sentence(flags, message, capsys):
    assert benchmark_rl.main(["--sampling", "--env=point_navigation", *flags]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"error: {message}")
    assert err.count("\n") == 1
