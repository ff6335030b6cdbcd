"""Token endpoints: the requests they read, the order in which they refuse, and the form of success (RFC 6749)."""

import json

import pytest

PASSWORD_FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("path", ["/oauth/token", "/oauth2/token", "/api/oauth/access-token/v1/"])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "HEAD", "TRACE"])
async def test_only_post_is_allowed(service, path, method):
    reply = await service.request(method, path)
    assert (reply.status, reply.headers["Allow"]) == (405, "POST")


async def test_a_parameter_given_twice_is_refused(service, parties):
    party, user = parties["rfc6749"], service.users.add()
    good = {"grant_type": "password", "username": user.login, "password": user.password, "scope": "read"}
    good |= {**party.credentials, "refresh_token": "x"}
    for name, value in good.items():
        doubled = [*good.items(), (name, value)]
        assert (await service.request("POST", party.path, data=doubled)).error == (400, "invalid_request")
        text = json.dumps(good)[:-1] + f', "{name}": {json.dumps(value)}}}'
        headers = {"Content-Type": "application/json"}
        assert (await service.request("POST", party.path, data=text, headers=headers)).error == (400, "invalid_request")
    assert (await service.request("POST", party.path, data=good)).status == 200
    query = f"{party.path}?grant_type=password"
    assert (await service.request("POST", query, data=good)).error == (400, "invalid_request")
    del good["grant_type"]
    assert (await service.request("POST", query, data=good)).status == 200


async def test_nothing_but_the_grant_type_may_stand_in_the_query(service, parties, log):
    party, user = parties["rfc6749"], service.users.add()
    good = {"grant_type": "password", "username": user.login, "password": user.password, **party.credentials}
    others = dict.fromkeys(("login", "phone_number", "refresh_token", "token", "scope"), "s3cr3t")
    for name, value in ({name: good[name] for name in good if name != "grant_type"} | others).items():
        rest = {key: value for key, value in good.items() if key != name}
        reply = await service.request("POST", f"{party.path}?{name}={value}", json=rest)
        assert reply.error in ((400, "invalid_request"), (401, "invalid_client")), name
        assert value not in reply.body.decode()
    assert party.secret not in log.getvalue()
    assert user.password not in log.getvalue()


