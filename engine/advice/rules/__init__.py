"""Rules of advice, by what they are about. Each file registers its own.

Owns which files there are. Pure.
"""

from engine.advice.rules import admission, books, delivery, ordering, product, resources, setup, speech
from engine.advice.rules.rule import RULES, STATIC

__all__ = [
    "RULES",
    "STATIC",
    "admission",
    "books",
    "delivery",
    "ordering",
    "product",
    "resources",
    "setup",
    "speech",
]
