"""How a process finds out which workers it belongs to; no worker is started here."""

import itertools
import json
import os

import pytest
import tensorflow as tf

from data_generators.errors import UserError
from maml_tf.distribution import ALONE, Alone
from maml_tf.runs import workers
from scripts import local_workers

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
    assert resolver.task_id == 3  # known after cluster_spec()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert workers._cluster() is None


def slurm(monkeypatch, **variables):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    for name in [name for name in os.environ if name.startswith("SLURM")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


STEP = {"SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "node[9-10]", "SLURM_STEP_TASKS_PER_NODE": "1,2"}


def test_tasks_of_slurm_are_by_its_order_of_nodes_and_without_gpus(monkeypatch):
    slurm(monkeypatch, SLURM_PROCID="1", SLURMD_NODENAME="node10", **STEP)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    resolver = workers._cluster()
    assert resolver.cluster_spec().as_dict() == {"worker": ["node9:8888", "node10:8888", "node10:8889"]}
    assert (resolver.task_type, resolver.task_id, resolver.rpc_layer) == ("worker", 1, "grpc")
    assert resolver.num_accelerators() == {"GPU": 0}


def test_steps_of_slurm_have_ports_of_their_own(monkeypatch):
    """The jobs of an array have consecutive numbers and may share a node; so may the steps of a job."""
    firsts = set()
    for job in range(70_000, 70_100):
        slurm(monkeypatch, SLURM_PROCID="0", SLURM_JOB_ID=str(job), SLURM_STEP_ID="0", **STEP)
        firsts.add(workers._cluster().cluster_spec().as_dict()["worker"][0])
    for step in range(1, 5):
        monkeypatch.setenv("SLURM_STEP_ID", str(step))
        firsts.add(workers._cluster().cluster_spec().as_dict()["worker"][0])
    ports = sorted(int(first.split(":")[1]) for first in firsts)
    assert len(ports) == 104
    assert min(b - a for a, b in itertools.pairwise(ports)) >= 16
    assert ports[0] > 1024
    assert ports[-1] + 16 < 32768  # the ephemeral ports begin there


def test_what_slurm_says_that_is_no_cluster(monkeypatch):
    slurm(monkeypatch, SLURM_PROCID="1", SLURMD_NODENAME="node9", **STEP)
    with pytest.raises(UserError, match=r"task 1 is on node9, where node10 was expected: start .*distribution=block"):
        workers._cluster()
    slurm(monkeypatch, SLURM_PROCID="1", SLURM_STEP_NUM_TASKS="3", SLURM_STEP_NODELIST="node9")
    with pytest.raises(UserError, match=r"SLURM's variables of the step cannot be read .*: set TF_CONFIG"):
        workers._cluster()
    monkeypatch.setenv("TF_CONFIG", "{}")  # makes each task run by itself
    assert workers._cluster() is None
    slurm(monkeypatch, SLURM_PROCID="0", SLURM_NTASKS="4", SLURM_JOB_ID="7")  # sbatch without srun
    assert workers._cluster() is None


def test_a_process_of_any_name_that_has_no_others_is_alone(config):
    """Some hosts of single jobs name the process like this."""
    config({"chief": ["host:2222"]}, {"type": "chief", "index": 0})
    assert workers._cluster() is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "TF_CONFIG is not what TensorFlow documents"),
        ("[]", "TF_CONFIG is not what TensorFlow documents"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker"}}', "TF_CONFIG is not what"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}', "0 to 1, but the index 2"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": -1}}', "but the index -1"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', "TF_CONFIG is not what"),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}', "an address of its own"),
        ('{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 0}}', "give a list of host:port"),
        ('{"cluster": {"worker": {"0": "a:1", "1": "b:1"}}, "task": {"type": "worker", "index": 0}}', "give a list of"),
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
def test_the_launcher_refuses(arguments, said, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert local_workers.main(arguments) == 2
    assert said in capsys.readouterr().err
