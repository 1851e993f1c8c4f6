"""Keys: each is good for one algorithm, and says of a signature whether it is its own.

Owns the four algorithms and the forms in which keys come: a shared secret, a PEM file, a JSON Web Key (RFC 7517). Must not know
which keys hold. A key that needs PyJWT and cryptography loads them when it is first asked.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from engine.settings import TokenKey

__all__ = [
    "SECRET_BYTES",
    "Algorithm",
    "Jwk",
    "Key",
    "KeyFault",
    "file_fault",
    "of_jwk",
    "of_secret",
    "of_settings",
    "public_members",
]

Algorithm = Literal["HS256", "RS256", "ES256", "EdDSA"]
SECRET_BYTES: Final = 32
"""Least length of a secret: that of the hash (RFC 7518 section 3.2)."""
_RSA_BITS: Final = 2048
"""Least size of an RSA key (RFC 7518 section 3.3)."""
_PEM_BYTES: Final = 65_536


class KeyFault(ValueError):
    """A key cannot be used. The text says why and repeats nothing of the key."""


class Key:
    """A key.

    :param make: makes the function that verifies, when it is first needed. It may raise `KeyFault`; nothing verifies then.
    :ivar algorithm: the only one that it is good for.
    """

    __slots__ = ("_make", "_verify", "algorithm")

    def __init__(self, algorithm: Algorithm, make: Callable[[], Callable[[bytes, bytes], bool]]) -> None:
        self.algorithm = algorithm
        self._make = make
        self._verify: Callable[[bytes, bytes], bool] | None = None

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Whether the signature of these bytes is this key's."""
        if self._verify is None:
            try:
                self._verify = self._make()
            except KeyFault:
                self._verify = _never
        return self._verify(signed, signature)


def _never(signed: bytes, signature: bytes) -> bool:
    return False


# -- shared secrets ----------------------------------------------------------------------------------------------------


def of_secret(secret: bytes) -> Key:
    """The key of a shared secret (RFC 7518 section 3.2)."""

    def verify(signed: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(secret, signed, "sha256"), signature)

    return Key("HS256", lambda: verify)


# -- public keys -------------------------------------------------------------------------------------------------------


def of_settings(key: TokenKey) -> Key:
    """A key of the settings. Reads its file. Raises `KeyFault` if it cannot be read; whether a key is in it shows later, or
    by `file_fault`."""
    if key.algorithm == "HS256":
        return of_secret(key.secret.encode())
    pem, algorithm = _read(key.file), key.algorithm
    return Key(algorithm, lambda: _verifier(algorithm, _of_pem(algorithm, pem)))


def file_fault(key: TokenKey) -> str:
    """What is wrong with the file of a key that is not a secret; empty if nothing is."""
    try:
        _of_pem(key.algorithm, _read(key.file))
    except KeyFault as fault:
        return str(fault)
    return ""


def _read(file: str) -> bytes:
    try:
        path = Path(file)
        if not path.is_file():
            raise KeyFault("it is not a file" if path.exists() else "there is no such file")
        with path.open("rb") as source:
            return source.read(_PEM_BYTES)
    except OSError as error:
        raise KeyFault(error.strerror or "it cannot be read") from None
    except ValueError as error:
        raise KeyFault(str(error)) from None


@cache
def _algorithms() -> Mapping[str, Any]:
    from jwt.algorithms import get_default_algorithms, has_crypto

    if not has_crypto:
        raise KeyFault("needs the package cryptography")
    return get_default_algorithms()


def _of_pem(algorithm: Algorithm, pem: bytes) -> Any:
    if b"-----BEGIN" not in pem:
        raise KeyFault("it holds no key in PEM")
    if b"PRIVATE KEY-----" in pem:
        raise KeyFault("it holds a private key: whoever has that can make tokens; give the public one")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFault(f"it holds no public key for {algorithm}") from None
    return _fitting(algorithm, key)


