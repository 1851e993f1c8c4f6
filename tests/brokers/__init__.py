"""Tests of `engine.brokers`: one contract suite, run against every implementation."""

import pytest

for part in ("contract", "contract_record", "contract_tallies", "contract_totals", "model", "model_counts", "opening"):
    pytest.register_assert_rewrite(f"brokers.{part}")
