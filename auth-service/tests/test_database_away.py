"""While the database is away, the answer is 503 with Retry-After in each dialect's form, and never a refusal."""

FIELDS = {
    "rfc6749": {"error", "error_description"},
    "doorkeeper_jwt": {"error", "error_description"},
    "doorkeeper": {"error", "error_message"},
    "cubux": {"error", "error_description"},
    "passport": {"error", "message"},
    "bongo": {"message", "display_message", "status", "error", "causes"},
}


def assert_unavailable(reply, dialect):
    assert reply.error == (503, "temporarily_unavailable")
    assert int(reply.headers["Retry-After"]) > 0
    assert "no-store" in reply.headers["Cache-Control"]
    assert set(reply.json) == FIELDS[dialect]


async def test_every_grant_of_every_dialect_is_unavailable(cut_off_service, relay, party):
    service, user = cut_off_service, cut_off_service.users.add()
    login = await service.login(party, user)
    await relay.cut()
    assert_unavailable(await service.login(party, user), party.dialect)
    if party.dialect != "bongo":
        assert_unavailable(await service.refresh(party, login.refresh), party.dialect)
    if party.dialect in ("rfc6749", "cubux"):
        assert_unavailable(await service.token(party, "client_credentials"), party.dialect)
    await relay.restore()
    assert (await service.login(party, user)).status in (200, 201)


async def test_a_client_that_is_not_known_yet_is_unavailable(cut_off_service, relay):
    unknown = await cut_off_service.register("passport")
    await relay.cut()
    assert_unavailable(await cut_off_service.login(unknown, cut_off_service.users.add()), "rfc6749")


async def test_a_verdict_is_unknown(cut_off_service, relay, party):
    token = (await cut_off_service.login(party, cut_off_service.users.add())).access
    assert await cut_off_service.verdict(token) == 200
    await relay.cut()
    reply = await cut_off_service.verify(token)
    assert reply.status == 503
    assert int(reply.headers["Retry-After"]) > 0
    assert "no-store" in reply.headers["Cache-Control"]
    assert "WWW-Authenticate" not in reply.headers
    await relay.restore()
    assert await cut_off_service.verdict(token) == 200


async def test_nothing_is_revoked_or_introspected_for_show(cut_off_service, relay, parties):
    service, party = cut_off_service, parties["rfc6749"]
    login = await service.login(party, service.users.add())
    internal = (await service.verify(login.access)).json["internal_token"]
    await relay.cut()
    for path in ("/oauth/revoke", "/oauth/introspect"):
        for token in (login.access, login.refresh):
            body = {**party.credentials, "token": token}
            assert_unavailable(await service.request("POST", path, json=body), "rfc6749")
    for method in ("GET", "DELETE"):
        bearer = {"Authorization": f"Bearer {internal}"}
        reply = await service.request(method, "/api/v1/sessions", headers=bearer)
        assert (reply.status, int(reply.headers["Retry-After"]) > 0) == (503, True)
    await relay.restore()
    assert await service.verdict(login.access) == 200


async def test_the_process_lives_but_is_not_ready(cut_off_service, relay):
    async def statuses():
        return [(await cut_off_service.request("GET", path)).status for path in ("/healthz", "/readyz")]

    assert await statuses() == [200, 200]
    await relay.cut()
    assert await statuses() == [200, 503]
    await relay.restore()
    assert await statuses() == [200, 200]


async def test_bongo_cannot_tell_whose_token_it_is(cut_off_service, relay, parties):
    user = cut_off_service.users.add()
    token = (await cut_off_service.login(parties["bongo"], user)).access
    await relay.cut()
    headers = {"Authorization": f"Bearer {token}"}
    reply = await cut_off_service.request("GET", f"/api/oauth/{user.id}/verify-token/v1/", headers=headers)
    assert_unavailable(reply, "bongo")