@pytest.mark.parametrize("value", [5, 1.5, True, ["s3cr3t"], {"s3cr3t": "s3cr3t"}])
async def test_a_parameter_that_is_no_text_is_refused(service, parties, value):
    party, user = parties["rfc6749"], service.users.add()
    good = {"grant_type": "password", "username": user.login, "password": user.password, **party.credentials}
    for name in (*good, "scope", "refresh_token"):
        reply = await service.request("POST", party.path, json={**good, name: value})
        assert reply.error == (400, "invalid_request"), name
        assert b"s3cr3t" not in reply.body


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{"),
        ("application/json", b"[]"),
        ("application/json", b'{"grant_type": "password", }'),
        ("application/json", b'{"grant_type": NaN}'),
        ("application/json", b'{"grant_type": "\\ud800"}'),
        ("application/json", b'{"grant_type": "\\u0000"}'),
        ("application/json", b'{"grant_type": "\xff"}'),
        ("application/json", b'{"a": ' * 10_000),
        ("application/json", b'{"grant_type": ' + b"1" * 5000 + b"}"),
        ("application/json; charset=utf-16", '{"grant_type": "password"}'.encode("utf-16")),
        (PASSWORD_FORM, b"grant_type=%ff"),
        (PASSWORD_FORM, b"&".join(b"a%d=1" % number for number in range(200))),
        (PASSWORD_FORM + "; charset=bogus", b"grant_type=password"),
        (PASSWORD_FORM + "; charset=utf-7", b"grant_type=password"),
        ("text/plain", b"grant_type=password"),
        ("multipart/form-data; boundary=x", b"--x--"),
        ("application/msgpack", b"\x80"),
        ("", b"grant_type=password"),
    ],
)
async def test_a_body_that_cannot_be_read_is_an_invalid_request(service, content_type, body):
    headers = {"Content-Type": content_type}
    reply = await service.request("POST", "/oauth/token", data=body, headers=headers)
    assert reply.error == (400, "invalid_request")
    assert (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")


async def test_a_body_that_is_too_large_or_compressed_is_refused(service):
    headers = {"Content-Type": PASSWORD_FORM}
    large = await service.request("POST", "/oauth/token", data=b"a=" + b"x" * 65536, headers=headers)
    assert large.error == (413, "invalid_request")
    headers["Content-Encoding"] = "gzip"
    assert (await service.request("POST", "/oauth/token", data=b"x", headers=headers)).error == (415, "invalid_request")


async def test_two_passwords_that_differ_in_an_invalid_byte_are_no_passwords(service, parties):
    party, user = parties["doorkeeper"], service.users.add(password="caf\ufffd")
    for body in (b"caf%ff", b"caf%fe", b"caf\xff"):
        form = b"grant_type=password&login=" + user.login.encode() + b"&password=" + body
        reply = await service.request("POST", party.path, data=form, headers={"Content-Type": PASSWORD_FORM})
        assert reply.error == (400, "invalid_request")
    assert (await service.login(party, user)).status == 200


async def test_an_empty_parameter_is_an_omitted_one_and_an_unknown_one_is_ignored(service, parties):
    party, user = parties["rfc6749"], service.users.add()
    assert (await service.login(party, user, scope="", foo="bar")).json["scope"] == "read write"
    for name in ("username", "password"):
        assert (await service.login(party, user, **{name: ""})).error == (400, "invalid_request")
    assert (await service.token(party, "")).error == (400, "invalid_request")
    assert (await service.refresh(party, "")).error == (400, "invalid_request")


@pytest.mark.parametrize(
    ("grant_type", "dialect", "error"),
    [
        ("authorization_code", "rfc6749", "unsupported_grant_type"),
        ("Password", "rfc6749", "unsupported_grant_type"),
        ("client_credentials", "passport", "unauthorized_client"),
        ("refresh_token", "bongo", "unauthorized_client"),
    ],
)
async def test_a_grant_type_must_exist_and_be_the_client_s(service, parties, grant_type, dialect, error):
    assert (await service.token(parties[dialect], grant_type)).error == (400, error)


@pytest.mark.parametrize(
    "scope", ["a  b", " read", "read ", '"', "\\", "é", "admin", "read admin", "READ", "\t", "read\nwrite"]
)
async def test_a_scope_has_a_grammar_and_a_limit(service, parties, scope):
    party, user = parties["rfc6749"], service.users.add()
    for reply in (
        await service.login(party, user, scope=scope),
        await service.token(party, "client_credentials", scope=scope),
    ):
        assert reply.error == (400, "invalid_scope")
    assert await service.rows("SELECT id FROM sessions WHERE user_id = $1", user.id) == []


async def test_client_credentials_bring_no_refresh_token(service, parties):
    for dialect in ("rfc6749", "cubux"):
        reply = await service.token(parties[dialect], "client_credentials")
        assert reply.status == 200
        assert "refresh_token" not in reply.json


async def test_a_success_is_flat_json_that_nobody_stores(service, party):
    reply = await service.login(party, service.users.add())
    assert reply.status == (201 if party.dialect == "bongo" else 200)
    assert (reply.headers["Cache-Control"], reply.headers["Pragma"]) == ("no-store", "no-cache")
    assert reply.headers["Content-Type"].lower().startswith("application/json")
    assert "Server" not in reply.headers
    if party.dialect != "bongo":
        assert reply.json["token_type"].lower() == "bearer"
        assert type(reply.json["expires_in"]) is int


async def test_wrong_password_and_unknown_user_are_the_same(service, party):
    user = service.users.add()
    replies = [await service.login(party, user, password="wrong")]
    user.login = "nobody"
    replies.append(await service.login(party, user))
    assert replies[0].status == replies[1].status != 200
    assert replies[0].body == replies[1].body
    volatile = ("date", "x-request-id")
    first, second = (
        [header for header in reply.headers.items() if header[0].lower() not in volatile] for reply in replies
    )
    assert first == second


async def test_every_login_is_a_new_session(service, party):
    user = service.users.add()
    replies = [await service.login(party, user) for _ in range(2)]
    assert replies[0].access != replies[1].access
    assert len({(await service.verify(reply.access)).json["sid"] for reply in replies}) == 2
