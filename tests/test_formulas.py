"""The formulas of the pages: the site sets every one as MathML that is well-formed."""

import importlib.util
import re
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
_spec = importlib.util.spec_from_file_location("mathml", DOCS / "theme" / "mathml.py")
mathml = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mathml)


def test_formulas_of_the_pages():
    page = mathml.with_formulas((DOCS / "algorithm.md").read_text(encoding="utf-8"))
    assert "```math" not in page
    assert "$`" not in page
    formulas = [xml.fromstring(found) for found in re.findall(r"<math.*?</math>", page)]
    assert len(formulas) >= 10
    assert "".join(formulas[-3].itertext()) == "t=2δ/(dTFd)"


def test_scripts_primes_and_fractions():
    assert mathml.mathml(r"\frac{1}{K} x_0^2") == (
        "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>K</mi></mrow></mfrac>"
        "<msup><msub><mi>x</mi><mn>0</mn></msub><mn>2</mn></msup>"
    )
    assert mathml.mathml(r"\theta'_T") == "<msub><mrow><mi>\u03b8</mi><mo>\u2032</mo></mrow><mi>T</mi></msub>"


@pytest.mark.parametrize(
    ("latex", "message"),
    [(r"\gamma", "has .gamma, which"), (r"\frac{1}", "ends too early"), ("{x", "ends too early"), ("x}", "too many")],
)
def test_what_is_no_formula_is_refused(latex, message):
    with pytest.raises(ValueError, match=message):
        mathml.mathml(latex)