def _fitting(algorithm: Algorithm, key: Any) -> Any:
    """A public key of cryptography that is one of this algorithm's. Raises `KeyFault`."""
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    match algorithm, key:
        case ("RS256", RSAPublicKey()):
            if key.key_size < _RSA_BITS:
                raise KeyFault(f"an RSA key has at least {_RSA_BITS} bits")
            return key
        case ("ES256", EllipticCurvePublicKey()) if isinstance(key.curve, SECP256R1):
            return key
        case ("EdDSA", Ed25519PublicKey()):
            return key
    raise KeyFault(f"it holds no public key for {algorithm}")


def _verifier(algorithm: Algorithm, key: Any) -> Callable[[bytes, bytes], bool]:
    verify: Callable[[bytes, Any, bytes], bool] = _algorithms()[algorithm].verify
    return lambda signed, signature: verify(signed, key, signature)


# -- JSON Web Keys -----------------------------------------------------------------------------------------------------

_Number = Annotated[str, Meta(max_length=4096, pattern=r"^[A-Za-z0-9_-]+\Z")]


class Jwk(Struct, frozen=True, gc=False, omit_defaults=True):
    """The public members of a JSON Web Key (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2), as they cross the
    link. Private ones are not read."""

    kty: Literal["RSA", "EC", "OKP"]
    kid: Annotated[str, Meta(min_length=1, max_length=256)]
    alg: str = ""
    use: str = ""
    key_ops: list[str] | None = None
    crv: str = ""
    n: _Number | None = None
    e: _Number | None = None
    x: _Number | None = None
    y: _Number | None = None


_KINDS: Final[dict[tuple[str, str], tuple[Algorithm, tuple[str, ...]]]] = {
    ("RSA", ""): ("RS256", ("n", "e")),
    ("EC", "P-256"): ("ES256", ("x", "y")),
    ("OKP", "Ed25519"): ("EdDSA", ("x",)),
}
"""By type and curve: the algorithm, and the members that make the key."""
_decode_jwk: Final = msgspec.json.Decoder(Jwk).decode


def public_members(jwk: Any) -> Jwk:
    """What counts of a JSON Web Key that is decoded. Raises `KeyFault` for one that verifies no tokens here: shared secrets do
    not belong into a set that is given away."""
    try:
        made = msgspec.convert(jwk, Jwk)
    except msgspec.ValidationError as error:
        raise KeyFault(str(error)) from None
    kind = _KINDS.get((made.kty, made.crv))
    if kind is None or made.alg not in ("", kind[0]):
        raise KeyFault("its algorithm is none of RS256, ES256, EdDSA")
    if made.use not in ("", "sig") or (made.key_ops is not None and "verify" not in made.key_ops):
        raise KeyFault("it is not for verifying")
    if any(getattr(made, each) is None for each in kind[1]):
        raise KeyFault(f"it lacks one of {', '.join(kind[1])}")
    if made.n is not None and len(_whole(made.n).lstrip(b"\0")) * 8 < _RSA_BITS:
        raise KeyFault(f"an RSA key has at least {_RSA_BITS} bits")
    return made


def _whole(number: str) -> bytes:
    try:
        return urlsafe_b64decode(number + "=" * (-len(number) % 4))
    except ValueError:
        # The pattern lets through what has one character too many or too few.
        raise KeyFault("a number of it is not base64url") from None


def of_jwk(text: str) -> tuple[str, Key]:
    """A key from a `Jwk` in JSON, with its name. Raises `KeyFault`."""
    try:
        jwk = _decode_jwk(text)
    except msgspec.MsgspecError as error:
        raise KeyFault(str(error)) from None
    public_members(msgspec.to_builtins(jwk))
    algorithm, members = _KINDS[jwk.kty, jwk.crv]

    def make() -> Callable[[bytes, bytes], bool]:
        from jwt.exceptions import InvalidKeyError

        parts = {"kty": jwk.kty, "crv": jwk.crv} | {each: getattr(jwk, each) for each in members}
        try:
            return _verifier(algorithm, _fitting(algorithm, _algorithms()[algorithm].from_jwk(parts)))
        except (InvalidKeyError, ValueError):
            raise KeyFault("it is not on its curve") from None

    return jwk.kid, Key(algorithm, make)
