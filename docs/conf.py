"""The documentation site: Sphinx, pages in Markdown (MyST), theme Furo.

Pages named generated/... are written here at each build, see generate.py.
Nothing is taken from the network, neither by the build nor by the pages.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / 'docs'), str(ROOT / 'tests'), str(ROOT)]

project = 'tresnet_det'
author = 'the authors of tresnet_det'
extensions = ['myst_parser', 'sphinx.ext.autodoc', 'sphinx.ext.napoleon']
exclude_patterns = ['_build']

myst_enable_extensions = ['colon_fence', 'dollarmath']
myst_heading_anchors = 3

autodoc_typehints = 'signature'
autodoc_typehints_format = 'fully-qualified'
autodoc_member_order = 'bysource'
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
add_module_names = False

html_theme = 'furo'
html_title = 'tresnet_det'
html_static_path = ['_static']
html_css_files = ['site.css']
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_show_search_summary = False  # would need a server
html_math_renderer = 'mathml'


def mathml(translator: Any, node: nodes.math | nodes.math_block) -> None:
    """A formula in MathML, which browsers draw without a script."""
    block = isinstance(node, nodes.math_block)
    translator.body.append(tex2mathml(node.astext(), as_block=block))
    raise nodes.SkipNode


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.add_html_math_renderer(
        'mathml', inline_renderers=(mathml, None), block_renderers=(mathml, None)
    )
    app.connect('builder-inited', lambda app: import_module('generate').main())
