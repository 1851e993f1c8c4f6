"""Which tokens hold: one key, one algorithm; whatever the header claims, forges or confuses opens nothing."""

from __future__ import annotations

import base64
import hmac
import json
import string
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenmaking import (
    ALGORITHMS,
    NEVER,
    SECRET,
    assembled,
    good,
    jwk,
    key_set,
    private,
    private_pem,
    public_pem,
    signed,
    token_key,
)

from engine.errors import Code, Refused
from engine.hub.keyset import KeySetFault, keys_of
from engine.settings import AccessSettings, TokenKey
from engine.tokens import KeyFault, Keyring, file_fault, issue, mint, public_members

NOW = 2_000_000_000.0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="module")
def ring(home: Path) -> Keyring:
    """A secret, one key of each algorithm, and one of each but HS256 in a key set."""
    keys = tuple(token_key(algorithm, home) for algorithm in ALGORITHMS)
    made = Keyring(AccessSettings(secret=SECRET, keys=keys, jwks="keys.json"))
    made.trust(keys_of(key_set(*(jwk(each, 1) for each in ALGORITHMS[1:])).encode()), {})
    return made


def holds(ring: Keyring, token: str) -> bool:
    try:
        ring.read(token, NOW)
    except Refused as refused:
        return refused.code is not Code.BAD_TOKEN
    return True


def refusal(ring: Keyring, token: str, now: float = NOW) -> Refused:
    with pytest.raises(Refused) as caught:
        ring.read(token, now)
    return caught.value


# -- one key, one algorithm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_is_verified_with_the_key_that_it_names(ring: Keyring, algorithm: str) -> None:
    assert ring.read(signed(algorithm, name="安娜"), NOW).name == "安娜"
    if algorithm != "HS256":
        assert ring.read(signed(algorithm, 1), NOW).sub == "anna"
    assert ring.read(mint(SECRET, "bob"), time.time()).sub == "bob"


@pytest.mark.parametrize("made_for", ALGORITHMS)
@pytest.mark.parametrize("named", ["", *(f"{each}-0" for each in ALGORITHMS), *(f"{each}-1" for each in ALGORITHMS), "other"])
def test_a_key_verifies_nothing_but_its_own(ring: Keyring, made_for: str, named: str) -> None:
    token = signed(made_for, kid=named)
    if named == f"{made_for}-0":
        assert ring.read(token, NOW).sub == "anna"
    else:
        assert refusal(ring, token).code is Code.BAD_TOKEN


CLAIMED = ("none", "None", "NONE", "", "HS256", "hs256", "HS512", "RS256", "RS512", "PS256", "ES256", "EdDSA")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("claimed", CLAIMED)
def test_the_header_never_chooses_the_algorithm(ring: Keyring, algorithm: str, claimed: str) -> None:
    """The signature is what such a forger can make: none at all, or an HMAC with what is public of the key."""
    key = private(algorithm)
    known = [b"", b"x"]
    if algorithm != "HS256":
        known += [public_pem(key), public_pem(key).strip(), json.dumps(jwk(algorithm)).encode()]
    header = {"typ": "JWT", "alg": claimed, "kid": f"{algorithm}-0"}
    unsigned = assembled(header, good(role="host"), b"")
    for secret in known:
        code = hmac.digest(secret, unsigned.rstrip(".").encode(), "sha256")
        assert refusal(ring, assembled(header, good(role="host"), code)).code is Code.BAD_TOKEN
    assert refusal(ring, unsigned).code is Code.BAD_TOKEN


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=150)
@given(place=st.integers(0, 2000), byte=st.integers(0, 255))
def test_a_token_altered_in_any_byte_is_refused(ring: Keyring, algorithm: str, place: int, byte: int) -> None:
    token = signed(algorithm)
    place %= len(token)
    changed = token[:place] + chr(byte) + token[place + 1 :]
    if changed != token:
        assert refusal(ring, changed).code is Code.BAD_TOKEN


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_token_cut_or_made_longer_anywhere_is_refused(ring: Keyring, algorithm: str) -> None:
    token = signed(algorithm)
    for place in range(len(token)):
        before, after = token[:place], token[place:]
        for changed in (before, before + after[1:], f"{before}A{after}", f"{before}={after}"):
            assert refusal(ring, changed).code is Code.BAD_TOKEN
    for more in ("=", ".", " ", "\n", ".e30", "A", "AAAA"):
        assert refusal(ring, token + more).code is Code.BAD_TOKEN
        assert refusal(ring, more + token).code is Code.BAD_TOKEN


