"""The rules of the house that import-linter cannot see: what a module says, how long it is, where its test stands."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

MODULE_LINES = 400
FUNCTION_LINES = 40
ENVIRONMENTS = frozenset({"local", "dev", "staging", "prod"})
# Tests that follow a user's path or another party's client, and not a module.
FREE_FOLDERS = ("contract", "crash", "docker", "docs", "e2e", "runbooks", "terraform")


def sources(root: Path) -> list[Path]:
    """The modules that the rules are about: everything but tests."""
    found = [root / name for name in ("tasks.py", "noxfile.py") if (root / name).exists()]
    return found + sorted((root / "scripts").rglob("*.py")) + sorted((root / "bench").rglob("*.py"))


def violations(root: Path) -> list[str]:
    """Every broken rule as `path:line: what`."""
    found: list[str] = []
    for path in sources(root):
        place = path.relative_to(root).as_posix()
        tree = ast.parse(path.read_text(encoding="utf-8"))
        found += [f"{place}:{line}: {what}" for line, what in sorted(_words(tree, place)) + sorted(_functions(tree))]
    for path in [*sources(root), *sorted((root / "tests").rglob("*.py"))]:
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > MODULE_LINES:
            found.append(f"{path.relative_to(root).as_posix()}:1: {lines} lines, at most {MODULE_LINES}")
    return found + list(_mirrors(root))


def _words(tree: ast.AST, place: str) -> Iterator[tuple[int, str]]:
    reads_environ = place.startswith(("scripts/settings/", "scripts/container/", "bench/")) or place == "noxfile.py"
    for node in ast.walk(tree):
        if _environ(node) and not reads_environ:
            yield _line(node), "os.environ outside settings and container"
        if _shell(node):
            yield _line(node), "a shell"
        if place != "scripts/cloud/connect.py" and _environment_name(node):
            yield _line(node), "a decision by an environment's name outside cloud/connect.py"


def _environ(node: ast.AST) -> bool:
    names = ("environ", "environb", "getenv", "getenvb", "putenv", "unsetenv")
    if isinstance(node, ast.ImportFrom):
        return node.module == "os" and any(alias.name in names for alias in node.names)
    return isinstance(node, ast.Attribute) and node.attr in names and _named(node.value, "os")


def _shell(node: ast.AST) -> bool:
    if isinstance(node, ast.keyword):
        return node.arg == "shell" and not (isinstance(node.value, ast.Constant) and node.value.value is False)
    return isinstance(node, ast.Attribute) and node.attr in ("system", "popen") and _named(node.value, "os")


def _environment_name(node: ast.AST) -> bool:
    if isinstance(node, ast.MatchValue):
        return _constant(node.value)
    if not isinstance(node, ast.Compare):
        return False
    return any(_constant(each) for each in [node.left, *node.comparators])


def _constant(node: ast.expr) -> bool:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return any(_constant(each) for each in node.elts)
    return isinstance(node, ast.Constant) and node.value in ENVIRONMENTS


def _functions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield node.lineno, f"{node.name} has {lines} lines, at most {FUNCTION_LINES}"


def _mirrors(root: Path) -> Iterator[str]:
    """Tests of a module stand where the module stands: tests/cloud/test_run.py is about scripts/cloud/run.py."""
    for path in sorted((root / "tests").glob("*/**/test_*.py")):
        place = path.relative_to(root / "tests")
        if place.parts[0] in FREE_FOLDERS:
            continue
        folder = root / "scripts" / place.parent
        name = path.stem.removeprefix("test_")
        if not any((folder / candidate).exists() for candidate in (f"{name}.py", name, f"_{name}.py")):
            yield f"tests/{place.as_posix()}:1: no scripts/{place.parent.as_posix()}/{name}.py that it is about"


def _line(node: ast.AST) -> int:
    return int(getattr(node, "lineno", getattr(getattr(node, "value", None), "lineno", 0)))


def _named(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name
