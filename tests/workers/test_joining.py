"""How a process finds out which workers it belongs to; without any being started."""

import json

import pytest

from data_generators.errors import UserError
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs import workers
from tests.workers.started import alone

ADDRESSES = ["localhost:20001", "localhost:20002"]


@pytest.fixture
def config(monkeypatch):
    def set_config(cluster, task):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))

    return set_config


def test_a_process_is_alone_unless_others_are_named(monkeypatch, config):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    with workers.joined() as together:
        assert together is ALONE
    config({"worker": ADDRESSES[:1]}, {"type": "worker", "index": 0})
    with workers.joined() as together:
        assert together is ALONE
    monkeypatch.setenv("TF_CONFIG", "{}")
    with workers.joined() as together:
        assert together is ALONE
    workers.refuse_several("an export")


def test_tf_config_and_slurm_name_the_workers(monkeypatch, config):
    config({"worker": ADDRESSES}, {"type": "worker", "index": 1})
    resolver = workers._cluster()
    assert (resolver.task_id, resolver.cluster_spec().as_dict()) == (1, {"worker": ADDRESSES})
    with pytest.raises(UserError, match="an export is done by one process: unset TF_CONFIG"):
        workers.refuse_several("an export")
    monkeypatch.delenv("TF_CONFIG")
    step = {"PROCID": "3", "STEP_NUM_TASKS": "4", "STEP_NODELIST": "node[07-08]", "STEP_TASKS_PER_NODE": "2(x2)"}
    for name, value in step.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    resolver = workers._cluster()
    expected = ["node07:8888", "node07:8889", "node08:8888", "node08:8889"]
    assert resolver.cluster_spec().as_dict() == {"worker": expected}
    assert resolver.task_id == 3  # known by then
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert workers._cluster() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "TF_CONFIG is not what TensorFlow documents"),
        ("[]", "TF_CONFIG is not what TensorFlow documents"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker"}}', "TF_CONFIG is not what"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}', "0 to 1, but the index 2"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": -1}}', "but the index -1"),
        ('{"cluster": {"chief": ["a:1"], "worker": ["b:2"]}, "task": {"type": "worker", "index": 0}}', "names chief"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "ps", "index": 0}}', "names ps"),
    ],
)
def test_what_tf_config_cannot_say(monkeypatch, text, said):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=said):
        workers._cluster()


@pytest.mark.parametrize(("number", "count"), [(25, 2), (7, 3), (4, 4), (600, 7)])
def test_shares_are_consecutive_and_even(number, count):
    shares = []
    for index in range(count):
        worker = Alone()
        worker.index, worker.count = index, count
        shares.append(worker.share(number))
    assert [first for first, _ in shares] == [sum(size for _, size in shares[:i]) for i in range(count)]
    sizes = [size for _, size in shares]
    assert (sum(sizes), max(sizes) - min(sizes) <= 1) == (number, True)
    with pytest.raises(UserError, match=f"{count - 1} tasks are too few for {count} workers"):
        worker.share(count - 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers=2"], "the command is missing"),
        (["--workers=1000", "main.py"], "1000 workers need a core each"),
        (["--workers=0", "main.py"], "workers must be at least 1"),
    ],
)
def test_the_launcher_refuses(arguments, said):
    outcome = alone("-m", "scripts.local_workers", *arguments, CUDA_VISIBLE_DEVICES="")
    assert outcome.returncode == 2
    assert said in outcome.stderr
