"""The keys under which handlers find the objects that app.py makes."""

from aiohttp import web

from servicekit.internal_tokens import InternalTokens
from user_service.accounts import Accounts
from user_service.outbox import Outbox
from user_service.settings import Settings
from user_service.throttles import Throttles

SETTINGS = web.AppKey("settings", Settings)
TOKENS = web.AppKey("tokens", InternalTokens)
ACCOUNTS = web.AppKey("accounts", Accounts)
OUTBOX = web.AppKey("outbox", Outbox)
THROTTLES = web.AppKey("throttles", Throttles)
