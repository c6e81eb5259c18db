"""How the documentation is built: `make docs`, or `sphinx-build -D plot_gallery=0 docs docs/_build/html` in seconds."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

import extremal  # noqa: E402

project = "Extremal"
author = "The Extremal developers"
copyright = "the Extremal developers, BSD 3-Clause License"
version = release = extremal.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",  # from here on they are in _ext
    "docstrings",
    "names",
    "public",
    "commands",
    "errata",
]
exclude_patterns = ["_build", "_ext", "gallery/**/*.py", "gallery/**/*.ipynb"]
templates_path: list[str] = []
default_role = "literal"
smartquotes = False  # "squared" is a string
numfig = True  # formulas are numbered with their page: (2.1)
math_numfig = True
nitpicky = True  # a link that leads nowhere is an error

# Markdown
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist", "attrs_inline"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

# docstrings
autodoc_typehints = "none"  # types are in the docstrings
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_use_blockquotes = False

# pages
html_theme = "pydata_sphinx_theme"
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["extremal.css"]
html_title = "Extremal"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "logo": {"text": "Extremal"},
    "header_links_before_dropdown": 8,
    "navbar_align": "left",
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "github-dark",
}
html_sidebars = {"start": [], "idea": []}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

sphinx_gallery_conf = {
    "examples_dirs": [str(HERE.parent / "examples" / "gallery")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "remove_config_comments": True,
    "show_memory": False,
    "min_reported_time": 1000,
    "abort_on_example_error": True,
    "matplotlib_animations": False,
}
