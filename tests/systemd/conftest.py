"""Bundles that are run with the systemd driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.conftest import Bundle


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/systemd/" in str(item.fspath):
            item.add_marker(pytest.mark.needs("systemd"))


@pytest.fixture
def driven(make_bundle: Any) -> Bundle:
    """A bundle whose verbs are called with --systemd-cgroup."""
    made: Bundle = make_bundle()
    made.options = ("--systemd-cgroup",)
    made.config["linux"].pop("cgroupsPath", None)
    return made
