"""The routes by which ACE-Step's clients prepare data sets and train adapters: switched on by a flag, for the host's key alone.

Thin: what each does stands in `rest_training_verbs`, what is open meanwhile in `rest_training_desk`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from tornado.web import HTTPError, RequestHandler

from acestep_lab.errors import LabError
from acestep_lab.features import Feature, is_feature_enabled
from acestep_lab.serve import rest_training_verbs as verbs
from acestep_lab.serve.api_handler import ApiHandler
from acestep_lab.serve.rest_verbs import HostOnly

Verb = Callable[..., dict[str, Any]]
WAITING = (verbs.auto_label, verbs.preprocess)
"""Verbs that wait for the session: a few at once, so that the door's threads serve everybody else."""


class SwitchedOff(LabError):
    """Training was asked of a door on which it is switched off (HTTP 403)."""

    code = "TRAINING"
    status = 403

    def __init__(self) -> None:
        name = Feature.API_TRAINING_ENDPOINTS.variable
        super().__init__(f"Training is switched off here; {name}=true switches its routes on.")


class _OfTraining(ApiHandler):
    """A route whose methods are verbs."""

    verbs: ClassVar[dict[str, Verb]] = {}

    async def get(self, *named: str) -> None:
        """Ask how something stands."""
        await self._do("get", {name: self.get_query_argument(name) for name in self.request.query_arguments}, *named)

    async def post(self, *named: str) -> None:
        """Have something done."""
        await self._do("post", self.read_body().fields, *named)

    async def put(self, *named: str) -> None:
        """Change something."""
        await self._do("put", self.read_body().fields, *named)

    async def _do(self, method: str, fields: Any, *named: str) -> None:
        verb = self.verbs.get(method)
        if verb is None:
            raise HTTPError(405)
        if not is_feature_enabled(Feature.API_TRAINING_ENDPOINTS):
            raise SwitchedOff
        if self.owner:
            raise HostOnly("Training is the host's: only the host's key can look at data sets and train.")
        job = partial(verb, self.door.training, fields, *named)
        self.answer(await (self.ask(job) if verb in WAITING else self.work(job)))


def _route(**methods: Verb) -> type[RequestHandler]:
    return type("TrainingRoute", (_OfTraining,), {"verbs": methods})


TRAINING_ROUTES: dict[str, type[RequestHandler]] = {
    "/v1/dataset/scan": _route(post=verbs.scan),
    "/v1/dataset/load": _route(post=verbs.load, get=verbs.load),
    "/v1/dataset/save": _route(post=verbs.save),
    "/v1/dataset/samples": _route(get=verbs.samples),
    "/v1/dataset/sample/{id}": _route(get=verbs.one_sample, put=verbs.change_sample),
    "/v1/dataset/auto_label": _route(post=verbs.auto_label),
    "/v1/dataset/auto_label_async": _route(post=verbs.auto_label_async),
    "/v1/dataset/auto_label_status": _route(get=verbs.label_status),
    "/v1/dataset/auto_label_status/{id}": _route(get=verbs.label_status),
    "/v1/dataset/preprocess": _route(post=verbs.preprocess),
    "/v1/dataset/preprocess_async": _route(post=verbs.preprocess_async),
    "/v1/dataset/preprocess_status": _route(get=verbs.preprocess_status),
    "/v1/dataset/preprocess_status/{id}": _route(get=verbs.preprocess_status),
    "/v1/training/load_tensor_info": _route(post=verbs.load_tensor_info),
    "/v1/training/start": _route(post=verbs.start),
    "/v1/training/start_lokr": _route(post=verbs.start_lokr),
    "/v1/training/stop": _route(post=verbs.stop),
    "/v1/training/status": _route(get=verbs.training_status),
    "/v1/training/export": _route(post=verbs.export),
}
"""Every route by its path."""
