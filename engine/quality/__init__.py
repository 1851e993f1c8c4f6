"""What viewers got of what they were entitled to, how late it came, and why they had to come back: measured, not felt.

Pure. Edges fill these values (`engine.edge.quality`), hubs add them up (`engine.hub.quality`).
"""

from engine.quality.certificate import Account, certificate, combined
from engine.quality.delays import BUCKETS, bounds_of, bucket_of, quantile
from engine.quality.values import Measured, RoomQuality, Sent

__all__ = [
    "BUCKETS",
    "Account",
    "Measured",
    "RoomQuality",
    "Sent",
    "bounds_of",
    "bucket_of",
    "certificate",
    "combined",
    "quantile",
]
