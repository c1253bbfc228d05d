"""What the source never does, read from its syntax: data is never unpickled or evaluated, no shell is started."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted(file for folder in ("longbench_cli", "attention_impls") for file in (ROOT / folder).rglob("*.py"))

NEVER_IMPORTED = {
    "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "yaml", "code", "codeop",
    "ssl", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib", "telnetlib",
    "xmlrpc", "socketserver", "webbrowser",
}  # fmt: skip
OF_SOCKET = {"gethostname", "socket", "socketpair", "SHUT_RD", "SHUT_WR", "SHUT_RDWR"}
"""The name of this machine, and pairs of sockets between a process and its child: no address is ever given."""

NEVER_CALLED = re.compile(
    r"^(eval|exec|compile|__import__|input|os\.(system|popen)|subprocess\.(getoutput|getstatusoutput)"
    r"|(np|numpy)\.load|pandas\.read_pickle|pd\.read_pickle|torch\.(jit\.load|hub\.\w+|package\.\w+)|runpy\.\w+)$"
)


def test_there_is_source() -> None:
    assert len(FILES) > 150


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_data_is_never_evaluated_and_nothing_is_fetched(file: Path) -> None:
    name = str(file.relative_to(ROOT))
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        found = list(_wrong(node))
        assert not found, f"{name}:{getattr(node, 'lineno', 0)}: {found}"


def test_no_socket_has_an_address() -> None:
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "socket":
                assert node.attr in OF_SOCKET, f"{file}:{node.lineno}"
            assert not (isinstance(node, ast.ImportFrom) and node.module == "socket"), f"{file}"
            if isinstance(node, ast.Call):
                assert ast.unparse(node.func) != "socket.socket", f"{file}:{node.lineno}"


@pytest.mark.parametrize(
    "code",
    [
        "import pickle", "from yaml import load", "eval('1')", "exec(x)", "torch.load(path)", "import urllib.request",
        "torch.load(path, weights_only=False)", "subprocess.run(x, shell=True)", "os.system(x)", "np.load(path)",
    ],
)  # fmt: skip
def test_the_search_would_find_it(code: str) -> None:
    assert any(wrong for node in ast.walk(ast.parse(code)) for wrong in _wrong(node))


def _wrong(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name.split(".")[0] in NEVER_IMPORTED)
    elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in NEVER_IMPORTED:
        yield str(node.module)
    elif isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
        if NEVER_CALLED.match(called) or given.get("shell", "False") != "False":
            yield called
        if called == "torch.load" and given.get("weights_only") != "True":
            yield called
