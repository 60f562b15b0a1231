# SPDX-License-Identifier: MIT
# Copyright (c) the vhdx authors
"""Fixtures of the tests of recover."""

import pytest

pytest.register_assert_rewrite('recover_support')

# pylint: disable=wrong-import-position
from corpus_support import Tool  # noqa: E402
from environment import variable  # noqa: E402
from recover_support import Recover  # noqa: E402


@pytest.fixture(scope='session')
def vhdx(launcher):
    """The tool."""
    return Tool(variable('VHDX'), launcher)


@pytest.fixture
def recover(vhdx, tmp_path):
    """vhdx recover, in a folder of the test's own."""
    return Recover(vhdx, tmp_path)
