import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os
import sys
sys.modules["keras"] = None  # as if it were loaded, which would say something, too
from maml_tf.runs.process import quiet_import
try:
    with quiet_import():
        os.write(2, b"noise")
        {then}
except RuntimeError:
    os.write(2, b"failed")
os.write(2, (" level " + os.environ["TF_CPP_MIN_LOG_LEVEL"]).encode())
"""


def test_a_stderr_that_is_closed_is_no_obstacle():
    program = (
        "import os; os.close(2)\n" + PROGRAM.split("os.write")[0] + "pass\n    print('done')\nexcept RuntimeError: pass"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "done\n"


def stderr_of(then, **environment):
    inherited = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", PROGRAM.format(then=then)]
    root = Path(__file__).parents[3]
    return subprocess.run(
        command, cwd=root, env=inherited | environment, capture_output=True, text=True, check=True
    ).stderr


@pytest.mark.parametrize(
    ("then", "environment", "shown"),
    [
        ("pass", {}, " level 3"),
        ("raise RuntimeError", {}, "noisefailed level 3"),
        ("pass", {"TF_CPP_MIN_LOG_LEVEL": "0"}, "noise level 0"),
    ],
)
def test_what_is_written_is_shown_only_where_it_helps(then, environment, shown):
    assert stderr_of(then, **environment) == shown


def test_keras_is_loaded_without_what_draws_and_matplotlib_can_be_imported_then():
    program = """
import sys
from maml_tf.runs.process import quiet_import
with quiet_import():
    import keras
    print(keras.backend.backend(), sorted({"tensorflow", "matplotlib", "IPython"} & sys.modules.keys()))
    import matplotlib.pyplot
print(matplotlib.pyplot.__name__)
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["tensorflow ['tensorflow']", "matplotlib.pyplot"]


COLLECTIONS = """
import gc
import sys
{before}
from maml_tf.runs.process import quiet_import
sys.modules["keras"] = None  # so that it takes no time
with quiet_import():
    print(gc.isenabled(), end=" ")
print(gc.isenabled(), gc.get_freeze_count() > 0, gc.get_threshold()[0] == 50_000)
"""


@pytest.mark.parametrize(
    ("before", "then"),
    [
        ("", "False True True True\n"),
        ("sys.modules['tensorflow'] = None", "True True False False\n"),  # as if it were loaded already
        ("gc.disable()", "False False False False\n"),
    ],
)
def test_the_garbage_collector_rests_while_a_command_loads(before, then):
    command = [sys.executable, "-c", COLLECTIONS.format(before=before)]
    root = Path(__file__).parents[3]
    assert subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout == then
