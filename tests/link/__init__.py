"""Tests of `engine.link`: one contract suite, run against every implementation."""

import pytest

pytest.register_assert_rewrite("link.contract")
