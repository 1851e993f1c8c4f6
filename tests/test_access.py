"""Identities, names and rates: what a guest is, which texts show anything, and how much may flow."""

from __future__ import annotations

import base64
import hmac
import json
import string
import subprocess
import sys
import time
from fractions import Fraction
from functools import cache
from typing import Any

import jwt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.access import VIEWER, Grant, Permission, Rate, Role, admit, check_room_name, mint, renew
from engine.errors import Code, Refused
from engine.schema import BACKSTAGE, CONSOLE, Author, Join, RankedAuthor
from engine.settings import AccessSettings
from engine.tokens import LEEWAY_SECONDS, Claims, Keyring, keyring

SECRET = "abcdefghijklmnopqrstuv"
KEY = "a secret of the product, of 32 bytes"
GUESTS = AccessSettings()
TOKENS = AccessSettings(secret=KEY)


@cache
def ring(settings: AccessSettings) -> Keyring:
    return Keyring(settings)


def now() -> int:
    return int(time.time() * 1000)


def enter(join: Join, settings: AccessSettings = TOKENS, later: float = 0) -> Grant:
    return admit(join, ring(settings), now() + int(later * 1000))


def refusal(join: Join, settings: AccessSettings = TOKENS, later: float = 0) -> Refused:
    with pytest.raises(Refused) as caught:
        enter(join, settings, later)
    return caught.value


def bearer(token: str, room: str = "room", session: str | None = None, name: str | None = None) -> Join:
    return Join(1, room, session=session, name=name, token=token)


def signed(claims: Any, key: str = KEY, **header: Any) -> str:
    """A token with any payload, made without the library that reads it."""
    parts = [json.dumps(each).encode() for each in ({"typ": "JWT", "alg": "HS256", **header}, claims)]
    text = ".".join(base64.urlsafe_b64encode(each).decode().rstrip("=") for each in parts)
    code = hmac.new(key.encode(), text.encode(), "sha256").digest()
    return f"{text}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}"


class Bucket:
    """The same rate as a leaky bucket in exact arithmetic: it holds ``burst``, and one unit leaves every interval."""

    def __init__(self, per_second: int, burst: int) -> None:
        self.interval = Fraction(1, per_second)
        self.burst = burst
        self.level = Fraction(0)
        self.at = Fraction(0)

    def fits(self, now: Fraction) -> int:
        level = max(self.level - (now - self.at) / self.interval, Fraction(0))
        return int(self.burst - level)

    def take(self, now: Fraction, amount: int) -> bool:
        self.level = max(self.level - (now - self.at) / self.interval, Fraction(0))
        self.at = now
        if self.level + amount > self.burst:
            return False
        self.level += amount
        return True


@example(per_second=3, burst=10, start=123_457, steps=[(0, 1)] * 11)
@example(per_second=20, burst=200, start=4_000_000, steps=[(0, 1)] * 201)
@given(
    st.integers(1, 50),
    st.integers(1, 50),
    st.integers(0, 10**6),
    st.lists(st.tuples(st.sampled_from((0, 0, 0, 1, 7, 130, 1000, 60_000)), st.integers(1, 6)), max_size=40),
)
def test_a_rate_is_a_leaky_bucket(per_second: int, burst: int, start: int, steps: list[tuple[int, int]]) -> None:
    """In steps of a prime fraction of the interval, so that no float stands exactly on the edge but a burst at one moment."""
    rate, bucket = Rate(per_second, burst), Bucket(per_second, burst)
    # Floats this large are exact to less than a nanosecond.
    moment = Fraction(start)
    bucket.at = moment
    state = 0.0
    for step, amount in steps:
        moment += Fraction(step, 1009 * per_second)
        now = float(moment)
        assert rate.fits(state, now) == bucket.fits(moment)
        fitted = bucket.take(moment, amount)
        following = rate.take(state, now, amount)
        assert (following >= 0) == fitted
        if fitted:
            state = following


@example(per_second=3.0, burst=200, now=412590.8783498111, pauses=[0.0, 0.05, 0.95, 0.05, 1.0, 1.0, 0.05, 0.61])
@given(
    st.sampled_from((2.0, 3.0, 7.0, 20.0, 50.0)), st.integers(1, 300), st.floats(0, 1e6), st.lists(st.floats(0, 3), max_size=30)
)
def test_what_fits_may_be_taken_and_no_more(per_second: float, burst: int, now: float, pauses: list[float]) -> None:
    rate = Rate(per_second, burst)
    state = 0.0
    for pause in pauses:
        now += pause
        count = rate.fits(state, now)
        assert 0 <= count <= burst
        if count:
            state = rate.take(state, now, count)
            assert state >= 0, "what fits was refused"
        assert rate.fits(state, now) == 0
        assert rate.take(state, now) < 0


