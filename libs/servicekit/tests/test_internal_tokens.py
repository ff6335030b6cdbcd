"""Internal tokens: refusals that do not depend on the signer, and keys fetched neither too often nor too rarely."""

import asyncio
import time

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from servicekit import internal_tokens, jws, known_keys
from servicekit.internal_tokens import ClocksDifferError, InternalTokens, RemoteKeys, public_keys
from servicekit.known_keys import UnknownKeyError
from servicekit.upstreams.calls import open_service

ISSUER = "https://parley.example"
KEY = ec.generate_private_key(ec.SECP256R1())


def token(header=(), without=(), key=KEY, **claims):
    now = int(time.time())
    said = {
        "iss": ISSUER,
        "aud": "internal",
        "sub": "157",
        "user_id": 157,
        "client_id": "web",
        "scope": "a b",
        "sid": "00000000000000aa",
    }
    said |= {"iat": now, "exp": now + 60, "jti": "x"} | claims
    said = {name: value for name, value in said.items() if name not in without}
    return jwt.encode(said, key, algorithm="ES256", headers={"typ": "at+jwt", "kid": "k", **dict(header)})


def jwk(kid="k"):
    public = jwt.get_algorithm_by_name("ES256").to_jwk(KEY.public_key(), as_dict=True)
    return public | {"kid": kid, "use": "sig", "alg": "ES256"}


class FixedKeys:
    """The port `Keys`, with one key."""

    def __init__(self):
        self.key = KEY.public_key()

    async def public_key(self, kid, issued_at):
        return self.key if kid == "k" else None


async def test_a_token_says_who_is_acted_for():
    tokens = InternalTokens(ISSUER, FixedKeys(), time.time)
    said = await tokens.verify(token())
    assert (said.subject, said.user_id, said.client_id, said.session_id) == ("157", 157, "web", "00000000000000aa")
    assert said.scope == {"a", "b"}
    assert (await tokens.verify(token(sub="158"))).user_id == 157


async def test_the_previous_version_names_the_user_by_the_subject_alone():
    tokens = InternalTokens(ISSUER, FixedKeys(), time.time)
    assert (await tokens.verify(token(without=["user_id"]))).user_id == 157
    for subject in ("client:157", "auth-service", "\u0661\u0665\u0667", "-1", "1.0"):
        assert (await tokens.verify(token(sub=subject, without=["user_id"]))).user_id is None


async def test_a_token_says_how_long_ago_its_user_logged_in_and_with_a_client_of_which_dialect():
    now = time.time()
    tokens = InternalTokens(ISSUER, FixedKeys(), lambda: now)
    for age in (0, 300, 400 * 86400):
        said = await tokens.verify(token(auth_time=int(now) - age, dialect="rfc6749"))
        assert tokens.login_age(said) == age + now - int(now)
        assert said.dialect == "rfc6749"
    said = await tokens.verify(token())
    assert (tokens.login_age(said), said.dialect) == (None, None)


async def test_a_signature_is_checked_once_and_the_key_and_the_expiry_always():
    keys, ahead = FixedKeys(), 0
    tokens = InternalTokens(ISSUER, keys, lambda: time.time() + ahead)
    good = token()
    await tokens.verify(good)
    keys.key = object()  # no signature can be verified with it
    await tokens.verify(good)
    ahead = 60 + 31
    with pytest.raises(ClocksDifferError):
        await tokens.verify(good)
    keys.key, ahead = KEY.public_key(), 0
    await tokens.verify(good)
    keys.key = None
    with pytest.raises(jws.InvalidTokenError):
        await tokens.verify(good)


@pytest.mark.parametrize(
    "forged",
    [
        lambda now: token({"typ": "JWT"}),
        lambda now: token({"typ": None}),
        lambda now: token({"kid": "unknown"}),
        lambda now: token(key=ec.generate_private_key(ec.SECP256R1())),
        lambda now: token(iss=ISSUER + "/"),
        lambda now: token(aud=ISSUER),
        lambda now: token(aud=["internal"]),
        lambda now: token(sub=""),
        lambda now: token(iat=now, exp=now + 301),
        lambda now: token(iat=now, exp=now),
        lambda now: token(exp=float(now + 60)),
        lambda now: token(iat=True),
        lambda now: token(scope=["a"]),
        lambda now: token(sid=7),
        lambda now: token(user_id="157"),
        lambda now: token(user_id=True),
        lambda now: token(user_id=0),
        lambda now: token(user_id=None),
        lambda now: token(dialect=7),
        lambda now: token(auth_time=float(now)),
        lambda now: token(auth_time=str(now)),
        lambda now: token(auth_time=True),
        lambda now: token(auth_time=None),
        lambda now: token(auth_time=-1),
        lambda now: token() + "=",
        *(
            lambda now, name=name: token(without=[name])
            for name in ("iss", "aud", "sub", "client_id", "iat", "exp", "jti")
        ),
    ],
)
async def test_no_other_token_is_taken(forged):
    with pytest.raises(jws.InvalidTokenError):
        await InternalTokens(ISSUER, FixedKeys(), time.time).verify(forged(int(time.time())))


@pytest.mark.parametrize("seconds", [-120, 60])
async def test_a_token_for_another_time_is_a_failure_of_ours(seconds):
    issued_at = int(time.time()) + seconds
    with pytest.raises(ClocksDifferError):
        await InternalTokens(ISSUER, FixedKeys(), time.time).verify(token(iat=issued_at, exp=issued_at + 60))


