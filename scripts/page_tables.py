"""Tables in Markdown pages, between marks that name them."""

from __future__ import annotations

import re


def with_table(page: str, name: str, table: str) -> str:
    """The page with this table between ``<!-- name -->`` and ``<!-- /name -->``.

    Raises
    ------
    SystemExit
        If the page has no such marks.
    """
    before, after = f"<!-- {name} -->", f"<!-- /{name} -->"
    if not re.search(f"{before}\n.*?{after}", page, re.DOTALL):
        raise SystemExit(f"The page has no {before} ... {after} to put the table between.")
    return re.sub(f"{before}\n.*?{after}", lambda _: f"{before}\n{table.rstrip()}\n{after}", page, flags=re.DOTALL)
