"""Reading, changing and deleting users over HTTP."""

import asyncio
from typing import Any

import pytest
from structlog.testing import capture_logs

ME = "/api/v1/users/me"


async def test_a_user_reads_the_own_record_by_id_and_as_me(service: Any) -> None:
    user = await service.add(email="a@x.com")
    by_id = await service.request("GET", f"/api/v1/users/{user.id}?null=", user=user.id)
    as_me = await service.request("GET", ME, user=user.id)
    assert (by_id.status, as_me.status) == (200, 200)
    assert by_id.body == as_me.body
    assert set(by_id.json) == {"id", "email", "created_at", "updated_at", "role"}


async def test_another_users_record_and_one_that_does_not_exist_are_the_same_404(service: Any) -> None:
    user, other = await service.add(username="a"), await service.add(username="b")
    replies = [
        await service.request(method, f"/api/v1/users/{user_id}", body, user=user.id)
        for user_id in (other.id, 987654321, 10**17)
        for method, body in (("GET", None), ("PATCH", {"user": {"username": "c"}}), ("DELETE", None))
    ]
    replies.append(await service.request("POST", f"/api/v1/users/{other.id}/password", {}, user=user.id))
    assert {reply.status for reply in replies} == {404}
    assert len({reply.body for reply in replies}) == 1
    assert len(await service.rows("SELECT FROM users")) == 2


@pytest.mark.parametrize(
    "user_id", ["0", "01", "x", "-1", "1.0", "1" * 19, "1%2F2", "%00", "..%2F1", "1;x", "\u0661", "1" * 9000]
)
async def test_what_is_no_id_is_not_found(lasting_service: Any, user_id: str) -> None:
    admin = await lasting_service.add(username=f"admin {abs(hash(user_id))}", role="admin")
    reply = await lasting_service.request("GET", f"/api/v1/users/{user_id}", user=admin.id)
    assert reply.status in (400, 404)


async def test_an_admin_reads_and_deletes_others(service: Any) -> None:
    admin, other = await service.add(username="admin", role="admin"), await service.add(username="b")
    async with service.acknowledging():
        assert (await service.request("GET", f"/api/v1/users/{other.id}", user=admin.id)).json["username"] == "b"
        deleted = await service.request("DELETE", f"/api/v1/users/{other.id}", user=admin.id)
    assert (deleted.status, deleted.body) == (204, b"")
    assert (await service.request("GET", f"/api/v1/users/{other.id}", user=admin.id)).status == 404
    assert (await service.request("DELETE", f"/api/v1/users/{other.id}", user=admin.id)).status == 404


async def test_a_deleted_user_is_nobody_and_the_id_is_never_given_again(service: Any) -> None:
    user = await service.add(email="a@x.com")
    async with service.acknowledging():
        assert (await service.request("DELETE", f"/api/v1/users/{user.id}", user=user.id)).status == 204
    reply = await service.request("GET", ME, user=user.id)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == 'Bearer realm="parley", error="invalid_token"'
    assert (await service.add(email="a@x.com")).id > user.id


async def test_a_disabled_user_is_nobody(service: Any) -> None:
    user = await service.add(email="a@x.com", role="admin")
    await service.rows("UPDATE users SET disabled_at = now()")
    assert (await service.request("GET", ME, user=user.id)).status == 401


async def test_login_names_are_added_changed_and_removed(service: Any) -> None:
    user = await service.add(email="a@x.com")
    path = f"/api/v1/users/{user.id}"
    added = await service.request(
        "PATCH", path, {"user": {"username": "Kim", "phone_number": "+8801700000000"}}, user=user.id
    )
    assert added.status == 200
    assert (added.json["email"], added.json["username"]) == ("a@x.com", "Kim")
    assert added.json["updated_at"] > added.json["created_at"]
    changed = await service.request("PATCH", path, {"user": {"email": None, "username": "Lee"}}, user=user.id)
    assert (changed.json["email"], changed.json["username"]) == (None, "Lee")
    assert changed.json["phone_number"] == "+8801700000000"
    assert (await service.request("GET", path, user=user.id)).body == changed.body


async def test_a_user_keeps_at_least_one_login_name(service: Any) -> None:
    user = await service.add(email="a@x.com")
    reply = await service.request("PATCH", f"/api/v1/users/{user.id}", {"user": {"email": None}}, user=user.id)
    assert (reply.status, reply.faulty_fields) == (422, {"user.email"})
    assert (await service.request("GET", ME, user=user.id)).json["email"] == "a@x.com"


async def test_a_change_to_a_taken_login_name_is_a_conflict(service: Any) -> None:
    user = await service.add(username="a")
    await service.add(email="b@x.com")
    body = {"user": {"email": "B@X.com", "username": "c"}}
    reply = await service.request("PATCH", f"/api/v1/users/{user.id}", body, user=user.id)
    assert (reply.status, reply.faulty_fields) == (409, {"user.email"})
    assert (await service.request("GET", ME, user=user.id)).json["username"] == "a"


async def test_another_spelling_of_the_own_login_name_is_no_conflict(service: Any) -> None:
    user = await service.add(email="a@x.com")
    reply = await service.request("PATCH", f"/api/v1/users/{user.id}", {"user": {"email": "A@x.com"}}, user=user.id)
    assert (reply.status, reply.json["email"]) == (200, "A@x.com")


