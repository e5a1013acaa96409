"""Alert policies and notification channels of Cloud Monitoring v3: kept and checked."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from typing import Any

from scripts.localcloud.admin.documents import Document, Documents, body, page
from scripts.localcloud.context import Context
from scripts.localcloud.logging.filters import FilterError
from scripts.localcloud.logging.filters import parse as parse_log_filter
from scripts.localcloud.monitoring.queries import aggregation_of, predicate_of
from scripts.localcloud.web import ApiError, Request, Response, Route

_API = "monitoring.v3"
_POLICIES = "/v3/projects/{project}/alertPolicies"
_CHANNELS = "/v3/projects/{project}/notificationChannels"
_CHANNEL_ID = "monitoring.projects.notificationChannels"
COMPARISONS = ("COMPARISON_GT", "COMPARISON_GE", "COMPARISON_LT", "COMPARISON_LE", "COMPARISON_EQ", "COMPARISON_NE")
_KINDS = ("conditionThreshold", "conditionAbsent", "conditionMatchedLog")
_QUERIES = ("conditionMonitoringQueryLanguage", "conditionPrometheusQueryLanguage", "conditionSql")
_COMBINERS = ("AND", "OR", "AND_WITH_MATCHING_RESOURCE")
_CHOSEN_POLICY = (
    "displayName", "documentation", "userLabels", "conditions", "combiner", "enabled", "severity",
    "notificationChannels", "alertStrategy",
)  # fmt: skip
_EVALUATED = ("conditions", "combiner", "enabled")
_CHOSEN_CHANNEL = ("type", "displayName", "description", "labels", "userLabels", "enabled")
_MOST_CONDITIONS = 6
NOT_EVALUATED = 12  # google.rpc.Code UNIMPLEMENTED


class Policies:
    """The routes; changed() is told of a policy that is new, other than before, or gone (None)."""

    def __init__(self, context: Context, documents: Documents, changed: Callable[[str, Document | None], None]) -> None:
        self._context = context
        self._documents = documents
        self._changed = changed

    def routes(self) -> list[Route]:
        return [
            Route("POST", _POLICIES, self._create, "monitoring.projects.alertPolicies.create"),
            Route("GET", _POLICIES, self._list, "monitoring.projects.alertPolicies.list"),
            Route("GET", f"{_POLICIES}/{{policy}}", self._get, "monitoring.projects.alertPolicies.get"),
            Route("PATCH", f"{_POLICIES}/{{policy}}", self._patch, "monitoring.projects.alertPolicies.patch"),
            Route("DELETE", f"{_POLICIES}/{{policy}}", self._delete, "monitoring.projects.alertPolicies.delete"),
            Route("POST", _CHANNELS, self._create_channel, f"{_CHANNEL_ID}.create"),
            Route("GET", _CHANNELS, self._list_channels, f"{_CHANNEL_ID}.list"),
            Route("GET", f"{_CHANNELS}/{{channel}}", self._get_channel, f"{_CHANNEL_ID}.get"),
            Route("PATCH", f"{_CHANNELS}/{{channel}}", self._patch_channel, f"{_CHANNEL_ID}.patch"),
            Route("DELETE", f"{_CHANNELS}/{{channel}}", self._delete_channel, f"{_CHANNEL_ID}.delete"),
        ]

    def _policy(self, request: Request) -> Document:
        name = f"projects/{request.params['project']}/alertPolicies/{request.params['policy']}"
        return self._documents.need(name, "Alert policy")

    async def _create(self, request: Request) -> Response:
        given = await body(request, _API, "AlertPolicy", "alert_policy")
        collection = f"projects/{request.params['project']}/alertPolicies"
        made = {key: given[key] for key in _CHOSEN_POLICY if key in given}
        record = {"mutateTime": self._context.now(), "mutatedBy": "local"}
        made |= {"name": f"{collection}/{_new_id()}", "creationRecord": record, "mutationRecord": record}
        return self._saved({"enabled": True, **made})

    async def _list(self, request: Request) -> Response:
        _unfiltered(request)
        found = self._documents.children(f"projects/{request.params['project']}/alertPolicies")
        return Response.of_json(page(found, request, "alertPolicies", total=True))

    async def _get(self, request: Request) -> Response:
        return Response.of_json(self._policy(request))

    async def _patch(self, request: Request) -> Response:
        """Without a mask everything is replaced."""
        old, given = self._policy(request), await body(request, _API, "AlertPolicy", "alert_policy")
        new = _replaced(old, given, request.query.get("updateMask", ""), _CHOSEN_POLICY)
        new["mutationRecord"] = {"mutateTime": self._context.now(), "mutatedBy": "local"}
        return self._saved({"enabled": True, **new}, old)

    async def _delete(self, request: Request) -> Response:
        name = self._policy(request)["name"]
        self._documents.delete(name)
        self._changed(name, None)
        return Response.of_json({})

    def _saved(self, policy: Document, old: Document | None = None) -> Response:
        """Incidents end, and conditions begin anew, when what is evaluated has changed; not by another description."""
        checked = _checked(policy)
        for channel in checked.get("notificationChannels") or []:
            self._documents.need(channel, "Notification channel")
        self._documents.save(checked["name"], checked)
        if old is None or any(old.get(key) != checked.get(key) for key in _EVALUATED):
            self._changed(checked["name"], checked)
        return Response.of_json(checked)

    def _channel(self, request: Request) -> Document:
        name = f"projects/{request.params['project']}/notificationChannels/{request.params['channel']}"
        return self._documents.need(name, "Notification channel")

    async def _create_channel(self, request: Request) -> Response:
        given = await body(request, _API, "NotificationChannel", "notification_channel")
        if not given.get("type"):
            raise ApiError(400, "notification_channel.type: required, e.g. email or slack.")
        name = f"projects/{request.params['project']}/notificationChannels/{_new_id()}"
        made = {"enabled": True, **{key: given[key] for key in _CHOSEN_CHANNEL if key in given}, "name": name}
        made["creationRecord"] = {"mutateTime": self._context.now(), "mutatedBy": "local"}
        return Response.of_json(self._documents.create(name, made, "Notification channel"))

    async def _list_channels(self, request: Request) -> Response:
        _unfiltered(request)
        found = self._documents.children(f"projects/{request.params['project']}/notificationChannels")
        return Response.of_json(page(found, request, "notificationChannels", total=True))

    async def _get_channel(self, request: Request) -> Response:
        return Response.of_json(self._channel(request))

    async def _patch_channel(self, request: Request) -> Response:
        old, given = self._channel(request), await body(request, _API, "NotificationChannel", "notification_channel")
        new = _replaced(old, given, request.query.get("updateMask", ""), _CHOSEN_CHANNEL)
        return Response.of_json(self._documents.save(old["name"], new))

    async def _delete_channel(self, request: Request) -> Response:
        """One that a policy names is deleted by force only."""
        name = self._channel(request)["name"]
        policies = self._documents.children(f"projects/{request.params['project']}/alertPolicies")
        users = [each for each in policies if name in (each.get("notificationChannels") or [])]
        if users and request.query.get("force") != "true":
            text = f"{name} is used by {users[0]['name']}; delete it with force=true."
            raise ApiError(400, text, status="FAILED_PRECONDITION")
        for policy in users:
            policy["notificationChannels"].remove(name)
            self._documents.save(policy["name"], policy)
        self._documents.delete(name)
        return Response.of_json({})


def _replaced(old: Document, given: Document, mask: str, chosen: tuple[str, ...]) -> Document:
    kept = {key: value for key, value in old.items() if key not in chosen}
    if not mask:
        return {**kept, **{key: given[key] for key in chosen if key in given}}
    new = dict(old)
    for path in filter(None, mask.split(",")):
        top, dot, inner = path.strip().partition(".")
        key = _camel(top)
        if key not in chosen or (dot and not isinstance(given.get(key, {}), dict)):
            raise ApiError(400, f"updateMask: {path!r} cannot be updated.")
        if dot:
            new[key] = dict(new.get(key) or {})
            _move(new[key], given.get(key) or {}, inner if "abels" in key else _camel(inner))
        else:
            _move(new, given, key)
    return new


def _move(target: Document, source: Document, key: str) -> None:
    target.pop(key, None)
    if key in source:
        target[key] = source[key]


def _camel(name: str) -> str:
    words = name.split("_")
    return words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])


def _checked(policy: Document) -> Document:
    """With names for its conditions, and `validity` when one of them is not evaluated here. Raises ApiError 400."""
    conditions = policy.get("conditions") or []
    if not policy.get("displayName"):
        raise ApiError(400, "alert_policy.display_name: required.")
    if not 1 <= len(conditions) <= _MOST_CONDITIONS:
        raise ApiError(400, f"alert_policy.conditions: expected 1 to {_MOST_CONDITIONS}, found {len(conditions)}.")
    if policy.get("combiner") not in _COMBINERS:
        raise ApiError(
            400, f"alert_policy.combiner: expected {', '.join(_COMBINERS)}, found {policy.get('combiner')!r}."
        )
    duration_s((policy.get("alertStrategy") or {}).get("autoClose"), "alert_policy.alert_strategy.auto_close")
    named, foreign = [], ""
    for index, condition in enumerate(conditions):
        kinds = [key for key in (*_KINDS, *_QUERIES) if key in condition]
        place = f"alert_policy.conditions[{index}]"
        if len(kinds) != 1:
            raise ApiError(400, f"{place}: expected one of {', '.join(_KINDS)}, found {kinds}.")
        if kinds[0] in _QUERIES:
            foreign = f"{place}.{kinds[0]} is kept and not evaluated by the stand-in."
        else:
            _check_condition(kinds[0], condition[kinds[0]], f"{place}.{kinds[0]}")
        named.append({"name": f"{policy['name']}/conditions/{_new_id()}", **condition})
    checked = {**policy, "conditions": named}
    checked.pop("validity", None)
    return {**checked, "validity": {"code": NOT_EVALUATED, "message": foreign}} if foreign else checked


def _check_condition(kind: str, given: Any, place: str) -> None:
    if kind == "conditionMatchedLog":
        try:
            parse_log_filter(given.get("filter") or "")
        except FilterError as error:
            raise ApiError(400, f"{place}.filter: {error}.") from None
        return
    predicate_of(given.get("filter"), f"{place}.filter")
    for key in ("aggregations", "denominatorAggregations"):
        if len(given.get(key) or []) > 2:
            raise ApiError(400, f"{place}.{key}: expected at most 2, found {len(given[key])}.")
        for index, each in enumerate(given.get(key) or []):
            aggregation_of(each, f"{place}.{key}[{index}]")
    waited_s = duration_s(given.get("duration"), f"{place}.duration")
    if kind == "conditionAbsent":
        if not 120 <= waited_s <= 86400:
            raise ApiError(400, f"{place}.duration: expected 120s to 86400s, found {given.get('duration')!r}.")
        return
    if "denominatorFilter" in given:
        predicate_of(given["denominatorFilter"], f"{place}.denominatorFilter")
    if given.get("comparison") not in COMPARISONS:
        raise ApiError(
            400, f"{place}.comparison: expected {' or '.join(COMPARISONS)}, found {given.get('comparison')!r}."
        )
    for name, number in (("thresholdValue", given.get("thresholdValue")), *(given.get("trigger") or {}).items()):
        if not _finite(number or 0):
            raise ApiError(400, f"{place}.{name}: expected a number, found {str(number)[:50]!r}.")
    if waited_s % 60:
        raise ApiError(400, f"{place}.duration: expected whole minutes, found {given['duration']!r}.")


def duration_s(text: Any, place: str) -> float:
    """A duration such as 300s in seconds; 0 for none. Raises ApiError 400."""
    number = str(text or "0s").removesuffix("s")
    if not (number.isascii() and number.isdigit() and len(number) < 9 and (text is None or str(text).endswith("s"))):
        raise ApiError(400, f"{place}: expected a duration such as 300s, found {str(text)[:50]!r}.")
    return float(number)


def _finite(number: Any) -> bool:
    """Numbers may travel as text."""
    try:
        return math.isfinite(float(number))
    except ValueError:
        return False


def _unfiltered(request: Request) -> None:
    if request.query.get("filter") or request.query.get("orderBy"):
        raise ApiError(400, "filter, orderBy: not imitated by the stand-in.")


def _new_id() -> str:
    return str(10**18 + secrets.randbelow(8 * 10**18))
