import pytest

from data_generators.errors import UserError
from scripts import command


def raises(error):
    def run(flags):
        raise error

    return run


@pytest.mark.parametrize(
    ("run", "code", "said"),
    [
        (lambda flags: None, 0, ""),
        (lambda flags: flags, 7, ""),
        (raises(UserError("no such thing")), 2, "error: no such thing\n"),
        (raises(KeyboardInterrupt), 130, "\nbroken off\n"),
    ],
)
def test_exit_codes_and_what_is_said(run, code, said, capsys):
    assert command.guarded(run, 7) == code
    assert capsys.readouterr() == ("", said)


def test_other_errors_keep_their_traceback():
    with pytest.raises(ZeroDivisionError):
        command.guarded(raises(ZeroDivisionError), None)


def test_parser_names_the_command_and_keeps_the_lines_of_its_description():
    text = command.parser("some_command", "What it does.\n\npython -m scripts.some_command").format_help()
    assert text.startswith("usage: python -m scripts.some_command")
    assert "What it does.\n\npython -m scripts.some_command" in text