HEADERS: list[Any] = [
    [],
    "HS256",
    None,
    7,
    {},
    {"alg": None},
    {"alg": ["HS256"]},
    {"alg": "HS256", "kid": 7},
    {"alg": "HS256", "kid": ["HS256-0"]},
    {"alg": "HS256", "kid": "x" * 257},
    {"alg": "HS256", "crit": ["exp"]},
    {"alg": "HS256", "crit": []},
    {"alg": "HS256", "crit": None},
    {"alg": "HS256", "b64": True},
    {"alg": "HS256", "b64": False, "crit": ["b64"]},
    b"[" * 2000,
    b'{"alg":' * 400,
    b'{"alg":"HS256"',
    b'{"alg":"HS256"} x',
    b'{"alg":"\xff"}',
    b"",
]


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_that_is_none_or_asks_for_more_is_refused_though_it_is_signed(ring: Keyring, header: Any) -> None:
    unsigned = assembled(header, good(), b"")
    code = hmac.digest(SECRET.encode(), unsigned[:-1].encode(), "sha256")
    assert refusal(ring, assembled(header, good(), code)).code is Code.BAD_TOKEN


def test_a_token_in_a_token_an_encrypted_one_and_a_huge_one_are_refused(ring: Keyring) -> None:
    inner = mint(SECRET, "anna")
    nested = jwt.PyJWS().encode(inner.encode(), SECRET, "HS256", {"cty": "JWT"})
    huge = signed("HS256", kid="", key=SECRET, more="x" * 4000)
    for token in (nested, f"{inner}.AA.AA", "a.b.c.d.e", huge, "x" * 10**6, "é" * 99):
        assert refusal(ring, token).code is Code.BAD_TOKEN
    whole = signed("HS256", kid="", key=SECRET, more="x" * 2900)
    assert 4000 < len(whole) <= 4096
    assert ring.read(whole, NOW).sub == "anna"


def test_keys_and_addresses_of_keys_in_a_header_are_not_looked_at(ring: Keyring) -> None:
    mine = private("ES256", 7)
    headers = {"jwk": jwk("ES256", 7)}, {"jku": "https://evil.example/keys"}, {"x5c": ["AAAA"]}, {"kid": "../../etc/passwd"}
    for header in headers:
        token = jwt.encode(good(), mine, "ES256", {"kid": "ES256-0", **header})
        assert refusal(ring, token).code is Code.BAD_TOKEN


def test_a_refusal_repeats_neither_the_token_nor_its_key(ring: Keyring) -> None:
    for token in (signed("RS256", key=private("RS256", 5)), signed("HS256", kid="other"), signed("ES256", level=-1)):
        assert not any(part in refusal(ring, token).text for part in (*token.split("."), "other"))


# -- for whom, and when ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claims", "holds"),
    [
        ({"iss": "product", "aud": "chat"}, True),
        ({"iss": "product", "aud": ["shop", "chat"]}, True),
        ({"iss": "product"}, False),
        ({"iss": "product", "aud": []}, False),
        ({"iss": "product", "aud": ["cha", "chat2"]}, False),
        ({"iss": "product", "aud": "chatter"}, False),
        ({"aud": "chat"}, False),
        ({"iss": "Product", "aud": "chat"}, False),
        ({"iss": ["product"], "aud": "chat"}, False),
        ({"iss": "product", "aud": {"chat": 1}}, False),
        ({"iss": "product", "aud": 7}, False),
    ],
)
def test_a_token_must_come_from_the_issuer_and_be_for_this_audience(claims: dict[str, Any], holds: bool) -> None:
    ring = Keyring(AccessSettings(secret=SECRET, issuer="product", audience="chat"))
    token = jwt.PyJWS().encode(json.dumps(good(**claims)).encode(), SECRET, "HS256")
    if holds:
        assert ring.read(token, NOW).sub == "anna"
    else:
        assert refusal(ring, token).code is Code.BAD_TOKEN


