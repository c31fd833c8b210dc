"""`python main.py --export_dir`, and what docs/export.md shows how to do with an export without this project."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import json_format
from tensorflow.core.framework.tensor_pb2 import TensorProto

import main
from maml_tf.export import DESCRIPTION
from maml_tf.runs import process
from maml_tf.supervised import build
from maml_tf.supervised import commands as export_run
from maml_tf.supervised.datasets import Shapes
from maml_tf.supervised.experiment import Experiment
from tests.command import ROOT, assert_refused
from tests.data_generators.synthetic_omniglot import snapshot
from tests.maml_tf.exports import assert_close, call, fill

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
EXPORT_DIR = "exported/sinusoid/1"  # the folder on the page


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A folder with a run of the sinusoid that has two checkpoints, and the MAML of the second one."""
    folder = tmp_path_factory.mktemp("runs")
    experiment = Experiment.of()
    maml = build.build(experiment, build.load(experiment).source, "map", False)
    store = build.store(folder / "logs" / "sinusoid" / experiment.name, maml, experiment)
    store.save(5)
    fill(maml.model)
    store.save(10)
    return folder, maml


@pytest.fixture(scope="module")
def sinusoid(run_folder):
    """The folder in which the page's command exported the sinusoid, our MAML, and the loaded export."""
    folder, maml = run_folder
    (arguments,) = re.findall(rf"^    python (main\.py --export_dir={EXPORT_DIR})$", PAGE, re.MULTILINE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "configure", lambda kind, **arithmetic: None)
        patch.chdir(folder)
        assert main.main(arguments.split()) == 0
    return folder, maml, tf.saved_model.load(str(folder / EXPORT_DIR))


def test_description_tells_what_it_is(sinusoid):
    description = json.loads((sinusoid[0] / EXPORT_DIR / DESCRIPTION).read_text())
    assert (description["datasource"], description["iteration"]) == ("sinusoid", 10)
    assert Experiment.of(**description["settings"]) == Experiment.of()
    assert f"{EXPORT_DIR}/{DESCRIPTION}" in PAGE


@pytest.fixture
def asked(monkeypatch):
    """The arguments of main.py's calls of `export`, which does nothing here."""
    calls = []
    monkeypatch.setattr(export_run, "export", lambda *args, **settings: calls.append((*args, settings)))
    return calls


def test_any_checkpoint_can_be_exported(run_main, run_folder, asked, tmp_path):
    logs = f"--logdir={run_folder[0] / 'logs' / 'sinusoid'}"
    result = run_main(logs, "--test_iter=5", "--export_transductive", "--export_dir=out")
    assert result.returncode == 0
    assert result.stdout.splitlines()[-2] == "Exporting the checkpoint of iteration 5"
    [(maml, path, settings)] = asked
    assert (path, settings["transductive"], settings["about"]["iteration"]) == ("out", True, 5)
    assert not maml.weights[1].numpy().any()  # checkpoint 5 is from before the biases were filled


def test_exporting_is_refused(run_main, run_folder, tmp_path):
    logs = f"--logdir={run_folder[0] / 'logs' / 'sinusoid'}"
    assert_refused(run_main("--export_dir=out"), "no checkpoint in logs/sinusoid/")
    assert_refused(run_main("--datasource=omniglot", "--export_dir=out"), "no checkpoint in logs/omniglot/")
    assert_refused(run_main(logs, "--test_iter=6", "--export_dir=out"), "no checkpoint of iteration 6 in ")
    assert_refused(run_main(logs, "--meta_lr=0.1", "--export_dir=out"), "was made with --meta_lr=0.001 (now 0.1)")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "file").write_text("mine")
    before = snapshot(tmp_path)
    assert_refused(run_main(logs, "--export_dir=out"), "the export folder out is not empty: name another, or remove it")
    assert snapshot(tmp_path) == before


def test_omniglot_is_exported_without_its_data(run_main, asked, tmp_path):
    experiment = Experiment.of(datasource="omniglot", num_classes=2, num_filters=2)

    maml = build.build(experiment, Shapes((28, 28, 1), 2), "map", False)
    build.store(tmp_path / "runs" / experiment.name, maml, experiment).save(1)
    flags = ("--datasource=omniglot", "--num_classes=2", "--num_filters=2", "--logdir=runs")
    assert run_main(*flags, "--export_dir=out").returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # nothing was downloaded
    [(maml, _, settings)] = asked
    assert (maml.model.input_shape, maml.model.output_shape) == ((None, 28, 28, 1), (None, 2))
    assert settings["transductive"] is False


SUPPORT = {
    "support_inputs": np.array([[-2.0], [0.5], [3.0]], np.float32),
    "support_labels": np.array([[1.5], [-0.5], [0.2]], np.float32),
}