@given(st.integers(1, 100), st.integers(1, 100), st.floats(1, 1e6))
def test_a_burst_at_one_moment_is_taken_one_by_one_and_the_wait_is_told(per_second: int, burst: int, now: float) -> None:
    rate = Rate(per_second, burst)
    state = 0.0
    for _ in range(burst):
        state = rate.take(state, now)
        assert state >= 0
    wait = rate.take(state, now)
    assert wait < 0
    assert -wait == pytest.approx(1 / per_second, rel=1e-3, abs=1e-6)
    assert rate.take(state, now - wait + 1e-6) >= 0


def test_a_rate_forgets_what_was_before_a_silence() -> None:
    rate = Rate(1.0, 3)
    state = 0.0
    for _ in range(3):
        state = rate.take(state, 100.0)
    assert rate.take(state, 100.0) < 0
    assert rate.fits(state, 1000.0) == 3
    assert rate.fits(state, 101.0) == 1


def test_more_than_a_burst_never_fits() -> None:
    assert Rate(1.0, 3).take(0.0, 100.0, 4) < 0
    assert Rate(1.0, 3).take(0.0, 100.0, 3) >= 0


# -- who ---------------------------------------------------------------------------------------------------------------


def test_a_guest_is_given_a_session_that_fits_the_wire() -> None:
    grant = enter(Join(1, "room"), GUESTS)
    assert 16 <= len(grant.session) <= 64
    assert set(grant.session) <= set(string.ascii_letters + string.digits + "-_")
    assert grant.role is Role.VIEWER
    assert grant.author.name == ""
    assert enter(Join(1, "room"), GUESTS).session != grant.session


def test_a_guest_that_returns_is_the_same_whatever_its_name_and_nobody_else_is() -> None:
    first = enter(Join(1, "room", session=SECRET, name="小明", attributes={"勋章": "⭐"}), GUESTS)
    again = enter(Join(2, "other", session=SECRET, name="别人"), GUESTS)
    other = enter(Join(1, "room", session=SECRET + "x", name="小明"), GUESTS)
    back = enter(Join(3, "room", session=first.session), GUESTS)
    assert first.session == again.session == back.session != other.session
    assert first.author.id == again.author.id == back.author.id != other.author.id
    assert SECRET not in first.author.id
    assert (first.author.name, first.author.attributes) == ("小明", {"勋章": "⭐"})


@pytest.mark.parametrize("taken", ["api-" + "0" * 36, "once-" + "0" * 24, "t-" + "0" * 28, "order-0000-4711"])
def test_a_guest_says_nothing_under_a_session_that_the_product_or_a_user_may_have(taken: str) -> None:
    grant = enter(Join(1, "room", session=taken), GUESTS)
    assert grant.session.startswith("g-")
    assert 16 <= len(grant.session) <= 64


def test_readers_may_do_nothing_but_receive() -> None:
    grant = enter(Join(1, "room"), AccessSettings(anonymous="read"))
    assert grant.role is Role.READER
    assert grant.role.permissions == Permission(0)


def test_nobody_is_admitted_without_a_token_where_anonymous_viewers_are_not() -> None:
    with pytest.raises(Refused) as caught:
        enter(Join(1, "room"), AccessSettings(anonymous="none"))
    assert caught.value.code is Code.FORBIDDEN
    assert "access.anonymous" in caught.value.text


@pytest.mark.parametrize("name", [" ", "\u200b", "\u3000\u2060", "\n", "\u202e", "\u00ad"])
def test_a_name_that_shows_nothing_is_refused(name: str) -> None:
    with pytest.raises(Refused) as caught:
        enter(Join(1, "room", name=name), GUESTS)
    assert caught.value.code is Code.EMPTY


