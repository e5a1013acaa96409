"""What the Cloud Run room publishes to the other rooms (context.publish); nobody has to listen."""

from __future__ import annotations

from dataclasses import dataclass

REQUEST = "run.request"
EXECUTION = "run.execution"


@dataclass(frozen=True, slots=True)
class RequestServed:
    """Topic "run.request": the front has answered one request, by itself (instance "") or through an instance.

    instance is the instance's id; latency_s counts from the request's head to the answer's last byte, with queueing and
    a cold start; at_s is the moment of the request by the stand-in's clock, in seconds since the epoch.
    """

    project: str
    service: str
    revision: str
    instance: str
    status: int
    latency_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class ExecutionEnded:
    """Topic "run.execution": an execution of a job is over; at_s as above."""

    project: str
    job: str
    succeeded: bool
    at_s: float
