"""The benchmark of sampling: its table, and a wrong number of workers."""

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


def test_a_wrong_number_of_workers_is_one_sentence(capsys):
    assert benchmark_rl_sampling.main(["--env=ant_velocity", "--workers=0", "--tasks=1"]) == 2
    assert capsys.readouterr().err == "error: The number of workers must be at least 1, not 0.\n"