def test_roles_grow() -> None:
    assert Permission.COMMENT in Role.VIEWER.permissions
    assert Permission.CUSTOM not in Role.VIEWER.permissions
    for role in (Role.MODERATOR, Role.HOST, Role.SERVER):
        assert Role.VIEWER.permissions in role.permissions
        assert Permission.DIRECT in role.permissions


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_says_who_a_viewer_is_and_what_it_may_do() -> None:
    token = mint(KEY, "u-7", name="小明", role="moderator", level=30, follower=True, attributes={"勋章": "⭐"})
    grant = enter(Join(1, "room", name="别人", attributes={"vip": "1"}, token=token))
    assert grant.author == RankedAuthor("u-7", "小明", {"勋章": "⭐"}, "moderator", 30)
    assert grant.role is Role.MODERATOR
    assert (grant.standing.role, grant.standing.level, grant.standing.follower) == ("moderator", 30, True)


def test_where_a_token_says_nothing_the_viewer_names_itself() -> None:
    grant = enter(Join(1, "room", name="小明", attributes={"勋章": "⭐"}, token=mint(KEY, "u-7")))
    assert grant.author == Author("u-7", "小明", {"勋章": "⭐"})
    assert enter(Join(1, "room", attributes={"a": "b"}, token=mint(KEY, "u-7", attributes={}))).author == Author("u-7")
    assert enter(bearer(mint(KEY, "u-7", name="\u200b"), name="x")).author.name == "x"


def test_only_who_is_more_than_a_viewer_is_shown_with_a_rank() -> None:
    assert type(enter(bearer(mint(KEY, "u"))).author) is Author
    assert type(enter(bearer(mint(KEY, "u", follower=True))).author) is Author
    assert enter(bearer(mint(KEY, "u", level=1))).author == RankedAuthor("u", "", {}, "viewer", 1)
    assert enter(bearer(mint(KEY, "u", role="host"))).author == RankedAuthor("u", "", {}, "host", 0)


def test_all_who_stand_alike_share_one_standing() -> None:
    assert enter(Join(1, "room"), GUESTS).standing is VIEWER
    assert enter(bearer(mint(KEY, "u"))).standing is VIEWER
    first, second = (enter(bearer(mint(KEY, user, level=3, follower=True))).standing for user in ("u", "v"))
    assert first is second


@pytest.mark.parametrize("anonymous", ["write", "read", "none"])
@pytest.mark.parametrize("role", [None, *(each.value for each in Role)])
@pytest.mark.parametrize("place", ["room", "room" + BACKSTAGE, "other", "other" + BACKSTAGE])
def test_who_may_enter_where_and_do_what(anonymous: Any, role: str | None, place: str) -> None:
    settings = AccessSettings(anonymous=anonymous, secret=KEY)
    join = Join(1, place, token=mint(KEY, "u", role=role, rooms=["room"]) if role else None)
    speak = Permission.COMMENT | Permission.LIKE | Permission.VOTE | Permission.GIVE
    lead = speak | Permission.CUSTOM | Permission.DIRECT | Permission.MODERATE | Permission.LEAD
    if role is None:
        expected = {"write": speak, "read": Permission(0), "none": None}[anonymous]
    else:
        expected = {"reader": Permission(0), "viewer": speak}.get(role, lead)
        if not place.startswith("room"):
            assert refusal(join, settings).code is Code.BAD_TOKEN
            return
    if expected is None or (place.endswith(BACKSTAGE) and Permission.MODERATE not in expected):
        assert refusal(join, settings).code is Code.FORBIDDEN
    else:
        assert enter(join, settings).role.permissions == expected


@pytest.mark.parametrize(
    ("rooms", "room", "covered"),
    [
        ([], "any", True),
        (["a", "b"], "b", True),
        (["a", "b"], "bc", False),
        (["live-*"], "live-7", True),
        (["live-*"], "live-", True),
        (["live-*"], "live", False),
        (["*"], "any", True),
        (["a*b"], "axb", False),
        (["a"], "A", False),
    ],
)
def test_a_token_is_for_its_rooms(rooms: list[str], room: str, covered: bool) -> None:
    join = bearer(mint(KEY, "u", rooms=rooms), room)
    if covered:
        assert enter(join).author.id == "u"
    else:
        assert refusal(join).code is Code.BAD_TOKEN


def test_a_token_for_no_room_admits_to_none() -> None:
    assert refusal(bearer(signed({"sub": "u", "exp": 9e9, "rooms": []}))).code is Code.BAD_TOKEN


