"""What docs/scale.md offers to copy: TF_CONFIG, the loop of the SLURM script, the main parts of the Kubernetes job."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from maml_tf.distribution import LOST
from maml_tf.runs import workers

SCALE = Path(__file__).parents[2] / "docs" / "scale"
SLURM, KUBERNETES = SCALE / "slurm.sh", SCALE / "kubernetes.yaml"


def submitted(folder, codes, restarts=2, more=()):
    """Runs the SLURM script with a fake srun that ends with these codes; returns (exit code, srun's arguments)."""
    fake = folder / "srun"
    fake.write_text('#!/bin/bash\necho "$@" >> calls.txt\ncodes=($CODES)\nexit "${codes[$(wc -l < calls.txt) - 1]}"\n')
    fake.chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "CODES": " ".join(map(str, codes)), "PAUSE": "0"}
    environment |= {"RESTARTS": str(restarts), "SLURM_CPUS_PER_TASK": "8"}
    command = ["bash", SLURM, "--datasource=omniglot", "--logdir=my runs", *more]
    result = subprocess.run(command, cwd=folder, env=environment, timeout=60, check=False, capture_output=True)
    return result.returncode, (folder / "calls.txt").read_text().splitlines()


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ([0], 0),
        ([LOST, 0], 0),
        ([137, LOST, 0], 0),  # killed, for example for using too much memory
        ([2], 2),
        ([LOST, 130], 130),
        ([LOST, LOST, LOST], LOST),  # after two restarts
    ],
)
def test_the_slurm_script_starts_again_where_a_worker_was_lost(tmp_path, codes, expected):
    code, calls = submitted(tmp_path, codes)
    assert code == expected
    assert calls == [
        "--cpus-per-task=8 --kill-on-bad-exit=0 python main.py --datasource=omniglot --logdir=my runs"
    ] * len(codes)


@pytest.mark.parametrize(
    ("flag", "starts"), [("--resume=False", 1), ("--noresume", 1), ("-resume=0", 1), ("--resume=True", 3)]
)
def test_the_slurm_script_does_not_begin_anew(tmp_path, flag, starts):
    code, calls = submitted(tmp_path, [LOST] * 3, more=[flag])
    assert (code, len(calls)) == (LOST, starts)


def test_the_slurm_script_is_one_and_asks_for_two_tasks():
    assert subprocess.run(["bash", "-n", SLURM], check=False).returncode == 0
    asked = [line.removeprefix("#SBATCH ") for line in SLURM.read_text().splitlines() if line.startswith("#SBATCH ")]
    assert {"--nodes=2", "--ntasks-per-node=1", "--requeue"} <= set(asked)


def test_tf_config_of_the_page_names_its_workers(monkeypatch):
    (config,) = re.findall("TF_CONFIG='(.+)'", SCALE.with_suffix(".md").read_text())
    monkeypatch.setenv("TF_CONFIG", config)
    resolver = workers._cluster()
    assert (resolver.task_id, resolver.cluster_spec().as_dict()) == (0, {"worker": ["alpha:12345", "beta:12345"]})


@pytest.fixture(scope="module")
def cluster():
    """{kind: object} of the Kubernetes file."""
    return {item["kind"]: item for item in yaml.safe_load_all(KUBERNETES.read_text())}


def test_every_pod_of_the_job_knows_all_workers_and_itself(cluster, monkeypatch):
    job = cluster["Job"]
    spec, pod = job["spec"], job["spec"]["template"]["spec"]
    assert spec["completionMode"] == "Indexed"
    (container,) = pod["containers"]
    script, command = container["args"][0].partition("exec ")[::2]
    environment = {variable["name"]: variable["value"] for variable in container["env"]}
    environment |= {"JOB_COMPLETION_INDEX": "1", "PATH": os.environ["PATH"]}
    shown = [*container["command"], f'{script}printf %s "$TF_CONFIG"']
    config = subprocess.run(shown, env=environment, capture_output=True, text=True, check=True).stdout
    addresses = json.loads(config)["cluster"]["worker"]
    assert json.loads(config)["task"] == {"type": "worker", "index": 1}
    assert len(addresses) == spec["completions"] == spec["parallelism"]
    # The name of a pod in an Indexed Job consists of the job's name and the pod's index; its address has the subdomain.
    name = f"{job['metadata']['name']}-{{}}.{pod['subdomain']}:12345"
    assert addresses == [name.format(index) for index in range(spec["completions"])]
    monkeypatch.setenv("TF_CONFIG", config)
    resolver = workers._cluster()
    assert (resolver.task_id, resolver.cluster_spec().as_dict()) == (1, {"worker": addresses})
    assert command.split()[:2] == ["python", "main.py"]


def test_the_service_is_headless_and_finds_the_pods(cluster):
    service, job = cluster["Service"], cluster["Job"]
    assert service["metadata"]["name"] == job["spec"]["template"]["spec"]["subdomain"]
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    pods = {"job-name": job["metadata"]["name"]}
    assert service["spec"]["selector"] == pods
    policy = cluster["NetworkPolicy"]["spec"]
    assert policy["podSelector"]["matchLabels"] == pods
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": pods}}]}]


def test_lost_workers_are_retried_and_mistakes_fail_the_job(cluster):
    spec = cluster["Job"]["spec"]
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["template"]["spec"]["restartPolicy"] == "Never"  # otherwise Kubernetes refuses the policy
    actions = {}
    for rule in spec["podFailurePolicy"]["rules"]:
        codes = rule.get("onExitCodes")
        if codes is None:
            assert rule == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
            continue
        assert (codes["containerName"], codes["operator"]) == (container["name"], "In")
        actions |= {code: rule["action"] for code in codes["values"]}
    assert actions == {2: "FailJob", LOST: "Ignore", 130: "Ignore"}
