"""Tests for the Python suites, each with a broker of its own."""

import asyncio
import sys
import traceback

import nats

from broker import Broker

TEST_PATIENCE_S = 60
TESTS = []


def test(config="", flags=()):
    """Registers a test; it gets a broker of its own with this configuration."""

    def register(function):
        TESTS.append((function, config, flags))
        return function

    return register


async def refuses(awaitable, *errors):
    """The awaitable must fail with one of the errors."""
    try:
        await awaitable
    except errors as error:
        return error
    raise AssertionError("nothing was refused")


async def refuses_to_connect(broker, **credentials):
    async def ignore(_error):
        pass

    error = await refuses(
        nats.connect(broker.url, allow_reconnect=False, error_cb=ignore, **credentials), nats.errors.Error, Exception
    )
    assert "authorization violation" in str(error).lower(), repr(error)


async def run_one(function, config, flags):
    async with Broker(config, flags) as broker:
        await asyncio.wait_for(function(broker), TEST_PATIENCE_S)


def main():
    failed = 0
    for function, config, flags in TESTS:
        try:
            asyncio.run(run_one(function, config, flags))
            print(f"ok    python  {function.__name__}")
        except Exception:  # pylint: disable=broad-except
            failed += 1
            print(f"FAIL  python  {function.__name__}")
            traceback.print_exc(file=sys.stdout)
    print(f"{len(TESTS) - failed} of {len(TESTS)} passed")
    sys.exit(1 if failed else 0)
