"""Tests of the agents service that are run on SQLite and on PostgreSQL."""

from __future__ import annotations

import pytest

ON_BOTH = pytest.mark.parametrize("agents", ["sqlite", "postgresql"], indirect=True)
