"""Signing up over HTTP."""

import asyncio
import re
from typing import Any

import msgspec
import pytest


async def test_the_documents_sign_up_answers_200_and_the_user_in_its_own_order(service: Any) -> None:
    reply = await service.sign_up(email="user@example.com")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json; charset=utf-8"
    assert list(reply.json) == ["id", "email", "created_at", "updated_at", "role"]
    assert reply.json["email"] == "user@example.com"
    assert reply.json["role"] == "default"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply.json["created_at"])