async def test_a_change_that_changes_nothing_leaves_no_trace(service: Any) -> None:
    user = await service.add(email="a@x.com")
    before = (await service.request("GET", ME, user=user.id)).body
    body = {"user": {"email": "a@x.com", "username": None}}
    assert (await service.request("PATCH", f"/api/v1/users/{user.id}", body, user=user.id)).body == before
    assert await service.events() == []


async def test_only_an_admin_changes_a_role(service: Any) -> None:
    user, admin = await service.add(username="a"), await service.add(username="b", role="admin")
    body = {"user": {"role": "admin", "username": "c"}}
    refused = await service.request("PATCH", f"/api/v1/users/{user.id}", body, user=user.id)
    assert refused.status == 403
    assert (await service.request("GET", ME, user=user.id)).json["username"] == "a"
    async with service.acknowledging():
        with capture_logs() as logs:
            changed = await service.request("PATCH", f"/api/v1/users/{user.id}", body, user=admin.id)
        assert (changed.status, changed.json["role"]) == (200, "admin")
        assert (await service.request("GET", "/api/v1/users", user=user.id)).status == 200
        await service.request("PATCH", f"/api/v1/users/{user.id}", {"user": {"role": "default"}}, user=admin.id)
    assert (await service.request("GET", "/api/v1/users", user=user.id)).status == 403
    assert [(entry["user_id"], entry["role"]) for entry in logs if entry["event"] == "role changed"] == [
        (user.id, "admin")
    ]


async def test_an_admin_reads_the_list_page_by_page(service: Any) -> None:
    admin = await service.add(username="admin", role="admin")
    ids = [admin.id] + [(await service.add(username=f"user {n}")).id for n in range(4)]

    async def page(query: str) -> Any:
        reply = await service.request("GET", f"/api/v1/users{query}", user=admin.id)
        assert reply.status == 200
        return [user["id"] for user in reply.json["users"]], reply.json["next"]

    assert await page("") == (ids, None)
    assert await page("?limit=2") == (ids[:2], ids[1])
    assert await page(f"?limit=2&after={ids[1]}&null=") == (ids[2:4], ids[3])
    assert await page(f"?limit=2&after={ids[3]}") == (ids[4:], None)
    assert await page(f"?after={10**18 - 1}") == ([], None)


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=101", "limit=", "limit=x", "limit=-1", "after=x", "after=1&after=2", "limit=" + "9" * 19],
)
async def test_a_page_that_cannot_be_is_refused(service: Any, query: str) -> None:
    admin = await service.add(username="admin", role="admin")
    reply = await service.request("GET", f"/api/v1/users?{query}", user=admin.id)
    assert reply.status == 422
    assert reply.faulty_fields == {query.partition("=")[0]}


async def test_a_password_is_changed_by_who_knows_the_current_one(service: Any) -> None:
    user = await service.add(email="a@x.com", password="correct horse battery")
    path, new = f"/api/v1/users/{user.id}/password", "a completely new one"
    wrong = await service.request("POST", path, {"current_password": "not it", "password": new}, user=user.id)
    assert (wrong.status, wrong.faulty_fields) == (422, {"current_password"})
    assert await service.check("a@x.com", new) is None
    async with service.acknowledging():
        with capture_logs() as logs:
            body = {"current_password": "correct horse battery", "password": new}
            changed = await service.request("POST", path, body, user=user.id)
    assert (changed.status, changed.body) == (204, b"")
    assert await service.check("a@x.com", "correct horse battery") is None
    assert (await service.check("a@x.com", new))["epoch"] == 1
    assert [entry["user_id"] for entry in logs if entry["event"] == "password changed"] == [user.id]
    assert new not in repr(logs)


async def test_a_new_password_must_meet_the_policy(service: Any) -> None:
    user = await service.add(email="someone-long@x.com", password="correct horse battery")
    for new in ("short", "someone-long@x.com", "x" * 1025):
        body = {"current_password": "correct horse battery", "password": new}
        reply = await service.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id)
        assert (reply.status, reply.faulty_fields) == (422, {"password"})
    assert await service.check("someone-long@x.com", "correct horse battery") is not None


async def test_a_user_without_a_password_cannot_change_it(service: Any) -> None:
    user = await service.add(username="a")
    body = {"current_password": "", "password": "a completely new one"}
    reply = await service.request("POST", f"/api/v1/users/{user.id}/password", body, user=user.id)
    assert (reply.status, reply.faulty_fields) == (422, {"current_password"})


async def test_of_two_password_changes_at_once_one_wins(service: Any) -> None:
    user = await service.add(email="a@x.com", password="correct horse battery")
    news = ["the first marmalade jar", "the second marmalade jar"]
    bodies = [{"current_password": "correct horse battery", "password": new} for new in news]
    async with service.acknowledging():
        path = f"/api/v1/users/{user.id}/password"
        replies = await asyncio.gather(*(service.request("POST", path, body, user=user.id) for body in bodies))
    assert sorted(reply.status for reply in replies) == [204, 409]
    winner = news[[reply.status for reply in replies].index(204)]
    assert [new for new in news if await service.check("a@x.com", new)] == [winner]
