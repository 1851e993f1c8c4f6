"""Rules about settings beyond types and bounds, by what they are about. Each file registers its own.

Owns which files there are. Must not know config files or the environment.
"""

from engine.configrules import money, product, quality, rooms, serving
from engine.configrules.rule import RULES, value_of

__all__ = ["RULES", "money", "product", "quality", "rooms", "serving", "value_of"]