def test_a_token_is_valid_in_its_time_and_ten_seconds_around_it() -> None:
    def at(second: float, user: str) -> Grant:
        return admit(bearer(signed({"sub": user, "nbf": 1000, "exp": 2000.5})), ring(TOKENS), int(second * 1000))

    for user in ("seen before", "never seen"):
        if user == "seen before":
            assert at(1500, user).author.id == user
        for second, why in ((989.9, "not valid yet"), (2010.5, "has expired")):
            with pytest.raises(Refused, match=why) as caught:
                at(second, user)
            assert caught.value.code is Code.BAD_TOKEN
        for second in (990, 1500, 2010.4):
            assert at(second, user).author.id == user
    assert LEEWAY_SECONDS == 10


def test_without_a_secret_there_are_no_tokens() -> None:
    refused = refusal(bearer(mint(KEY, "u")), GUESTS)
    assert refused.code is Code.BAD_TOKEN
    assert "access.secret" in refused.text


GOOD = {"sub": "u", "exp": 9_000_000_000}


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b.c",
        "..",
        "é.é.é",
        "." * 4000,
        signed(GOOD, key=KEY + "x"),
        signed(GOOD)[:-1],
        signed(GOOD) + "A",
        signed(GOOD).rpartition(".")[0] + ".",
        signed(GOOD, alg="none"),
        signed(GOOD, alg="None"),
        signed(GOOD, alg="HS512"),
        signed(GOOD, alg="RS256"),
        signed(GOOD, alg="hs256"),
        signed(GOOD, alg=None),
        signed(GOOD, alg=["HS256"]),
        signed(GOOD, crit=["exp"]),
        signed(GOOD, b64=False, crit=["b64"]),
        signed(GOOD, kid=7),
        jwt.encode(GOOD, "", "none"),
        jwt.encode(GOOD, KEY * 2, "HS512"),
        base64.urlsafe_b64encode(b"[" * 2500).decode() + ".e30.AA",
    ],
)
def test_a_forged_token_is_refused(token: str) -> None:
    assert refusal(bearer(token)).code is Code.BAD_TOKEN


WRONG: tuple[dict[str, Any], ...] = (
    {"sub": ""},
    {"sub": "x" * 65},
    {"sub": 7},
    {"sub": None},
    {"sub": " u"},
    {"sub": "u\n"},
    {"sub": "u\u202ev"},
    {"sub": "\u200b"},
    {"sub": "a\u0301"},
    {"sub": "\ud800"},
    {"sub": "guest-1"},
    {"sub": "guest-"},
    {"sub": "server"},
    {"sub": "server", "role": "host"},
    {"exp": "9000000000"},
    {"exp": None},
    {"exp": True},
    {"exp": -1},
    {"exp": 1e300},
    {"nbf": "0"},
    {"nbf": []},
    {"iat": {}},
    {"name": 7},
    {"name": "x" * 65},
    {"role": "admin"},
    {"role": "Host"},
    {"role": None},
    {"role": ["host"]},
    {"level": -1},
    {"level": 1.5},
    {"level": "3"},
    {"level": True},
    {"level": 1_000_001},
    {"follower": 1},
    {"follower": "yes"},
    {"rooms": "room"},
    {"rooms": [7]},
    {"rooms": [""]},
    {"rooms": ["x" * 129]},
    {"rooms": ["room"] * 257},
    {"rooms": {}},
    {"attributes": []},
    {"attributes": {"a": 1}},
    {"attributes": {"": "x"}},
    {"attributes": {"a": "x" * 129}},
    {"attributes": {str(number): "x" for number in range(9)}},
)


@pytest.mark.parametrize("claims", [[], "u", None, {}, {"sub": "u"}, {"exp": 9e9}, *({**GOOD, **each} for each in WRONG)])
def test_a_token_with_a_wrong_claim_is_refused(claims: Any) -> None:
    assert refusal(bearer(signed(claims))).code is Code.BAD_TOKEN


def test_claims_that_are_not_ours_are_left_alone() -> None:
    assert enter(bearer(signed({**GOOD, "iss": "product", "aud": ["x"], "azp": 7}))).author.id == "u"
    assert enter(bearer(signed({"sub": "server", "exp": 9e9, "role": "server"}))).author.id == "server"


def test_a_refusal_does_not_repeat_the_token() -> None:
    for token in (signed(GOOD, key=KEY + "x"), signed({**GOOD, "level": -1}), signed(GOOD)[:-1]):
        assert not any(part in refusal(bearer(token)).text for part in token.split(".") if part)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
CLAIMS = ("sub", "exp", "nbf", "iat", "name", "role", "level", "follower", "rooms", "attributes")


