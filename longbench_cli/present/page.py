"""An HTML page in one file that needs nothing else, neither a network nor a second file.

Whatever came from a run file or a command line is text to a browser. Jinja escapes it in the page,
:func:`script_json` escapes it in data, and the page's content security policy runs the two scripts known by
their hash.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from typing import Any

from longbench_cli.resources import data_dir

_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render_page(template: str, data: Any, **content: Any) -> str:
    """The page of ``reports/<template>``: ``data`` for its script (figures, files), ``content`` for its words."""
    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    # A browser hashes a script after it has made every line end a line feed.
    scripts = [text.replace("\r\n", "\n") for text in (get_plotlyjs(), _asset("report.js"))]
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(data_dir("reports")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    return environment.get_template(template).render(
        policy=_policy(scripts),
        style=Markup(_asset("report.css")),  # noqa: S704 (our own file)
        scripts=[Markup(script) for script in scripts],  # noqa: S704 (ours and plotly's)
        data=Markup(script_json(data)),  # noqa: S704 (escaped for a script element)
        **content,
    )


def script_json(content: Any) -> str:
    """JSON that is safe inside a ``<script>`` element: nothing in it can end the element or a line."""
    return json.dumps(content, allow_nan=False).translate(_UNSAFE)


def _asset(name: str) -> str:
    return (data_dir("reports") / name).read_text(encoding="utf-8")


def _policy(scripts: Sequence[str]) -> str:
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    allowed = " ".join(f"'sha256-{digest}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
