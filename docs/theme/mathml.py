r"""Formulas of the pages as MathML, which browsers set without a script.

A formula is LaTeX as GitHub takes it: a block that begins with ```math, or $`...`$ within a sentence. Of LaTeX there is
what the pages need: letters, numbers, signs, the names below, \frac{a}{b}, \sqrt{a}, \text{words}, _, ^ and '.
"""

import html
import re

LETTERS = {"alpha": "\u03b1", "beta": "\u03b2", "delta": "\u03b4", "pi": "\u03c0", "theta": "\u03b8", "nabla": "\u2207"}
SIGNS = {"cdot": "\u22c5", "cdots": "\u22ef", "ldots": "\u2026", "leftarrow": "\u2190", "mid": "|", "sum": "\u2211"}
MINUS = "\u2212"
_THIN = '<mspace width="0.17em"></mspace>'
_FORMULA = re.compile(r"^```math\n(.*?)^```$|\$`([^`]+)`\$", re.DOTALL | re.MULTILINE)
_TOKEN = re.compile(r"\\text\{([^}]*)\}|\\([a-z]+|,)|([\d.]+)|([A-Za-z])|(\S)")


def with_formulas(markdown: str) -> str:
    """A page with its formulas as MathML."""

    def formula(match):
        block, within = match.groups()
        return (
            f'<math display="block">{mathml(block)}</math>' if block else f"<span><math>{mathml(within)}</math></span>"
        )

    return _FORMULA.sub(formula, markdown)


def mathml(latex: str) -> str:
    """The elements of a formula.

    Raises:
        ValueError: there is a name that this does not know, or a brace without its other.
    """
    tokens = [match.groups() for match in _TOKEN.finditer(latex)]
    try:
        found = _row(tokens)
    except IndexError:
        raise ValueError(f"the formula {latex} ends too early") from None
    if tokens:
        raise ValueError(f"a brace too many in the formula {latex}")
    return found


def _row(tokens):
    found = ""
    while tokens and tokens[0][-1] != "}":
        found += _with_scripts(tokens)
    return found


def _with_scripts(tokens):
    found = _atom(tokens)
    while tokens and tokens[0][-1] in ("_", "^", "'"):
        *_, sign = tokens.pop(0)
        if sign == "'":
            found = f"<mrow>{found}<mo>\u2032</mo></mrow>"
        else:
            tag = "msup" if sign == "^" else "munder" if found == f"<mo>{SIGNS['sum']}</mo>" else "msub"
            found = f"<{tag}>{found}{_atom(tokens)}</{tag}>"
    return found


def _atom(tokens):
    words, name, number, letter, sign = tokens.pop(0)
    if name == "frac":
        return f"<mfrac>{_atom(tokens)}{_atom(tokens)}</mfrac>"
    if name == "sqrt":
        return f"<msqrt>{_atom(tokens)}</msqrt>"
    if sign == "{":
        inside = _row(tokens)
        tokens.pop(0)
        return f"<mrow>{inside}</mrow>"
    if name:
        known = {"log": f"{_THIN}<mi>log</mi>{_THIN}", ",": _THIN}
        known |= {key: f"<mi>{letter}</mi>" for key, letter in LETTERS.items()}
        known |= {key: f"<mo>{sign}</mo>" for key, sign in SIGNS.items()}
        if name not in known:
            raise ValueError(f"a formula has \\{name}, which docs/theme/mathml.py does not know")
        return known[name]
    if words:
        return f"<mtext>{words}</mtext>"
    if number or letter:
        return f"<mn>{number}</mn>" if number else f"<mi>{letter}</mi>"
    return f'<mo stretchy="false">{MINUS if sign == "-" else html.escape(sign)}</mo>'
