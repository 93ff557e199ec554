"""Count the package's lines of code: no docstrings, no comments, no blank lines.

python scripts/count_code.py [ROOT ...]
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import click

LAYOUT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER,
}  # fmt: skip


def code_lines(text: str) -> int:
    """Return the number of lines of a file that hold code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        # A string that stands alone documents what is above it.
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            documented.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in LAYOUT:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - documented)


@click.command()
@click.argument("roots", nargs=-1, type=click.Path(exists=True, path_type=Path))
def main(roots: tuple[Path, ...]) -> None:
    """Print the lines of code below each ROOT (the package unless given), room by room."""
    for root in roots or (Path(__file__).resolve().parent.parent / "ssm2edge",):
        rooms: dict[str, int] = {}
        for file in sorted(root.rglob("*.py")):
            room = file.relative_to(root).parts[0]
            rooms[room] = rooms.get(room, 0) + code_lines(file.read_text(encoding="utf-8"))
        for room, lines in rooms.items():
            click.echo(f"{lines:7,}  {room}")
        click.echo(f"{sum(rooms.values()):7,}  {root.name}")


if __name__ == "__main__":
    main()
