"""Feature flags: what can be switched on or off as a whole. Code comes before the environment, that before the default.

FeatureFlags.disable(Feature.LORA_TRAINING)     for this process, until FeatureFlags.reset()
ACESTEP_FEATURE_EXPERIMENTAL_SCORING=false      for every process that starts so
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import ClassVar

from acestep_lab.errors import LabError, RecipeError, shown
from acestep_lab.settings import FEATURE, OFF, ON, VARIABLES


class Feature(Enum):
    """What can be switched; the value is whether it is on unless told otherwise, and what it switches."""

    LORA_TRAINING = (True, "`lab.train`: on here, unlike in the reference, whose own is known to be broken")
    API_TRAINING_ENDPOINTS = (False, "the REST door's routes for data sets and training, for the host's key alone")
    ADVANCED_EDITING = (True, "`acestep-lab edit` (FlowEdit on the command line)")
    BATCH_GENERATION = (True, "`acestep-lab batch`")
    EXPERIMENTAL_SCORING = (True, "`lab.plan_score`")

    @property
    def variable(self) -> str:
        """The environment variable that switches it."""
        return FEATURE + self.name

    @property
    def default(self) -> bool:
        """Whether it is on where nobody says anything."""
        return self.value[0]

    @property
    def switches(self) -> str:
        """What it switches here, in words."""
        return self.value[1]


class FeatureFlags:
    """What this process's code has switched."""

    _switched: ClassVar[dict[Feature, bool]] = {}

    @classmethod
    def enable(cls, feature: Feature) -> None:
        """Switch a feature on, whatever the environment says."""
        cls._switched[_feature(feature)] = True

    @classmethod
    def disable(cls, feature: Feature) -> None:
        """Switch a feature off, whatever the environment says."""
        cls._switched[_feature(feature)] = False

    @classmethod
    def reset(cls, feature: Feature | None = None) -> None:
        """Forget what code has switched: of one feature, or (None) of all."""
        if feature is None:
            cls._switched.clear()
        else:
            cls._switched.pop(_feature(feature), None)

    @classmethod
    def look_up(cls, feature: Feature, environ: Mapping[str, str] = VARIABLES) -> tuple[bool, str]:
        """Whether a feature is on, and who says so: "code", its variable, or "default"; LabError for an unknown word."""
        if _feature(feature) in cls._switched:
            return cls._switched[feature], "code"
        word = environ.get(feature.variable, "").strip().lower()
        if word and word not in (*ON, *OFF):
            raise LabError(
                f"{feature.variable} is {', '.join(ON)} or {', '.join(OFF)}, not {shown(environ[feature.variable])}."
            )
        return (word in ON, feature.variable) if word else (feature.default, "default")


def is_feature_enabled(feature: Feature, environ: Mapping[str, str] = VARIABLES) -> bool:
    """Whether a feature is on; LabError where its variable says neither on nor off."""
    return FeatureFlags.look_up(feature, environ)[0]


def require(feature: Feature) -> None:
    """RecipeError where a feature is off."""
    if not is_feature_enabled(feature):
        raise RecipeError(f"{feature.name} is switched off here; {feature.variable}=true switches it on.")


def _feature(feature: object) -> Feature:
    if not isinstance(feature, Feature):
        raise LabError(f"A feature is one of Feature, such as Feature.LORA_TRAINING, not {shown(feature)}.")
    return feature
