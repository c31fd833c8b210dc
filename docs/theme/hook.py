"""What the site has beside the pages of docs/, and links that hold there.

The files link to each other as they lie in the project, so that they can be read there. Their places in the site:

    docs/data.md                        data.md
    README.md, RESULTS.md               index.md, RESULTS.md
    docs/notebooks/1_sinusoid.ipynb     notebooks/1_sinusoid.md, made from its cells and their outputs
    maml_tf/adaptation.py#adapt         api/maml_tf.md#maml_tf.adaptation.adapt, made from the docstrings
"""

import base64
import functools
import json
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[2]
FROM_ROOT = {name: name for name in ("RESULTS.md", "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff")}
FROM_ROOT |= {"README.md": "index.md"}
PACKAGES = ("maml_tf/", "data_generators/", "maml_tf/runs/", "maml_tf/supervised/", "maml_tf/baselines/", "rl/")
API = {f"api/{posixpath.basename(folder[:-1])}.md": folder for folder in PACKAGES}
NOT_IN_API = ("__init__.py", "meta_learner.py")  # of the library, which have names of others
SIGNS = {" +- ": "\u00a0\u00b1\u00a0", "+-": "\u00b1", "-&gt;": "\u2192", "&lt;-": "\u2190"}
WIDE = 500  # pixels of a picture that a phone must not shrink to its width
LONGEST_WORD = 34  # of code, that fits into a line on a phone
_LINK = re.compile(r"\]\((?![a-z]+:|#)([^)#\s]+)(#[^)\s]+)?")
_FORMULA = re.compile(r"^```math\n(.*?)^```$|\$`([^`]+)`\$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"`([\w/]+\.py)`")
_CODE = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)


def on_files(files, config):
    """Adds the pages of the root, and a page for every notebook."""
    made = [(place, moved((ROOT / name).read_text(encoding="utf-8"), name, place)) for name, place in FROM_ROOT.items()]
    for file in files:
        if file.src_uri.endswith(".ipynb"):
            made += notebook_page(file.src_uri, json.loads(file.content_string))
    for place, content in [*made, *((page, api_page(folder)) for page, folder in API.items())]:
        files.append(File.generated(config, place, content=content))
    return files


def on_page_markdown(markdown, page, **_):
    """Moves the links of a page of docs/, sets its formulas, and gives the files of the map links."""
    place = page.file.src_uri
    if page.file.generated_by:
        return markdown
    markdown = with_formulas(moved(markdown, f"docs/{place}", place))
    return with_links(markdown) if place == "architecture.md" else markdown


def on_page_content(html, **_):
    """The look of a page: signs and arrows as one letter, code that breaks between its words, pictures to click on."""
    parts = re.split(r"(<(pre|code)\b.*?</\2>)", html, flags=re.DOTALL)
    text, code = parts[::3], [_between_words(part) for part in parts[1::3]]
    for written, shown in SIGNS.items():
        text = [part.replace(written, shown) for part in text]
    html = "".join(text + after for text, after in zip(text, [*code, ""], strict=True))
    source = 'class="mkdocstrings-source"'
    html = html.replace(source, f"data-search-exclude {source}")  # whose docstrings would be found twice
    return re.sub(r'<img [^>]*src="([^"]+)"[^>]*>', _picture, html)


def _between_words(code):
    """Code within a sentence or a table, where style.css lets a line end after a word and not after a hyphen."""
    plain = re.fullmatch(r"<code>([^<]+)</code>", code)
    if not plain or max(map(len, plain[1].split())) > LONGEST_WORD:
        return code
    return f'<code class="words">{plain[1].replace(" ", " <wbr>")}</code>'


def _picture(image):
    """A picture that a click shows by itself, so that a phone can enlarge it; style.css darkens it."""
    chart = 'class="chart wide" ' if re.search(r"figures/\w+\.png", image[1]) else ""
    return f'<a class="picture" href="{image[1]}"><img {chart}{image[0].removeprefix("<img ")}</a>'


def moved(text, name, place):
    """A page with its links as they are in the site: the page's path in the project, and in the site."""

    def link(match):
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), match[1]))
        target = FROM_ROOT.get(target, target.removeprefix("docs/")).replace(".ipynb", ".md")
        anchor = match[2] or ""
        if target.endswith(".py"):
            target, anchor = in_api(target, anchor[1:])
        return "](" + posixpath.relpath(target, posixpath.dirname(place) or ".") + anchor

    parts = _CODE.split(text)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


