"""Made-up managers."""

from __future__ import annotations

from typing import Any

from registry.model import Gestionnaire
from registry.validation import declaration


def gestionnaire(slug: str = "bre", **changes: Any) -> Gestionnaire:
    """A valid declaration, with changes."""
    raw: dict[str, Any] = {
        "id": slug,
        "name": "GCS e-Santé Bretagne",
        "region": "53",
        "base_url": f"https://{slug}.cds.example/fhir",
    }
    return declaration(raw | changes)
