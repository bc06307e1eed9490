"""Cron: when a schedule's next tick is, and what came of those that were missed; free of database and protocol."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from tausestack.errors import InvalidArguments

Missed = Literal["once", "skip"]
"""What is done about ticks that nobody was there for: one run for all of them together, or none."""
GRACE = timedelta(seconds=60)
"""A tick that is later than this was missed."""
_FIELDS = 5
_NOWHERE = frozenset({"Factory", "localtime", "posixrules"})
"""Files among the time zones that stand for whatever a machine is set to, or for none."""


@dataclass(frozen=True, slots=True)
class Cron:
    """Five fields of cron in a time zone. Where clocks go forward a tick in the gap is at its end; where they go back
    one that is named by its hour happens once."""

    expression: str
    timezone: str

    def __post_init__(self) -> None:
        if len(self.expression.split()) != _FIELDS:
            raise InvalidArguments("cron has five fields: minute, hour, day of the month, month, day of the week")
        try:
            zone = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidArguments(f"There is no time zone '{self.timezone[:60]}'; one is America/Bogota") from error
        try:
            next(CronSim(self.expression, datetime.now(zone)))
        except CronSimError as error:
            raise InvalidArguments(f"'{self.expression[:60]}' is no cron: {error}") from error
        except StopIteration as error:
            raise InvalidArguments(f"'{self.expression[:60]}' never comes") from error

    def check(self) -> None:
        """Raise `InvalidArguments` where the zone is none of the IANA's: what it stands for may not change."""
        if self.timezone not in _zones():
            raise InvalidArguments(f"'{self.timezone[:60]}' is no time zone of the IANA's; one is America/Bogota")

    def next(self, after: datetime) -> datetime:
        """Return the first tick after a time, in UTC."""
        return next(CronSim(self.expression, after.astimezone(ZoneInfo(self.timezone)))).astimezone(UTC)

    def latest(self, until: datetime) -> datetime:
        """Return the last tick that is not after a time, in UTC."""
        start = until.astimezone(ZoneInfo(self.timezone)) + timedelta(seconds=1)
        return next(CronSim(self.expression, start, reverse=True)).astimezone(UTC)

    def due(self, tick: datetime, now: datetime, missed: Missed) -> datetime | None:
        """Return which tick is to be run for one that is due: the latest, or None where that was missed."""
        latest = max(tick, self.latest(now))
        return None if missed == "skip" and now - latest > GRACE else latest


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _NOWHERE