def test_a_minted_token_has_all_that_the_settings_ask_for(home: Path) -> None:
    algorithm: Any
    keys = token_key("ES256", home), TokenKey(kid="dev", secret=SECRET)
    settings = AccessSettings(keys=keys, issuer="product", audience="chat")
    claims = Keyring(settings).read(issue(settings, "anna", role="host", jti="t-1"), time.time())
    assert (claims.sub, claims.role, claims.jti, claims.iss, claims.aud) == ("anna", "host", "t-1", "product", "chat")
    assert abs(claims.iat - time.time()) < 60
    with pytest.raises(ValueError, match=r"access\.secret"):
        issue(AccessSettings(keys=(token_key("ES256", home),)), "anna")
    for algorithm in ALGORITHMS[1:]:
        pem = private_pem(private(algorithm)).decode()
        ring = Keyring(AccessSettings(keys=(token_key(algorithm, home),)))
        made = mint(pem, "anna", algorithm=algorithm, kid=f"{algorithm}-0")
        assert ring.read(made, time.time()).sub == jwt.decode(made, public_pem(private(algorithm)), [algorithm])["sub"]
        another = private_pem(private("ES256" if algorithm == "RS256" else "RS256")).decode()
        for wrong in (pem[:60], public_pem(private(algorithm)).decode(), another):
            with pytest.raises(ValueError, match="no private key"):
                mint(wrong, "anna", algorithm=algorithm)
    with pytest.raises(ValueError, match="not valid text"):
        mint(SECRET, "\ud800")


# -- what the hub says -------------------------------------------------------------------------------------------------


def test_while_the_key_set_is_not_known_its_tokens_are_to_come_again() -> None:
    ring = Keyring(AccessSettings(secret=SECRET, jwks="keys.json"))
    refused = refusal(ring, signed("RS256"))
    assert refused.code is Code.UNAVAILABLE
    assert refused.retry_after_ms > 0
    assert ring.read(mint(SECRET, "bob"), time.time()).sub == "bob"
    ring.trust([], {})
    assert refusal(ring, signed("RS256")).code is Code.BAD_TOKEN
    ring.trust(keys_of(key_set(jwk("RS256")).encode()), {})
    assert ring.read(signed("RS256"), NOW).sub == "anna"
    ring.trust(None, {})
    assert ring.read(signed("RS256"), NOW).sub == "anna", "what was known stays"
    ring.trust(["{}", "x"], {})
    assert refusal(ring, signed("RS256")).code is Code.BAD_TOKEN, "also one that was verified before"
    ring.adopt(AccessSettings(secret=SECRET))
    ring.trust(keys_of(key_set(jwk("RS256")).encode()), {})
    assert refusal(ring, signed("RS256")).code is Code.BAD_TOKEN, "there is no set any more, whatever a hub says"


def test_a_key_of_the_settings_goes_before_one_of_the_set() -> None:
    ring = Keyring(AccessSettings(keys=(TokenKey(kid="k", secret=SECRET),), jwks="keys.json"))
    ring.trust(keys_of(key_set(jwk("ES256", kid="k"), jwk("ES256", 1), jwk("ES256", 2, kid="ES256-1")).encode()), {})
    assert ring.read(signed("HS256", kid="k", key=SECRET), NOW).sub == "anna"
    assert refusal(ring, signed("ES256", kid="k")).code is Code.BAD_TOKEN
    assert ring.read(signed("ES256", 1), NOW).sub == "anna"
    assert refusal(ring, signed("ES256", 2, kid="ES256-1")).code is Code.BAD_TOKEN, "of two with one name the first"


