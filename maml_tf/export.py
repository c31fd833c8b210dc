"""Exports a meta-learned initialisation as a TensorFlow SavedModel, which adapts to new tasks without this project."""

import contextlib
import json
import os
from pathlib import Path

import maml_tf
from data_generators.errors import UserError, first_line
from data_generators.files import check_name, remove_all_abandoned, replacing
from maml_tf.backend import keras, tf
from maml_tf.maml import MAML
from maml_tf.signatures import Signatures, text
from maml_tf.step_sizes import PER_WEIGHT

# TensorFlow reserves this folder of a SavedModel for files that are not part of the graph.
DESCRIPTION = Path("assets.extra", "maml.json")


def export(
    maml: MAML,
    path: str | Path,
    *,
    transductive: bool = False,
    inputs: tf.TensorSpec | None = None,
    targets: tf.TensorSpec | None = None,
    about: dict | None = None,
) -> Path:
    """Writes a SavedModel whose signatures predict and adapt; see `signatures.Signatures` for what they do.

    Args:
        maml: MAML.
        path: folder to write; it must be empty or not exist.
        transductive: whether to normalise queries by their own batch statistics, as the original does in its
            evaluation; otherwise by those of the support, so that the output for a query does not depend on the other
            queries.
        inputs: tf.TensorSpec of the model's inputs, [examples, ...]; default, that of the model's Input or, for a
            subclassed model, of the inputs that it was built with.
        targets: tf.TensorSpec of the support's labels, [examples, ...]; default, that of the labels that `maml` was
            trained with. If it has seen none: that of the model's outputs, or of class ids if the loss takes only
            these.
        about: dict of further entries of the description, with values that JSON can hold.

    Returns:
        The path.

    Raises:
        UserError: the folder is not empty or cannot be written, or the model has several inputs or outputs.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> path = export(MAML(model, "mse"), tempfile.mkdtemp())
        >>> adapt = tf.saved_model.load(str(path)).signatures["adapt_and_predict"]
        >>> x = tf.ones([5, 1])
        >>> adapt(support_inputs=x, support_labels=2 * x, query_inputs=x)["query_outputs"].shape
        TensorShape([5, 1])
    """
    signatures, endpoints = _endpoints(maml, transductive, inputs, targets)
    return write(maml.model, endpoints, _describe(maml, transductive, signatures, about or {}), path)


def write(model: keras.Model, endpoints: dict, description: dict, path: str | Path, axis: str = "examples") -> Path:
    """Writes a SavedModel beside `path` and then renames it, so that `path` has a whole export or none.

    Args:
        model: keras.Model, whose variables the endpoints use.
        endpoints: dict of the signatures, name -> (function, list of the tf.TensorSpec of its arguments); the first is
            the default.
        description: dict that describes the export, with values that JSON can hold. The versions of this library, Keras
            and TensorFlow are added, and the arguments of the endpoints.
        path: folder to write; it must be empty or not exist.
        axis: name of the arguments' first axis in the description.

    Returns:
        The path.

    Raises:
        UserError: the folder is not empty or cannot be written.
    """
    refuse_unless_free(path)
    archive = keras.export.ExportArchive()
    archive.track(model)
    for name, (function, arguments) in endpoints.items():
        archive.add_endpoint(name, function, arguments)
    versions = {"maml_tf": maml_tf.__version__, "tensorflow": tf.__version__, "keras": keras.__version__}
    shown = {name: _shown(arguments, axis) for name, (_, arguments) in endpoints.items()}
    _write(archive, versions | description | {"arguments": shown}, Path(path))
    return Path(path)


def refuse_unless_free(path: str | Path) -> None:
    """Raises UserError unless `path` is an empty folder or does not exist."""
    path = Path(path)
    check_name(path, "name another")
    try:
        free = not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir()))
    except OSError as error:
        raise UserError(f"the export folder {path} cannot be read ({error})") from error
    if not free:
        raise UserError(f"the export folder {path} is not empty: name another, or remove it")


def _endpoints(maml, transductive, inputs, targets):
    """Returns the Signatures and a dict of them, name -> (function, arguments)."""
    maml.pure.check_trainable()
    inputs = inputs or _input_spec(maml.pure)
    signatures = Signatures(maml, transductive, inputs, targets or maml.target_spec or _target_spec(maml, inputs))
    return signatures, signatures.all()


def _input_spec(pure):
    model = pure.model
    tensors = getattr(model, "inputs", None)
    if tensors and len(tensors) == 1:
        return tf.TensorSpec([None, *tensors[0].shape[1:]], tensors[0].dtype)
    if tensors:
        raise UserError(f"model {model.name!r} has {len(tensors)} inputs: only models with one can be exported")
    if pure.built_on is None:
        raise UserError(f"model {model.name!r} has no Input: say inputs=tf.TensorSpec([None, ...]) when exporting it")
    return pure.built_on


def _output_spec(maml, inputs):
    traced = tf.function(lambda x: maml.pure(*maml.start()[:3], x)[0], autograph=False)
    outputs = traced.get_concrete_function(inputs).structured_outputs
    if not isinstance(outputs, tf.Tensor | tf.TensorSpec):
        raise UserError(f"model {maml.model.name!r} has several outputs: only models with one can be exported")
    return tf.TensorSpec(outputs.shape, outputs.dtype)


def _target_spec(maml, inputs):
    """The spec of the outputs; or of class ids, if the loss does not take targets like the outputs."""
    outputs = _output_spec(maml, inputs)
    ids = tf.TensorSpec(outputs.shape[:-1], tf.int64)
    for targets in (outputs, ids):
        with contextlib.suppress(Exception):
            tf.function(maml.loss, autograph=False).get_concrete_function(outputs, targets)
            return targets
    return outputs


def _describe(maml, transductive, signatures, about):
    """Describes the export in values that JSON can hold."""
    return {
        **about,
        "step_size": _step_size(maml, signatures.weight_names),
        "num_updates": maml.num_updates,
        "queries_normalised_by": "query statistics" if transductive else "support statistics",
        "weights": signatures.weight_names,
        "state": signatures.state_names,
    }


def _step_size(maml, weight_names):
    if not maml.step_sizes:
        return maml.step_size
    if maml.learn_step_size == PER_WEIGHT:
        return "one for each weight, meta-learned"
    return {name: size.numpy().tolist() for name, size in zip(weight_names, maml.step_sizes, strict=True)}


def _shown(specs, axis):
    return {spec.name: f"{spec.dtype.name} {text(spec, axis)}" for spec in tf.nest.flatten(specs)}


def _write(archive, description, path):
    target = path.resolve()
    # No custom gradients: an export is not trained further, and the gradients of its inner loop are part of its graph.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    remove_all_abandoned(target.parent)  # left by exports that were killed
    try:
        with replacing(target) as part:
            archive.write_out(str(part), options, verbose=False)
            (part / DESCRIPTION).parent.mkdir()
            (part / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"the export cannot be written to {path} ({first_line(error)})") from error
