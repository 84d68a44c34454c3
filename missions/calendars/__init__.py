"""When something recurs: rules (RRULE and cron) in a named time zone, right through both clock changes of a year."""

from missions.calendars.recurrence import check, occurrences, walk
from missions.calendars.zones import instant_of, zone_named

__all__ = ["check", "instant_of", "occurrences", "walk", "zone_named"]
