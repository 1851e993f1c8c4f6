"""What all sections have in common: a setting that is not in the model is a fault.

Owns what the validating library is told; this package does not import it.
"""

from __future__ import annotations

from typing import Any, Final

__all__ = ["STRICT"]

STRICT: Final[dict[str, Any]] = {"extra": "forbid"}
