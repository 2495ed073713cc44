"""What every process of a broker needs, loaded: the process that they are forked from imports this, and does nothing else.

So they are there in milliseconds, and share in memory what they only read.
"""

from __future__ import annotations

import gc

from broker.commands import worker
from broker.core import fhir_schema, structure

__all__ = ["worker"]

fhir_schema.preload()
structure.preload()
# What is collected is written to: that would make it each process's own.
gc.collect()
gc.freeze()