async def test_a_login_in_the_future_is_a_failure_of_ours():
    tokens = InternalTokens(ISSUER, FixedKeys(), time.time)
    await tokens.verify(token(auth_time=int(time.time()) + 20))
    with pytest.raises(ClocksDifferError):
        await tokens.verify(token(auth_time=int(time.time()) + 60))


def test_only_signing_keys_of_the_one_algorithm_and_purpose_are_taken():
    private = jwt.get_algorithm_by_name("ES256").to_jwk(KEY, as_dict=True) | {"kid": "private", "use": "sig"}
    foreign = [
        {"kty": "oct", "k": "AAAA", "kid": "o", "use": "sig"},
        {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r"},
    ]
    encryption = jwk("encryption") | {"use": "enc"}
    access = jwk("access") | {"parley_purpose": "access"}
    internal = jwk("internal") | {"parley_purpose": "internal"}
    assert list(public_keys({"keys": [jwk(), private, *foreign, encryption, access, internal]})) == ["k", "internal"]
    assert public_keys({}) == {}


@pytest.fixture
async def published(aiohttp_server):
    """A key set over HTTP. Tests can change its answer and read how often it was requested."""

    class Published:
        def __init__(self):
            self.keys, self.status, self.age, self.asked, self.url = [jwk()], 200, 0, 0, ""
            self.arrived, self.hold = asyncio.Event(), asyncio.Event()
            self.hold.set()

        async def answer(self, _request):
            self.asked += 1
            self.arrived.set()
            await self.hold.wait()
            return web.json_response({"keys": self.keys}, status=self.status, headers={"Age": str(self.age)})

    published = Published()
    app = web.Application()
    app.router.add_get("/jwks.json", published.answer)
    published.url = str((await aiohttp_server(app)).make_url("/jwks.json"))
    return published


@pytest.fixture
async def remote(published):
    async with open_service(published.url) as jwks:
        yield RemoteKeys(jwks, time.time)


@pytest.fixture
def pass_time(monkeypatch):
    """Call with seconds to advance the monotonic clock."""
    passed = [0.0]
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + passed[0])

    def pass_time(seconds):
        passed[0] += seconds

    return pass_time


async def test_a_damaged_token_is_refused_for_certain_also_right_after_another_one(remote, published):
    for number in range(3):
        assert await remote.public_key(f"unknown{number}", time.time()) is None
    assert published.asked == 3


async def test_between_two_reads_a_forged_key_id_is_unknown_and_costs_none(remote, published, monkeypatch):
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 600.0)
    now = time.time()
    for _ in range(2):
        assert await remote.public_key("unknown", now) is None
    for number in range(20):
        with pytest.raises(UnknownKeyError):
            await remote.public_key(f"unknown{number}", now)
    assert published.asked == 2
    published.keys = [jwk(), jwk("new")]
    with pytest.raises(UnknownKeyError):
        await remote.public_key("new", now)
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 0.0)
    assert await remote.public_key("new", now) is not None
    assert published.asked == 3


async def test_an_old_token_s_unknown_key_is_not_sought(remote, published):
    assert await remote.public_key("k", time.time()) is not None
    for _ in range(20):
        assert await remote.public_key("gone", time.time() - 61) is None
    assert published.asked == 1


async def test_all_who_wait_share_one_read(remote, published):
    published.hold.clear()
    waiting = [asyncio.create_task(remote.public_key("k", time.time())) for _ in range(20)]
    await seen(published, 1)
    waiting[0].cancel()
    published.hold.set()
    assert [key is not None for key in await asyncio.gather(*waiting[1:])] == [True] * 19
    assert published.asked == 1


async def test_keys_that_auth_service_read_a_while_ago_settle_nothing(remote, published, pass_time, monkeypatch):
    """A replica without its database serves such keys; they do not replace keys that another one read later."""
    monkeypatch.setattr(known_keys, "SEEK_INTERVAL", 600.0)
    published.keys = [jwk(), jwk("new")]
    assert await remote.public_key("k", time.time()) is not None
    published.keys, published.age = [jwk()], 3
    pass_time(1)
    with pytest.raises(UnknownKeyError):
        await remote.public_key("unknown", time.time())
    assert published.asked == 2
    assert await remote.public_key("new", time.time()) is not None


async def test_followed_keys_come_and_go_without_a_request(remote, published, monkeypatch):
    monkeypatch.setattr(internal_tokens, "REFRESH", 0.01)
    async with remote.following():
        published.keys = [jwk(), jwk("new")]
        await seen(published, 3)
        published.keys = [jwk("new")]
        await seen(published, 3)
        published.status = 503
        await seen(published, 3)
        published.hold.clear()
        assert await remote.public_key("new", time.time()) is not None
        assert await remote.public_key("k", time.time() - 90) is None
        published.hold.set()


async def seen(published, times):
    """Wait until the keys have been requested this many more times."""
    async with asyncio.timeout(10):
        for _ in range(times):
            published.arrived.clear()
            await published.arrived.wait()


async def test_the_last_good_set_outlives_an_outage(remote, published, pass_time):
    assert await remote.public_key("k", time.time()) is not None
    published.status = 503
    pass_time(61)
    with pytest.raises(UnknownKeyError):
        await remote.public_key("new", time.time())
    assert await remote.public_key("k", time.time()) is not None
    assert published.asked == 2
    published.status, published.keys = 200, []
    pass_time(61)
    with pytest.raises(UnknownKeyError):
        await remote.public_key("new", time.time())


async def test_without_any_key_nothing_is_known(remote, published):
    published.status = 500
    for _ in range(2):
        with pytest.raises(UnknownKeyError):
            await remote.public_key("k", time.time() - 90)
    published.status = 200
    assert await remote.public_key("k", time.time()) is not None
