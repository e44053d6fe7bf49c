"""A picture of the page that stays open from test to test, where one of them fails."""

import contextlib

import pytest
from lab_driver import shoot


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    page = getattr(item, "funcargs", {}).get("live")
    if report.when == "call" and report.failed and page is not None:
        with contextlib.suppress(Exception):  # a browser that has died has no picture; the test's own error is told
            shoot(page, item.name)
    return report