@given(st.dictionaries(st.sampled_from(CLAIMS), JSON_VALUES, max_size=4))
def test_whatever_a_token_claims_it_is_taken_or_refused(changes: dict[str, Any]) -> None:
    try:
        grant = enter(bearer(signed({**GOOD, **changes})))
    except Refused as refused:
        code = refused.code
    else:
        code = Code.OK
    assert code in (Code.OK, Code.BAD_TOKEN)
    if code:
        return
    assert 1 <= len(grant.author.id) <= 64
    assert grant.author.id.isprintable()
    assert not grant.author.id.startswith("guest-")
    assert grant.role.value == changes.get("role", "viewer")


@given(st.text(st.characters(max_codepoint=0x2FF), max_size=60))
def test_no_text_is_a_token(text: str) -> None:
    assert refusal(bearer(text)).code is Code.BAD_TOKEN


@given(st.integers(0, 200), st.integers(0, 63))
def test_a_token_with_one_character_changed_is_refused(place: int, other: int) -> None:
    token = signed(GOOD)
    place %= len(token)
    letter = (string.ascii_letters + string.digits + "-_")[other]
    changed = token[:place] + letter + token[place + 1 :]
    # The last character of a stretch holds bits that mean nothing.
    parts = [base64.urlsafe_b64decode(part + "==") for part in changed.split(".")]
    if parts == [base64.urlsafe_b64decode(part + "==") for part in token.split(".")] and changed.count(".") == 2:
        return
    assert refusal(bearer(changed)).code is Code.BAD_TOKEN


@given(
    st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable() and text.isalnum()),
    st.sampled_from([each.value for each in Role]),
    st.integers(0, 1_000_000),
    st.booleans(),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), max_size=3),
)
def test_what_is_minted_is_what_is_granted(user: str, role: str, level: int, follower: bool, rooms: list[str]) -> None:
    token = mint(KEY, user, role=role, level=level, follower=follower, rooms=rooms)
    claims = Keyring(TOKENS).read(token, time.time())
    assert (claims.sub, claims.role, claims.level, claims.follower) == (user, role, level, follower)
    assert claims.rooms == (rooms or None)


def test_nothing_is_minted_that_would_be_refused() -> None:
    wrong: dict[str, Any]
    for wrong in ({"role": "admin"}, {"level": -1}, {"name": "x" * 65}, {"rooms": [""]}, {"attributes": {"": "x"}}):
        with pytest.raises(ValueError, match=r"Expected|Invalid"):
            mint(KEY, "u", **wrong)
    with pytest.raises(ValueError, match="32 bytes"):
        mint("short", "u")


def test_verified_tokens_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_CACHED", 3)
    verified: list[str] = []

    class Counting(Keyring):
        def _verify(self, token: bytes) -> Claims:
            verified.append(token.decode())
            return super()._verify(token)

    reader = Counting(TOKENS)
    minted = [mint(KEY, f"u{number}", seconds=60) for number in range(5)]
    moment = time.time()
    for token in (*minted[:3], *minted[:3]):
        reader.read(token, moment)
    assert verified == minted[:3]
    for token in (minted[3], minted[4], minted[2], minted[0]):
        reader.read(token, moment)
    assert verified == [*minted, minted[0]]
    for _ in range(2):
        with pytest.raises(Refused):
            reader.read(minted[4], moment + 80)
    assert reader.read(minted[4], moment).sub == "u4", "one that was refused is not remembered"
    assert verified.count(minted[4]) == 3


