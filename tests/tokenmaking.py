"""Keys and tokens made without the code under test: PyJWT and cryptography as a product would use them.

Owns one key of each algorithm, made once. Asserts nothing.
"""

from __future__ import annotations

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from engine.settings import TokenKey

__all__ = [
    "ALGORITHMS",
    "NEVER",
    "SECRET",
    "good",
    "jwk",
    "key_set",
    "private",
    "private_pem",
    "public_pem",
    "signed",
    "token_key",
]

ALGORITHMS = ("HS256", "RS256", "ES256", "EdDSA")
SECRET = "a secret of the product, of 32 bytes"
NEVER = 9_000_000_000


def private(algorithm: str, number: int = 0) -> Any:
    """A private key; for HS256 a secret. The same each time."""
    return _private(algorithm, number)


@cache
def _private(algorithm: str, number: int) -> Any:
    match algorithm:
        case "HS256":
            return f"{SECRET} and number {number}"
        case "RS256":
            return rsa.generate_private_key(65_537, 2048)
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
    return ed25519.Ed25519PrivateKey.generate()


def public_pem(key: Any) -> bytes:
    """The public half of a private key."""
    pem: bytes = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem


def private_pem(key: Any) -> bytes:
    """A private key."""
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def token_key(algorithm: Any, home: Path, number: int = 0, kid: str = "") -> TokenKey:
    """The setting of a key, with its file."""
    kid = kid or f"{algorithm}-{number}"
    key = private(algorithm, number)
    if algorithm == "HS256":
        return TokenKey(kid=kid, secret=key)
    file = home / f"{algorithm}-{number}.pem"
    file.write_bytes(public_pem(key))
    return TokenKey(kid=kid, algorithm=algorithm, file=str(file))


def jwk(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    """The public half as a JSON Web Key."""
    made = jwt.get_algorithm_by_name(algorithm)
    key = private(algorithm, number)
    members = made.to_jwk(key if algorithm == "HS256" else key.public_key(), as_dict=True)
    members.pop("key_ops", None)
    return {**members, "kid": f"{algorithm}-{number}", "use": "sig", "alg": algorithm, **more}


def key_set(*keys: dict[str, Any]) -> str:
    """A JSON Web Key Set."""
    return json.dumps({"keys": keys})


def good(**claims: Any) -> dict[str, Any]:
    """Claims of a good token, changed."""
    return {"sub": "anna", "exp": NEVER, **claims}


def signed(algorithm: str, number: int = 0, kid: str | None = None, key: Any = None, **claims: Any) -> str:
    """A token that names its key."""
    header = {} if kid == "" else {"kid": kid if kid is not None else f"{algorithm}-{number}"}
    return jwt.encode(good(**claims), key if key is not None else private(algorithm, number), algorithm, header)


def assembled(header: Any, payload: Any, signature: bytes) -> str:
    """A token of any parts."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, payload)]
    return ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in (*parts, signature))
