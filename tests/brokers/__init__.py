"""Tests of `engine.brokers`: one contract suite, run against every implementation."""

import pytest

pytest.register_assert_rewrite("brokers.contract")