def test_a_token_of_a_key_that_is_gone_is_refused_at_once(home: Path) -> None:
    old, new = token_key("EdDSA", home, 0), token_key("EdDSA", home, 1)
    ring = Keyring(AccessSettings(secret=SECRET, keys=(old, new)))
    tokens = signed("EdDSA", 0), signed("EdDSA", 1), signed("HS256", kid="", key=SECRET)
    assert [ring.read(token, NOW).sub for token in tokens] == ["anna"] * 3
    ring.adopt(AccessSettings(keys=(new,), audience=""))
    assert ring.read(tokens[1], NOW).sub == "anna"
    assert {refusal(ring, token).code for token in (tokens[0], tokens[2])} == {Code.BAD_TOKEN}
    with pytest.raises(KeyFault):
        ring.adopt(AccessSettings(keys=(TokenKey(kid="x", algorithm="ES256", file=str(home / "missing")),)))
    assert ring.read(tokens[1], NOW).sub == "anna", "nothing has changed"
    ring.adopt(AccessSettings(keys=(new,), audience="chat"))
    assert refusal(ring, tokens[1]).code is Code.BAD_TOKEN


def test_what_was_taken_back_is_refused_though_it_was_verified_before() -> None:
    ring = Keyring(AccessSettings(secret=SECRET))

    def of(user: str, jti: str = "", iat: float | None = None) -> str:
        claims = {"sub": user, "exp": NEVER} | ({"jti": jti} if jti else {}) | ({"iat": iat} if iat is not None else {})
        return jwt.encode(claims, SECRET, "HS256")

    tokens = {
        "by id": of("anna", "t-1"),
        "by id, issued later": of("anna", "t-1", 150),
        "another id": of("anna", "t-2"),
        "of the user, issued before": of("eve", "t-3", 99.9),
        "of the user, in the same second": of("eve", "", 100),
        "of the user, a moment before": of("eve", "", 100.499),
        "of the user, a moment later": of("eve", "", 100.501),
        "of the user, who knows when": of("eve"),
        "of the user, issued later": of("eve", "t-4", 101),
        "another user": of("sub:eve"),
        "an id that looks like one": of("bob", "sub:eve", 50),
    }
    for token in tokens.values():
        ring.read(token, NOW)
    assert ring.trust(None, {"jti:t-1": 100_500, "sub:eve": 100_500})
    assert {what for what, token in tokens.items() if not holds(ring, token)} == {
        *("by id", "by id, issued later"),
        *("of the user, issued before", "of the user, in the same second", "of the user, who knows when"),
        "of the user, a moment before",
    }
    assert not ring.trust(None, {"sub:eve": 100_500})
    assert ring.read(tokens["by id"], NOW).jti == "t-1", "it is not remembered any more"
    assert ring.trust(None, {"sub:eve": 101_000})
    assert refusal(ring, tokens["of the user, issued later"]).code is Code.BAD_TOKEN


# -- keys --------------------------------------------------------------------------------------------------------------


def _weak() -> dict[str, Any]:
    numbers = rsa.generate_private_key(65_537, 1024).public_key()
    return {**jwt.get_algorithm_by_name("RS256").to_jwk(numbers, as_dict=True), "kid": "weak", "key_ops": ["verify"]}


UNFIT: dict[str, Callable[[], Any]] = {
    "a shared secret": lambda: jwk("HS256"),
    "no name": lambda: {key: value for key, value in jwk("RS256").items() if key != "kid"},
    "a name of no length": lambda: jwk("RS256", kid=""),
    "another algorithm": lambda: jwk("RS256", alg="RS512"),
    "another algorithm's": lambda: jwk("ES256", alg="RS256"),
    "for encryption": lambda: jwk("RS256", use="enc"),
    "for signing": lambda: jwk("RS256", key_ops=["sign"]),
    "another curve": lambda: jwk("ES256", crv="P-384"),
    "another type": lambda: jwk("ES256", kty="AKP"),
    "too short": _weak,
    "a member is missing": lambda: jwk("ES256", y=None),
    "a member is no number": lambda: jwk("RS256", n="!"),
    "a number with a character too many": lambda: jwk("RS256", n="A" * 345),
    "no object": lambda: "key",
}


@pytest.mark.parametrize("why", UNFIT)
def test_a_key_of_a_set_that_is_not_for_tokens_is_left_out(why: str) -> None:
    with pytest.raises(KeyFault):
        public_members(UNFIT[why]())
    assert keys_of(key_set(UNFIT[why](), jwk("EdDSA")).encode()) == keys_of(key_set(jwk("EdDSA")).encode())


