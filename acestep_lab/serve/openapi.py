"""The REST door as an OpenAPI 3.1 document. Plain data: no web, no model."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from acestep_lab.serve.rest_fields import FIELDS, TASKS, WITHOUT_EFFECT
from acestep_lab.serve.rest_training_fields import TRAINING
from acestep_lab.versions import version_of

_TEXT, _NUMBER, _YES = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
_WHOLE = {"type": "integer"}
_FILE = {"type": "string", "format": "binary"}
_IDS = {"type": "array", "items": {"type": "string"}}

_RENDER: dict[str, dict[str, Any]] = {
    "prompt": _TEXT, "lyrics": _TEXT, "task_type": {
        "type": "string", "enum": list(TASKS),
    },
    "audio_duration": {**_NUMBER, "description": "seconds; absent, 0 or -1: decided by the checkpoint"},
    "bpm": _WHOLE, "key_scale": _TEXT, "time_signature": _TEXT, "vocal_language": _TEXT,
    "batch_size": {**_WHOLE, "minimum": 1, "maximum": 8, "default": 2},
    "seed": {"type": ["integer", "string"], "description": "one, or several as 1,2,3; counts where use_random_seed is false"},
    "use_random_seed": {**_YES, "default": True},
    "inference_steps": _WHOLE, "guidance_scale": _NUMBER, "shift": _NUMBER, "infer_method": _TEXT,
    "thinking": {**_YES, "default": False}, "sample_mode": _YES, "sample_query": _TEXT, "use_format": _YES,
    "audio_format": {"type": "string", "enum": ["mp3", "wav", "wav24", "wav32", "flac", "opus", "aac"], "default": "mp3"},
    "model": _TEXT, "src_audio": _FILE, "reference_audio": _FILE, "src_audio_path": _TEXT, "reference_audio_path": _TEXT,
    "audio_cover_strength": _NUMBER, "repainting_start": _NUMBER, "repainting_end": _NUMBER, "track_name": _TEXT,
    "audio_code_string": _TEXT, "full_analysis_only": _YES, "extract_codes_only": _YES,
    "get_scores": {**_YES, "default": False, "description": "score each song; else later by /v1/scores"}, "score_scale": _NUMBER,
    "get_lrc": {**_YES, "default": False, "description": "find the words of each song in time, as LRC"},
}  # fmt: skip
"""The fields of a render by their first names; each goes by its aliases as well."""
_RENDER |= {name: {} for name in FIELDS if name not in _RENDER}
_RENDER |= {name: {"description": f"no effect here: {why}"} for name, why in WITHOUT_EFFECT.items()}

_CHAT = {
    "model": {**_TEXT, "description": "as /v1/models lists it; any other is the one in use"},
    "messages": {
        "type": "array", "items": {"type": "object"},
        "description": "the last of the user counts: text, or parts text and input_audio {data as base64, format}",
    },
    "stream": {**_YES, "default": False}, "lyrics": _TEXT, "sample_mode": _YES, "use_format": _YES, "thinking": _YES,
    "task_type": _RENDER["task_type"], "batch_size": {**_WHOLE, "minimum": 1, "maximum": 8, "default": 1},
    "seed": _RENDER["seed"], "temperature": _NUMBER, "top_p": _NUMBER, "top_k": _WHOLE, "lm_cfg_scale": _NUMBER,
    "guidance_scale": _NUMBER, "inference_steps": _WHOLE, "infer_method": _TEXT, "repainting_start": _NUMBER,
    "repainting_end": _NUMBER, "audio_cover_strength": _NUMBER, "cover_noise_strength": _NUMBER, "audio_codes": _TEXT,
    "audio_config": {
        "type": "object",
        "properties": {
            "duration": _NUMBER, "format": _RENDER["audio_format"], "bpm": _WHOLE, "key_scale": _TEXT,
            "time_signature": _TEXT, "vocal_language": _TEXT, "instrumental": _YES,
        },
    },
}  # fmt: skip
"""The fields of a chat; it takes those of a render as well."""

Row = tuple[str, str, str, dict[str, Any]]
"""A route: method, path, what it is for, fields."""
_ROWS: tuple[Row, ...] = (
    ("get", "/health", "Whether the server answers, and what is in use; asks for no key", {}),
    ("post", "/release_task", "Ask for music; answers with a task_id at once", _RENDER),
    ("post", "/query_result", "How tasks stand: 0 waits or runs, 1 is done, 2 has failed", {"task_id_list": _IDS}),
    ("get", "/v1/audio", "The file of a result; understands ranges", {"path": _TEXT}),
    ("get", "/v1/models", "The open checkpoints", {}),
    ("get", "/v1/models/{id}", "One open checkpoint", {"id": _TEXT}),
    ("get", "/api/v1/models", "The same as /v1/models", {}),
    ("post", "/v1/chat/completions", "Ask for music in a message, as OpenAI's clients do, and wait for it", _CHAT),
    ("post", "/api/v1/chat/completions", "The same as /v1/chat/completions", _CHAT),
    ("get", "/v1/model_inventory", "What each open checkpoint can do", {}),
    ("get", "/v1/stats", "How many tasks there are, and how long they take", {}),
    ("post", "/v1/init", "Make another checkpoint the one in use (the host)", {"model": _TEXT, "lm_model_path": _TEXT}),
    ("post", "/format_input", "Better words for a prompt and lyrics", {"prompt": _TEXT, "lyrics": _TEXT}),
    ("post", "/v1/create_sample", "A song's words out of one sentence", {"query": _TEXT, "instrumental": _YES}),
    ("post", "/create_random_sample", "One of the examples", {}),
    ("post", "/v1/cancel", "Stop tasks", {"task_id": _TEXT, "task_id_list": _IDS}),
    ("get", "/v1/tasks", "The asker's own tasks, the newest first", {}),
    (
        "get",
        "/v1/events",
        "Server-sent events: state, stage, step, progress and time to go; Last-Event-ID goes on",
        {"task_id": _TEXT, "latents": _YES},
    ),
    (
        "get",
        "/v1/latent",
        "A picture (PNG) of a step of a task that is being rendered",
        {"task_id": _TEXT, "step": _WHOLE, "song": _WHOLE},
    ),
    (
        "get",
        "/v1/scores",
        "How well a task's songs agree with their plans, and what is heard",
        {"task_id": _TEXT, "scale": _NUMBER, "heard": _YES},
    ),
    (
        "post",
        "/v1/lora/load",
        "Load an adapter for the asker alone",
        {
            "lora_path": {**_TEXT, "description": "from the folder of adapters"},
            "adapter_name": _TEXT,
            "lora_file": _FILE,
        },
    ),
    ("post", "/v1/lora/unload", "Take the asker's adapters off", {}),
    ("get", "/v1/lora/status", "Which adapters the asker's next task sounds with", {}),
    ("post", "/v1/lora/toggle", "Switch the asker's adapters off, and on again", {"use_lora": _YES}),
    (
        "post",
        "/v1/lora/scale",
        "Give one adapter another strength",
        {"scale": {**_NUMBER, "minimum": 0, "maximum": 1}, "adapter_name": _TEXT},
    ),
    ("post", "/v1/reinitialize", "Have the models read anew (the host)", {}),
    *(
        (method, path, f"{what} (the host, ACESTEP_FEATURE_API_TRAINING_ENDPOINTS)", fields)
        for method, path, what, fields in TRAINING
    ),
    ("get", "/openapi.json", "This document; asks for no key", {}),
)


def document(more: Iterable[Row] = ()) -> dict[str, Any]:
    """The document, as plain data; `more` are rows of routes that are described elsewhere."""
    paths: dict[str, dict[str, Any]] = {}
    for method, path, summary, fields in (*_ROWS, *more):
        paths.setdefault(path, {})[method] = _operation(method, path, summary, fields)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "acestep_lab",
            "version": version_of("acestep_lab"),
            "description": "ACE-Step 1.5's REST API over a Session",
        },
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}, {}],
    }


def _operation(method: str, path: str, summary: str, fields: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"summary": summary, "responses": {"200": {"description": "as the summary says"}}}
    named = re.findall(r"{(\w+)}", path)
    places = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in named]
    if method == "get":
        places += [
            {"name": name, "in": "query", "schema": schema} for name, schema in fields.items() if name not in named
        ]
    if places:
        said["parameters"] = places
    if method in ("post", "put"):
        plain = {name: one for name, one in fields.items() if one is not _FILE}
        content = {"application/json": {"schema": {"type": "object", "properties": plain}}}
        if plain != fields:
            content["multipart/form-data"] = {"schema": {"type": "object", "properties": fields}}
        said["requestBody"] = {"content": content}
    return said
