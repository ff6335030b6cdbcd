"""Password guesses, each from an address that no other test uses."""

import itertools
from collections import Counter
from dataclasses import replace

WRONG = "not the password"
_numbers = itertools.count(1)


def unique():
    """A number that no other test gets."""
    return next(_numbers)


def address():
    """An IPv4 address in a /24 that no other test uses."""
    number = unique()
    return f"{203 + number // 65536}.{number // 256 % 256}.{number % 256}.7"


class Number:
    """A phone number without its `+` that has two readings: a login for each, and one for the `bare` number.

    `taken` lists the readings, 0 and 1, that belong to a user.
    """

    def __init__(self, service, *taken):
        digits = f"45{unique():08}"
        self.readings = [f"+{digits}", f"+880{digits}"]
        service.users.readings[digits] = self.readings
        self.spelled = [service.users.add(login=login) for login in self.readings]
        for number in {0, 1} - set(taken):
            del service.users.users[self.readings[number]]
        self.bare = replace(self.spelled[(taken or [0])[0]], login=digits)


def came_from(place):
    return {"X-Forwarded-For": place}


async def guess(service, party, user, place, password=WRONG):
    return await service.login(party, user, headers=came_from(place), password=password)


def evaluated(service, user):
    return sum(check["login"] == user.login for check in service.users.checks)


def statuses(replies):
    return Counter(reply.status for reply in replies)
