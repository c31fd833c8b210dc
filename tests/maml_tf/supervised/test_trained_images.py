"""What a run was trained on: a test on classes among them is told, and other images are not resumed on."""

import json
import logging

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.supervised.task_data import TaskData
from maml_tf.supervised.trained_images import DATA, record, refuse_others, warn_of_trained_classes


def data(**classes):
    return TaskData(None, None, None, tuple(classes), {split: tuple(names) for split, names in classes.items()})


@pytest.fixture
def warnings_of(tmp_path, caplog):
    """A function of the data of a training and of a test: what is logged of them."""

    def call(trained, tested):
        record(tmp_path, trained)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            warn_of_trained_classes(tmp_path, tested)
        return [entry.getMessage() for entry in caplog.records]

    return call


def test_a_class_that_moved_from_training_to_the_test_is_told(warnings_of):
    (text,) = warnings_of(data(train="abcd", val="e", test="fg"), data(train="acdf", val="e", test="bg"))
    assert "was trained on 1 of the 2 classes of the test split (b): a test on them is no test on new classes" in text
    assert len(warnings_of(data(train="ab"), data(val="a", test="b"))) == 2


@pytest.mark.parametrize(
    "tested",
    [
        data(train="abcd", val="e", test="fg"),
        data(test="fg"),
        data(train="abcd", test="ab"),  # loading these has told it
        data(),
    ],
)
def test_other_tests_are_not(warnings_of, tested):
    assert warnings_of(data(train="abcd", val="e"), tested) == []


def test_classes_that_are_only_numbered_may_be_others_in_each_split(warnings_of):
    assert warnings_of(data(train="0123"), data(test="01")) == []
    assert warnings_of(data(train="0123"), data(test="13")) != []


def test_runs_of_earlier_versions_say_nothing(tmp_path, caplog):
    warn_of_trained_classes(tmp_path, data(test="ab"))
    (tmp_path / DATA).write_text(json.dumps({"train": "4 classes"}), encoding="utf-8")
    warn_of_trained_classes(tmp_path, data(test="ab"))
    assert caplog.records == []


@pytest.mark.parametrize("content", ["[1", "{}", '{"train": null, "classes": null}', "[]"])
def test_a_damaged_file_is_one_sentence_and_stops_no_test(tmp_path, caplog, content, monkeypatch):
    (tmp_path / DATA).write_text(content, encoding="utf-8")
    warn_of_trained_classes(tmp_path, data(test="ab"))
    assert caplog.records == []
    refuse_others(tmp_path, data(test="ab"), "")  # they have no training images to compare
    monkeypatch.setattr(TaskData, "description", lambda self: "2 classes")
    with pytest.raises(UserError, match=r"is damaged or cannot be read|was trained on other images, None"):
        refuse_others(tmp_path, data(train="ab"), "")


def test_names_of_classes_may_be_numbers(warnings_of):
    assert warnings_of(data(train=np.arange(5, 9)), data(test=np.arange(8, 11))) != []
