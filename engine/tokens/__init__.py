"""Tokens that say who a viewer is and what it may do: JSON Web Tokens (RFC 7519), signed by the product.

Owns the claims, the signatures (`jws`), the keys (`keys`) and which of them hold (`keyring`). Must not know what a role may do
(`engine.access`), nor log or repeat a token. What is signed with a shared secret (HS256) needs the standard library only;
PyJWT and cryptography, 25 MB, are imported where the first token of another algorithm is verified.
"""

from engine.tokens.claims import Claims
from engine.tokens.keyring import LEEWAY_SECONDS, TOKEN, TOKEN_BYTES, USER, Keyring
from engine.tokens.keys import SECRET_BYTES, Jwk, KeyFault, file_fault, public_members
from engine.tokens.mint import issue, mint

__all__ = [
    "LEEWAY_SECONDS",
    "SECRET_BYTES",
    "TOKEN",
    "TOKEN_BYTES",
    "USER",
    "Claims",
    "Jwk",
    "KeyFault",
    "Keyring",
    "file_fault",
    "issue",
    "mint",
    "public_members",
]
