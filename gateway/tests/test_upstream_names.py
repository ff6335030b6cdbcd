"""The name of an upstream that cannot be resolved, from the start or later."""

from structlog.testing import capture_logs

from wire import until

ME = "/api/v1/users/me"
TOKEN = "/oauth/token"


# With TLS the server's name is checked; without it, nothing shows that an address still belongs to the name.
async def test_the_last_good_addresses_are_kept(start_pair):
    pair = await start_pair(dns_interval=0.02)
    pair.name.known = False
    with capture_logs() as lines:
        await until(lambda: sum(line["event"] == "name not resolved" for line in lines) == 3)
    assert [(await pair.request("GET", ME)).status for _ in range(6)] == [200] * 6


async def test_a_name_that_is_unknown_at_the_start_lets_nobody_in_until_it_is_known(start_pair):
    pair = await start_pair(known=False, dns_interval=0.02)
    answer = await pair.request("GET", ME)
    assert (answer.status, answer.get("WWW-Authenticate")) == (503, None)
    assert (await pair.request("POST", TOKEN)).status == 503
    pair.name.known = True
    await until(lambda: len(pair.data_path.status()["upstreams"]["verification"]["replicas"]) == 2)
    assert (await pair.request("GET", ME)).status == 200