def answers_of_ours(maml, signature, inputs):
    """The answers that a signature must give to inputs, computed by the MAML that was exported."""
    if signature == "predict":
        return {"outputs": maml.predict(inputs["inputs"])}
    size, updates = inputs.get("step_size"), inputs.get("num_updates")
    adapted = maml.adapt(inputs["support_inputs"], inputs["support_labels"], updates, size)
    if signature == "adapt":
        return dict(zip([v.path.replace("/", "_") for v in maml.weights], adapted.params, strict=True))
    outputs = maml.predict(inputs["query_inputs"], adapted)
    return {"query_outputs": outputs, "support_examples": len(inputs["support_inputs"])}


def json_bodies():
    return [json.loads(body) for body in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


def assert_answers(loaded, maml, signature, inputs):
    answers, expected = call(loaded, signature, **inputs), answers_of_ours(maml, signature, inputs)
    assert answers.keys() == expected.keys()
    for name, values in expected.items():
        assert_close(answers[name], values)
    return answers


def test_bodies_of_rest_requests(sinusoid):
    """Reads the requests as the server does: types come from the signature, names from the body."""
    _, maml, loaded = sinusoid
    seen = {}
    for body in json_bodies():
        if "signature_name" not in body:
            continue
        signature = body["signature_name"]
        _, specs = loaded.signatures[signature].structured_input_signature
        inputs = {n: np.array(v, specs[n].dtype.as_numpy_dtype) for n, v in body["inputs"].items()}
        assert inputs.keys() == specs.keys()
        plain = {name: value.item() if value.ndim == 0 else value for name, value in inputs.items()}
        seen[signature] = assert_answers(loaded, maml, signature, plain)
    assert seen.keys() == {"predict", "adapt", "adapt_and_predict", "adapt_and_predict_with"}
    query = np.array([[1.0], [-4.0]], np.float32)
    outputs = call(loaded, "predict_with", inputs=query, **seen["adapt"])["outputs"]
    assert_close(outputs, seen["adapt_and_predict"]["query_outputs"])


def test_body_of_the_grpc_request(sinusoid):
    _, maml, loaded = sinusoid
    (body,) = (body for body in json_bodies() if "model_spec" in body)
    tensors = {name: json_format.ParseDict(value, TensorProto()) for name, value in body["inputs"].items()}
    inputs = {name: tf.make_ndarray(tensor) for name, tensor in tensors.items()}
    assert_answers(loaded, maml, body["model_spec"]["signature_name"], inputs)
    # The command that starts the server uses the same name, and mounts the folder that holds the export's versions.
    (name,) = re.findall(r"-e MODEL_NAME=(\S+) tensorflow/serving", PAGE)
    assert name == body["model_spec"]["name"]
    assert f'-v "$PWD/{Path(EXPORT_DIR).parent}:/models/{name}"' in PAGE
    assert f"http://localhost:8501/v1/models/{name}:predict" in PAGE


# Does what saved_model_cli does for each line of its input, in one process, so that TensorFlow is loaded only once.
COMMAND_LINES = """
import shlex
import sys
from tensorflow.python.tools.saved_model_cli import main

for line in sys.stdin:
    sys.argv = ["saved_model_cli", *shlex.split(line)]
    try:
        main()
    except SystemExit as end:
        assert not end.code, line
    print("END OF A COMMAND")
"""


def test_saved_model_cli(sinusoid):
    folder, maml, _ = sinusoid
    assert Path(sys.executable).with_name("saved_model_cli").exists()
    commands = re.findall(r"^    saved_model_cli (.*)$", PAGE.replace("\\\n", ""), re.MULTILINE)
    command, lines = [sys.executable, "-c", COMMAND_LINES], "\n".join(commands)
    result = subprocess.run(command, cwd=folder, input=lines, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    show, run, rest = result.stdout.split("END OF A COMMAND\n")
    assert rest == ""
    for name in ("support_inputs", "support_labels", "query_inputs"):
        assert re.search(rf"inputs\['{name}'\] tensor_info:\s+dtype: DT_FLOAT\s+shape: \(-1, 1\)", show)
    assert "outputs['query_outputs'] tensor_info:" in show
    (answer,) = re.findall(r"Result for output key query_outputs:\s+\[\[(\S+)\]\]", run)
    query = np.array([[1.0]], np.float32)
    expected = maml.predict(query, maml.adapt(*SUPPORT.values())).numpy()
    np.testing.assert_allclose(float(answer), expected.item(), rtol=1e-5)
    assert re.search(r"Result for output key support_examples:\s+3", run)
