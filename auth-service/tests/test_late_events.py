"""Late events are reported before anybody relies on them."""

import pytest

from .serving import eventually


@pytest.mark.parametrize("fault", ["frozen", "refuses_events"])
async def test_events_that_are_late_are_told_of_and_read_as_soon_as_they_flow_again(own_service, parties, log, fault):
    service = own_service
    written = len(log.getvalue())

    async def readiness():
        reply = await service.request("GET", "/readyz")
        return reply.status, reply.json

    async def events():
        lines = log.getvalue()[written:].splitlines()
        return [said for said in ("user events are late", "user events flow again") if any(said in it for it in lines)]

    login = await service.login(parties["rfc6749"], user := service.users.add())
    assert await readiness() == (200, {"status": "ok"})
    setattr(service.users, fault, True)
    await eventually(readiness, lambda seen: seen == (200, {"status": "degraded", "reasons": ["user events are late"]}))
    assert await eventually(events) == ["user events are late"]
    assert await service.verdict(login.access) == 200, "verification goes on"
    setattr(service.users, fault, False)
    await service.users.end_sessions(user)
    assert await service.verdict(login.access) == 401
    await eventually(readiness, lambda seen: seen == (200, {"status": "ok"}))
    assert await eventually(events, lambda seen: len(seen) == 2)
