"""Tests of settings: usual values, ranges, differences from a checkpoint's settings, and the flags made from them."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.settings import Settings, setting


@dataclasses.dataclass(frozen=True)
class Baking(Settings):
    cake: str = setting("what is baked", choices=("sponge", "tart"))
    eggs: int = setting("in the dough", least=1, most=12)
    heat: float = setting("of the oven", positive=True)
    share: float = setting("of butter", between=(0, 1))
    rest: float = setting("of the butter", inside=(0, 1))
    sweet: bool = setting("with sugar", before=True)
    iterations: int = setting("cakes", least=0)
    name: str | None = setting("on it")

    @classmethod
    def usual(cls, given):
        cake = given.get("cake", "sponge")
        eggs = 4 if cake == "sponge" else 1
        numbers = {"heat": 180.0, "share": 0.25, "rest": 0.5, "sweet": True, "iterations": 1, "name": None}
        return {"cake": cake, "eggs": eggs} | numbers


def test_what_is_not_given_is_usual_for_what_is():
    assert Baking.of() == Baking("sponge", 4, 180.0, 0.25, 0.5, True, 1, None)
    assert Baking.of(cake="tart", heat=None).eggs == 1


def test_flags_are_those_that_are_not_usual():
    assert Baking.of().flags() == []
    assert Baking.of(cake="tart", eggs=1, sweet=False).flags() == ["--cake=tart", "--sweet=False"]
    assert Baking.of(cake="tart", eggs=4, name="Ada").unusual() == {"cake": "tart", "eggs": 4, "name": "Ada"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cake": "pie"}, "unknown cake 'pie': choose one of sponge, tart"),
        ({"eggs": 0}, "--eggs must be at least 1, not 0"),
        ({"eggs": 13}, "--eggs must be at most 12, not 13"),
        ({"iterations": 2**31}, "--iterations must be at most 2147483647, not 2147483648"),
        ({"heat": 0.0}, "--heat must be a positive number, not 0.0"),
        ({"heat": float("nan")}, "--heat must be a positive number, not nan"),
        ({"heat": float("inf")}, "--heat must be a positive number, not inf"),
        ({"share": 1.5}, "--share must be between 0 and 1, not 1.5"),
        ({"share": float("nan")}, "--share must be between 0 and 1, not nan"),
        ({"rest": 1.0}, "--rest must lie between 0 and 1, not at 1.0"),
        ({"sweet": "False"}, "--sweet must be True or False, not 'False'"),
        ({"sweet": 0}, "--sweet must be True or False, not 0"),
        ({"eggs": 1.5}, "--eggs must be a whole number, not 1.5"),
        ({"eggs": True}, "--eggs must be a whole number, not True"),
        ({"eggs": "3"}, "--eggs must be a whole number, not '3'"),
        ({"heat": "180"}, "--heat must be a number, not '180'"),
        ({"heat": True}, "--heat must be a number, not True"),
    ],
)
def test_out_of_range(given, message):
    with pytest.raises(UserError) as raised:
        Baking.of(**given)
    assert str(raised.value) == message


def test_differences_from_a_checkpoint():
    baking = Baking.of()
    made = dataclasses.asdict(baking)
    assert baking.differences(made) == []
    assert baking.differences(made | {"eggs": 3, "heat": 99.0}) == ["--eggs=3 (now 4)", "--heat=99.0 (now 180.0)"]
    assert baking.differences(made | {"iterations": 7}) == []  # the number of iterations may change
    del made["sweet"]  # as in a run older than this setting
    assert baking.differences(made) == []
    assert Baking.of(sweet=False).differences(made) == ["--sweet=True (now False)"]


def define(flags):
    flags.settings(Baking)
    flags.argument("oven", "which")
    flags.argument("shelf", "of it", required=False)
    flags.integer("guests", 6, "at the table", least=1, most=20)
    flags.numbers("sizes", (0.5, 0.1), "of the pieces")
    flags.several("topping", ["cream", "fruit"], "on top")
    flags.several("layer", int, "in millimetres")
    flags.several("tin", Path, "to take")
    flags.string("cook", None, "who bakes", required=True)
    flags.exclusive("tin", "out", "are both containers")
    flags.exclusive("cold", "out", "do not go together")
    flags.path("out", None, "folder")
    flags.boolean("cold", False, "served so")


def parse(*arguments):
    flags = Flags()
    define(flags)
    return flags.parse([*arguments, "--cook=Ada"])


def test_flags_of_a_command():
    flags = parse("--cake=tart", "gas", "--eggs", "2", "--topping=cream", "--topping=fruit", "--nosweet", "--cold")
    assert Baking.of(**flags.given(Baking)) == Baking.of(cake="tart", eggs=2, sweet=False)
    assert (flags.oven, flags.shelf, flags.guests, flags.sizes) == ("gas", None, 6, (0.5, 0.1))
    assert (flags.topping, flags.out, flags.cold) == (["cream", "fruit"], None, True)
    flags = parse("gas", "top", "--sizes=1,2,3", "--out=here", "--cold=False")
    assert (flags.shelf, flags.sizes, flags.out, flags.cold) == ("top", (1.0, 2.0, 3.0), Path("here"), False)
    flags = parse("gas", "--layer=3", "--layer=5", "--tin=a", "--tin", "b/c")
    assert (flags.layer, flags.tin, flags.cook) == ([3, 5], [Path("a"), Path("b/c")], "Ada")
    with pytest.raises(AttributeError):
        _ = flags.table


def test_a_tilde_is_the_home_folder_since_no_shell_expands_it_after_an_equals_sign(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", "/home/ada")
    (tmp_path / "flags").write_text("--name=~/cakes\n")
    flags = parse("gas", "--out=~/here", f"--flagfile={tmp_path / 'flags'}")
    assert (flags.out, flags.name) == (Path("/home/ada/here"), "/home/ada/cakes")
    tins = parse("gas", "--tin=~", "--tin=a~", "--tin", "~/b").tin
    assert tins == [Path("/home/ada"), Path("a~"), Path("/home/ada/b")]
    flags = parse("gas", "--out=./~", "--name=~nobody_of_this_name/x")  # left as they are, as by a shell
    assert (flags.out, flags.name) == (Path("~"), "~nobody_of_this_name/x")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "oven is missing: --help says what it is"),
        (["gas", "top", "third"], "'third' is not a flag: write --name=value"),
        (["gas", "--guests=0"], "--guests must be at least 1, not 0"),
        (["gas", f"--guests={10**30}"], f"--guests must be at most 20, not {10**30}"),
        (["gas", "--guests=two"], "flag --guests=two: invalid literal for int() with base 10: 'two'"),
        (["gas", "--sizes=a"], "flag --sizes=a: could not convert string to float: 'a'"),
        (["gas", "--guest=2"], "Unknown command line flag 'guest'. Did you mean: guests ?"),
        (["gas", "--topping=salt"], "flag --topping=salt: value should be one of <cream|fruit>"),
        (["gas", "--flagfile=nowhere"], "Unable to open flagfile: [Errno 2] No such file or directory: 'nowhere'"),
        (["gas", "--layer=3", "--layer=x"], "flag --layer=x: invalid literal for int() with base 10: 'x'"),
        (["gas", "--tin=a", "--out=b"], "--tin and --out are both containers: give one of them"),
        (["gas", "--cold", "--out=b"], "--cold and --out do not go together: give one of them"),
        (["--oven=gas"], "Unknown command line flag 'oven'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, message, capsys):
    assert command("Bakes.", define, lambda flags: 0, [*arguments, "--cook=Ada"]) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


def test_a_flag_that_is_needed(capsys):
    assert command("Bakes.", define, lambda flags: 0, ["gas"]) == 2
    assert capsys.readouterr() == ("", "error: --cook is missing: --help says what it is\n")


def test_help_needs_nothing_else(capsys):
    for arguments in (["--help"], ["-h"], ["--unknown", "--help"]):
        assert command("Bakes.", define, lambda flags: 1 / 0, arguments) == 0
        out, err = capsys.readouterr()
        assert out.startswith("Bakes.\n\n  oven                      which\n")
        assert err == ""
        for line in (
            "  --eggs                    in the dough",
            "of the pieces (default: 0.5,0.1)",
            "in millimetres; may be repeated",
        ):
            assert line in out


def test_the_exit_code_is_the_bodys():
    assert command("Bakes.", define, lambda flags: 130, ["gas", "--cook=Ada"]) == 130
    assert command("Bakes.", define, lambda flags: None, ["gas", "--cook=Ada"]) == 0


def test_numbers_of_other_types_make_the_same_settings():
    """A folder's name shows its settings: 1 and 1.0 would be two runs, and NumPy's numbers upset Keras."""
    made = Baking.of(eggs=np.int64(3), heat=180, rest=np.float64(0.5), sweet=np.True_, iterations=2.0)
    assert repr(made) == repr(Baking.of(eggs=3, heat=180.0, rest=0.5, sweet=True, iterations=2))