def with_formulas(markdown):
    """A page with its formulas, in LaTeX as GitHub takes it, as MathML, which browsers set without a script."""

    def formula(match):
        block, within = match.groups()
        mathml = convert(block or within, display="block" if block else "inline")
        if "\\" in mathml:
            raise ValueError(f"latex2mathml does not know all of the formula {match[0]}")
        return mathml if block else f"<span>{mathml}</span>"

    return _FORMULA.sub(formula, markdown)


def with_links(markdown):
    """The map of docs/architecture.md, where a file is a link to what its docstrings say."""
    folder, lines = "", markdown.split("\n")
    for i, line in enumerate(lines):
        folder = line.split()[-1] if line.startswith("## ") else folder
        if folder in PACKAGES and line.startswith("| `"):
            files, what = line.split(" | ", 1)
            lines[i] = f"{_FILE.sub(functools.partial(_to_api, folder), files)} | {what}"
    return "\n".join(lines)


def _to_api(folder, file):
    return file[0] if file[1] in NOT_IN_API else f"[{file[0]}]({''.join(in_api(folder + file[1]))})"


def notebook_page(path, notebook):
    """The files of a notebook's page: (path, content) of the page and of its pictures."""
    stem, name = path.removesuffix(".ipynb"), posixpath.basename(path)
    page, pictures, heading = [], [], ""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            heading = (re.findall(r"^#+ (.+)$", source, re.MULTILINE) or [heading])[-1]
            page.append(moved(source, f"docs/{path}", path))
            continue
        page.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            if "text" in output:
                page.append(f"```text\n{''.join(output['text'])}```")
                continue
            picture, content = f"{stem}-{len(pictures) + 1}.png", base64.b64decode("".join(output["data"]["image/png"]))
            pictures.append((picture, content))
            look = [] if "imshow" in source else [".chart"]
            look += [".wide"] if int.from_bytes(content[16:20]) > WIDE else []  # the width, in a PNG's first chunk
            classes = f"{{ {' '.join(look)} }}" if look else ""
            page.append(f"![What the code above draws: {heading}]({posixpath.basename(picture)}){classes}")
    page.insert(1, f"This page is a notebook: [download]({name}) it to run it.")
    return [(f"{stem}.md", "\n\n".join(page)), *pictures]


def in_api(file, name=""):
    """Where a file is described, or a name in it: (page, anchor)."""
    page = max((page for page, folder in API.items() if file.startswith(folder)), key=lambda page: len(API[page]))
    return page, "#" + ".".join(filter(None, (module_of(file), name)))


def module_of(file):
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def api_page(folder):
    """The page of a package: the docstrings of its files, in the order of the map in docs/architecture.md."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    title, rows = re.search(rf"^## ([^\n]*){folder}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE).groups()
    names = [name for row in re.findall(r"^\| (`[^|]+) \|", rows, re.MULTILINE) for name in _FILE.findall(row)]
    names = [name for name in names if name not in NOT_IN_API]
    parts = [f"# {title.rstrip(': ') or 'Reinforcement learning'}", f"What the docstrings of `{folder}` say."]
    if folder == "maml_tf/":
        public = public_names()
        links = ", ".join(f"[`{name}`]({link_to(name, home)})" for name, home in public.items())
        parts.append(f"`from maml_tf import` has {links}.")
        parts.append("The files that have these names come first. The others are what they are made of.")
        first = [f"{home.removeprefix('maml_tf.')}.py" for home in public.values()]
        names.sort(key=lambda name: first.index(name) if name in first else len(first))
    return "\n\n".join([*parts, *(f"::: {module_of(folder + name)}" for name in names)])


def public_names():
    """The public names of the library: name -> the module that has it, or is it."""
    source = (ROOT / "maml_tf" / "__init__.py").read_text(encoding="utf-8")
    homes = dict(re.findall(r'"(\w+)": "([\w.]+)"', source)) | {"UserError": "data_generators.errors"}
    (names,) = re.findall(r"__all__ = \[(.*?)\]", source, re.DOTALL)
    return {name: homes.get(name, f"maml_tf.{name}") for name in re.findall(r'"(\w+)"', names)}


def link_to(name, home):
    """From a page of the API reference to a public name."""
    name = "MAML.load" if name == "load" else name  # which is a method
    page, anchor = in_api(home.replace(".", "/") + ".py", "" if home.endswith(f".{name}") else name)
    return posixpath.basename(page) + anchor
