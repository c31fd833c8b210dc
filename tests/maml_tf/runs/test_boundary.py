"""Tests of the boundary of all commands: exit codes, error messages, and output that nobody reads."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from data_generators.errors import UserError, exit_code
from maml_tf.runs import boundary

ROOT = Path(__file__).parents[3]


def raises(error):
    def run():
        raise error

    return run


def opened(path):
    return lambda: open(path, "rb").close()


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        (lambda: None, 0, ""),
        (lambda: 7, 7, ""),
        (raises(UserError("no such thing")), 2, "error: no such thing\n"),
        (raises(KeyboardInterrupt), 130, "\ninterrupted\n"),
        (opened("nowhere/x"), 2, "error: nowhere/x: No such file or directory\n"),
        (opened("a" * 300), 2, f"error: {'a' * 300}: File name too long\n"),
        (opened("a\0b"), 2, "error: the name of a file holds a NUL byte: use another name\n"),
        (lambda: os.rename("none", "other"), 2, "error: none -> other: No such file or directory\n"),
        (lambda: "x\udcff".encode(), 2, "error: 'x\\udcff' is not valid UTF-8 (surrogates not allowed)"),
        (lambda: tf.io.read_file("nowhere/x"), 2, "error: nowhere/x; No such file or directory\n"),
        (tf.function(lambda: tf.io.read_file("nowhere/x")), 2, "error: nowhere/x; No such file or directory\n"),
        (lambda: tf.summary.create_file_writer("/proc/none").init(), 2, "error: /proc/none; No such file or directory"),
        (raises(MemoryError("7 GiB")), 2, "error: there is not enough memory (7 GiB): use smaller sizes\n"),
        (
            raises(tf.errors.ResourceExhaustedError(None, None, "{{node x}} OOM when allocating [Op:Mul]\nmore")),
            2,
            "error: there is not enough memory (OOM when allocating): use smaller sizes\n",
        ),
    ],
)
def test_exit_codes_and_what_is_said(run, code, said, capsys):
    assert boundary.guarded(run) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert len(err.strip().splitlines()) <= 1
    assert bool(err) == bool(said)


@pytest.mark.parametrize(
    "bug",
    [
        ZeroDivisionError(),
        ValueError("a shape"),
        KeyError("x"),
        tf.errors.InvalidArgumentError(None, None, "shapes"),
        tf.errors.NotFoundError(None, None, "No registered 'Mul' OpKernel"),
    ],
)
def test_bugs_keep_their_traceback(bug):
    with pytest.raises(type(bug)):
        boundary.guarded(raises(bug))


def test_arguments_and_the_word_after_ctrl_c(capsys):
    assert boundary.guarded(lambda a, b: a - b, 7, 4) == 3
    assert boundary.guarded(raises(KeyboardInterrupt), interrupted="stopped") == 130
    assert capsys.readouterr().err == "\nstopped\n"


LINES = "from maml_tf.runs.boundary import guarded\nimport sys\ndef body():\n"
LINES += "    for i in range(2000):\n        print(f'line {i}', 'x' * 100)\n    open('done', 'w').close()\n"
LINES += "sys.exit(guarded(body))\n"


@pytest.mark.parametrize("redirection", ["| head -1", "> /dev/full", ">&-", ">&- 2>&-", "2> /dev/full > /dev/full"])
def test_a_command_lives_on_when_nobody_reads_its_output(redirection, tmp_path):
    shell = f"set -o pipefail; '{sys.executable}' -c \"$CODE\" {redirection}"
    environment = {**os.environ, "CODE": LINES, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(["bash", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / "done").exists()
    assert (tmp_path / "done").read_bytes() == b""


def test_a_stream_that_cannot_be_configured_serves(monkeypatch):
    class Notebook(io.StringIO):
        reconfigure = property(lambda self: (_ for _ in ()).throw(AttributeError("reconfigure")))

    stream = Notebook()
    monkeypatch.setattr(sys, "stdout", stream)
    assert boundary.guarded(lambda: print("heard")) == 0
    assert sys.stdout is stream
    assert stream.getvalue() == "heard\n"


def test_letters_that_the_terminal_does_not_have_are_escaped(monkeypatch):
    contents = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(contents, "ascii"))
    assert boundary.guarded(lambda: print("é \udcff")) == 0
    assert contents.getvalue() == b"\\xe9 \\udcff\n"


# Processes that a shell starts in the background ignore SIGINT, so the programs set Python's handler themselves.
LISTEN = "import os, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"


def python(code):
    result = subprocess.run([sys.executable, "-c", f"{LISTEN}\n{code}"], cwd=ROOT, capture_output=True, text=True)
    return result.returncode, result.stderr


@pytest.mark.parametrize(
    "begin", ["sys.argv[0] = '-m'; import scripts", "import maml_tf.runs.boundary as i; i.while_loading()"]
)
def test_ctrl_c_while_a_command_loads_cannot_get_lost_in_a_library(begin):
    code = f"""if True:
        {begin}
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt as error:
            raise ImportError from error
    """
    assert python(code) == (130, "\ninterrupted\n")


def test_ctrl_c_is_an_exception_once_a_command_runs():
    code = """if True:
        sys.argv[0] = "-m"
        from maml_tf.runs.boundary import guarded
        sys.exit(guarded(lambda: os.kill(os.getpid(), signal.SIGINT), interrupted="saved"))
    """
    assert python(code) == (130, "\nsaved\n")


def test_ctrl_c_is_the_users_in_a_program_that_imports_the_library():
    code = """if True:
        sys.argv[0] = "my/main.py"
        import maml_tf.runs.boundary, scripts, main
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            sys.exit(7)
    """
    assert python(code) == (7, "")


@pytest.mark.parametrize(
    ("in_clone", "installed"),
    [
        ("make it by `python main.py --seed=1`", "make it by `maml --seed=1`"),
        ("main.py's --resume=False", "maml's --resume=False"),
        ("by `python -m scripts.train_rl --seed=3`", "by `maml-rl train --seed=3`"),
        ("policies of scripts.train_rl", "policies of maml-rl train"),
        ("python -m scripts.evaluate_rl\npython -m scripts.export_rl", "maml-rl evaluate\nmaml-rl export"),
        ("mine/main.py is not of use, nor domain.pym", "mine/main.py is not of use, nor domain.pym"),
        ("`python -m scripts.prepare_omniglot`", "`python -m scripts.prepare_omniglot`"),
    ],
)
def test_commands_have_the_names_of_an_installation_outside_a_clone(in_clone, installed, monkeypatch, capsys):
    assert boundary.as_called_here(in_clone) == in_clone
    monkeypatch.setattr(boundary, "_IN_CLONE", False)
    assert boundary.as_called_here(in_clone) == installed
    boundary.guarded(raises(UserError(in_clone)))
    assert capsys.readouterr().err == f"error: {' '.join(installed.splitlines())}\n"


@pytest.mark.parametrize(
    ("ended", "code"), [(SystemExit(), 0), (SystemExit(0), 0), (SystemExit(3), 3), (SystemExit("no"), 1)]
)
def test_the_exit_code_of_a_program_that_ends_itself(ended, code):
    assert exit_code(ended) == code