def test_what_is_private_in_a_set_does_not_leave_the_hub() -> None:
    whole = jwt.get_algorithm_by_name("RS256").to_jwk(private("RS256"), as_dict=True)
    (text,) = keys_of(key_set({**whole, "kid": "k", "key_ops": ["verify"]}).encode())
    assert json.loads(text).keys() == {"kty", "kid", "n", "e", "key_ops"}


NO_SETS = (b"", b"{}", b"[]", b"\xff", b'{"keys": {}}', b"<html>", b"[" * 100_000, key_set(*[{}] * 101).encode())


@pytest.mark.parametrize("data", NO_SETS)
def test_what_is_no_key_set_is_a_fault(data: bytes) -> None:
    with pytest.raises(KeySetFault):
        keys_of(data)


def test_a_point_off_its_curve_verifies_nothing() -> None:
    ring = Keyring(AccessSettings(jwks="keys.json"))
    ring.trust(keys_of(key_set(jwk("ES256", x=jwk("ES256", 1)["x"]), jwk("EdDSA", x="AAAA")).encode()), {})
    assert {refusal(ring, signed(each)).code for each in ("ES256", "EdDSA")} == {Code.BAD_TOKEN}


def test_files_that_hold_no_fitting_public_key_are_told(home: Path) -> None:
    files = {
        "private": private_pem(private("RS256")),
        "short": public_pem(rsa.generate_private_key(65_537, 1024)),
        "curve": public_pem(ec.generate_private_key(ec.SECP384R1())),
        "rsa": public_pem(private("RS256")),
        "text": b"hello",
        "broken": public_pem(private("RS256"))[:100],
        "empty": b"",
    }
    for name, data in files.items():
        (home / name).write_bytes(data)
    wrong = {
        ("RS256", "private"): "private key",
        ("RS256", "short"): "2048",
        ("ES256", "curve"): "ES256",
        ("ES256", "rsa"): "ES256",
        ("EdDSA", "rsa"): "EdDSA",
        ("RS256", "text"): "PEM",
        ("RS256", "broken"): "RS256",
        ("RS256", "empty"): "PEM",
        ("RS256", "missing"): "no such file",
        ("RS256", "."): "not a file",
    }
    algorithm: Any
    for (algorithm, name), why in wrong.items():
        fault = file_fault(TokenKey(kid="k", algorithm=algorithm, file=str(home / name)))
        assert why in fault, name
        assert "BEGIN" not in fault
    assert not file_fault(TokenKey(kid="k", algorithm="RS256", file=str(home / "rsa")))


def test_cryptography_is_loaded_with_the_first_token_that_needs_it(home: Path) -> None:
    key = token_key("ES256", home)
    code = (
        "import sys\nfrom engine.settings import AccessSettings, TokenKey\nfrom engine.tokens import Keyring\n"
        f"ring = Keyring(AccessSettings(secret={SECRET!r}, keys=({key!r},)))\n"
        f"ring.read({signed('HS256', kid='', key=SECRET)!r}, {NOW}); print('cryptography' in sys.modules)\n"
        f"ring.read({signed('ES256')!r}, {NOW}); print('cryptography' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "False\nTrue\n"


def test_base64_has_one_spelling(ring: Keyring) -> None:
    token = signed("HS256", kid="", key=SECRET)
    head, payload, code = token.split(".")
    for changed in (f"{head}=.{payload}.{code}", f"{head}.{payload}.{code}=", token.replace("-", "+").replace("_", "/") + "\n"):
        assert refusal(ring, changed).code is Code.BAD_TOKEN
    raw = base64.urlsafe_b64decode(code + "=")
    same = [code[:-1] + letter for letter in string.ascii_letters]
    twins = [each for each in same if base64.urlsafe_b64decode(each + "=") == raw]
    assert len(twins) > 1
    for twin in twins:
        if twin != code:
            assert refusal(ring, f"{head}.{payload}.{twin}").code is Code.BAD_TOKEN
