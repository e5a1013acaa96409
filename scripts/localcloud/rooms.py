"""Which rooms the stand-in has, opened in the order in which they depend on each other."""

from __future__ import annotations

import asyncio

from scripts.localcloud.admin.room import AdminRoom
from scripts.localcloud.clock import ClockRoom
from scripts.localcloud.console.panels import Sources
from scripts.localcloud.console.room import ConsoleRoom
from scripts.localcloud.context import Context, Room
from scripts.localcloud.control import ControlRoom
from scripts.localcloud.logging.room import LoggingRoom
from scripts.localcloud.monitoring.room import MonitoringRoom
from scripts.localcloud.run.room import RunRoom
from scripts.localcloud.scheduler.room import SchedulerRoom
from scripts.localcloud.storage.room import StorageRoom
from scripts.localcloud.traffic.room import TrafficRoom
from scripts.localcloud.upstream.room import UpstreamRoom


def open_rooms(context: Context, stopping: asyncio.Event) -> dict[str, Room]:
    """All rooms by name; the control room sees the others' status."""
    rooms: dict[str, Room] = {}
    timing = rooms["clock"] = ClockRoom(context)
    traffic = rooms["traffic"] = TrafficRoom(context)
    storage = rooms["storage"] = StorageRoom(context)
    logging = rooms["logging"] = LoggingRoom(context)
    run = rooms["run"] = RunRoom(context, storage, logging, timing.clock)
    scheduler = rooms["scheduler"] = SchedulerRoom(context, timing.clock, logging)
    rooms["admin"] = AdminRoom(context)
    rooms["monitoring"] = MonitoringRoom(context, timing.clock, storage, run, logging)
    rooms["upstream"] = UpstreamRoom(context)
    rooms["control"] = ControlRoom(context, rooms, stopping)
    # first, so that a browser's GET / is the console's
    sources = Sources(timing, traffic, storage, logging, run, scheduler)
    return {"console": ConsoleRoom(context, rooms, sources), **rooms}
