"""Reads every array in the files that commands write (checkpoints, tables, pickles, summaries, exports), by name."""

import csv
import json
import pickle

import numpy as np
import tensorflow as tf

_SETTINGS = "experiment/.ATTRIBUTES/VARIABLE_VALUE"
_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"


def in_folder(folder, *patterns):
    """{"<file below the folder>/<name in the file>": array} of all files, or of those that match a pattern.

    Times are left out. A checkpoint's settings are one text; so is each non-numeric part of an export's description.
    """
    found = {}
    for path in sorted({path for pattern in patterns or ("**/*",) for path in folder.glob(pattern)}):
        read = next((read for ending, read in _READERS.items() if path.name.endswith(ending)), None)
        if path.name == "variables.index":
            continue  # an export's variables: its answers are compared instead
        if "tfevents" in path.name:
            read, name = _summaries, path.with_name("summaries")
        else:
            name = path
        if read:
            found |= {f"{name.relative_to(folder)}/{key}": np.asarray(value) for key, value in read(path).items()}
    return found


def checkpoint(index):
    """The arrays of the checkpoint with this index."""
    reader = tf.train.load_checkpoint(str(index.with_suffix("")))
    arrays = {key: reader.get_tensor(key) for key in reader.get_variable_to_shape_map() if key != _GRAPH}
    return arrays | {_SETTINGS: _text(json.loads(arrays[_SETTINGS]))}


def table(path):
    """The columns of a csv without seconds: numbers, or texts if an entry of the column is not a number."""
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(header, ())
    return {name: _numbers(column) for name, column in columns.items() if not name.startswith("seconds")}


def _numbers(column):
    try:
        return np.array([float(text or "nan") for text in column])
    except ValueError:
        return np.array(column)


def _pickle(path):
    with open(path, "rb") as file:
        return pickle.load(file)


def _npz(path):
    with np.load(path, allow_pickle=False) as arrays:
        found = dict(arrays)
    for name in {"settings", "progress"} & found.keys():
        found[name] = _text({k: v for k, v in json.loads(str(found[name])).items() if k != "seconds"})
    return found


def _figures(path):
    evaluations = json.loads(path.read_text())["figures"]
    return {f"{key}/{name}": values for key, kept in evaluations.items() for name, values in kept.items()}


def _description(path):
    """The entries of an export's description, without versions and sentences."""
    left_out = {"maml_tf", "tensorflow", "keras", "goal", "actions", "advantages"}
    return {key: _value(value) for key, value in json.loads(path.read_text()).items() if key not in left_out}


def _value(value):
    """A float, or a dict of floats, as an array; anything else as a text."""
    numbers = [value[name] for name in sorted(value)] if isinstance(value, dict) else [value]
    return np.array(numbers) if all(isinstance(number, float) for number in numbers) else _text(value)


def _summaries(path):
    """{tag: [events, 2]}: step and value of each event."""
    found = {}
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            if not value.tag.startswith("seconds"):
                found.setdefault(value.tag, []).append((event.step, float(tf.make_ndarray(value.tensor))))
    return found


def _export(path):
    return {f"{signature}/{name}": value for (signature, name), value in answers(path.parent).items()}


def answers(folder):
    """{(signature, output): array} of a SavedModel, for inputs that are drawn to fit the signature."""
    loaded, found = tf.saved_model.load(str(folder)), {}
    for signature, function in sorted(loaded.signatures.items()):
        random, specs = np.random.default_rng(0), function.structured_input_signature[1]
        inputs = {name: tf.constant(_drawn(random, spec), spec.dtype) for name, spec in sorted(specs.items())}
        found |= {(signature, name): value.numpy() for name, value in function(**inputs).items()}
    return found


def _drawn(random, spec):
    """Six examples; for a scalar, a step size or a number of updates."""
    shape = [6 if size is None else size for size in spec.shape]
    if not shape:
        return 0.05 if spec.dtype.is_floating else 2
    return random.normal(size=shape) if spec.dtype.is_floating else np.arange(6) % 2


def _text(settings):
    return json.dumps(settings, sort_keys=True)


_READERS = {
    ".index": checkpoint,
    ".csv": table,
    ".pkl": _pickle,
    "classifier.npz": _npz,
    "figures.json": _figures,
    "maml.json": _description,
    "saved_model.pb": _export,
}
