"""HTML that cannot be broken out of: text is escaped unless it was made here.

Owns elements and escaping. Must not know what a page says.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

__all__ = ["Child", "Markup", "el", "join"]


class Markup(str):
    """Text that is HTML already. Only `el` and what draws pictures make it; a record's text never is."""

    __slots__ = ()


Child = str | None | Iterable["Child"]


def el(name: str, *children: Child, **attributes: str | bool | None) -> Markup:
    """One element.

    :param children: plain text is escaped, `Markup` is not, None is left out, iterables are taken one by one.
    :param attributes: ``class_`` is ``class``, other underscores are hyphens; True has no value, None and False are left out.
    """
    parts = [name]
    for key, value in attributes.items():
        label = key.rstrip("_").replace("_", "-")
        if value is True:
            parts.append(label)
        elif isinstance(value, str):
            parts.append(f'{label}="{escape(value)}"')
    return Markup(f"<{' '.join(parts)}>{join(children)}</{name}>")


def join(child: Child) -> Markup:
    """Children one after the other, without an element around them."""
    if child is None:
        return Markup()
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return Markup(escape(child))
    return Markup("".join(map(join, child)))
