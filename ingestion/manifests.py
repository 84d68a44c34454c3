"""Manifests as they are read: checked. Who only writes one does not wait for what this needs."""

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from ingestion.lake import Manifest

_MANIFEST = TypeAdapter(Manifest)


def checked(content: Mapping[str, Any]) -> Manifest:
    """The manifest that says this; what it tells beyond, as that of a cut does, is passed over.

    Raises:
        ValidationError: it is none.
    """
    return _MANIFEST.validate_python(content)
