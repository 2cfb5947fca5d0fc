"""Errors of the model room, one tree. Absent: bad log data, which is never an exception.

```
ModelError
├── WeightsInvalid    a weights file or manifest that must not be used
└── ScoringFailed     the network could not score; the caller falls back to fusion and counts it
```
"""


class ModelError(Exception):
    """Root of what ``models`` raises on purpose."""


class WeightsInvalid(ModelError):
    """Weights that must not be used: truncated, changed, other shape, other version, NaN."""


class ScoringFailed(ModelError):
    """The network raised, or gave a number that is not finite. No score of the call is usable."""
