"""What the parts of the settings share: how a setting says what it is for, and common bounds."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field


def doc(en: str, fr: str, **bounds: float) -> Any:
    """A field's description in both languages. `bounds`: ge, gt, le."""
    return Field(description=en, json_schema_extra={"fr": fr}, **bounds)  # type: ignore[call-overload]  # bounds are ge/gt/le


Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Bytes = Annotated[int, Field(ge=1024)]