def test_a_process_whose_tokens_are_signed_with_a_secret_loads_no_library_for_them() -> None:
    code = (
        "import sys, time\nfrom engine.access import admit, mint\nfrom engine.schema import Join\n"
        "from engine.settings import AccessSettings\nfrom engine.tokens import Keyring\n"
        "settings = AccessSettings(secret='x' * 32)\n"
        "admit(Join(1, 'room', token=mint('x' * 32, 'u')), Keyring(settings), int(time.time() * 1000))\n"
        "print(*{'jwt', 'cryptography'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "\n"


# -- sessions ----------------------------------------------------------------------------------------------------------

SESSIONS = st.text(string.ascii_letters + string.digits + "-_", min_size=16, max_size=64)


def test_a_user_that_returns_has_its_session_again_whatever_its_token_says_then() -> None:
    first = enter(bearer(mint(KEY, "u")))
    again = enter(bearer(mint(KEY, "u", role="host", level=3), "other", session=first.session))
    assert again.session == first.session
    assert enter(bearer(mint(KEY, "u"))).session != first.session, "another device"


@given(SESSIONS)
def test_a_session_is_never_shared_by_two_users(brought: str) -> None:
    """Neither by two with tokens, nor by one with a token and a guest, whoever had it first."""
    mine, theirs = mint(KEY, "mine"), mint(KEY, "theirs")
    first = enter(bearer(mine, session=brought)).session
    assert first == enter(bearer(mine, session=brought)).session == enter(bearer(mine, session=first)).session
    guest = enter(Join(1, "room", session=brought), GUESTS).session
    assert guest == enter(Join(1, "room", session=guest), GUESTS).session
    stolen = [enter(bearer(theirs, session=each)).session for each in (brought, first, guest)]
    stolen += [enter(Join(1, "room", session=each), GUESTS).session for each in (brought, first, *stolen)]
    stolen += [enter(bearer(mint("another secret of as many bytes as it", "mine"), session=first), OTHER).session]
    assert first not in stolen
    assert guest not in [enter(bearer(mine, session=each)).session for each in (brought, first, guest)]
    for session in (first, guest, *stolen):
        assert 16 <= len(session) <= 64
        assert set(session) <= set(string.ascii_letters + string.digits + "-_")


OTHER = AccessSettings(secret="another secret of as many bytes as it")


def test_a_guest_may_not_have_the_session_of_a_user() -> None:
    grant = enter(bearer(mint(KEY, "u")))
    guest = enter(Join(1, "room", session=grant.session), GUESTS)
    assert guest.session != grant.session
    assert guest.author.id.startswith("guest-")


# -- the room of the figures -------------------------------------------------------------------------------------------


def test_only_who_is_named_there_comes_into_the_console_and_as_a_reader() -> None:
    for role in Role:
        grant = enter(bearer(mint(KEY, "u", role=role.value, level=7, rooms=["elsewhere", CONSOLE]), CONSOLE))
        assert grant.role is Role.READER
        assert grant.standing.role == Role.READER.value
        assert not grant.standing.confined
        assert not Permission.COMMENT & grant.role.permissions
        again = renew(mint(KEY, "u", role=role.value, rooms=[CONSOLE]), CONSOLE, "s", grant.author, ring(TOKENS), now())
        assert again.role is Role.READER
    for rooms in ([], ["*"], ["#*"], ["#console*"], [f"{CONSOLE}s"]):
        for each in ("reader", "host", "server"):
            assert refusal(bearer(mint(KEY, "u", role=each, rooms=rooms), CONSOLE)).code is Code.FORBIDDEN, rooms
    for settings in (GUESTS, TOKENS, AccessSettings(anonymous="write")):
        assert refusal(Join(1, CONSOLE), settings).code is Code.FORBIDDEN


def test_nobody_comes_behind_the_console() -> None:
    for rooms in ([], [CONSOLE], [f"{CONSOLE}{BACKSTAGE}"]):
        assert refusal(bearer(mint(KEY, "u", role="host", rooms=rooms), f"{CONSOLE}{BACKSTAGE}")).code is Code.FORBIDDEN
    assert refusal(Join(1, f"{CONSOLE}{BACKSTAGE}"), GUESTS).code is Code.FORBIDDEN


@pytest.mark.parametrize("room", ["#consoles", "#consol", "#", "##console", "console", "x#console"])
def test_rooms_that_are_called_almost_so_are_rooms_like_any_other(room: str) -> None:
    assert enter(Join(1, room), GUESTS).role is Role.VIEWER
    assert enter(bearer(mint(KEY, "u", role="host"), room)).role is Role.HOST


# -- rooms -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("room", ["lobby", "大厅", "a b", "🎉", "房" * 85, "x" * 256, "a/b:c"])
def test_good_room_names(room: str) -> None:
    check_room_name(room)


@pytest.mark.parametrize(
    "room", [" a", "a ", "a\n", "a\tb", "\u200b", "a\u202eb", "\u3000a", "房" * 86, "x" * 257, "a\x00", "\ud800", "a\u00a0b"]
)
def test_bad_room_names(room: str) -> None:
    with pytest.raises(Refused) as caught:
        check_room_name(room)
    assert caught.value.code is Code.BAD_ROOM


@given(st.text(max_size=128))
def test_a_room_name_is_taken_or_refused(room: str) -> None:
    try:
        check_room_name(room)
    except Refused:
        return
    assert len(room.splitlines()) <= 1
    assert room == room.strip()
